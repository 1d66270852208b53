/** When a flow keeps its real address, when it gets another, and what ends it. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import { TestClock } from "effect/testing"
import { DataPlane } from "../../src/dataplane/DataPlane.ts"
import type { Command } from "../../src/dataplane/commands.ts"
import { spreadBy, spreadOf } from "../../src/nat/spread.ts"
import { formatAddress } from "../../src/packet/address.ts"
import {
  ack,
  counter,
  destinations,
  fin,
  icmpOf,
  lan,
  network,
  other4,
  parsed,
  ready,
  real4,
  real6,
  reply,
  reported,
  rst,
  send,
  syn,
  tcp,
  tcpBack,
  udp,
  udpBack
} from "../support/engineSteps.ts"
import {
  addresses,
  clientId,
  layer,
  mappingId,
  packetsAt,
  policy,
  proxy4,
  proxy6,
  resourceId,
  setMapping,
  setUp,
  tunnel4,
  tunnel6
} from "../support/engineWorld.ts"
import { type MemoryClient, sendInner } from "../support/memoryClient.ts"
import { addressWords, buildTcp } from "../support/packets.ts"

/** A confirmed flow to `real4`, whose name then moves to `other4`. */
const moved = Effect.gen(function* () {
  const client = yield* ready()
  const out = yield* lan
  yield* send(addresses(1, 1, "Resolved", [real4]))
  yield* sendInner(client, tcp(443, syn))
  yield* reply(client, tcpBack(443, syn | ack))
  yield* send(addresses(1, 2, "Resolved", [other4]))
  out.length = 0
  return { client, out }
})

describe("a bare SYN on a known flow", () => {
  it.effect("keeps the old address while the flow answered within 2 seconds, and takes the new one after", () =>
    Effect.gen(function* () {
      const { client, out } = yield* moved
      yield* TestClock.adjust("1999 millis")
      yield* sendInner(client, tcp(443, syn))
      yield* TestClock.adjust("1 millis")
      yield* sendInner(client, tcp(443, syn))
      assert.deepStrictEqual(destinations(out), [real4, other4])
    }).pipe(Effect.provide(layer))
  )

  for (const [who, flags] of [
    ["client", fin | ack],
    ["host", fin | ack],
    ["client", rst],
    ["host", rst]
  ] as const) {
    it.effect(`takes the new address at once after ${flags === rst ? "RST" : "FIN"} of the ${who}`, () =>
      Effect.gen(function* () {
        const { client, out } = yield* moved
        if (who === "client") yield* sendInner(client, tcp(443, flags))
        else yield* reply(client, tcpBack(443, flags))
        out.length = 0
        yield* sendInner(client, tcp(443, syn))
        assert.deepStrictEqual(destinations(out), [other4])
      }).pipe(Effect.provide(layer))
    )
  }

  it.effect("does not move a flow whose address is still one of the name's, however silent", () =>
    Effect.gen(function* () {
      const { client, out } = yield* moved
      yield* send(addresses(1, 3, "Resolved", [real4, other4]))
      yield* TestClock.adjust("10 seconds")
      yield* sendInner(client, tcp(443, syn))
      assert.deepStrictEqual(destinations(out), [real4])
    }).pipe(Effect.provide(layer))
  )

  it.effect("that is no bare one moves nothing", () =>
    Effect.gen(function* () {
      const { client, out } = yield* moved
      yield* TestClock.adjust("10 seconds")
      yield* sendInner(client, tcp(443, ack), tcp(443, syn | ack))
      assert.deepStrictEqual(destinations(out), [real4, real4])
    }).pipe(Effect.provide(layer))
  )

  it.effect("goes on to the old address when the name has none left", () =>
    Effect.gen(function* () {
      const { client, out } = yield* moved
      yield* send(addresses(1, 3, "Unresolved"))
      yield* TestClock.adjust("10 seconds")
      yield* sendInner(client, tcp(443, ack), tcp(443, syn))
      assert.deepStrictEqual(destinations(out), [real4, real4])
      yield* sendInner(client, tcp(443, syn, proxy4, 50_001))
      assert.deepStrictEqual(icmpOf(client.received.slice(1)), [[3, 0]])
    }).pipe(Effect.provide(layer))
  )
})

