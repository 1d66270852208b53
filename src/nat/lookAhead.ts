import type { Words } from "../packet/address.ts"
import { type HashIndex, hashFlow } from "./hashIndex.ts"
import { COLD_STRIDE, STRIDE } from "./sessionRecords.ts"

/** So many packets at most are looked at ahead of their turn. */
export const lookAheadPackets = 64

/** A table of fewer live sessions than this lies in the processor's caches by itself. */
export const lookAheadFrom = 32_768

/**
 * Brings the sessions of packets that are at hand into the processor's caches before their lookups. In a large table
 * each lookup waits for main memory more than once, since each read says where the next one is. Here the reads of many
 * packets go side by side: those of one step depend on nothing but the step before, and nothing branches on them. It
 * finds nothing out and changes nothing; where it guesses wrong, a lookup is as slow as it would have been.
 */
export class LookAhead {
  private readonly index: HashIndex
  private readonly records: Int32Array
  private readonly cold: Int32Array
  private readonly seed: number
  /** Of each flow the hash, then the slot. */
  private readonly flows = new Int32Array(lookAheadPackets)
  private count = 0

  constructor(index: HashIndex, records: Int32Array, cold: Int32Array, seed: number) {
    this.index = index
    this.records = records
    this.cold = cold
    this.seed = seed
  }

  /** One end of a flow that will be looked up; the arguments are those of `hashFlow`. */
  add(client: number, flow: number, address: Readonly<Words>, port: number): void {
    if (this.count < lookAheadPackets) this.flows[this.count++] = hashFlow(this.seed, client, flow, address, port)
  }

  fetch(): void {
    const { cold, count, flows, records } = this
    const { buckets, mask, slotMask } = this.index
    for (let i = 0; i < count; i++) {
      const hash = flows[i]!
      const first = buckets[hash & mask]!
      const second = buckets[(hash + 1) & mask]!
      // The second if the first is a stranger's: all ones then, else zero.
      const differs = (first ^ hash) & ~slotMask
      const strange = (differs | -differs) >> 31
      const slot = ((first ^ ((first ^ second) & strange)) & slotMask) - 1
      // Slot 0 for none.
      flows[i] = slot + (slot >>> 31)
    }
    let read = 0
    for (let i = 0; i < count; i++) read ^= records[flows[i]! * STRIDE]! ^ cold[flows[i]! * COLD_STRIDE]!
    // What was read must end somewhere, or the compiler would not read it.
    flows[0] = read
    this.count = 0
  }
}
