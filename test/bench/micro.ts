/**
 * What single steps of the packet path cost: `npm run bench:micro`, or with `--only TEXT`. Nanoseconds per packet, the best of
 * seven runs; the engine's rows are everything but cipher and system calls. The session table's bench is `sessions.bench.ts`.
 */
import { makeNativeChecksum } from "../../layers/dataplane/native/checksum.ts"
import { makeMemory } from "../../layers/dataplane/native/memory.ts"
import { makePrimitives } from "../../layers/dataplane/native/primitives.ts"
import { Coalescer } from "../../src/dataplane/offload/coalescer.ts"
import { Segmenter } from "../../src/dataplane/offload/segmenter.ts"
import { gsoTcp4, makeVirtioHeader } from "../../src/dataplane/offload/virtioHeader.ts"
import { type Checksum, makeChecksum } from "../../src/packet/checksum.ts"
import { makePacketView, parsePacket } from "../../src/packet/packetView.ts"
import { buildTcp } from "../support/packets.ts"
import { makeEngineBench, superPayload } from "./support/engineBench.ts"
import { report, type Measure, word } from "./support/report.ts"

const memory = makeMemory(8)
const { arena } = memory
const { primitives } = makePrimitives(memory)
const { checksum, copy } = makeNativeChecksum(memory)
const plainChecksum = makeChecksum(arena.bytes)
const at = arena.reserve(128 * 1024)
const to = arena.reserve(128 * 1024)
const only = word("only", "")
const measures: Array<Measure> = []

/** Runs of about 150 ms; `step` does `packets` packets. */
const bench = (name: string, packets: number, step: () => void): void => {
  if (!name.includes(only)) return
  let times = 1
  let best = Number.POSITIVE_INFINITY
  for (let run = 0; run < 12; run++) {
    const start = performance.now()
    for (let i = 0; i < times; i++) step()
    const took = performance.now() - start
    // The first runs only find the right length, while the code gets compiled.
    if (run < 5) times = Math.max(1, Math.ceil((times * 150) / Math.max(took, 0.01)))
    else best = Math.min(best, (took * 1e6) / times / packets)
  }
  measures.push({ name, value: best, unit: "ns" })
}

const key = primitives.aead(new Uint8Array(32).fill(7))
let counter = 0
for (const size of [1_420, 1_280, 200, 64]) {
  bench(`seal ${size} B`, 1, () => key.seal(counter++, at, size, to))
  key.seal(1, at, size, to)
  // What was opened is sealed no more: the counterpart of a good packet is a sealed copy.
  bench(`open ${size} B, and the copy of it`, 1, () => {
    copy(at, to, size + 16)
    if (!key.open(1, at, size)) throw new Error("a good packet was refused")
  })
}
for (const [kind, sum] of [
  ["SIMD", checksum],
  ["plain", plainChecksum]
] as ReadonlyArray<readonly [string, Checksum]>) {
  bench(`checksum 1400 B, ${kind}`, 1, () => void sum(at, 1_400, 0))
}

const virtio = {
  ...makeVirtioHeader(),
  partial: true,
  kind: gsoTcp4,
  segmentSize: superPayload.segment,
  checksumStart: 20,
  checksumOffset: 16
}
const view = makePacketView()
const whole = buildTcp({
  source: "10.20.0.10",
  destination: "100.64.0.2",
  sourcePort: 443,
  destinationPort: 50_000,
  flags: 0x10,
  payload: new Uint8Array(superPayload.segment * superPayload.count)
})
const segmenter = new Segmenter(arena.bytes, checksum)
bench("segmentation", superPayload.count, () => {
  arena.bytes.set(whole.subarray(0, 40), at)
  parsePacket(arena.bytes, at, whole.length, view)
  segmenter.begin(view, virtio)
  while (segmenter.next()) {
    // The next one is written over it.
  }
})

const count = 44
const size = 1_408
for (let i = 0; i < count; i++) {
  arena.bytes.set(
    buildTcp({
      source: "100.64.0.2",
      destination: "10.20.0.10",
      sourcePort: 50_000,
      destinationPort: 443,
      flags: 0x10,
      sequence: 1 + i * 1_368,
      identification: i,
      payload: new Uint8Array(1_368)
    }),
    to + i * size
  )
}
const head = arena.bytes.slice(to, to + 40)
const coalescer = new Coalescer(arena.bytes, checksum, () => {})
bench("parsing and coalescing", count, () => {
  arena.bytes.set(head, to)
  for (let i = 0; i < count; i++) {
    parsePacket(arena.bytes, to + i * size, size, view)
    coalescer.add(view)
  }
  coalescer.flush()
})

const engine = makeEngineBench()
bench("engine, client to server (batches of 44)", engine.outbound.packets, engine.outbound.step)
bench("engine, server to client (super-packets)", engine.inbound.packets, engine.inbound.step)
bench("engine, client to server (UDP, one by one)", engine.outboundUdp.packets, engine.outboundUdp.step)
bench("engine, server to client (UDP, one by one)", engine.inboundUdp.packets, engine.inboundUdp.step)
bench("engine, of an unknown session, from a client's endpoint", engine.unknown.packets, engine.unknown.step)
bench("engine, of an unknown session, from elsewhere", engine.unknownElsewhere.packets, engine.unknownElsewhere.step)

report("the packet path, per packet", measures)
if (only === "" && engine.problem() !== null) throw new Error(engine.problem() ?? "")
