import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import { TestClock } from "effect/testing"
import { DataPlane } from "../../src/dataplane/DataPlane.ts"
import { formatAddress } from "../../src/packet/address.ts"
import {
  addresses,
  clientId,
  gateway4,
  layer,
  makeClient,
  mappingId,
  policy,
  proxy4,
  proxy6,
  resourceId,
  setUp,
  tunnel4,
  tunnel6,
  upsertClient
} from "../support/engineWorld.ts"
import {
  ack,
  counter,
  icmpOf,
  lan,
  parsed,
  ready,
  real4,
  real6,
  reply,
  rst,
  send,
  syn,
  tcp,
  tcpBack
} from "../support/engineSteps.ts"
import { connect, exchange, sendInner } from "../support/memoryClient.ts"
import { buildEcho, buildFragment, buildIcmp, buildTcp, buildUdp, dataOf } from "../support/packets.ts"

describe("what a packet from a client gets", () => {
  it.effect("is translated to the real address, and the reply back to the proxy IP", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      const out = yield* lan
      yield* send(addresses(1, 1, "Resolved", [real4]))
      yield* sendInner(client, tcp(443, syn))
      assert.strictEqual(out.length, 1)
      const view = parsed(out[0])
      assert.strictEqual(formatAddress(view.destination), real4)
      assert.strictEqual(formatAddress(view.source), tunnel4(1))
      yield* reply(
        client,
        buildTcp({
          source: real4,
          destination: tunnel4(1),
          sourcePort: 443,
          destinationPort: view.sourcePort,
          flags: syn | ack
        })
      )
      assert.strictEqual(client.received.length, 1)
      const back = parsed(client.received[0])
      assert.strictEqual(formatAddress(back.source), proxy4)
      assert.strictEqual(back.destinationPort, 50_000)
    }).pipe(Effect.provide(layer))
  )

  it.effect("is unreachable at once, with a notice, while the name has no address", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      const out = yield* lan
      const notices = yield* (yield* DataPlane).notices
      yield* send(addresses(1, 1, "Unresolved"))
      yield* sendInner(client, tcp(443, syn), tcp(443, syn))
      assert.strictEqual(out.length, 0)
      assert.strictEqual(client.received.length, 2)
      const answer = parsed(client.received[0])
      assert.deepStrictEqual([answer.icmpType, answer.icmpCode], [3, 0])
      assert.strictEqual(formatAddress(answer.source), proxy4)
      const traffic = (yield* Queue.clear(notices)).filter((n) => n._tag === "Traffic")
      assert.deepStrictEqual(
        traffic.map((n) => [n.mapping, n.cause]),
        [[mappingId(1, "app.corp"), "Unmapped"]]
      )
    }).pipe(Effect.scoped, Effect.provide(layer))
  )

  it.effect("gets ICMPv6 1/3 when the name has addresses of the other family only", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      yield* send(addresses(1, 1, "Resolved", [real4]))
      yield* sendInner(
        client,
        buildTcp({
          source: tunnel6(1),
          destination: proxy6,
          sourcePort: 50_000,
          destinationPort: 443,
          flags: syn
        })
      )
      const answer = parsed(client.received[0])
      assert.deepStrictEqual([answer.icmpType, answer.icmpCode], [1, 3])
    }).pipe(Effect.provide(layer))
  )

  it.effect("waits during the first lookup and leaves in order when it succeeds", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      const out = yield* lan
      yield* send(addresses(1, 1, "Resolving"))
      yield* sendInner(client, tcp(443, syn), tcp(443, syn), tcp(80, syn, proxy4, 50_001))
      assert.strictEqual(out.length, 0)
      assert.strictEqual(client.received.length, 0)
      yield* send(addresses(1, 1, "Resolved", [real4]))
      assert.deepStrictEqual(
        out.map((packet) => parsed(packet).destinationPort),
        [443, 80]
      )
    }).pipe(Effect.provide(layer))
  )

  it.effect("is answered after 2 seconds of a first lookup that does not end, and at once from then on", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      yield* send(addresses(1, 1, "Resolving"))
      yield* sendInner(client, tcp(443, syn))
      yield* TestClock.adjust("1900 millis")
      yield* exchange([client])
      assert.strictEqual(client.received.length, 0)
      yield* TestClock.adjust("300 millis")
      yield* exchange([client])
      assert.strictEqual(client.received.length, 1)
      yield* sendInner(client, tcp(443, syn))
      assert.strictEqual(client.received.length, 2)
    }).pipe(Effect.provide(layer))
  )

  it.effect("is prohibited when a filter denies, and passes when one permits", () =>
    Effect.gen(function* () {
      const client = yield* ready({ filters: [{ protocol: "tcp", from: 443, to: 443 }] })
      const out = yield* lan
      yield* send(addresses(1, 1, "Resolved", [real4]))
      yield* sendInner(client, tcp(22, syn), tcp(443, syn))
      assert.deepStrictEqual(
        out.map((packet) => parsed(packet).destinationPort),
        [443]
      )
      const answer = parsed(client.received[0])
      assert.deepStrictEqual([answer.icmpType, answer.icmpCode], [3, 13])
    }).pipe(Effect.provide(layer))
  )

  it.effect("never leaves with a source that is not the client's", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      const out = yield* lan
      yield* send(addresses(1, 1, "Resolved", [real4]))
      yield* sendInner(client, buildUdp({ source: tunnel4(2), destination: proxy4, sourcePort: 1, destinationPort: 2 }))
      assert.strictEqual(out.length, 0)
      assert.strictEqual(client.received.length, 0)
      assert.strictEqual(yield* counter("outbound.source_spoofed"), 1)
    }).pipe(Effect.provide(layer))
  )

  it.effect("never reaches another client's tunnel address", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      const out = yield* lan
      yield* send(upsertClient(2))
      yield* sendInner(
        client,
        buildUdp({ source: tunnel4(1), destination: tunnel4(2), sourcePort: 1, destinationPort: 2 })
      )
      assert.strictEqual(out.length, 0)
      assert.deepStrictEqual([parsed(client.received[0]).icmpType, parsed(client.received[0]).icmpCode], [3, 13])
      assert.strictEqual(yield* counter("outbound.tunnel_address"), 1)
    }).pipe(Effect.provide(layer))
  )

  it.effect("reaches DNS and ping at the gateway's own address, and nothing else there", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      const out = yield* lan
      yield* sendInner(
        client,
        buildUdp({ source: tunnel4(1), destination: gateway4, sourcePort: 1, destinationPort: 53 }),
        buildEcho({ source: tunnel4(1), destination: gateway4, identifier: 7, sequence: 1 }),
        tcp(22, syn, gateway4)
      )
      assert.strictEqual(out.length, 2)
      assert.strictEqual(yield* counter("outbound.gateway_service_denied"), 1)
      assert.deepStrictEqual([parsed(client.received[0]).icmpType, parsed(client.received[0]).icmpCode], [3, 13])
      yield* reply(
        client,
        buildUdp({ source: gateway4, destination: tunnel4(1), sourcePort: 53, destinationPort: 1 }),
        buildEcho({ source: gateway4, destination: tunnel4(1), identifier: 7, sequence: 1, reply: true })
      )
      assert.deepStrictEqual([yield* counter("outbound.to_gateway"), yield* counter("inbound.from_gateway")], [2, 2])
    }).pipe(Effect.provide(layer))
  )

  it.effect("is unreachable without a notice when the proxy IP belongs to no mapping of the client", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      yield* sendInner(client, tcp(443, syn, "100.96.7.7"))
      assert.deepStrictEqual([parsed(client.received[0]).icmpType, parsed(client.received[0]).icmpCode], [3, 0])
      assert.strictEqual(yield* counter("outbound.unmapped"), 1)
    }).pipe(Effect.provide(layer))
  )

  it.effect("is dropped silently when it is a later fragment alone, multicast or an ICMP error", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      const out = yield* lan
      const udp = { source: tunnel4(1), destination: proxy4, sourcePort: 1, destinationPort: 2 }
      yield* send(addresses(1, 1, "Resolved", [real4]))
      yield* sendInner(
        client,
        buildUdp({ ...udp, destination: "224.0.0.251" }),
        buildIcmp({ source: tunnel4(1), destination: proxy4, type: 3, code: 3, payload: buildUdp(udp) }),
        ...buildFragment({
          source: tunnel4(1),
          destination: proxy4,
          protocol: 17,
          size: 16,
          identification: 1,
          data: dataOf(buildUdp({ ...udp, payload: new Uint8Array(24) }))
        }).slice(1)
      )
      assert.strictEqual(out.length, 0)
      assert.strictEqual(client.received.length, 0)
      assert.strictEqual(yield* counter("outbound.multicast"), 1)
      assert.strictEqual(yield* counter("outbound.icmp_error"), 1)
      assert.strictEqual(yield* counter("outbound.fragment"), 1)
    }).pipe(Effect.provide(layer))
  )

  it.effect("never reaches a metadata service or the gateway's host, whatever DNS says", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      const out = yield* lan
      for (const [lookup, refused] of ["169.254.169.254", "127.0.0.1", "10.20.0.1", "10.20.255.255"].entries()) {
        yield* send(addresses(1, lookup + 1, "Resolved", [refused]))
        yield* sendInner(client, tcp(80, syn, proxy4, 51_000 + lookup))
      }
      assert.strictEqual(out.length, 0)
      assert.strictEqual(client.received.length, 4)
      assert.strictEqual(yield* counter("outbound.destination_refused"), 4)
    }).pipe(Effect.provide(layer))
  )

  it.effect("reaches a name in a part of the tunnel's range that the host has for itself, and nothing else there", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      const out = yield* lan
      const [there, beside] = ["100.70.1.9", "100.70.2.9"] as const
      yield* send({ ...policy, foreignNetworks: ["100.70.1.0/24"] }, addresses(1, 1, "Resolved", [there]))
      yield* sendInner(client, tcp(80, syn, proxy4))
      assert.deepStrictEqual(
        out.map((packet) => formatAddress(parsed(packet).destination)),
        [there]
      )
      yield* reply(client, tcpBack(80, syn | ack, there))
      assert.deepStrictEqual(
        client.received.map((packet) => formatAddress(parsed(packet).source)),
        [proxy4]
      )
      // Dialled by its address it is a tunnel address like any other.
      yield* sendInner(client, tcp(80, syn, there, 50_001))
      yield* send(addresses(1, 2, "Resolved", [beside]))
      yield* sendInner(client, tcp(80, syn, proxy4, 50_002))
      assert.deepStrictEqual(icmpOf(client.received.slice(1)), [
        [3, 13],
        [3, 0]
      ])
      assert.strictEqual(out.length, 1)
    }).pipe(Effect.provide(layer))
  )

  it.effect("gets at most 20 ICMP errors per second", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      yield* sendInner(client, ...Array.from({ length: 50 }, (_, i) => tcp(443, syn, "100.96.7.7", 50_000 + i)))
      assert.strictEqual(client.received.length, 20)
      assert.strictEqual(yield* counter("icmp.rate_limited"), 30)
    }).pipe(Effect.provide(layer))
  )
})

