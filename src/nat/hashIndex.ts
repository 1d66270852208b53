import type { Words } from "../packet/address.ts"
import type { Reserve } from "./sessionRecords.ts"

/**
 * One end of a flow as a 32-bit hash. `flow` packs protocol and port. Seeded, so that a client cannot work out
 * beforehand which of its flows share a bucket.
 */
export const hashFlow = (seed: number, client: number, flow: number, a: Readonly<Words>, port: number): number => {
  let h = Math.imul(seed ^ client, 0x85ebca6b)
  h = Math.imul(h ^ (h >>> 15) ^ flow, 0xc2b2ae35)
  h = Math.imul(h ^ (h >>> 13) ^ a.w3, 0x9e3779b1)
  h = Math.imul(h ^ (h >>> 15) ^ a.w2, 0x85ebca6b)
  h = Math.imul(h ^ (h >>> 13) ^ a.w1, 0xc2b2ae35)
  h = Math.imul(h ^ (h >>> 15) ^ a.w0, 0x9e3779b1)
  h = Math.imul(h ^ (h >>> 13) ^ port, 0x85ebca6b)
  h = Math.imul(h ^ (h >>> 15), 0xc2b2ae35)
  return h ^ (h >>> 16)
}

/**
 * Open addressing from a hash to a slot number, at most half full. What a lookup reads is one integer per bucket, so that
 * much of a large table stays in the processor's cache: slot + 1 in the low bits (zeroed memory is an empty table), and
 * above them the hash's own top bits, which keep nearly every stranger's record unread. The whole hashes lie apart, for
 * removals. Equality is the caller's: walk from `hash & mask` to the first empty bucket.
 */
export class HashIndex {
  readonly buckets: Int32Array
  readonly mask: number
  /** The bits of a bucket that hold slot + 1; the others are the hash's. */
  readonly slotMask: number
  private readonly hashes: Int32Array

  constructor(capacity: number, reserve: Reserve) {
    let size = 8
    while (size < capacity * 2) size *= 2
    this.buckets = reserve(size)
    this.hashes = reserve(size)
    this.mask = size - 1
    this.slotMask = size - 1
  }

  add(hash: number, slot: number): void {
    const { buckets, hashes, mask, slotMask } = this
    let b = hash & mask
    while (buckets[b] !== 0) b = (b + 1) & mask
    buckets[b] = (hash & ~slotMask) | (slot + 1)
    hashes[b] = hash
  }

  /** Takes the slot out and closes the gap, so that no tombstones gather. */
  remove(hash: number, slot: number): void {
    const { buckets, hashes, mask, slotMask } = this
    const entry = (hash & ~slotMask) | (slot + 1)
    let gap = hash & mask
    while (buckets[gap] !== entry) {
      if (buckets[gap] === 0) return
      gap = (gap + 1) & mask
    }
    let b = gap
    for (;;) {
      b = (b + 1) & mask
      if (buckets[b] === 0) break
      const home = hashes[b]! & mask
      if (((b - home) & mask) < ((b - gap) & mask)) continue
      buckets[gap] = buckets[b]!
      hashes[gap] = hashes[b]!
      gap = b
    }
    buckets[gap] = 0
  }
}
