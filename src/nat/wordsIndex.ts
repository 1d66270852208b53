import type { Words } from "../packet/address.ts"
import { hashFlow } from "./hashIndex.ts"

/**
 * A growing table from (space, address) to a number ≥ 0. Looking up allocates nothing; `space` keeps name spaces
 * apart, one per client for proxy addresses.
 */
export class WordsIndex {
  size = 0
  private rows = new Int32Array(16 * ROW)
  private mask = 15

  /** −1 when absent. */
  get(space: number, a: Readonly<Words>): number {
    const at = this.find(space, a)
    return at < 0 ? -1 : this.rows[at]! - 1
  }

  /** Adds or replaces. */
  set(space: number, a: Readonly<Words>, value: number): void {
    const at = this.find(space, a)
    if (at >= 0) {
      this.rows[at] = value + 1
      return
    }
    if ((this.size + 1) * 2 > this.mask + 1) this.double()
    this.place(space, a.w0, a.w1, a.w2, a.w3, value + 1)
    this.size++
  }

  /** False when it was not there. */
  delete(space: number, a: Readonly<Words>): boolean {
    const at = this.find(space, a)
    if (at < 0) return false
    const { rows, mask } = this
    let gap = at / ROW
    for (let b = (gap + 1) & mask; rows[b * ROW] !== 0; b = (b + 1) & mask) {
      const home = this.homeOf(b)
      if (((b - home) & mask) < ((b - gap) & mask)) continue
      rows.copyWithin(gap * ROW, b * ROW, b * ROW + ROW)
      gap = b
    }
    rows.fill(0, gap * ROW, gap * ROW + ROW)
    this.size--
    return true
  }

  clear(): void {
    this.rows.fill(0)
    this.size = 0
  }

  private find(space: number, a: Readonly<Words>): number {
    const { rows, mask } = this
    for (let b = hashFlow(SEED, space, 0, a, 0) & mask; rows[b * ROW] !== 0; b = (b + 1) & mask) {
      const at = b * ROW
      if (
        rows[at + 5] === a.w3 &&
        rows[at + 1] === space &&
        rows[at + 4] === a.w2 &&
        rows[at + 3] === a.w1 &&
        rows[at + 2] === a.w0
      ) {
        return at
      }
    }
    return -1
  }

  private place(space: number, w0: number, w1: number, w2: number, w3: number, stored: number): void {
    const { rows, mask } = this
    scratch.w0 = w0
    scratch.w1 = w1
    scratch.w2 = w2
    scratch.w3 = w3
    let b = hashFlow(SEED, space, 0, scratch, 0) & mask
    while (rows[b * ROW] !== 0) b = (b + 1) & mask
    const at = b * ROW
    rows[at] = stored
    rows[at + 1] = space
    rows[at + 2] = w0
    rows[at + 3] = w1
    rows[at + 4] = w2
    rows[at + 5] = w3
  }

  private homeOf(bucket: number): number {
    const at = bucket * ROW
    scratch.w0 = this.rows[at + 2]!
    scratch.w1 = this.rows[at + 3]!
    scratch.w2 = this.rows[at + 4]!
    scratch.w3 = this.rows[at + 5]!
    return hashFlow(SEED, this.rows[at + 1]!, 0, scratch, 0) & this.mask
  }

  private double(): void {
    const old = this.rows
    this.rows = new Int32Array(old.length * 2)
    this.mask = this.mask * 2 + 1
    for (let at = 0; at < old.length; at += ROW) {
      if (old[at] !== 0) this.place(old[at + 1]!, old[at + 2]!, old[at + 3]!, old[at + 4]!, old[at + 5]!, old[at]!)
    }
  }
}

/** Value + 1 (0 is an empty row), space, four words. */
const ROW = 6
const SEED = 0x51a7
const scratch: Words = { w0: 0, w1: 0, w2: 0, w3: 0 }
