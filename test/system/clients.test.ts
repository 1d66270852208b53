/** A stock client that roams, that has a pre-shared key, and whose time is over. */
import { assert } from "@effect/vitest"
import { Clock, Effect, Schedule } from "effect"
import { randomBytes } from "node:crypto"
import { Lab } from "../../src/lab/demo/Lab.ts"
import { handshakeMessage } from "../../src/lab/demo/packets.ts"
import { tunnelAddresses } from "../../src/lab/demo/tunnel.ts"
import { appName, connectWireguardGo, startWorld } from "../support/labWorld.ts"
import { inPairs } from "../support/inPairs.ts"
import { digFully, inLab, inner, outer } from "../support/lab.ts"
import { isDataFrom, isUnreachableAbout, unreachableAbout } from "../support/wire.ts"

const wait = { timeout: "20 seconds" } as const

// It waits for half a minute: the others have that time.
inPairs("an expiry cuts a live connection within a second, and nothing that another resource allows", () =>
  Effect.gen(function* () {
    const lab = yield* Lab
    const deadline = Math.ceil((yield* Clock.currentTimeMillis) / 1000) * 1000 + 30_000
    const world = yield* startWorld({
      resources: `  intranet: { name: ${appName}, resolver: corp, allow: [visitor], expires: ${new Date(deadline).toISOString()} }
  docs: { name: docs.corp.internal, ports: [tcp], resolver: corp, allow: [visitor] }
  docs-ping: { name: "docs.**", ports: [icmp], resolver: corp, allow: [visitor], expires: ${new Date(deadline).toISOString()} }`
    })
    const { visitor } = world
    yield* world.nameServer.set({ name: "docs.corp.internal", a: [inner.origin.v4], ttl: 60 })
    const wireguard = yield* connectWireguardGo(world)
    const tunnel = yield* lab.capture("client", { devices: [wireguard.device] })
    const [proxy, docs] = [yield* world.proxyOf(), yield* world.proxyOf("docs.corp.internal")]
    yield* visitor.openDrip("cut", proxy)
    yield* visitor.openDrip("kept", docs)
    const ping = Effect.exit(lab.exec("client", ["ping", "-c", "1", "-W", "2", docs]))
    const pinged = yield* ping
    const granted = (yield* world.gateway.status).authorizations.find((row) => row.resource === "intranet")

    yield* Effect.sleep(deadline + 2_000 - (yield* Clock.currentTimeMillis))
    const kept = yield* visitor.readDrip("kept")
    yield* Effect.sleep("1 second")
    const last = (yield* tunnel.packets).findLast(isDataFrom(proxy))
    const again = yield* visitor.connect({ address: proxy, timeout: 3000 })
    const told = yield* tunnel.first((p) => p.at > last!.at && isUnreachableAbout(proxy)(p), wait)
    const pingedAgain = yield* ping
    const refusedPing = yield* tunnel.first((p) => p.at > last!.at && isUnreachableAbout(docs)(p), wait)
    const answer = yield* digFully("client", tunnelAddresses.gateway.v4, appName, "A")
    const { authorizations } = yield* world.gateway.status

    assert.strictEqual(granted?.expiresAt, deadline)
    assert.isAbove(last!.at, deadline - 500, "the connection ended before its time")
    assert.isBelow(last!.at, deadline + 1_000)
    assert.isAbove((yield* visitor.readDrip("kept")).lines, kept.lines)
    assert.deepStrictEqual([pinged._tag, pingedAgain._tag], ["Success", "Failure"])
    assert.strictEqual(unreachableAbout(refusedPing!, docs), "3/13")
    assert.isFalse(again.ok)
    assert.strictEqual(unreachableAbout(told!, proxy), "3/13")
    assert.match(answer, /status: NXDOMAIN/)
    assert.deepStrictEqual(
      authorizations.map((row) => row.resource),
      ["docs"]
    )
  }).pipe(inLab)
)

inPairs("a client that changes its port and then its address keeps its TCP connections, without a new handshake", () =>
  Effect.gen(function* () {
    const lab = yield* Lab
    const world = yield* startWorld()
    const wire = yield* lab.capture("client", { devices: ["outer"] })
    const wireguard = yield* connectWireguardGo(world, { keepalive: 1 })
    const proxy = yield* world.proxyOf()
    yield* world.visitor.openDrip("steady", proxy)
    const endpoint = Effect.map(world.gateway.status, (status) => status.clients[0]?.endpoint ?? "")
    // Moves are told once a second.
    const endpointAt = (expected: string) =>
      Effect.repeat(endpoint, {
        until: (text) => text === expected,
        schedule: Schedule.spaced("100 millis"),
        times: 200
      })
    const goesOn = Effect.gen(function* () {
      const { lines } = yield* world.visitor.readDrip("steady")
      return yield* world.visitor
        .readDrip("steady")
        .pipe(
          Effect.repeat({ until: (drip) => drip.lines >= lines + 10, schedule: Schedule.spaced("50 millis") }),
          Effect.timeout("20 seconds")
        )
    })

    const first = yield* endpoint
    const atHome = yield* goesOn
    const connectedAt = Date.now()
    yield* wireguard.set(["listen-port", "40404"])
    const otherPort = yield* goesOn
    const second = yield* endpointAt(`${outer.client.v4}:40404`)
    yield* lab.exec("client", ["ip", "address", "delete", `${outer.client.v4}/24`, "dev", "outer"])
    yield* lab.exec("client", ["ip", "address", "add", "192.0.2.77/24", "dev", "outer"])
    // wireguard-go sticks to the source address that is gone (ENETUNREACH) until it binds again.
    yield* wireguard.set(["listen-port", "40405"])
    const otherAddress = yield* goesOn
    const third = yield* endpointAt("192.0.2.77:40405")

    assert.deepStrictEqual([atHome.ended, otherPort.ended, otherAddress.ended], [null, null, null])
    assert.isTrue(first.startsWith(`${outer.client.v4}:`))
    assert.notStrictEqual(second, first)
    assert.strictEqual(second, `${outer.client.v4}:40404`)
    assert.strictEqual(third, "192.0.2.77:40405")
    const initiations = (yield* wire.packets).filter((packet) => handshakeMessage(packet) === 1)
    assert.isNotEmpty(initiations)
    assert.isEmpty(initiations.filter(({ at }) => at > connectedAt))
  }).pipe(inLab)
)

inPairs("a client with a pre-shared key is let in, the same key pair without it is not", () =>
  Effect.gen(function* () {
    const presharedKey = randomBytes(32).toString("base64")
    const world = yield* startWorld({ presharedKey })

    const without = yield* Effect.scoped(
      Effect.gen(function* () {
        const wireguard = yield* connectWireguardGo(world)
        const answer = yield* world.visitor.resolve({
          server: tunnelAddresses.gateway.v4,
          name: appName,
          type: "A",
          timeout: 2000
        })
        return { answer, handshake: yield* wireguard.latestHandshake(world.gateway.publicKey) }
      })
    )
    const wireguard = yield* connectWireguardGo(world, { presharedKey })
    const page = yield* world.visitor.get({ address: yield* world.proxyOf() })

    assert.deepStrictEqual([without.answer.answered, without.handshake], [false, 0])
    assert.strictEqual(page.servedBy, inner.origin.v4)
    assert.isAbove(yield* wireguard.latestHandshake(world.gateway.publicKey), 0)
  }).pipe(inLab)
)
