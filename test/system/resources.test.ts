/** What a stock WireGuard client reaches through the gateway, and what it is told about the rest. */
import { assert, layer } from "@effect/vitest"
import { Clock, Effect } from "effect"
import { Lab } from "../../src/lab/demo/Lab.ts"
import { ipView, ports } from "../../src/lab/demo/packets.ts"
import { tunnelAddresses } from "../../src/lab/demo/tunnel.ts"
import { appName } from "../support/labWorld.ts"
import { dig, digFully, inner } from "../support/lab.ts"
import { stage, Stage } from "../support/stage.ts"
import { isEchoReply, type Predicate, unreachableAbout } from "../support/wire.ts"

const { gateway } = tunnelAddresses
const otherName = "wiki.corp.internal"
const world = stage({
  clients: `  stranger: { public_key: "${Buffer.alloc(32, 7).toString("base64")}" }`,
  resources: `  intranet: { name: "*.corp.internal", resolver: corp, allow: [visitor] }
  vault: { name: vault.prod.internal, resolver: corp, allow: [stranger] }
  web4: { cidr: ${inner.network.v4}, ports: [tcp/80, udp/7, icmp], allow: [visitor] }
  web6: { cidr: "${inner.network.v6}", ports: [tcp/80, udp/7, icmp], allow: [visitor] }`,
  allowedIps: [inner.network.v4, inner.network.v6]
})

const wait = { timeout: "20 seconds" } as const

const isTo =
  (address: string, port: number): Predicate =>
  ({ bytes }) => {
    const ip = ipView(bytes)
    return ip?.destination === address && ports(ip)?.to === port
  }

/** What a program on the client gets for a name: one address from the tunnel's DNS, then the page, both in one family. */
const openByName = Effect.fnUntraced(function* (name: string, family: "v4" | "v6") {
  const lab = yield* Lab
  const [address = "none"] = yield* dig("client", gateway[family], name, family === "v4" ? "A" : "AAAA")
  const literal = family === "v4" ? address : `[${address}]`
  return yield* lab.exec("client", [
    "curl",
    "--silent",
    "--show-error",
    "--max-time",
    "10",
    "--resolve",
    `${name}:80:${literal}`,
    `http://${name}/`
  ])
})

