/** Fragments of a datagram take the way of its first one, both ways. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { formatAddress } from "../../src/packet/address.ts"
import { protocolIcmp, protocolIcmpv6, protocolTcp, protocolUdp } from "../../src/packet/protocols.ts"
import { counter, icmpOf, lan, network, parsed, ready, real4, real6, reply, send } from "../support/engineSteps.ts"
import {
  addresses,
  clientId,
  gateway4,
  layer,
  offloadingLayer,
  proxy4,
  proxy6,
  resourceId,
  tunnel4,
  tunnel6
} from "../support/engineWorld.ts"
import { sendInner } from "../support/memoryClient.ts"
import { concat } from "../../src/packet/bytes.ts"
import {
  buildEcho,
  buildFragment,
  buildTcp,
  buildUdp,
  checksum,
  dataOf,
  transportChecksum
} from "../support/packets.ts"

const payload = Uint8Array.from({ length: 3_000 }, (_, i) => (i * 7) & 255)
const ports = { sourcePort: 50_000, destinationPort: 7 }

interface Flow {
  readonly source: string
  readonly destination: string
}

/** A packet's payload cut to what fits the tunnel. */
const cut = (flow: Flow, protocol: number, packet: Uint8Array, identification = 9, size = 1_232) =>
  buildFragment({ ...flow, protocol, data: dataOf(packet), size, identification })

/** The datagram that its receiver puts together; its checksum must be right there. */
const joined = (packets: ReadonlyArray<Uint8Array>, protocol: number): Uint8Array => {
  const views = packets.map(parsed)
  let end = 0
  const data = concat(
    packets.map((packet, i) => {
      const view = views[i]!
      assert.strictEqual(view.fragmentOffset, end)
      end = view.fragmentEnd
      return packet.subarray(view.transport, view.offset + view.length)
    })
  )
  const sum =
    protocol === protocolIcmp
      ? checksum(data)
      : transportChecksum(
          { source: formatAddress(views[0]!.source), destination: formatAddress(views[0]!.destination) },
          protocol,
          data
        )
  assert.strictEqual(sum, 0)
  return data
}

const ways = (packets: ReadonlyArray<Uint8Array>): ReadonlyArray<string> =>
  packets.map((packet) => `${formatAddress(parsed(packet).source)} ${formatAddress(parsed(packet).destination)}`)

for (const [name, world] of [
  ["a gateway", layer],
  ["a gateway with offloads", offloadingLayer]
] as const) {
  describe(`the fragments of a datagram through ${name}`, () => {
    for (const [family, source, proxy, real] of [
      ["IPv4", tunnel4(1), proxy4, real4],
      ["IPv6", tunnel6(1), proxy6, real6]
    ] as const) {
      const out = { source, destination: proxy }
      const back = { source: real, destination: source }

      it.effect(`reach a name's real address and come back from its proxy IP, over ${family}`, () =>
        Effect.gen(function* () {
          const client = yield* ready()
          const lanPackets = yield* lan
          yield* send(addresses(1, 1, "Resolved", [real4, real6]))
          yield* sendInner(client, ...cut(out, protocolUdp, buildUdp({ ...out, ...ports, payload })))
          assert.deepStrictEqual(ways(lanPackets), Array(3).fill(`${source} ${real}`))
          assert.deepStrictEqual(joined(lanPackets, protocolUdp).subarray(8), payload)

          const answer = buildUdp({ ...back, sourcePort: 7, destinationPort: 50_000, payload })
          yield* reply(client, ...cut(back, protocolUdp, answer))
          assert.deepStrictEqual(ways(client.received), Array(3).fill(`${proxy} ${source}`))
          assert.deepStrictEqual(joined(client.received, protocolUdp).subarray(8), payload)
        }).pipe(Effect.provide(world))
      )

      it.effect(`are pings as well, over ${family}`, () =>
        Effect.gen(function* () {
          const protocol = family === "IPv4" ? protocolIcmp : protocolIcmpv6
          const client = yield* ready()
          const lanPackets = yield* lan
          yield* send(addresses(1, 1, "Resolved", [real4, real6]))
          yield* sendInner(client, ...cut(out, protocol, buildEcho({ ...out, identifier: 5, payload })))
          assert.deepStrictEqual(ways(lanPackets), Array(3).fill(`${source} ${real}`))
          assert.deepStrictEqual(joined(lanPackets, protocol).subarray(8), payload)
          yield* reply(client, ...cut(back, protocol, buildEcho({ ...back, identifier: 5, reply: true, payload })))
          assert.deepStrictEqual(ways(client.received), Array(3).fill(`${proxy} ${source}`))
          assert.deepStrictEqual(joined(client.received, protocol).subarray(8), payload)
        }).pipe(Effect.provide(world))
      )
    }
  })
}

