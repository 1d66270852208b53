/** The rows of docs/design.md, "What a packet from a client gets", that `engine.test.ts` does not show, in both families. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { TestClock } from "effect/testing"
import { DataPlane } from "../../src/dataplane/DataPlane.ts"
import { formatAddress } from "../../src/packet/address.ts"
import { protocolTcp } from "../../src/packet/protocols.ts"
import {
  ack,
  counter,
  destinations,
  icmpOf,
  lan,
  network,
  parsed,
  quotedDestination,
  ready,
  real4,
  real6,
  reply,
  reported,
  send,
  syn,
  tcp,
  tcpBack,
  udp
} from "../support/engineSteps.ts"
import {
  addresses,
  gateway4,
  gateway6,
  layer,
  packetsAt,
  policy,
  proxy4,
  proxy6,
  setMapping,
  tunnel4,
  tunnel6
} from "../support/engineWorld.ts"
import { type MemoryClient, sendInner } from "../support/memoryClient.ts"
import { addressBytes, buildEcho, buildFragment, buildIcmp, buildIp, buildTcp, buildUdp } from "../support/packets.ts"

const tcp6 = (destination: string, destinationPort = 443, source = tunnel6(1)) =>
  buildTcp({ source, destination, sourcePort: 50_000, destinationPort, flags: syn })

describe("a packet for the gateway itself", () => {
  const question = (source: string, destination: string) =>
    buildUdp({ source, destination, sourcePort: 40_000, destinationPort: 53, payload: new Uint8Array(12) })
  const hundreds = Effect.fnUntraced(function* (client: MemoryClient, count: number, packet: () => Uint8Array) {
    for (let i = 0; i < count; i++) yield* sendInner(client, ...Array.from({ length: 100 }, packet))
  })

  it.effect("that is a question: 1,024 of a client may be unanswered, of both families; each answer makes room", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      const out = yield* lan
      yield* hundreds(client, 25, () => question(tunnel4(1), gateway4))
      assert.strictEqual(out.length, 1_024)
      assert.strictEqual(yield* counter("outbound.gateway_rate_limited"), 1_476)
      const answer = { sourcePort: 53, destinationPort: 40_000 }
      yield* reply(
        client,
        ...Array.from({ length: 50 }, () => buildUdp({ source: gateway4, destination: tunnel4(1), ...answer })),
        ...Array.from({ length: 50 }, () => buildUdp({ source: gateway6, destination: tunnel6(1), ...answer }))
      )
      assert.strictEqual(client.received.length, 100)
      yield* hundreds(client, 2, () => question(tunnel6(1), gateway6))
      assert.strictEqual(out.length, 1_124)
      yield* TestClock.adjust("1 second")
      yield* hundreds(client, 10, () => question(tunnel6(1), gateway6))
      assert.strictEqual(out.length, 1_124 + 256)
    }).pipe(Effect.provide(layer))
  )

  it.effect("that is another, TCP or ping, goes 2,000 at once and 1,000 a second, of whatever is answered", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      const out = yield* lan
      yield* hundreds(client, 25, () => tcp(53, ack, gateway4))
      assert.strictEqual(out.length, 2_000)
      yield* reply(client, tcpBack(53, ack, gateway4))
      yield* sendInner(client, tcp(53, ack, gateway4))
      assert.strictEqual(yield* counter("outbound.gateway_rate_limited"), 501)
      yield* sendInner(client, question(tunnel4(1), gateway4))
      assert.strictEqual(out.length, 2_001, "questions have a room of their own")
      yield* TestClock.adjust("1 second")
      yield* hundreds(client, 15, () => tcp(53, ack, gateway4))
      assert.strictEqual(out.length, 3_001)
    }).pipe(Effect.provide(layer))
  )
})

describe("a packet over IPv6", () => {
  it.effect("gets the same answers as over IPv4", () =>
    Effect.gen(function* () {
      const client = yield* ready({ filters: [{ protocol: "tcp", from: 443, to: 443 }] })
      const out = yield* lan
      yield* send(addresses(1, 1, "Unresolved"))
      yield* sendInner(
        client,
        tcp6(tunnel6(2)),
        tcp6(gateway6, 22),
        tcp6(proxy6, 22),
        tcp6("fd00:2021:1111:8000::99"),
        tcp6(proxy6),
        tcp6("2001:db8::1")
      )
      assert.deepStrictEqual(icmpOf(client.received), [
        [1, 1],
        [1, 1],
        [1, 1],
        [1, 3],
        [1, 3],
        [1, 1]
      ])
      assert.strictEqual(formatAddress(parsed(client.received[2]).source), proxy6)
      yield* sendInner(
        client,
        tcp6(proxy6, 443, tunnel6(2)),
        buildUdp({ source: tunnel6(1), destination: "ff02::fb", sourcePort: 1, destinationPort: 2 }),
        buildIcmp({ source: tunnel6(1), destination: proxy6, type: 1, code: 4, payload: tcp6(proxy6) })
      )
      assert.strictEqual(client.received.length, 6)
      assert.strictEqual(out.length, 0)
      for (const name of ["source_spoofed", "multicast", "icmp_error", "filtered", "unmapped", "unauthorized"])
        assert.strictEqual(yield* counter(`outbound.${name}`), 1, name)
    }).pipe(Effect.provide(layer))
  )

  it.effect("never reaches a metadata service or loopback, plain or wrapped, whatever DNS says", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      const out = yield* lan
      const refused = ["fd00:ec2::254", "::1", "fe80::1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::1", "fd00:2021:1111::9"]
      for (const [i, address] of refused.entries()) {
        yield* send(addresses(1, i + 1, "Resolved", [address]))
        yield* sendInner(client, tcp6(proxy6))
      }
      assert.strictEqual(out.length, 0)
      assert.deepStrictEqual(
        icmpOf(client.received),
        refused.map(() => [1, 3] as const)
      )
    }).pipe(Effect.provide(layer))
  )

  it.effect("brings back an ICMPv6 error of its flow from the proxy IP", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      const out = yield* lan
      yield* send(addresses(1, 1, "Resolved", [real6]))
      yield* sendInner(client, tcp6(proxy6))
      yield* reply(
        client,
        buildIcmp({ source: "fd5a:20::fe", destination: tunnel6(1), type: 1, code: 3, payload: out[0]! })
      )
      assert.deepStrictEqual(icmpOf(client.received), [[1, 3]])
      assert.strictEqual(formatAddress(parsed(client.received[0]).source), proxy6)
      assert.deepStrictEqual(quotedDestination(client.received[0]!), [...addressBytes(proxy6)])
    }).pipe(Effect.provide(layer))
  )
})

describe("a packet to the gateway's own address", () => {
  it.effect("reaches DNS over TCP and UDP and ping, in both families", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      const out = yield* lan
      for (const [source, destination] of [
        [tunnel4(1), gateway4],
        [tunnel6(1), gateway6]
      ] as const) {
        const to = { source, destination }
        yield* sendInner(
          client,
          buildUdp({ ...to, sourcePort: 1, destinationPort: 53 }),
          buildTcp({ ...to, sourcePort: 1, destinationPort: 53, flags: syn }),
          buildEcho({ ...to, identifier: 7 }),
          buildUdp({ ...to, sourcePort: 1, destinationPort: 53_535 })
        )
      }
      assert.strictEqual(out.length, 6)
      assert.strictEqual(yield* counter("outbound.gateway_service_denied"), 2)
    }).pipe(Effect.provide(layer))
  )

  it.effect("reaches DNS on port 53535 under a portal, and not on port 53", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      const out = yield* lan
      yield* send({ ...policy, packets: packetsAt.portal })
      yield* sendInner(client, udp(53_535, gateway4), udp(53, gateway4))
      assert.deepStrictEqual(
        out.map((packet) => parsed(packet).destinationPort),
        [53_535]
      )
      assert.deepStrictEqual(icmpOf(client.received), [[3, 13]])
    }).pipe(Effect.provide(layer))
  )

  it.effect("is answered by the gateway's kernel, errors included", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      const query = udp(53, gateway4)
      const refused = buildIcmp({ source: gateway4, destination: tunnel4(1), type: 3, code: 3, payload: query })
      yield* sendInner(client, query)
      yield* reply(client, refused)
      assert.deepStrictEqual(
        client.received.map((packet) => [...packet.subarray(0, refused.length)]),
        [[...refused]]
      )
    }).pipe(Effect.provide(layer))
  )
})

describe("a packet that no mapping or authorization covers", () => {
  it.effect("is prohibited under a portal when its proxy IP is unknown, so that newer clients ask again", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      yield* send({ ...policy, packets: packetsAt.portal })
      yield* sendInner(client, tcp(443, syn, "100.96.7.7"), tcp6("fd00:2021:1111:8000::99"))
      assert.deepStrictEqual(icmpOf(client.received), [
        [3, 13],
        [1, 1]
      ])
    }).pipe(Effect.provide(layer))
  )

  it.effect("is unreachable under a portal, too, when only its address is missing: asking again would not help", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      yield* send({ ...policy, packets: packetsAt.portal }, addresses(1, 1, "Unresolved"))
      yield* sendInner(client, tcp(443, syn), tcp6(proxy6))
      assert.deepStrictEqual(icmpOf(client.received), [
        [3, 0],
        [1, 3]
      ])
    }).pipe(Effect.provide(layer))
  )

  it.effect("is prohibited when its resource was never granted, without a notice", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      const notices = yield* (yield* DataPlane).notices
      yield* send(setMapping(1, "x.corp", ["100.96.0.40"], 1, ["other"]), addresses(1, 1, "Unresolved", [], "x.corp"))
      yield* sendInner(client, tcp(443, syn, "100.96.0.40"))
      assert.deepStrictEqual(icmpOf(client.received), [[3, 13]])
      assert.strictEqual(yield* counter("outbound.unauthorized"), 1)
      assert.deepStrictEqual(yield* reported(notices), [])
    }).pipe(Effect.scoped, Effect.provide(layer))
  )

  it.effect("out of the filter makes no notice although the name has no address", () =>
    Effect.gen(function* () {
      const client = yield* ready({ filters: [{ protocol: "udp", from: 53, to: 53 }] })
      const notices = yield* (yield* DataPlane).notices
      yield* send(addresses(1, 1, "Unresolved"))
      yield* sendInner(client, tcp(443, syn), buildEcho({ source: tunnel4(1), destination: proxy4, identifier: 1 }))
      assert.deepStrictEqual(icmpOf(client.received), [
        [3, 13],
        [3, 13]
      ])
      assert.deepStrictEqual(yield* reported(notices), [])
    }).pipe(Effect.scoped, Effect.provide(layer))
  )

  it.effect("of a protocol without ports cannot be translated and is prohibited", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      const out = yield* lan
      yield* send(addresses(1, 1, "Resolved", [real4]))
      yield* sendInner(client, buildIp({ source: tunnel4(1), destination: proxy4 }, 47, new Uint8Array(16)))
      assert.strictEqual(out.length, 0)
      assert.deepStrictEqual(icmpOf(client.received), [[3, 13]])
      assert.strictEqual(yield* counter("outbound.untranslatable"), 1)
    }).pipe(Effect.provide(layer))
  )

  it.effect("of a protocol without ports is dropped without a word at a portal: no new authorization would help", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      yield* send({ ...policy, packets: packetsAt.portal }, addresses(1, 1, "Resolved", [real4]))
      yield* sendInner(client, buildIp({ source: tunnel4(1), destination: proxy4 }, 47, new Uint8Array(16)))
      assert.deepStrictEqual(icmpOf(client.received), [])
      assert.strictEqual(yield* counter("outbound.untranslatable"), 1)
    }).pipe(Effect.provide(layer))
  )
})

describe("a name with addresses of one family", () => {
  for (const [family, real, way, other] of [
    ["IPv6", real6, tcp6(proxy6), tcp(443, syn)],
    ["IPv4", real4, tcp(443, syn), tcp6(proxy6)]
  ] as const) {
    it.effect(`is reached over ${family}, and over the other family told to be unreachable`, () =>
      Effect.gen(function* () {
        const client = yield* ready()
        const out = yield* lan
        yield* send(addresses(1, 1, "Resolved", [real]))
        yield* sendInner(client, way, other)
        assert.deepStrictEqual(destinations(out), [real])
        assert.deepStrictEqual(icmpOf(client.received), [family === "IPv6" ? [3, 0] : [1, 3]])
      }).pipe(Effect.provide(layer))
    )
  }
})

describe("a packet from the gateway's network", () => {
  it.effect("that comes after its flow's end is dropped, not passed on from the real address", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      yield* send(addresses(1, 1, "Resolved", [real4]))
      yield* sendInner(client, udp(53))
      const back = buildUdp({ source: real4, destination: tunnel4(1), sourcePort: 53, destinationPort: 50_000 })
      yield* reply(client, back)
      yield* TestClock.adjust("122 seconds")
      yield* reply(client, back)
      assert.strictEqual(client.received.length, 1)
      assert.strictEqual(yield* counter("inbound.no_session"), 1)
    }).pipe(Effect.provide(layer))
  )

  it.effect("for an address that is no client's goes nowhere", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      const out = yield* lan
      yield* send(network("internet", null))
      const strays = ["9.9.9.9", "100.64.7.7", "100.96.0.4", "fd00:2021:1111::77", "2606:4700::1"]
      for (const destination of strays) {
        const source = destination.includes(":") ? real6 : real4
        yield* reply(client, buildUdp({ source, destination, sourcePort: 53, destinationPort: 50_000 }))
      }
      assert.deepStrictEqual([client.received.length, out.length], [0, 0])
      assert.strictEqual(yield* counter("inbound.unknown_client"), strays.length)
    }).pipe(Effect.provide(layer))
  )

  it.effect("that is an ICMP error of an open flow arrives, whatever the port filter permits", () =>
    Effect.gen(function* () {
      const client = yield* ready({ filters: [{ protocol: "udp", from: 53, to: 53 }] })
      const out = yield* lan
      yield* send(addresses(1, 1, "Resolved", [real4]))
      yield* sendInner(client, udp(53))
      const error = { source: "10.20.0.254", destination: tunnel4(1), type: 3, code: 3 }
      yield* reply(client, buildIcmp({ ...error, payload: out[0]!.slice(0, 28) }))
      assert.deepStrictEqual(icmpOf(client.received), [[3, 3]])
    }).pipe(Effect.provide(layer))
  )
})

describe("an ECN mark", () => {
  it.effect("goes through translation unchanged, both ways, under right checksums", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      const out = yield* lan
      yield* send(addresses(1, 1, "Resolved", [real4, real6]))
      const ports = { sourcePort: 50_000, destinationPort: 443 }
      const back = { sourcePort: 443, destinationPort: 50_000 }
      const pairs = [
        [tunnel4(1), proxy4, real4],
        [tunnel6(1), proxy6, real6]
      ] as const
      for (const [source, destination] of pairs) {
        for (const ecn of [0, 1, 2, 3]) {
          yield* sendInner(client, buildUdp({ source, destination, ...ports, trafficClass: 0xb8 | ecn }))
        }
      }
      // Built by the test's own code, checksums included.
      const expected = pairs.flatMap(([source, , real]) =>
        [0, 1, 2, 3].map((ecn) => buildUdp({ source, destination: real, ...ports, trafficClass: 0xb8 | ecn }))
      )
      assert.deepStrictEqual(
        out.map((p) => [...p]),
        expected.map((p) => [...p])
      )
      for (const [inner, proxy, real] of pairs) {
        client.received.length = 0
        const answer = (source: string) => buildUdp({ source, destination: inner, ...back, trafficClass: 3 })
        yield* reply(client, answer(real))
        const whole = answer(proxy)
        assert.deepStrictEqual([...client.received[0]!.subarray(0, whole.length)], [...whole])
      }
    }).pipe(Effect.provide(layer))
  )
})

describe("a first fragment without the whole transport header", () => {
  it.effect("is dropped, and so are the later ones, in both families", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      const out = yield* lan
      yield* send(addresses(1, 1, "Resolved", [real4, real6]))
      for (const [source, destination] of [
        [tunnel4(1), proxy4],
        [tunnel6(1), proxy6]
      ] as const) {
        const data = new Uint8Array(48)
        yield* sendInner(
          client,
          ...buildFragment({ source, destination, protocol: protocolTcp, size: 16, identification: 3, data })
        )
      }
      assert.deepStrictEqual([out.length, client.received.length], [0, 0])
      assert.strictEqual((yield* counter("outbound.fragment")) + (yield* counter("outbound.malformed")), 6)
    }).pipe(Effect.provide(layer))
  )
})