layer(world, { excludeTestServices: true, timeout: "60 seconds" })("a stock WireGuard client", (it) => {
  it.effect("opens a page by its name over IPv4: DNS through the tunnel, then TCP to the proxy IP", () =>
    Effect.gen(function* () {
      const page = yield* openByName(appName, "v4")

      assert.strictEqual(page, `The intranet, served by ${inner.origin.v4}\n`)
    })
  )

  it.effect("opens a page by its name over IPv6", () =>
    Effect.gen(function* () {
      const page = yield* openByName(appName, "v6")

      assert.strictEqual(page, `The intranet, served by ${inner.origin.v6}\n`)
    })
  )

  it.effect("asks the tunnel's DNS over TCP as well", () =>
    Effect.gen(function* () {
      const overUdp = yield* dig("client", gateway.v4, appName, "A")
      const overTcp = yield* dig("client", gateway.v4, "+tcp", appName, "A")

      assert.isAbove(overUdp.length, 0)
      assert.deepStrictEqual(overTcp, overUdp)
    })
  )

  it.effect("gets its UDP datagrams back from an echo service, in both families", () =>
    Effect.gen(function* () {
      const { visitor, ...world } = (yield* Stage).world
      const v4 = yield* world.proxyOf(appName, "A")
      const v6 = yield* world.proxyOf(appName, "AAAA")
      // Only so many datagrams wait for a name's first lookup; this is about a name that is known.
      yield* Effect.all([visitor.get({ address: v4 }), visitor.get({ address: v6 })])

      const echo4 = yield* visitor.echo({ address: v4, count: 50, size: 1000 })
      const echo6 = yield* visitor.echo({ address: v6, count: 50, size: 1000 })

      assert.deepStrictEqual(
        [echo4, echo6],
        [
          { sent: 50, received: 50 },
          { sent: 50, received: 50 }
        ]
      )
    })
  )

  it.effect("pings a name's proxy IPs, and the reply comes from the proxy IP, in both families", () =>
    Effect.gen(function* () {
      const lab = yield* Lab
      const { tunnel, world } = yield* Stage
      for (const type of ["A", "AAAA"] as const) {
        const proxy = yield* world.proxyOf(appName, type)

        const output = yield* lab.exec("client", ["ping", "-c", "3", "-i", "0.2", "-W", "2", proxy])

        assert.match(output, /3 packets transmitted, 3 received, 0% packet loss/)
        const reply = yield* tunnel.first(isEchoReply(proxy), wait)
        assert.isNotNull(reply)
      }
    })
  )

  it.effect("gets answers that are longer than the tunnel's packets, by name and by address, in both families", () =>
    Effect.gen(function* () {
      const lab = yield* Lab
      const { visitor, ...world } = (yield* Stage).world
      const names = [yield* world.proxyOf(appName, "A"), yield* world.proxyOf(appName, "AAAA")]
      for (const address of names) yield* visitor.get({ address })
      for (const address of [...names, inner.otherOrigin.v4, inner.otherOrigin.v6]) {
        // The first answer over IPv6 tells its sender the path's MTU, as between any two networks.
        yield* Effect.ignore(lab.exec("client", ["ping", "-s", "3000", "-c", "1", "-W", "1", address]))
        const pings = yield* lab.exec("client", ["ping", "-s", "3000", "-c", "3", "-i", "0.2", "-W", "2", address])
        const echo = yield* visitor.echo({ address, count: 20, size: 4000 })

        assert.match(pings, /3 packets transmitted, 3 received, 0% packet loss/)
        assert.deepStrictEqual(echo, { sent: 20, received: 20 })
      }
      for (const address of [gateway.v4, gateway.v6]) {
        const pings = yield* lab.exec("client", ["ping", "-s", "3000", "-c", "1", "-W", "2", address])
        assert.match(pings, /1 packets transmitted, 1 received/)
      }
    })
  )

  it.effect("learns the name of a proxy IP by a reverse lookup, in both families", () =>
    Effect.gen(function* () {
      const { world } = yield* Stage
      const v4 = yield* world.proxyOf(appName, "A")
      const v6 = yield* world.proxyOf(appName, "AAAA")

      assert.deepStrictEqual(yield* dig("client", gateway.v4, "-x", v4), [`${appName}.`])
      assert.deepStrictEqual(yield* dig("client", gateway.v6, "-x", v6), [`${appName}.`])
    })
  )

  it.effect("keeps two names on one real host apart, also from one source port at the same time", () =>
    Effect.gen(function* () {
      const { nameServer, visitor, ...world } = (yield* Stage).world
      yield* nameServer.set({ name: otherName, a: [inner.origin.v4], ttl: 60 })
      const [app, other] = [yield* world.proxyOf(appName), yield* world.proxyOf(otherName)]
      const localPort = 41_001

      yield* visitor.openDrip("app", app, { localPort })
      yield* visitor.openDrip("other", other, { localPort })
      const before = [yield* visitor.readDrip("app"), yield* visitor.readDrip("other")] as const
      yield* Effect.sleep("1 second")
      const after = [yield* visitor.readDrip("app"), yield* visitor.readDrip("other")] as const
      yield* Effect.all([visitor.closeDrip("app"), visitor.closeDrip("other")])

      assert.notStrictEqual(app, other)
      for (const i of [0, 1] as const) {
        assert.isNull(after[i].ended)
        assert.strictEqual(after[i].last, inner.origin.v4)
        assert.isAtLeast(after[i].lines, before[i].lines + 5)
      }
    })
  )

  it.effect("uses one source port to two ports of one host at the same time", () =>
    Effect.gen(function* () {
      const { visitor, ...world } = (yield* Stage).world
      const app = yield* world.proxyOf(appName)
      const localPort = 41_002

      yield* visitor.openDrip("80", app, { localPort })
      yield* visitor.openDrip("8080", app, { localPort, port: 8080 })
      yield* Effect.sleep("500 millis")
      const first = yield* visitor.readDrip("80")
      const second = yield* visitor.readDrip("8080")
      yield* Effect.all([visitor.closeDrip("80"), visitor.closeDrip("8080")])

      assert.deepStrictEqual([first.ended, second.ended], [null, null])
      assert.isTrue(first.lines >= 3 && second.lines >= 3, `${first.lines} and ${second.lines} lines`)
    })
  )

  it.effect("reaches a network resource by its real addresses where the port filter allows it", () =>
    Effect.gen(function* () {
      const lab = yield* Lab
      const { visitor } = (yield* Stage).world

      const page4 = yield* visitor.get({ address: inner.otherOrigin.v4 })
      const page6 = yield* visitor.get({ address: inner.otherOrigin.v6 })
      yield* lab.exec("client", ["ping", "-c", "1", "-W", "2", inner.otherOrigin.v4])
      yield* lab.exec("client", ["ping", "-c", "1", "-W", "2", inner.otherOrigin.v6])

      assert.deepStrictEqual([page4.servedBy, page6.servedBy], [inner.otherOrigin.v4, inner.otherOrigin.v6])
    })
  )

  it.effect('is told by ICMP "administratively prohibited" what the port filter denies, and nothing passes', () =>
    Effect.gen(function* () {
      const { lan, tunnel, world } = yield* Stage
      for (const [address, expected] of [
        [inner.otherOrigin.v4, "3/13"],
        [inner.otherOrigin.v6, "1/1"]
      ] as const) {
        const connected = yield* world.visitor.connect({ address, port: 8080, timeout: 3000 })
        const then = yield* Clock.currentTimeMillis
        const allowed = yield* world.visitor.connect({ address, port: 80, timeout: 3000 })

        assert.isFalse(connected.ok, `connected to ${address} as port ${connected.localPort}`)
        assert.isTrue(allowed.ok)
        // The capture runs behind: once it has this connection, it has whatever passed before.
        assert.isNotNull(yield* lan.first((packet) => packet.at >= then && isTo(address, 80)(packet), wait))
        const answer = yield* tunnel.first((packet) => unreachableAbout(packet, address) === expected, wait)
        assert.isNotNull(answer, `no ICMP ${expected}`)
        assert.deepStrictEqual((yield* lan.packets).filter(isTo(address, 8080)), [])
      }
    })
  )

  it.effect(
    "does not learn a name that only others may reach, and gets ICMP for a proxy IP that stands for nothing",
    () =>
      Effect.gen(function* () {
        const unassigned = "100.127.200.1"
        const { nameServer, visitor } = (yield* Stage).world
        yield* nameServer.set({ name: "vault.prod.internal", a: [inner.origin.v4], ttl: 60 })

        const stranger = yield* digFully("client", gateway.v4, "vault.prod.internal", "A")
        const connected = yield* visitor.connect({ address: unassigned, timeout: 3000 })
        const { tunnel } = yield* Stage
        const answer = yield* tunnel.first((packet) => unreachableAbout(packet, unassigned) !== undefined, wait)

        assert.match(stranger, /status: NXDOMAIN/)
        assert.notProperty(yield* nameServer.queries, "vault.prod.internal 1")
        assert.deepStrictEqual(connected, { ok: false, code: "ENETUNREACH" })
        assert.isNotNull(answer)
      })
  )
})
