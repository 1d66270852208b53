/** What a stock client's packets meet on real networks: small routers, marks, options, other underlays, restless routes. */
import { assert, it, layer } from "@effect/vitest"
import { Clock, Effect, Fiber } from "effect"
import { Lab } from "../../src/lab/demo/Lab.ts"
import { ipView, ports } from "../../src/lab/demo/packets.ts"
import { gatewayPort } from "../../src/lab/demo/tunnel.ts"
import { protocolTcp } from "../../src/packet/protocols.ts"
import { trafficClassOf } from "../../src/packet/trafficClass.ts"
import { appName, connectSallyport, startWorld } from "../support/labWorld.ts"
import { inLab, inner, outer } from "../support/lab.ts"
import { stage, Stage } from "../support/stage.ts"
import type { Predicate } from "../support/wire.ts"

const world = stage({
  resources: `  intranet: { name: "*.corp.internal", resolver: corp, allow: [visitor] }
  web4: { cidr: ${inner.network.v4}, allow: [visitor] }
  web6: { cidr: "${inner.network.v6}", allow: [visitor] }`,
  more: "keep_ports: true",
  allowedIps: [inner.network.v4, inner.network.v6]
})

const uploadBytes = 2_000_000
const whole = { bytes: uploadBytes }
/** Who is told of congestion with each packet sends slowly. */
const markedBytes = 300_000

const ping = Effect.fnUntraced(function* (...parameters: ReadonlyArray<string>) {
  return (yield* (yield* Lab).attempt("client", ["ping", "-i", "0.2", "-W", "2", ...parameters])).stdout
})

const isSynTo = (bytes: Uint8Array, address: string): boolean => {
  const ip = ipView(bytes)
  return ip?.protocol === protocolTcp && ip.destination === address && (ip.payload[13]! & 0x12) === 0x02
}

/** Until the way is there again: what is on its way while it changes may be lost. */
const untilAnswered = Effect.fnUntraced(function* (address: string) {
  for (let i = 0; i < 20; i++) if (/ 1 received/.test(yield* ping("-c", "1", address))) return
  return assert.fail(`${address} does not answer`)
})

layer(world, { excludeTestServices: true, timeout: "60 seconds" })("a stock client", (it) => {
  it.effect("pings with 60 kB and sends datagrams of 65 kB, in both families", () =>
    Effect.gen(function* () {
      const { visitor, ...world } = (yield* Stage).world
      for (const address of [yield* world.proxyOf(), inner.otherOrigin.v4, inner.otherOrigin.v6]) {
        // The first answer tells its sender the path's MTU.
        yield* ping("-s", "60000", "-c", "1", address)
        const pings = yield* ping("-s", "60000", "-c", "2", address)
        // One at a time: a program's socket has room for one of them as the kernel counts its fragments.
        const echoed = yield* visitor.echo({ address, count: 1, size: 65_000 })

        assert.match(pings, /2 packets transmitted, 2 received, 0% packet loss/)
        assert.deepStrictEqual(echoed, { sent: 1, received: 1 })
      }
    })
  )

  it.effect("is told by the router before a network with a smaller MTU, and its upload arrives", () =>
    Effect.gen(function* () {
      const lab = yield* Lab
      const { visitor } = (yield* Stage).world
      const small = Effect.fnUntraced(function* (change: string) {
        yield* lab.exec("gateway", ["ip", "route", change, inner.otherOrigin.v4, "dev", "inner", "mtu", "900"])
        yield* lab.exec("gateway", ["ip", "-6", "route", change, inner.otherOrigin.v6, "dev", "inner", "mtu", "1280"])
      })
      yield* small("replace")

      const uploads = [
        yield* visitor.upload({ address: inner.otherOrigin.v4, bytes: uploadBytes, timeout: 20_000 }),
        yield* visitor.upload({ address: inner.otherOrigin.v6, bytes: uploadBytes, timeout: 20_000 })
      ]
      yield* small("delete")

      for (const { bytes, sent, sha256 } of uploads)
        assert.deepStrictEqual({ bytes, sha256 }, { ...whole, sha256: sent })
    })
  )

  it.effect("may set IP options, and a time to live that ends on the way is told", () =>
    Effect.gen(function* () {
      const proxy = yield* (yield* Stage).world.proxyOf()

      assert.match(yield* ping("-c", "1", "-T", "tsonly", proxy), /1 received/)
      assert.match(yield* ping("-c", "1", "-t", "1", proxy), /Time to live exceeded/)
      assert.match(yield* ping("-c", "1", "-t", "1", inner.otherOrigin.v6), /Hop limit/)
    })
  )

  it.effect(
    "leaves from its own source port where `keep_ports` says so, below 1024, too; from one port to all hosts",
    () =>
      Effect.gen(function* () {
        const { lan, world } = yield* Stage
        const seenFrom = Effect.fnUntraced(function* (localPort: number, address: string) {
          const since = yield* Clock.currentTimeMillis
          yield* world.visitor.get({ address, localPort })
          const seen = yield* lan.first(({ at, bytes }) => at >= since && isSynTo(bytes, address), {
            timeout: "20 seconds"
          })
          const ip = seen === null ? undefined : ipView(seen.bytes)
          return ip === undefined ? undefined : ports(ip)?.from
        })
        const { origin, otherOrigin } = inner

        assert.strictEqual(yield* seenFrom(700, otherOrigin.v4), 700)
        assert.strictEqual(yield* seenFrom(20_123, otherOrigin.v4), 20_123)
        assert.strictEqual(yield* seenFrom(20_124, otherOrigin.v6), 20_124)
        const elsewhere = yield* seenFrom(5_000, otherOrigin.v4)
        assert.isAtLeast(elsewhere!, 10_240)
        assert.strictEqual(yield* seenFrom(5_000, origin.v4), elsewhere)
      })
  )

  it.effect(
    "is served on over IPv6 only, at a link-local endpoint, and by two uplinks as routes and rules have it",
    () =>
      Effect.gen(function* () {
        const lab = yield* Lab
        const { wireguard, world } = yield* Stage
        const endpoint = (at: string) =>
          wireguard.set(["peer", world.gateway.publicKey, "endpoint", `${at}:${gatewayPort}`])
        const linkLocal = /inet6 (fe80:\S+)\//.exec(
          yield* lab.exec("gateway", ["ip", "-6", "address", "show", "dev", "outer", "scope", "link"])
        )?.[1]
        assert.isString(linkLocal)

        yield* lab.exec("client", ["ip", "address", "del", `${outer.client.v4}/24`, "dev", "outer"])
        yield* endpoint(`[${outer.gateway.v6}]`)
        yield* untilAnswered(inner.otherOrigin.v4)
        yield* endpoint(`[${linkLocal}%outer]`)
        yield* untilAnswered(inner.otherOrigin.v4)

        yield* lab.exec("client", ["ip", "address", "add", `${outer.client.v4}/24`, "dev", "outer"])
        yield* lab.exec("gateway", ["ip", "-batch", "-"], {
          input: [
            `link add back type veth peer name back netns ${lab.namespace("client")}`,
            "address add 198.51.100.1/24 dev back",
            "link set back up",
            ""
          ].join("\n")
        })
        yield* lab.exec("client", ["ip", "-batch", "-"], {
          input: "address add 198.51.100.2/24 dev back\nlink set back up\n"
        })
        yield* lab.exec("gateway", [
          "ip",
          "route",
          "add",
          `${outer.client.v4}/32`,
          "via",
          "198.51.100.2",
          "dev",
          "back"
        ])
        yield* endpoint(outer.gateway.v4)
        yield* untilAnswered(inner.otherOrigin.v4)
        const answersBy = Effect.fnUntraced(function* (device: string) {
          const wire = yield* lab.capture("client", { devices: [device] })
          yield* untilAnswered(inner.otherOrigin.v4)
          const reply = yield* wire.first(
            ({ bytes, direction }) => direction === "in" && ipView(bytes)?.source === outer.gateway.v4,
            { timeout: "20 seconds" }
          )
          assert.isNotNull(reply, `answers leave by ${device}, from the address that was addressed`)
        })
        yield* answersBy("back")
        yield* lab.exec("gateway", ["ip", "route", "add", `${outer.client.v4}/32`, "dev", "outer", "table", "88"])
        yield* lab.exec("gateway", ["ip", "rule", "add", "from", outer.gateway.v4, "lookup", "88"])
        yield* answersBy("outer")
      })
  )

  it.effect("is served on while the gateway's host changes 360,000 routes", () =>
    Effect.gen(function* () {
      const lab = yield* Lab
      const { world } = yield* Stage
      const routes = (change: string) =>
        Array.from(
          { length: 180_000 },
          (_, i) => `route ${change} 203.${i >> 16}.${(i >> 8) & 255}.${i & 255}/32 dev inner`
        )
      const file = yield* lab.writeFile("routes", [...routes("add"), ...routes("del"), ""].join("\n"))
      const pings = yield* Effect.forkChild(ping("-c", "15", inner.otherOrigin.v4))

      yield* lab.exec("gateway", ["ip", "-batch", file], { timeout: "60 seconds" })

      assert.match(yield* Fiber.join(pings), / 15 received/)
      assert.isAbove((yield* world.gateway.status).counters.dataPlane["outbound.forwarded"]!, 0)
    })
  )
})

