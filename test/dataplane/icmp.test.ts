/** ICMP through the tunnel: queries, their answers, and errors from wherever. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { DataPlane } from "../../src/dataplane/DataPlane.ts"
import { formatAddress } from "../../src/packet/address.ts"
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
  udp
} from "../support/engineSteps.ts"
import { addresses, gateway4, layer, proxy4, proxy6, tunnel4, tunnel6 } from "../support/engineWorld.ts"
import { sendInner } from "../support/memoryClient.ts"
import { addressBytes, buildEcho, buildIcmp, buildTcp, buildUdp } from "../support/packets.ts"

const udp6 = (destinationPort: number, destination: string, sourcePort: number) =>
  buildUdp({ source: tunnel6(1), destination, sourcePort, destinationPort })

describe("ping through the tunnel", () => {
  const ping = (identifier: number, reply = false) =>
    buildEcho({ source: tunnel4(1), destination: proxy4, identifier, reply })
  const pong = (identifier: number, reply = true) =>
    buildEcho({ source: real4, destination: tunnel4(1), identifier, reply })

  it.effect("is translated, and so is the answer", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      const out = yield* lan
      yield* send(addresses(1, 1, "Resolved", [real4]))
      yield* sendInner(client, ping(77))
      assert.deepStrictEqual(destinations(out), [real4])
      yield* reply(client, pong(parsed(out[0]).sourcePort))
      const back = parsed(client.received[0])
      assert.deepStrictEqual([formatAddress(back.source), back.sourcePort], [proxy4, 77])
    }).pipe(Effect.provide(layer))
  )

  it.effect("works in one direction only: nobody outside can ask, and nothing is answered that nobody asked", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      const out = yield* lan
      yield* send(addresses(1, 1, "Resolved", [real4]))
      yield* sendInner(client, ping(77), ping(78, true))
      yield* reply(client, pong(77, false))
      assert.strictEqual(out.length, 1)
      assert.strictEqual(client.received.length, 0)
      assert.strictEqual(yield* counter("outbound.echo_reply"), 1)
      assert.strictEqual(yield* counter("inbound.no_session"), 1)
    }).pipe(Effect.provide(layer))
  )
})

describe("an ICMP query", () => {
  const query = (type: number, source: string, destination: string, identifier = 77) =>
    buildIcmp({
      source,
      destination,
      type,
      code: 0,
      rest: Uint8Array.of(identifier >> 8, identifier, 0, 1),
      payload: new Uint8Array(12)
    })

  for (const [name, asks, answers, real, proxy, own] of [
    ["timestamp", 13, 14, real4, proxy4, tunnel4(1)],
    ["information", 15, 16, real4, proxy4, tunnel4(1)],
    ["address mask", 17, 18, real4, proxy4, tunnel4(1)],
    ["extended echo", 42, 43, real4, proxy4, tunnel4(1)],
    ["extended echo over IPv6", 160, 161, real6, proxy6, tunnel6(1)]
  ] as const) {
    it.effect(`about ${name} goes out and comes back as an echo does, and nobody outside may ask`, () =>
      Effect.gen(function* () {
        const client = yield* ready()
        const out = yield* lan
        yield* send(addresses(1, 1, "Resolved", [real4, real6]), network("lab", "0.0.0.0/0"), network("lab6", "::/0"))

        yield* sendInner(client, query(asks, own, proxy), query(asks, own, real, 78), query(answers, own, real, 79))
        assert.deepStrictEqual(destinations(out), [real, real])
        const [translated, plain] = out.map(parsed)
        yield* reply(
          client,
          query(answers, real, own, translated!.sourcePort),
          query(answers, real, own, plain!.sourcePort),
          query(asks, real, own, plain!.sourcePort)
        )

        assert.deepStrictEqual(
          client.received.map(parsed).map((p) => [formatAddress(p.source), p.sourcePort]),
          [
            [proxy, 77],
            [real, 78]
          ]
        )
        assert.strictEqual(yield* counter("outbound.echo_reply"), 1)
        assert.strictEqual(yield* counter("inbound.no_session"), 1)
      }).pipe(Effect.provide(layer))
    )
  }

  it.effect("that is no echo is refused by the gateway itself", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      yield* sendInner(client, query(13, tunnel4(1), gateway4))
      assert.strictEqual(yield* counter("outbound.gateway_service_denied"), 1)
    }).pipe(Effect.provide(layer))
  )
})

describe("a program that sends UDP", () => {
  it.effect("is told port unreachable, which its socket hears, about the datagram that it sent", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      const out = yield* lan
      const [four, six] = [udp(9_999, proxy4, 50_001), udp6(9_999, proxy6, 50_002)]
      yield* send(addresses(1, 1, "Unresolved"))
      yield* sendInner(client, four, six, udp(9_999, "100.96.0.99", 50_003))
      yield* send(addresses(1, 2, "Resolved", ["127.0.0.1", "::1"]))
      yield* sendInner(client, four, six)
      assert.deepStrictEqual(icmpOf(client.received), [
        [3, 3],
        [1, 4],
        [3, 3],
        [3, 3],
        [1, 4]
      ])
      for (const [i, sent] of [four, six].entries()) {
        const error = client.received[i]!
        const view = parsed(error)
        assert.deepStrictEqual(view.source, parsed(sent).destination)
        assert.deepStrictEqual(error.slice(view.transport + 8).slice(0, sent.length), sent)
      }
      assert.strictEqual(out.length, 0)
    }).pipe(Effect.provide(layer))
  )

  it.effect("hears so of a real host that a router cannot reach; TCP hears what the router says", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      const out = yield* lan
      yield* send(addresses(1, 1, "Resolved", [real4, real6]))
      yield* sendInner(client, udp(9_999, proxy4, 50_001), udp6(9_999, proxy6, 50_002), tcp(443, syn))
      const told = (source: string, destination: string, error: { type: number; code: number }, i: number) =>
        buildIcmp({ source, destination, ...error, payload: out[i]! })
      yield* reply(
        client,
        told(gateway4, tunnel4(1), { type: 3, code: 1 }, 0),
        told("fd5a:20::fe", tunnel6(1), { type: 1, code: 3 }, 1),
        told(gateway4, tunnel4(1), { type: 3, code: 1 }, 2)
      )
      assert.deepStrictEqual(icmpOf(client.received), [
        [3, 3],
        [1, 4],
        [3, 1]
      ])
      for (const [i, proxy] of [proxy4, proxy6].entries()) {
        assert.strictEqual(formatAddress(parsed(client.received[i]).source), proxy)
        assert.deepStrictEqual(quotedDestination(client.received[i]!), [...addressBytes(proxy)])
      }
    }).pipe(Effect.provide(layer))
  )
})

describe("an ICMP error of the gateway's own kernel", () => {
  it.effect("about a forwarded packet is translated like any other, and is a reason to look again", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      const out = yield* lan
      const notices = yield* (yield* DataPlane).notices
      yield* send(addresses(1, 1, "Resolved", [real4]))
      yield* sendInner(client, tcp(443, syn))
      const error = { source: gateway4, destination: tunnel4(1), type: 3, code: 1 }
      yield* reply(client, buildIcmp({ ...error, payload: out[0]!.slice(0, 28) }))
      assert.strictEqual(formatAddress(parsed(client.received[0]).source), proxy4)
      assert.deepStrictEqual(quotedDestination(client.received[0]!), [...addressBytes(proxy4)])
      assert.deepStrictEqual(yield* reported(notices), ["Unreachable"])
    }).pipe(Effect.scoped, Effect.provide(layer))
  )

  it.effect("that asks for smaller packets reaches the client and is no reason to look again", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      const out = yield* lan
      const notices = yield* (yield* DataPlane).notices
      yield* send(addresses(1, 1, "Resolved", [real4]))
      yield* sendInner(client, tcp(443, ack))
      const error = { source: gateway4, destination: tunnel4(1), type: 3, code: 4, rest: Uint8Array.of(0, 0, 4, 0) }
      yield* reply(client, buildIcmp({ ...error, payload: out[0]!.slice(0, 28) }))
      assert.deepStrictEqual(icmpOf(client.received), [[3, 4]])
      assert.deepStrictEqual(yield* reported(notices), [])
    }).pipe(Effect.scoped, Effect.provide(layer))
  )

  it.effect("about nothing that the client has sent is dropped", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      const stranger = buildTcp({ source: tunnel4(1), destination: real4, sourcePort: 9, destinationPort: 9 })
      const error = { destination: tunnel4(1), type: 3, code: 1, payload: stranger }
      yield* reply(client, buildIcmp({ ...error, source: gateway4 }), buildIcmp({ ...error, source: real4 }))
      assert.strictEqual(client.received.length, 0)
      assert.strictEqual(yield* counter("inbound.no_session"), 2)
    }).pipe(Effect.provide(layer))
  )
})