describe("a packet from outside", () => {
  it.effect("is dropped without a session", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      yield* reply(client, buildUdp({ source: real4, destination: tunnel4(1), sourcePort: 53, destinationPort: 9 }))
      assert.strictEqual(client.received.length, 0)
      assert.strictEqual(yield* counter("inbound.no_session"), 1)
    }).pipe(Effect.provide(layer))
  )

  it.effect("is dropped when it claims to come from a tunnel or proxy address", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      yield* reply(client, buildUdp({ source: tunnel4(2), destination: tunnel4(1), sourcePort: 5, destinationPort: 9 }))
      yield* reply(client, buildUdp({ source: proxy4, destination: tunnel4(1), sourcePort: 5, destinationPort: 9 }))
      assert.strictEqual(yield* counter("inbound.tunnel_source"), 2)
      assert.strictEqual(client.received.length, 0)
    }).pipe(Effect.provide(layer))
  )

  it.effect("that is an ICMP error follows its flow and seems to come from the proxy IP", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      const out = yield* lan
      const notices = yield* (yield* DataPlane).notices
      yield* send(addresses(1, 1, "Resolved", [real4]))
      yield* sendInner(client, tcp(443, syn))
      yield* reply(
        client,
        buildIcmp({ source: "10.20.0.254", destination: tunnel4(1), type: 3, code: 1, payload: out[0]!.slice(0, 28) })
      )
      const error = parsed(client.received[0])
      assert.deepStrictEqual([error.icmpType, error.icmpCode], [3, 1])
      assert.strictEqual(formatAddress(error.source), proxy4)
      const quoted = client.received[0]!.subarray(28)
      assert.deepStrictEqual([...quoted.subarray(16, 20)], [100, 96, 0, 4])
      assert.isTrue((yield* Queue.clear(notices)).some((n) => n._tag === "Traffic" && n.cause === "Unreachable"))
    }).pipe(Effect.scoped, Effect.provide(layer))
  )
})

