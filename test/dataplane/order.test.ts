/** Nothing overtakes anything of its own flow, whatever is joined, batched and cut on the way. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { MemoryNetwork } from "../../layers/memory/DataPlaneMemory.ts"
import { lan, parsed, ready, real4, send } from "../support/engineSteps.ts"
import { addresses, layer, offloadingLayer, proxy4, tunnel4 } from "../support/engineWorld.ts"
import { sendInner } from "../support/memoryClient.ts"
import { buildTcp, buildUdp } from "../support/packets.ts"
import { asSuper } from "../support/superPackets.ts"
import { makeRandom } from "../support/traffic.ts"
import { Seed } from "../support/packetArbitraries.ts"

const flows = 6
/** The byte at place `i` of a flow's stream, which tells the place (in steps of 251) and the flow. */
const byteAt = (flow: number, i: number): number => ((i % 251) + flow) & 255

/** What came of each flow, one behind the other; of a TCP flow the sequence numbers must say the same. */
const streams = (packets: ReadonlyArray<Uint8Array>, portOf: (view: ReturnType<typeof parsed>) => number) => {
  const seen = Array.from({ length: flows }, (): Array<number> => [])
  for (const packet of packets) {
    const view = parsed(packet)
    const flow = portOf(view) - 50_000
    if (flow < 0 || flow >= flows) continue
    const header = view.protocol === 6 ? (packet[view.transport + 12]! >>> 4) * 4 : 8
    const sequence = new DataView(packet.buffer, packet.byteOffset).getUint32(view.transport + 4)
    if (view.protocol === 6) assert.strictEqual(sequence, 1 + seen[flow]!.length)
    seen[flow]!.push(...packet.subarray(view.transport + header, view.offset + view.length))
  }
  return seen
}

for (const [name, world] of [
  ["with everything joined and batched", offloadingLayer],
  ["packet by packet", layer]
] as const) {
  describe(`the order within a flow, ${name}`, () => {
    it.effect.prop(
      "is kept from clients, for six flows of both protocols in changing sizes",
      [Seed],
      ([seed]) =>
        Effect.gen(function* () {
          const random = makeRandom(seed)
          const client = yield* ready()
          yield* send(addresses(1, 1, "Resolved", [real4]))
          const out = yield* lan
          const sent = Array.from({ length: flows }, () => 0)
          const packets = Array.from({ length: 120 }, () => {
            const flow = random.below(flows)
            const from = sent[flow]!
            const length = random.pick([1, 100, 100, 100, 1_200, 1_200])
            sent[flow] = from + length
            const payload = Uint8Array.from({ length }, (_, i) => byteAt(flow, from + i))
            const ends = { source: tunnel4(1), destination: proxy4, sourcePort: 50_000 + flow, destinationPort: 443 }
            return flow % 2 === 0
              ? buildTcp({ ...ends, flags: random.chance(0.1) ? 0x18 : 0x10, sequence: 1 + from, payload })
              : buildUdp({ ...ends, payload })
          })

          yield* sendInner(client, ...packets)

          const expected = sent.map((length, flow) => Array.from({ length }, (_, i) => byteAt(flow, i)))
          assert.deepStrictEqual(
            streams(out, (view) => view.sourcePort),
            expected
          )
        }).pipe(Effect.provide(world)),
      { arbitrary: { runs: 12, seed: 5 } }
    )

    it.effect.prop(
      "is kept towards clients, for super-packets and single ones of six flows",
      [Seed],
      ([seed]) =>
        Effect.gen(function* () {
          const random = makeRandom(seed)
          const client = yield* ready()
          const network = yield* MemoryNetwork
          yield* send(addresses(1, 1, "Resolved", [real4]))
          const ends = (flow: number) => ({ sourcePort: 50_000 + flow, destinationPort: 443 })
          for (let flow = 0; flow < flows; flow++) {
            const open = { source: tunnel4(1), destination: proxy4, ...ends(flow) }
            yield* sendInner(client, flow % 2 === 0 ? buildTcp({ ...open, flags: 2 }) : buildUdp(open))
          }
          yield* network.onDatagram((_, datagram) => client.deliver(datagram))
          const sent = Array.from({ length: flows }, () => 0)
          for (let n = 0; n < 60; n++) {
            const flow = random.below(flows)
            const from = sent[flow]!
            const size = random.pick([100, 1_200])
            const length = random.chance(0.5) ? size : size * random.pick([2, 7, 20]) + random.below(size)
            sent[flow] = from + length
            const payload = Uint8Array.from({ length }, (_, i) => byteAt(flow, from + i))
            const back = { source: real4, destination: tunnel4(1), sourcePort: 443, destinationPort: 50_000 + flow }
            const packet =
              flow % 2 === 0
                ? buildTcp({ ...back, flags: 0x10, sequence: 1 + from, payload })
                : buildUdp({ ...back, payload })
            if (length === size) yield* network.routeIn(packet)
            else {
              const { bytes, header } = asSuper(packet, size)
              yield* network.routeIn(bytes, header)
            }
          }

          const expected = sent.map((length, flow) => Array.from({ length }, (_, i) => byteAt(flow, i)))
          assert.deepStrictEqual(
            streams(client.received, (view) => view.destinationPort),
            expected
          )
        }).pipe(Effect.provide(world)),
      { arbitrary: { runs: 12, seed: 6 } }
    )
  })
}
