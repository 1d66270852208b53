import { assert, describe, it } from "@effect/vitest"
import { HeldSegments, longestHeld } from "../../src/nat/heldSegments.ts"

const most = 256
const bytes = new Uint8Array(longestHeld + 1)

/** What each segment that is held is made of. */
const taken = (held: HeldSegments, row: number, now = 0): ReadonlyArray<number> => {
  const into = new Uint8Array(longestHeld + 8)
  return Array.from(into.subarray(8, 8 + held.take(row, into, 8, now)))
}

describe("segments that wait for what their client says", () => {
  it("are one of each flow, the last one, and are handed out once", () => {
    const held = new HeldSegments()
    held.put(0, 1, Uint8Array.of(9, 1, 2, 3, 9), 1, 3, 0)
    held.put(7, 1, Uint8Array.of(4, 5), 0, 2, 0)
    held.put(0, 1, Uint8Array.of(6), 0, 1, 0)
    assert.deepStrictEqual([taken(held, 0), taken(held, 0), taken(held, 7), taken(held, 8)], [[6], [], [4, 5], []])
  })

  it("wait for two seconds", () => {
    const held = new HeldSegments()
    for (const row of [1, 2]) held.put(row, 1, Uint8Array.of(row), 0, 1, 1_000)
    assert.deepStrictEqual([taken(held, 1, 2_999), taken(held, 2, 3_000)], [[1], []])
  })

  it("are the latest 256, none of them longer than 2,048 bytes", () => {
    const held = new HeldSegments()
    for (let row = 0; row <= most; row++) held.put(row, 1, Uint8Array.of(row & 255, 8), 0, 2, 0)
    assert.deepStrictEqual([taken(held, 0), taken(held, 1), taken(held, most)], [[], [1, 8], [0, 8]])
    held.put(2, 1, bytes, 0, longestHeld, 0)
    assert.lengthOf(taken(held, 2), longestHeld)
    // Nor is the one before, which is not the last one any more.
    held.put(3, 1, bytes, 0, longestHeld + 1, 0)
    assert.lengthOf(taken(held, 3), 0)
  })

  it("are forgotten with their client", () => {
    const held = new HeldSegments()
    for (const row of [0, 1, 2]) held.put(row, row, Uint8Array.of(row), 0, 1, 0)
    held.forgetClient(1)
    assert.deepStrictEqual(
      [0, 1, 2].map((row) => taken(held, row)),
      [[0], [], [2]]
    )
  })
})
