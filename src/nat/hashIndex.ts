import type { Words } from "../packet/address.ts"

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
 * Open addressing from a hash to a slot number, at most half full. A bucket is a pair (slot + 1, hash): zeroed memory
 * is an empty table, and neither a probe past a stranger nor a removal has to look at the stranger's record.
 * Equality is the caller's: walk from `hash & mask` to the first empty bucket.
 */
export class HashIndex {
  readonly buckets: Int32Array
  readonly mask: number

  constructor(capacity: number) {
    let size = 8
    while (size < capacity * 2) size *= 2
    this.buckets = new Int32Array(size * 2)
    this.mask = size - 1
  }

  add(hash: number, slot: number): void {
    const { buckets, mask } = this
    let b = hash & mask
    while (buckets[b * 2] !== 0) b = (b + 1) & mask
    buckets[b * 2] = slot + 1
    buckets[b * 2 + 1] = hash
  }

  /** Takes the slot out and closes the gap, so that no tombstones gather. */
  remove(hash: number, slot: number): void {
    const { buckets, mask } = this
    let gap = hash & mask
    while (buckets[gap * 2] !== slot + 1) {
      if (buckets[gap * 2] === 0) return
      gap = (gap + 1) & mask
    }
    let b = gap
    for (;;) {
      b = (b + 1) & mask
      if (buckets[b * 2] === 0) break
      const home = buckets[b * 2 + 1]! & mask
      if (((b - home) & mask) < ((b - gap) & mask)) continue
      buckets[gap * 2] = buckets[b * 2]!
      buckets[gap * 2 + 1] = buckets[b * 2 + 1]!
      gap = b
    }
    buckets[gap * 2] = 0
    buckets[gap * 2 + 1] = 0
  }
}
