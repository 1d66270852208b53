/** Each offload switched off alone, all and none: the same bytes arrive, and the counters say what was in use. */
import { assert, it } from "@effect/vitest"
import { Effect } from "effect"
import { appName, connectSallyport, connectWireguardGo, startWorld } from "../support/labWorld.ts"
import { curl, inLab, inner } from "../support/lab.ts"

const size = 20_000_000

/** What the gateway's counters must say: 1 for some, 0 for none; what depends on the peer is left out. */
interface Expected {
  readonly batched: 0 | 1
  readonly gathered?: 0 | 1
  readonly segments: 0 | 1
  readonly joined: 0 | 1
  readonly simd: 0 | 1
}

const modes: ReadonlyArray<readonly [switches: string, client: "sallyport" | "wireguard-go", expected: Expected]> = [
  ["all", "sallyport", { batched: 1, gathered: 1, segments: 1, joined: 1, simd: 1 }],
  ["none", "sallyport", { batched: 0, gathered: 0, segments: 0, joined: 0, simd: 0 }],
  ["gro,tso,join,simd", "sallyport", { batched: 0, segments: 1, joined: 1, simd: 1 }],
  ["gso,tso,join,simd", "sallyport", { batched: 1, gathered: 0, segments: 1, joined: 1, simd: 1 }],
  ["gso,gro,simd", "sallyport", { batched: 1, gathered: 1, segments: 0, joined: 0, simd: 1 }],
  ["gso,gro,tso,simd", "sallyport", { batched: 1, gathered: 1, segments: 1, joined: 0, simd: 1 }],
  ["gso,gro,tso,join", "sallyport", { batched: 1, gathered: 1, segments: 1, joined: 1, simd: 0 }],
  ["all", "wireguard-go", { batched: 1, segments: 1, joined: 1, simd: 1 }],
  ["none", "wireguard-go", { batched: 0, gathered: 0, segments: 0, joined: 0, simd: 0 }]
]

for (const [switches, client, expected] of modes) {
  it.live(
    `with SALLYPORT_OFFLOADS=${switches} and ${client} as client 20 MB each way, datagrams and IPv6 pass unharmed`,
    () =>
      Effect.gen(function* () {
        const env = { SALLYPORT_OFFLOADS: switches }
        const world = yield* startWorld({ env })
        if (client === "sallyport") yield* connectSallyport(world, undefined, env)
        else yield* connectWireguardGo(world)
        const { visitor } = world
        const v4 = yield* world.proxyOf()
        const v6 = yield* world.proxyOf(appName, "AAAA")

        const down = yield* visitor.get({ address: v4, path: `/bytes/${size}`, timeout: 60_000 })
        const up = yield* visitor.upload({ address: v4, bytes: size, timeout: 60_000 })
        const echoed = yield* visitor.echo({ address: v4, count: 100, size: 1_200 })
        const page = yield* curl("client", `http://[${v6}]/bytes/1000000`)

        assert.deepStrictEqual([down.bytes, down.servedBy, down.sha256], [size, inner.origin.v4, down.expected])
        assert.deepStrictEqual(up, { bytes: size, sent: up.sent, sha256: up.sent })
        assert.deepStrictEqual(echoed, { sent: 100, received: 100 })
        assert.deepStrictEqual([page.exitcode, page.size_download], [0, 1_000_000])
        const { dataPlane } = (yield* world.gateway.status).counters
        const used = (name: string): number => (dataPlane[name]! > 0 ? 1 : 0)
        const seen = {
          batched: used("udp.batched"),
          ...(expected.gathered === undefined ? {} : { gathered: used("udp.gathered") }),
          segments: used("tun.segments"),
          joined: used("tun.joined"),
          simd: used("offloads.simd")
        }
        assert.deepStrictEqual(seen, expected)
        for (const drop of ["tun.write_failed", "udp.send_failed", "system.send_unsegmented", "inbound.malformed"]) {
          assert.strictEqual(dataPlane[drop], 0, drop)
        }
      }).pipe(inLab),
    { timeout: 120_000 }
  )
}
