import * as crypto from "node:crypto"

/** What is made at a time: a call for each few bytes costs more than they do. */
const pool = new Uint8Array(8_192)
let used = pool.length

/** Unpredictable bytes that nobody else gets: a view that is valid until the next call. At most 256. */
export const randomBytes = (count: number): Uint8Array => {
  if (used + count > pool.length) {
    crypto.randomFillSync(pool)
    used = 0
  }
  used += count
  return pool.subarray(used - count, used)
}