describe("an unconfirmed flow", () => {
  it.effect("of UDP moves with the next packet when its name moves, and its answer finds the way back", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      const out = yield* lan
      yield* send(addresses(1, 1, "Resolved", [real4]))
      yield* sendInner(client, udp(514))
      yield* send(addresses(1, 2, "Resolved", [other4]))
      yield* sendInner(client, udp(514))
      assert.deepStrictEqual(destinations(out), [real4, other4])
      yield* reply(client, udpBack(514, real4), udpBack(514, other4))
      assert.strictEqual(client.received.length, 1)
      assert.strictEqual(yield* counter("inbound.no_session"), 1)
    }).pipe(Effect.provide(layer))
  )

  it.effect("ends after 60 seconds, a confirmed one of UDP after 120", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      yield* send(addresses(1, 1, "Resolved", [real4]))
      yield* sendInner(client, udp(1_000), udp(2_000))
      yield* reply(client, udpBack(1_000))
      yield* TestClock.adjust("62 seconds")
      assert.strictEqual(yield* counter("sessions.live"), 1)
      yield* TestClock.adjust("60 seconds")
      assert.strictEqual(yield* counter("sessions.live"), 0)
    }).pipe(Effect.provide(layer))
  )
})

describe("a flow that is cut", () => {
  const cut: ReadonlyArray<readonly [title: string, command: Command]> = [
    ["by RevokeResource", { _tag: "RevokeResource", client: clientId(1), resource: resourceId("app") }],
    ["by RemoveMapping", { _tag: "RemoveMapping", mapping: mappingId(1, "app.corp") }],
    ["by RemoveClient", { _tag: "RemoveClient", client: clientId(1) }],
    [
      "by a filter that no longer permits it",
      {
        _tag: "SetResource",
        client: clientId(1),
        resource: resourceId("app"),
        kind: "dns",
        network: null,
        filters: [{ protocol: "tcp", from: 22, to: 22 }],
        allow: []
      }
    ],
    ["by its address becoming the gateway's own", { ...policy, ownAddresses: [real4] }],
    ["by other proxies of its mapping", setMapping(1, "app.corp", ["100.96.0.40"], 2)],
    ["by another mapping taking its proxy", setMapping(1, "b.corp", [proxy4])]
  ]
  for (const [title, command] of cut) {
    it.effect(`${title} passes nothing in either direction, and no other flow suffers`, () =>
      Effect.gen(function* () {
        const client = yield* ready()
        const other = yield* ready({}, 2)
        const out = yield* lan
        yield* send(addresses(1, 1, "Resolved", [real4]), addresses(2, 1, "Resolved", [other4]))
        yield* sendInner(client, tcp(443, syn))
        yield* reply(client, tcpBack(443, syn | ack))
        yield* sendInner(other, otherSyn)
        assert.strictEqual(out.length, 2)
        yield* send(command)
        yield* reply(client, tcpBack(443, ack))
        yield* sendInner(client, tcp(443, ack))
        assert.strictEqual(client.received.filter((packet) => parsed(packet).protocol === 6).length, 1)
        assert.strictEqual(out.length, 2)
        yield* sendInner(other, otherSyn)
        assert.strictEqual(out.length, 3)
      }).pipe(Effect.provide(layer))
    )
  }

  const otherSyn = buildTcp({
    source: tunnel4(2),
    destination: proxy4,
    sourcePort: 50_000,
    destinationPort: 443,
    flags: syn
  })

  it.effect("by its proxy being none any more passes nothing in either direction", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      const out = yield* lan
      yield* send(addresses(1, 1, "Resolved", [real4]))
      yield* sendInner(client, tcp(443, syn))
      yield* reply(client, tcpBack(443, syn | ack))

      yield* send({ ...policy, proxyNetworks: ["100.112.0.0/12"] })
      yield* reply(client, tcpBack(443, ack))
      yield* sendInner(client, tcp(443, ack))

      assert.strictEqual(client.received.filter((packet) => parsed(packet).protocol === 6).length, 1)
      assert.strictEqual(out.length, 1)
    }).pipe(Effect.provide(layer))
  )

  it.effect("is none when the same policy, resource or mapping is sent again", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      yield* send(addresses(1, 1, "Resolved", [real4]))
      yield* sendInner(client, tcp(443, syn))
      yield* setUp(1)
      yield* reply(client, tcpBack(443, syn | ack))
      assert.strictEqual(client.received.length, 1)
      assert.strictEqual(yield* counter("sessions.created"), 1)
    }).pipe(Effect.provide(layer))
  )
})

