import { assert, describe, it } from "@effect/vitest"
import { Arbitrary } from "effect"
import { ReplayWindow } from "../../src/wireguard/replayWindow.ts"
import { integer } from "../support/packetArbitraries.ts"

const windowSize = 8192

/** The obvious implementation: remembers everything. */
class NaiveWindow {
  private readonly seen = new Set<number>()
  private top = -1

  accept(counter: number): boolean {
    if (this.seen.has(counter) || counter <= this.top - windowSize) return false
    this.seen.add(counter)
    this.top = Math.max(this.top, counter)
    return true
  }
}

const accept = (window: ReplayWindow, counter: number): boolean => {
  if (!window.isFresh(counter)) return false
  window.mark(counter)
  return true
}

/** Distances around words, the window, and the ring of words; forwards and backwards. */
const jumps = [
  0, 1, 2, 31, 32, 33, 255, 8159, 8160, 8190, 8191, 8192, 8193, 8223, 8224, 8225, 16_351, 16_352, 16_353, 16_383,
  16_384, 16_448, 100_000
]

describe("the replay window", () => {
  it.prop(
    "decides like a set of everything seen, around all its edges",
    [Arbitrary.array(Arbitrary.all([integer(0, jumps.length - 1), integer(0, 1)]), { maxLength: 60 }), integer(0, 2)],
    ([steps, origin]) => {
      const window = new ReplayWindow()
      const naive = new NaiveWindow()
      let top = [0, 8_192, 2 ** 53 - 10_000_000][origin]!
      for (const [jump, back] of steps) {
        const counter = Math.max(0, back === 1 ? top - jumps[jump]! : top + jumps[jump]!)
        top = Math.max(top, counter)
        assert.strictEqual(accept(window, counter), naive.accept(counter), `counter ${counter}, top ${top}`)
      }
    },
    { arbitrary: { runs: 500 } }
  )

  it("holds exactly the last 8,192 counters", () => {
    const window = new ReplayWindow()
    assert.isTrue(accept(window, 100_000))

    assert.isTrue(accept(window, 100_000 - 8_191))
    assert.isFalse(accept(window, 100_000 - 8_192))
    assert.isFalse(accept(window, 100_000 - 8_191))
    assert.isTrue(accept(window, 100_001))
    assert.isFalse(window.isFresh(100_000 - 8_191))
  })

  it("accepts each of a long run once, in order and out of order", () => {
    const window = new ReplayWindow()
    for (let i = 0; i < 40_000; i += 2) assert.isTrue(accept(window, i + 1) && accept(window, i))
    for (let i = 40_000 - 8_192; i < 40_000; i++) assert.isFalse(window.isFresh(i))
  })

  it("forgets everything after a jump that ends in the word of its ring where it began", () => {
    for (let from = 0; from < 64; from++) {
      for (let jump = 16_352 - 33; jump <= 16_384 + 33; jump++) {
        const window = new ReplayWindow()
        for (let i = 0; i <= from; i++) window.mark(i)
        window.mark(from + jump)

        for (let i = 1; i < 64; i++) assert.isTrue(window.isFresh(from + jump - i), `${from} ${jump} ${i}`)
      }
    }
  })

  it("changes nothing by being asked", () => {
    const window = new ReplayWindow()
    window.isFresh(1_000_000)
    window.isFresh(5)

    assert.isTrue(accept(window, 5))
    assert.isTrue(accept(window, 0))
  })
})
