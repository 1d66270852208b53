import type { Words } from "../packet/address.ts"
import { hashFlow } from "./hashIndex.ts"

/**
 * Rows keyed by (mapping, key, address) in fixed memory: sets of four rows, and a full set gives up its least
 * recently touched row. What a row means is its owner's; the columns' names below are `ReplyEvidence`'s.
 */
export class EvidenceTable {
  /** `TIMES` numbers per row, see the offsets below. */
  readonly times = new Float64Array(ROWS * TIMES)
  private readonly keys = new Int32Array(ROWS * KEYS)

  /** −1 when absent. */
  find(mapping: number, key: number, a: Readonly<Words>): number {
    const { keys } = this
    const first = setOf(mapping, key, a)
    for (let row = first; row < first + WAYS; row++) {
      const at = row * KEYS
      if (
        keys[at] === mapping + 1 &&
        keys[at + 1] === key &&
        keys[at + 5] === a.w3 &&
        keys[at + 4] === a.w2 &&
        keys[at + 3] === a.w1 &&
        keys[at + 2] === a.w0
      ) {
        return row
      }
    }
    return -1
  }

  /** Every row that is in use. */
  each(visit: (row: number, mapping: number, key: number, address: Words) => void): void {
    const { keys } = this
    for (let row = 0, at = 0; row < ROWS; row++, at += KEYS) {
      if (keys[at] === 0) continue
      const address = { w0: keys[at + 2]!, w1: keys[at + 3]!, w2: keys[at + 4]!, w3: keys[at + 5]! }
      visit(row, keys[at]! - 1, keys[at + 1]!, address)
    }
  }

  /** Finds the row or makes it, blank. */
  take(mapping: number, key: number, a: Readonly<Words>, now: number): number {
    const { keys, times } = this
    const known = this.find(mapping, key, a)
    if (known >= 0) {
      times[known * TIMES + TOUCHED] = now
      return known
    }
    const first = setOf(mapping, key, a)
    let row = first
    for (let r = first; r < first + WAYS; r++) {
      if (keys[r * KEYS] === 0) {
        row = r
        break
      }
      if (times[r * TIMES + TOUCHED]! < times[row * TIMES + TOUCHED]!) row = r
    }
    const at = row * KEYS
    keys[at] = mapping + 1
    keys[at + 1] = key
    keys[at + 2] = a.w0
    keys[at + 3] = a.w1
    keys[at + 4] = a.w2
    keys[at + 5] = a.w3
    times[row * TIMES + WAITING] = -1
    times[row * TIMES + REPLIED] = -1
    times[row * TIMES + BACKOFF] = 0
    times[row * TIMES + RETRY_AT] = 0
    times[row * TIMES + TOUCHED] = now
    return row
  }
}

export const TIMES = 5
/** When the first session without a reply began; −1 when nothing waits. */
export const WAITING = 0
/** The last reply; −1 when there was none. */
export const REPLIED = 1
/** 0 while the address is in the rotation. */
export const BACKOFF = 2
export const RETRY_AT = 3
export const TOUCHED = 4

const WAYS = 4
const ROWS = 128
const KEYS = 6

const setOf = (mapping: number, key: number, a: Readonly<Words>): number =>
  (hashFlow(0x77, mapping, key, a, 0) & (ROWS / WAYS - 1)) * WAYS
