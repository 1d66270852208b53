import { assert, describe, it } from "@effect/vitest"
import { Arena } from "../../src/packet/arena.ts"

describe("Arena", () => {
  it("hands out aligned blocks that do not overlap, and never the first bytes", () => {
    const arena = new Arena(new ArrayBuffer(4096))
    const a = arena.reserve(10)
    const b = arena.reserve(1, 4)
    const c = arena.reserve(100, 1024)
    assert.isAtLeast(a, 64)
    assert.strictEqual(a % 64, 0)
    assert.isAtLeast(b, a + 10)
    assert.strictEqual(b % 4, 0)
    assert.isAtLeast(c, b + 1)
    assert.strictEqual(c % 1024, 0)
  })

  it("says how large it is when it is full, and stays usable", () => {
    const arena = new Arena(new ArrayBuffer(256))
    assert.throws(() => arena.reserve(1000), /arena of 256 bytes is full: 1000 more/)
    assert.strictEqual(arena.reserve(192), 64)
    assert.throws(() => arena.reserve(1), RangeError)
  })
})
