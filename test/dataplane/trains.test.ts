/** Packets that come in one read: what the first one found out for those behind it, and for how long it holds. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { MemoryNetwork } from "../../layers/memory/DataPlaneMemory.ts"
import { makeChecksum, transportChecksumOk } from "../../src/packet/checksum.ts"
import {
  ack,
  counter,
  destinations,
  fin,
  icmpOf,
  lan,
  parsed,
  ready,
  real4,
  rst,
  send
} from "../support/engineSteps.ts"
import { addresses, clientId, layer, proxy4, resourceId, tunnel4 } from "../support/engineWorld.ts"
import { exchange, type MemoryClient } from "../support/memoryClient.ts"
import { buildTcp } from "../support/packets.ts"

const data = (sequence: number, flags = ack, payload = new Uint8Array(16).fill(sequence)) =>
  buildTcp({
    source: tunnel4(1),
    destination: proxy4,
    sourcePort: 50_000,
    destinationPort: 443,
    flags,
    sequence,
    payload
  })

/** Client 1 with a name that has its address. */
const connected = Effect.gen(function* () {
  const client = yield* ready()
  const out = yield* lan
  yield* send(addresses(1, 1, "Resolved", [real4]))
  return { client, out }
})

/** As one read of the gateway's, from the first client's endpoint; what it causes comes back to its sender. */
const inOneRead = Effect.fnUntraced(function* (...sent: ReadonlyArray<readonly [MemoryClient, Uint8Array]>) {
  const network = yield* MemoryNetwork
  for (const [client, packet] of sent) client.seal(packet)
  const datagrams = sent.map(([client]) => client.outbox.shift()!)
  yield* exchange(sent.map(([client]) => client))
  yield* network.arriveTogether(sent[0]![0].endpoint, datagrams)
})

describe("packets of one flow in one read", () => {
  it.effect("are all translated and counted, and keep what is their own", () =>
    Effect.gen(function* () {
      const { client, out } = yield* connected

      yield* inOneRead([client, data(1)], [client, data(17)], [client, data(33)])

      assert.deepStrictEqual(destinations(out), [real4, real4, real4])
      assert.deepStrictEqual(
        out.map((packet) => packet.at(-1)),
        [1, 17, 33]
      )
      for (const packet of out) assert.isTrue(transportChecksumOk(packet, parsed(packet), makeChecksum(packet)))
      assert.strictEqual(yield* counter("outbound.forwarded"), 3)
      assert.strictEqual(yield* counter("sessions.created"), 1)
    }).pipe(Effect.provide(layer))
  )

  it.effect("are refused when another client sent some of them", () =>
    Effect.gen(function* () {
      const { client, out } = yield* connected
      const other = yield* ready({}, 2)

      yield* inOneRead([client, data(1)], [other, data(17)], [client, data(33)])

      assert.deepStrictEqual(
        out.map((packet) => packet.at(-1)),
        [1, 33]
      )
      assert.strictEqual(yield* counter("outbound.source_spoofed"), 1)
    }).pipe(Effect.provide(layer))
  )

  it.effect("do not speak for those of the next read: a revoked resource is prohibited at once", () =>
    Effect.gen(function* () {
      const { client, out } = yield* connected
      yield* inOneRead([client, data(1)], [client, data(17)])

      yield* send({ _tag: "RevokeResource", client: clientId(1), resource: resourceId("app") })
      yield* inOneRead([client, data(33)], [client, data(49)])

      assert.lengthOf(out, 2)
      assert.deepStrictEqual(icmpOf(client.received), [
        [3, 13],
        [3, 13]
      ])
    }).pipe(Effect.provide(layer))
  )

  it.effect.each([
    ["RST ends", rst, 2],
    ["FIN does not end", fin | ack, 1]
  ] as const)("%s their session for those behind it", ([, flags, sessions]) =>
    Effect.gen(function* () {
      const { client, out } = yield* connected

      yield* inOneRead([client, data(1)], [client, data(17, flags)], [client, data(33)])

      assert.lengthOf(out, 3)
      assert.strictEqual(yield* counter("sessions.created"), sessions)
    }).pipe(Effect.provide(layer))
  )
})