describe("a flow", () => {
  it.effect("keeps its real address when the answer changes, while new flows follow", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      const out = yield* lan
      yield* send(addresses(1, 1, "Resolved", [real4]))
      yield* sendInner(client, tcp(443, syn))
      yield* reply(
        client,
        buildTcp({ source: real4, destination: tunnel4(1), sourcePort: 443, destinationPort: 50_000, flags: syn | ack })
      )
      yield* send(addresses(1, 2, "Resolved", ["10.20.0.20"]))
      yield* sendInner(client, tcp(443, ack), tcp(443, syn, proxy4, 50_001))
      assert.deepStrictEqual(
        out.map((packet) => formatAddress(parsed(packet).destination)),
        [real4, real4, "10.20.0.20"]
      )
    }).pipe(Effect.provide(layer))
  )

  it.effect("moves to the new address when nothing has come back from the old one", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      const out = yield* lan
      yield* send(addresses(1, 1, "Resolved", [real4]))
      yield* sendInner(client, tcp(443, syn))
      yield* send(addresses(1, 2, "Resolved", ["10.20.0.20"]))
      yield* sendInner(client, tcp(443, syn))
      assert.deepStrictEqual(
        out.map((packet) => formatAddress(parsed(packet).destination)),
        [real4, "10.20.0.20"]
      )
    }).pipe(Effect.provide(layer))
  )

  it.effect("ignores the answer of an older lookup", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      const out = yield* lan
      yield* send(addresses(1, 2, "Resolved", ["10.20.0.20"]))
      yield* send(addresses(1, 1, "Resolved", [real4]))
      yield* sendInner(client, tcp(443, syn))
      assert.strictEqual(formatAddress(parsed(out[0]).destination), "10.20.0.20")
    }).pipe(Effect.provide(layer))
  )

  it.effect("of two names on one real address from one source port stays apart from the other", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      const out = yield* lan
      yield* send(addresses(1, 1, "Resolved", [real4]))
      yield* setUp(1, { domain: "wiki.corp", proxyIps: ["100.96.0.8"] })
      yield* send(addresses(1, 1, "Resolved", [real4], "wiki.corp"))
      yield* sendInner(client, tcp(443, syn), tcp(443, syn, "100.96.0.8"))
      const ports = out.map((packet) => parsed(packet).sourcePort)
      assert.strictEqual(new Set(ports).size, 2)
      for (const [i, port] of ports.entries()) {
        yield* reply(
          client,
          buildTcp({ source: real4, destination: tunnel4(1), sourcePort: 443, destinationPort: port, flags: ack })
        )
        const back = parsed(client.received[i])
        assert.strictEqual(formatAddress(back.source), [proxy4, "100.96.0.8"][i])
        assert.strictEqual(back.destinationPort, 50_000)
      }
    }).pipe(Effect.provide(layer))
  )

  it.effect("ends with its authorization: nothing passes in either direction", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      const out = yield* lan
      yield* send(addresses(1, 1, "Resolved", [real4]))
      yield* sendInner(client, tcp(443, syn))
      yield* send({ _tag: "RevokeResource", client: clientId(1), resource: resourceId("app") })
      yield* reply(
        client,
        buildTcp({ source: real4, destination: tunnel4(1), sourcePort: 443, destinationPort: 50_000, flags: ack })
      )
      assert.strictEqual(client.received.length, 0)
      yield* sendInner(client, tcp(443, ack))
      assert.strictEqual(out.length, 1)
    }).pipe(Effect.provide(layer))
  )

  it.effect("of another client with the same proxy IP goes to that client's address", () =>
    Effect.gen(function* () {
      const first = yield* ready()
      const second = makeClient(2)
      const out = yield* lan
      yield* setUp(2)
      yield* connect(second)
      yield* send(addresses(1, 1, "Resolved", [real4]))
      yield* send(addresses(2, 1, "Resolved", ["10.20.0.20"]))
      yield* sendInner(first, tcp(443, syn))
      yield* sendInner(
        second,
        buildTcp({ source: tunnel4(2), destination: proxy4, sourcePort: 50_000, destinationPort: 443, flags: syn })
      )
      assert.deepStrictEqual(
        out.map((packet) => formatAddress(parsed(packet).destination)),
        [real4, "10.20.0.20"]
      )
    }).pipe(Effect.provide(layer))
  )

  it.effect("without any reply is reported after 3 seconds and not before", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      const notices = yield* (yield* DataPlane).notices
      yield* send(addresses(1, 1, "Resolved", [real4]))
      yield* sendInner(client, tcp(443, syn))
      yield* TestClock.adjust("2900 millis")
      assert.isFalse((yield* Queue.clear(notices)).some((n) => n._tag === "Traffic"))
      yield* TestClock.adjust("300 millis")
      const causes = (yield* Queue.clear(notices)).flatMap((n) => (n._tag === "Traffic" ? [n.cause] : []))
      assert.deepStrictEqual(causes, ["Unanswered"])
    }).pipe(Effect.scoped, Effect.provide(layer))
  )

  it.effect("counts the tries of a program that has had no answer for a second, for 15 seconds", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      yield* send(addresses(1, 1, "Resolved", [real4]))
      const tries = Effect.gen(function* () {
        yield* sendInner(client, tcp(443, syn))
        return yield* counter("outbound.unanswered")
      })
      assert.strictEqual(yield* tries, 0)
      yield* TestClock.adjust("500 millis")
      assert.strictEqual(yield* tries, 0)
      yield* TestClock.adjust("500 millis")
      assert.strictEqual(yield* tries, 1)
      yield* TestClock.adjust("14 seconds")
      assert.strictEqual(yield* tries, 2)
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual(yield* tries, 2)
      yield* reply(client, tcpBack(443, syn | ack))
      assert.strictEqual(yield* tries, 2)
    }).pipe(Effect.provide(layer))
  )

  it.effect("that is answered by RST is not reported", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      const notices = yield* (yield* DataPlane).notices
      yield* send(addresses(1, 1, "Resolved", [real4]))
      yield* sendInner(client, tcp(443, syn))
      yield* reply(
        client,
        buildTcp({ source: real4, destination: tunnel4(1), sourcePort: 443, destinationPort: 50_000, flags: rst | ack })
      )
      yield* TestClock.adjust("10 seconds")
      assert.isFalse((yield* Queue.clear(notices)).some((n) => n._tag === "Traffic"))
    }).pipe(Effect.scoped, Effect.provide(layer))
  )

  it.effect("over IPv6 works alike", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      const out = yield* lan
      yield* send(addresses(1, 1, "Resolved", [real4, real6]))
      yield* sendInner(
        client,
        buildUdp({ source: tunnel6(1), destination: proxy6, sourcePort: 5_000, destinationPort: 53 })
      )
      assert.strictEqual(formatAddress(parsed(out[0]).destination), real6)
      yield* reply(client, buildUdp({ source: real6, destination: tunnel6(1), sourcePort: 53, destinationPort: 5_000 }))
      assert.strictEqual(formatAddress(parsed(client.received[0]).source), proxy6)
    }).pipe(Effect.provide(layer))
  )
})