describe("a name with several addresses", () => {
  const start = (client: MemoryClient, sourcePort: number) => sendInner(client, tcp(443, syn, proxy4, sourcePort))
  /** The two addresses as the client's mapping takes them. */
  const inTurn = (n: number) =>
    spreadBy(spreadOf(clientId(n), mappingId(n, "app.corp")), [real4, other4].map(addressWords)).map(formatAddress)

  it.effect("spreads its proxies over them, the same way every time", () =>
    Effect.gen(function* () {
      const proxies = [0, 1, 2, 3].map((i) => `100.96.0.${16 + i}`)
      const client = yield* ready({ proxyIps: proxies })
      const out = yield* lan
      yield* send(addresses(1, 1, "Resolved", [real4, other4]))
      yield* sendInner(client, ...proxies.map((proxy, i) => tcp(443, syn, proxy, 50_000 + i)))
      const [first = "", second = ""] = inTurn(1)
      assert.deepStrictEqual(destinations(out), [first, second, first, second])
    }).pipe(Effect.provide(layer))
  )

  it.effect("leaves out one that is silent while a sibling answers, for this client only", () =>
    Effect.gen(function* () {
      const proxies = ["100.96.0.16", "100.96.0.17"]
      const client = yield* ready({ proxyIps: proxies })
      const bystander = yield* ready({ proxyIps: proxies }, 2)
      const out = yield* lan
      yield* send(addresses(1, 1, "Resolved", [real4, other4]), addresses(2, 1, "Resolved", [real4, other4]))
      yield* sendInner(client, tcp(443, syn, proxies[0]), tcp(443, syn, proxies[1], 50_001))
      const [, second = ""] = inTurn(1)
      yield* reply(client, tcpBack(443, syn | ack, second, 50_001))
      yield* TestClock.adjust("3 seconds")
      out.length = 0
      yield* sendInner(client, tcp(443, syn, proxies[0], 50_002))
      yield* sendInner(
        bystander,
        buildTcp({ source: tunnel4(2), destination: proxies[0]!, sourcePort: 9, destinationPort: 443, flags: syn })
      )
      assert.deepStrictEqual(destinations(out), [second, inTurn(2)[0]!])
    }).pipe(Effect.provide(layer))
  )

  it.effect("keeps the last address in use although it is silent", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      const out = yield* lan
      yield* send(addresses(1, 1, "Resolved", [real4]))
      for (let i = 0; i < 4; i++) {
        yield* start(client, 50_000 + i)
        yield* TestClock.adjust("4 seconds")
      }
      assert.deepStrictEqual(destinations(out), [real4, real4, real4, real4])
    }).pipe(Effect.provide(layer))
  )

  it.effect("of which policy refuses one uses the others", () =>
    Effect.gen(function* () {
      const proxies = ["100.96.0.16", "100.96.0.17"]
      const client = yield* ready({ proxyIps: proxies })
      const out = yield* lan
      yield* send(addresses(1, 1, "Resolved", ["10.20.0.1", real4]))
      yield* sendInner(client, ...proxies.map((proxy, i) => tcp(443, syn, proxy, 50_000 + i)))
      assert.deepStrictEqual(destinations(out), [real4, real4])
    }).pipe(Effect.provide(layer))
  )
})

describe("silence", () => {
  it.effect("of a confirmed flow is reported after 120 seconds under outgoing traffic, not when idle", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      const notices = yield* (yield* DataPlane).notices
      yield* send(addresses(1, 1, "Resolved", [real4]))
      yield* sendInner(client, tcp(443, syn))
      yield* reply(client, tcpBack(443, syn | ack))
      yield* TestClock.adjust("119 seconds")
      yield* sendInner(client, tcp(443, ack))
      yield* TestClock.adjust("60 seconds")
      assert.deepStrictEqual(yield* reported(notices), [])
      yield* sendInner(client, tcp(443, ack))
      yield* TestClock.adjust("2 seconds")
      assert.deepStrictEqual(yield* reported(notices), ["Unanswered"])
      yield* TestClock.adjust("10 minutes")
      assert.deepStrictEqual(yield* reported(notices), [])
    }).pipe(Effect.scoped, Effect.provide(layer))
  )

  it.effect("of one-way UDP is none until its port has answered once", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      const notices = yield* (yield* DataPlane).notices
      yield* send(addresses(1, 1, "Resolved", [real4]))
      yield* sendInner(client, udp(514))
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual(yield* reported(notices), [])
      yield* sendInner(client, udp(514))
      yield* reply(client, udpBack(514))
      yield* TestClock.adjust("10 seconds")
      yield* sendInner(client, udp(514, proxy4, 50_001))
      yield* TestClock.adjust("4 seconds")
      assert.deepStrictEqual(yield* reported(notices), ["Unanswered"])
    }).pipe(Effect.scoped, Effect.provide(layer))
  )
})