describe("the fragments of a datagram", () => {
  const out = { source: tunnel4(1), destination: proxy4 }
  const datagram = cut(out, protocolUdp, buildUdp({ ...out, ...ports, payload }))

  it.effect("of UDP without a checksum stay without", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      const packets = yield* lan
      yield* send(addresses(1, 1, "Resolved", [real4]))
      yield* sendInner(client, ...cut(out, protocolUdp, buildUdp({ ...out, ...ports, payload, withoutChecksum: true })))
      assert.lengthOf(packets, 3)
      assert.deepStrictEqual([...packets[0]!.subarray(26, 28)], [0, 0])
    }).pipe(Effect.provide(layer))
  )

  it.effect("of TCP pass when the first one has the whole header", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      const packets = yield* lan
      yield* send(addresses(1, 1, "Resolved", [real4]))
      const segment = buildTcp({ ...out, sourcePort: 50_000, destinationPort: 80, payload })
      yield* sendInner(client, ...cut(out, protocolTcp, segment, 1))
      assert.deepStrictEqual(joined(packets, protocolTcp).subarray(20), payload)
      yield* sendInner(client, ...cut(out, protocolTcp, segment, 2, 16))
      assert.lengthOf(packets, 3)
      assert.strictEqual(yield* counter("outbound.malformed"), 1)
      assert.strictEqual(yield* counter("outbound.fragment"), Math.ceil(3_020 / 16) - 1)
    }).pipe(Effect.provide(layer))
  )

  it.effect("reach a network resource and the gateway itself unchanged", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      const packets = yield* lan
      yield* send(network("lab", "10.20.0.0/16"))
      for (const destination of [real4, gateway4]) {
        packets.length = 0
        const way = { source: tunnel4(1), destination }
        const sent = cut(way, protocolIcmp, buildEcho({ ...way, identifier: 5, payload }))
        yield* sendInner(client, ...sent)
        assert.deepStrictEqual(packets, sent)
      }
    }).pipe(Effect.provide(layer))
  )

  it.effect("are dropped without the first one, after it, and out of order, both ways", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      const packets = yield* lan
      yield* send(addresses(1, 1, "Resolved", [real4]))
      const [first, second, third] = datagram
      yield* sendInner(client, second!, third!)
      assert.lengthOf(packets, 0)
      yield* sendInner(client, first!, third!, second!)
      assert.lengthOf(packets, 2)
      assert.strictEqual(yield* counter("outbound.fragment"), 3)

      const back = { source: real4, destination: tunnel4(1) }
      const answer = buildUdp({ ...back, sourcePort: 7, destinationPort: 50_000, payload })
      yield* reply(client, ...cut(back, protocolUdp, answer).slice(1))
      assert.lengthOf(client.received, 0)
      assert.strictEqual(yield* counter("inbound.fragment"), 2)
    }).pipe(Effect.provide(layer))
  )

  it.effect("get the answer of the first one when a port filter denies it, once", () =>
    Effect.gen(function* () {
      const client = yield* ready({ filters: [{ protocol: "tcp", from: 443, to: 443 }] })
      const packets = yield* lan
      yield* send(addresses(1, 1, "Resolved", [real4]))
      yield* sendInner(client, ...datagram)
      assert.lengthOf(packets, 0)
      assert.deepStrictEqual(icmpOf(client.received), [[3, 13]])
    }).pipe(Effect.provide(layer))
  )

  it.effect("are not parked while the name is looked up for the first time", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      const packets = yield* lan
      yield* send(addresses(1, 1, "Resolving"))
      yield* sendInner(client, ...datagram)
      yield* send(addresses(1, 1, "Resolved", [real4]))
      assert.deepStrictEqual([packets.length, client.received.length], [0, 0])
      assert.strictEqual(yield* counter("outbound.fragment"), 3)
    }).pipe(Effect.provide(layer))
  )

  it.effect("end with the authorization, in the middle of a datagram", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      const packets = yield* lan
      yield* send(addresses(1, 1, "Resolved", [real4]))
      yield* sendInner(client, datagram[0]!)
      assert.lengthOf(packets, 1)
      yield* send({ _tag: "RevokeResource", client: clientId(1), resource: resourceId("app") })
      yield* sendInner(client, datagram[1]!)
      assert.lengthOf(packets, 1)
    }).pipe(Effect.provide(layer))
  )

  it.effect("come to a client from nobody that it has not written to", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      yield* send(addresses(1, 1, "Resolved", [real4]))
      const back = { source: real4, destination: tunnel4(1) }
      const stranger = buildUdp({ ...back, sourcePort: 7, destinationPort: 50_000, payload })
      yield* reply(client, ...cut(back, protocolUdp, stranger))
      assert.lengthOf(client.received, 0)
      assert.deepStrictEqual([yield* counter("inbound.no_session"), yield* counter("inbound.fragment")], [1, 2])
    }).pipe(Effect.provide(layer))
  )
})