for (const switches of ["all", "none"]) {
  it.live(
    `ECN works through the tunnel with SALLYPORT_OFFLOADS=${switches}: on the outer header, and marks come back`,
    () =>
      Effect.gen(function* () {
        const lab = yield* Lab
        const env = { SALLYPORT_OFFLOADS: switches }
        const world = yield* startWorld({ env })
        yield* connectSallyport(world, undefined, env)
        for (const host of ["client", "lan"] as const) yield* lab.exec(host, ["sysctl", "-qw", "net.ipv4.tcp_ecn=1"])
        const lan = yield* lab.capture("lan", { devices: ["inner"] })
        const wire = yield* lab.capture("client", { devices: ["outer"] })
        // A router on the way is congested, and marks who says that he understands it.
        yield* lab.exec("client", ["nft", "-f", "-"], {
          input: `table inet congested {
            chain out {
              type filter hook output priority 0
              udp dport ${gatewayPort} ip ecn ect0 ip ecn set ce
            }
          }`
        })
        const address = yield* world.proxyOf(appName)

        const down = yield* world.visitor.get({ address, path: `/bytes/${uploadBytes}`, timeout: 30_000 })
        const up = yield* world.visitor.upload({ address, bytes: markedBytes, timeout: 30_000 })

        assert.deepStrictEqual([down.bytes, down.sha256], [uploadBytes, down.expected])
        assert.deepStrictEqual(up, { bytes: markedBytes, sent: up.sent, sha256: up.sent })
        const isMarked =
          (ecn: number): Predicate =>
          ({ bytes, direction }) =>
            direction === "in" && (trafficClassOf(bytes, 0) & 3) === ecn
        assert.isNotNull(yield* wire.first(isMarked(2), { timeout: "20 seconds" }), "datagrams of packets with ECT(0)")
        assert.isNotNull(
          yield* lan.first(isMarked(3), { timeout: "20 seconds" }),
          "packets whose datagrams were marked"
        )
        assert.strictEqual((yield* world.gateway.status).counters.dataPlane["udp.congested"], 0)
      }).pipe(inLab),
    { timeout: 60_000 }
  )
}
