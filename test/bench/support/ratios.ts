/** Two that were measured in turns: how one compares with the other, and how sure that is. */
import { middle } from "./report.ts"

/** What one turn gave: each of the two, one right after the other. */
export type Turn = readonly [old: number, new: number]

export interface Comparison {
  /** Medians. */
  readonly old: number
  readonly new: number
  /** Median of the turns' ratios, new to old: the machine's own speed changes from turn to turn. */
  readonly ratio: number
  /** Where the true ratio lies in 95 of 100 cases; the extremes where there are too few turns to tell. */
  readonly from: number
  readonly to: number
  readonly turns: number
}

/** `same`: the ratio is within 3 % on the bad side; `notWorse`: it is not surely worse; `none`: nothing is asked. */
export type Limit = "same" | "notWorse" | "none"

export const sameShare = 0.03

const sorted = (numbers: ReadonlyArray<number>): ReadonlyArray<number> => numbers.toSorted((a, b) => a - b)

/** At least one turn. */
export const compare = (turns: ReadonlyArray<Turn>): Comparison => {
  const ratios = sorted(turns.map(([old, next]) => next / old))
  const tail = outside(turns.length)
  return {
    old: middle(sorted(turns.map(([old]) => old)))!,
    new: middle(sorted(turns.map(([, next]) => next)))!,
    ratio: middle(ratios)!,
    from: ratios[tail]!,
    to: ratios[ratios.length - 1 - tail]!,
    turns: turns.length
  }
}

/** How many of `n` sorted values may lie outside at each end, so that the true median is inside in 95 of 100 cases. */
const outside = (n: number): number => {
  // Each value is below the true median by the toss of a coin: chance that at most `tail` of them are.
  let chance = 0.5 ** n
  let atMost = chance
  let tail = 0
  for (;;) {
    chance *= (n - tail) / (tail + 1)
    atMost += chance
    if (2 * atMost > 0.05) return tail
    tail++
  }
}

/** `bad`: the side of the figure that is worse. */
export const isWithin = ({ from, ratio, to }: Comparison, bad: "low" | "high", limit: Limit): boolean => {
  if (limit === "none") return true
  if (limit === "same") return bad === "low" ? ratio >= 1 - sameShare : ratio <= 1 + sameShare
  return bad === "low" ? to >= 1 : from <= 1
}
