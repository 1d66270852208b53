import { turnBounds } from "../dataplane/counters.ts"

export interface HistogramState {
  /** Upper end in seconds, and how many were at most so long. */
  readonly buckets: ReadonlyArray<[number, number]>
  readonly count: number
  readonly min: number
  readonly max: number
  readonly sum: number
}

/** The turns of the packet worker, from its counters. The shortest and the longest one are known to a bucket only. */
export const turnHistogram = (counters: Readonly<Record<string, number>>): HistogramState => {
  const buckets: Array<[number, number]> = []
  let count = 0
  let min = 0
  let max = 0
  for (const [i, bound] of turnBounds.entries()) {
    const here = counters[`turn.up_to_${bound}_us`] ?? 0
    if (here > 0) {
      if (count === 0) min = (turnBounds[i - 1] ?? 0) / 1e6
      max = bound / 1e6
    }
    count += here
    buckets.push([bound / 1e6, count])
  }
  const longer = counters["turn.longer"] ?? 0
  if (longer > 0) max = turnBounds.at(-1)! / 1e6
  return { buckets, count: count + longer, min, max, sum: (counters["turn.us"] ?? 0) / 1e6 }
}