describe("two clients with the same proxy IP", () => {
  it.effect("never get each other's packets, from either side", () =>
    Effect.gen(function* () {
      const first = yield* ready()
      const second = yield* ready({}, 2)
      const out = yield* lan
      yield* send(addresses(1, 1, "Resolved", [real4]), addresses(2, 1, "Resolved", [real4]))
      yield* sendInner(first, tcp(443, syn))
      yield* reply(
        second,
        buildTcp({ source: real4, destination: tunnel4(2), sourcePort: 443, destinationPort: 50_000 })
      )
      assert.strictEqual(second.received.length, 0)
      yield* sendInner(
        second,
        buildTcp({ source: tunnel4(1), destination: proxy4, sourcePort: 50_000, destinationPort: 443 }),
        buildTcp({ source: tunnel6(1), destination: "fd00:2021:1111:8000::4", sourcePort: 1, destinationPort: 443 })
      )
      assert.strictEqual(out.length, 1)
      assert.strictEqual(yield* counter("outbound.source_spoofed"), 2)
      yield* reply(first, tcpBack(443, syn | ack))
      assert.strictEqual(formatAddress(parsed(first.received[0]).source), proxy4)
    }).pipe(Effect.provide(layer))
  )
})

describe("what a client sends to a proxy IP", () => {
  it.effect.each(["standalone", "portal"] as const)(
    "is prohibited from its authorization's end on, in mode %s, until it is granted anew",
    (mode) =>
      Effect.gen(function* () {
        const client = yield* ready()
        const out = yield* lan
        const notices = yield* (yield* DataPlane).notices
        yield* send({ ...policy, packets: packetsAt[mode] }, addresses(1, 9, "Resolved", [real4, real6]))
        yield* send({ _tag: "RevokeResource", client: clientId(1), resource: resourceId("app") })
        yield* sendInner(
          client,
          tcp(443, syn),
          buildTcp({ source: tunnel6(1), destination: proxy6, sourcePort: 9, destinationPort: 443, flags: syn })
        )
        const prohibited = [
          [3, 13],
          [1, 1]
        ] as const
        assert.deepStrictEqual(icmpOf(client.received), prohibited)
        // Its name has made room, or what it stood for is forgotten: nobody knows of it any more.
        yield* send({ _tag: "RemoveMapping", mapping: mappingId(1, "app.corp") })
        yield* sendInner(client, tcp(443, syn))
        assert.deepStrictEqual(icmpOf(client.received).slice(2), [mode === "portal" ? [3, 13] : [3, 0]])
        // Where that makes clients ask for an authorization, main is told, once a second.
        for (let i = 0; i < 5; i++) yield* sendInner(client, tcp(443, syn))
        const unknown = (yield* Queue.clear(notices)).filter((notice) => notice._tag === "UnknownProxy")
        assert.lengthOf(unknown, mode === "portal" ? 1 : 0)
        assert.lengthOf(out, 0)

        yield* setUp(1)
        yield* send({ ...policy, packets: packetsAt[mode] }, addresses(1, 9, "Resolved", [other4]))
        yield* send({ _tag: "RevokeResource", client: clientId(1), resource: resourceId("app") })
        yield* setUp(1)
        yield* send(addresses(1, 1, "Resolved", [real4]))
        yield* sendInner(client, tcp(443, syn))
        assert.deepStrictEqual(destinations(out), [real4])
      }).pipe(Effect.provide(layer))
  )
})

describe("a client that opens sessions without end", () => {
  it.effect("has what is too much dropped and counted; its old flows and other clients go on", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      const out = yield* lan
      // A quarter of the 4,096 sessions that this gateway has room for.
      const many = Array.from({ length: 1_100 }, (_, i) => udp(1_000 + i))
      yield* send(addresses(1, 1, "Resolved", [real4]), network("lab", "10.30.0.0/16"))
      yield* sendInner(client, ...many)
      assert.isAtLeast(out.length, 1_024)
      assert.isBelow(out.length, 1_100)
      const limited = yield* counter("outbound.sessions_limited")
      assert.strictEqual(out.length + limited, 1_100)
      assert.lengthOf(client.received, 0)

      out.length = 0
      yield* sendInner(client, udp(7, "10.30.0.1"), ...many.slice(0, 3))
      assert.deepStrictEqual(destinations(out), [real4, real4, real4])
      assert.strictEqual(yield* counter("outbound.sessions_limited"), limited + 1)
      yield* TestClock.adjust("1 second")
      yield* sendInner(client, udp(7, "10.30.0.1"))
      assert.strictEqual(destinations(out)[3], "10.30.0.1")
    }).pipe(Effect.provide(layer))
  )
})
