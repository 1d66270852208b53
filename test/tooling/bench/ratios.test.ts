import { assert, describe, it } from "@effect/vitest"
import { compare, isWithin, type Turn } from "../../bench/support/ratios.ts"

const turnsOf = (ratios: ReadonlyArray<number>, speed: (turn: number) => number = () => 100): ReadonlyArray<Turn> =>
  ratios.map((ratio, turn) => [speed(turn), speed(turn) * ratio])
const upTo = (n: number): ReadonlyArray<number> => Array.from({ length: n }, (_, i) => i + 1)

/** Chance that the true median is not between the values at these places of `n` sorted ones. */
const chanceOutside = (n: number, tail: number): number => {
  let below = 0
  for (let heads = 0, ways = 1; heads <= tail; ways = (ways * (n - heads)) / (heads + 1), heads++) below += ways
  return (2 * below) / 2 ** n
}

describe("the comparison of turns", () => {
  it("takes the ratio within each turn, whatever the machine does meanwhile", () => {
    const { ratio, from, to } = compare(turnsOf([0.98, 1, 1.02], (turn) => 100 * 10 ** turn))

    assert.approximately(ratio, 1, 1e-9)
    assert.approximately(from, 0.98, 1e-9)
    assert.approximately(to, 1.02, 1e-9)
  })

  it("has medians of both", () => {
    const compared = compare([
      [1, 10],
      [2, 40],
      [9, 30],
      [4, 20]
    ])

    assert.strictEqual(compared.old, 3)
    assert.strictEqual(compared.new, 25)
    assert.strictEqual(compared.turns, 4)
  })

  it("says where the true ratio lies in 95 of 100 cases, as narrowly as the turns allow", () => {
    for (let n = 6; n <= 60; n++) {
      const { from, to } = compare(turnsOf(upTo(n)))
      const tail = Math.round(from) - 1

      assert.strictEqual(Math.round(to), n - tail)
      assert.isAtMost(chanceOutside(n, tail), 0.05)
      assert.isAbove(chanceOutside(n, tail + 1), 0.05)
    }
  })

  it("shows the extremes of too few turns to tell", () => {
    for (let n = 1; n < 6; n++) {
      const { from, to } = compare(turnsOf(upTo(n)))

      assert.approximately(from, 1, 1e-9)
      assert.approximately(to, n, 1e-9)
    }
  })
})

describe("the verdict", () => {
  const around = (ratio: number) => compare(turnsOf([ratio - 0.02, ratio, ratio + 0.02]))

  it("lets throughput fall and cost grow by three in a hundred, and either improve", () => {
    for (const ratio of [0.971, 1, 2]) assert.isTrue(isWithin(around(ratio), "low", "same"), String(ratio))
    for (const ratio of [0.5, 1, 1.029]) assert.isTrue(isWithin(around(ratio), "high", "same"), String(ratio))
    assert.isFalse(isWithin(around(0.969), "low", "same"))
    assert.isFalse(isWithin(around(1.031), "high", "same"))
  })

  it("takes a latency for worse only where it surely is", () => {
    assert.isTrue(isWithin(around(1.019), "high", "notWorse"))
    assert.isFalse(isWithin(around(1.021), "high", "notWorse"))
    assert.isTrue(isWithin(around(0.981), "low", "notWorse"))
    assert.isFalse(isWithin(around(0.979), "low", "notWorse"))
  })

  it("asks nothing of a figure without limit", () => {
    assert.isTrue(isWithin(around(9), "high", "none"))
  })
})
