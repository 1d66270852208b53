import { inspect } from "node:util"
import { Random } from "./Random.ts"
import type { Story } from "./Story.ts"
import type { Target } from "./Target.ts"

/** What a story does to a fresh world: `undefined` when all is well, else the reason of the finding. */
export const replay = (target: Target, story: Story): string | undefined => {
  let best = Number.POSITIVE_INFINITY
  // The least of three: garbage collection and compilers have their say in one run, not in all.
  for (let runs = 0; runs < 3 && best > target.bound; runs++) {
    const outcome = tell(target, story)
    if (typeof outcome === "string") return outcome
    best = Math.min(best, outcome)
  }
  return best > target.bound ? `takes ${best.toFixed(0)} ms, allowed are ${target.bound}` : undefined
}

/** What is thrown, or the milliseconds of CPU that the worst input took. */
const tell = (target: Target, { inputs, seed }: Story): string | number => {
  let worst = 0
  try {
    const run = target.start(new Random(seed))
    for (const input of inputs) {
      const before = process.threadCpuUsage()
      run(input)
      const { system, user } = process.threadCpuUsage(before)
      worst = Math.max(worst, (system + user) / 1_000)
    }
  } catch (error) {
    return describeThrown(error)
  }
  return worst
}

/** Message and the place it comes from. */
export const describeThrown = (error: unknown): string =>
  error instanceof Error ? (error.stack ?? error.message).split("\n").slice(0, 3).join("\n") : `threw ${inspect(error)}`
