/** Whatever arrives, from whomever: nothing throws, and strangers change nothing. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import * as Schema from "effect/Schema"
import { TestClock } from "effect/testing"
import { MemoryNetwork } from "../../layers/memory/DataPlaneMemory.ts"
import { DataPlane } from "../../src/dataplane/DataPlane.ts"
import {
  counter,
  destinations,
  lan,
  network,
  ready,
  real4,
  reply,
  send,
  syn,
  tcp,
  tcpBack,
  udp
} from "../support/engineSteps.ts"
import { addresses, clientId, gatewayPublicKey, layer, proxy4, tunnel4 } from "../support/engineWorld.ts"
import { exchange, MemoryClient, sendInner } from "../support/memoryClient.ts"
import { buildEcho, buildIcmp } from "../support/packets.ts"

/** Bytes of a well-formed packet with some of them changed, or of nothing in particular. */
const templates = [
  tcp(443, syn),
  tcp(443, syn, real4),
  udp(53, proxy4),
  udp(53, "100.64.0.1"),
  buildEcho({ source: tunnel4(1), destination: proxy4, identifier: 3 }),
  buildIcmp({ source: tunnel4(1), destination: real4, type: 3, code: 1, payload: tcp(443, syn) }),
  tcpBack(443, syn),
  buildIcmp({ source: real4, destination: tunnel4(1), type: 3, code: 1, payload: tcp(443, syn, real4) }),
  new Uint8Array(60)
]
const Mutation = Schema.Struct({
  template: Schema.Literals(templates.map((_, i) => i)),
  edits: Schema.Array(Schema.Struct({ at: Schema.Int, value: Schema.Int })),
  cut: Schema.Literals([0, 0, 1, 8, 20, 39, 59])
})

const bytesOf = ({ cut, edits, template }: typeof Mutation.Type): Uint8Array => {
  const bytes = templates[template]!.slice()
  for (const { at, value } of edits) bytes[Math.abs(at) % bytes.length] = value & 255
  return bytes.subarray(0, bytes.length - Math.min(cut, bytes.length - 1))
}

describe("the engine", () => {
  it.effect.prop(
    "goes on after any bytes from a client, from the TUN device and from the network",
    [Schema.Array(Mutation)],
    ([mutations]) =>
      Effect.gen(function* () {
        const client = yield* ready()
        const out = yield* lan
        const world = yield* MemoryNetwork
        yield* send(addresses(1, 1, "Resolved", [real4]), network("lab", "10.20.0.0/16"))
        for (const mutation of mutations) {
          const bytes = bytesOf(mutation)
          yield* sendInner(client, bytes)
          yield* reply(client, bytes)
          yield* world.arrive(client.endpoint, bytes)
        }
        yield* TestClock.adjust("3 seconds")
        out.length = 0
        yield* sendInner(client, tcp(8_443, syn, proxy4, 61_234))
        assert.deepStrictEqual(destinations(out), [real4])
        for (const packet of out) assert.isAbove(packet.length, 0)
      }).pipe(Effect.provide(layer, { local: true })),
    { arbitrary: { runs: 150 } }
  )

  it.effect("lets a packet pass only with the client's own source, whatever its bytes", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      const out = yield* lan
      yield* send(addresses(1, 1, "Resolved", [real4]), network("all", "0.0.0.0/0"))
      const packet = tcp(443, syn)
      for (let at = 0; at < packet.length; at++) {
        for (const value of [0, 1, 0x40, 0x7f, 0xff]) {
          const bytes = packet.slice()
          bytes[at] = value
          yield* sendInner(client, bytes)
        }
      }
      for (const sent of out) assert.deepStrictEqual([...sent.subarray(12, 16)], [100, 64, 1, 1])
      assert.isAbove(out.length, 0)
    }).pipe(Effect.provide(layer))
  )
})

describe("a stranger", () => {
  const stranger = () =>
    new MemoryClient({ privateKey: new Uint8Array(32).fill(0x99), gatewayKey: gatewayPublicKey, port: 49_999 })

  it.effect("with a key of its own changes no client, gets no answer, and can send nothing", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      const notices = yield* (yield* DataPlane).notices
      const world = yield* MemoryNetwork
      const answers: Array<Uint8Array> = []
      const before = (yield* (yield* DataPlane).clients).get(clientId(1))
      const other = stranger()
      other.wireguard.initiate(other.peer, 60_000, 60_000)
      yield* world.onDatagram((to, datagram) => {
        if (to.port === 49_999) answers.push(datagram)
      })
      for (const datagram of other.outbox) yield* world.arrive(other.endpoint, datagram)
      yield* TestClock.adjust("200 millis")
      assert.deepStrictEqual(answers, [])
      assert.isTrue((yield* Queue.clear(notices)).every(({ _tag }) => _tag === "Journal"))
      assert.deepStrictEqual((yield* (yield* DataPlane).clients).get(clientId(1)), before)
      assert.strictEqual(yield* counter("wireguard.handshake_unknown_peer"), 1)
      yield* send(addresses(1, 1, "Resolved", [real4]))
      const out = yield* lan
      yield* sendInner(client, tcp(443, syn))
      assert.strictEqual(out.length, 1)
    }).pipe(Effect.scoped, Effect.provide(layer))
  )

  it.effect("that repeats or forges a client's datagrams from elsewhere does not move it", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      const world = yield* MemoryNetwork
      const out = yield* lan
      yield* send(addresses(1, 1, "Resolved", [real4]))
      client.seal(tcp(443, syn))
      const recorded = client.outbox.map((datagram) => datagram.slice())
      yield* exchange([client])
      const elsewhere = stranger().endpoint
      for (const datagram of recorded) {
        yield* world.arrive(elsewhere, datagram)
        const forged = datagram.slice()
        forged[forged.length - 1]! ^= 1
        forged[8]! ^= 0x40
        yield* world.arrive(elsewhere, forged)
      }
      const ports: Array<number> = []
      yield* world.onDatagram((to) => void ports.push(to.port))
      yield* world.routeIn(tcpBack(443, syn))
      assert.deepStrictEqual([out.length, ports], [1, [40_001]])
      assert.deepStrictEqual([yield* counter("wireguard.replayed"), yield* counter("wireguard.forged")], [1, 1])
    }).pipe(Effect.provide(layer))
  )
})
