/** What may be claimed of runs: of each figure the worst. */
import { Result } from "effect"
import { changed, type Figure, type RunRecord } from "./record.ts"

const fewestRuns = 5

/**
 * A table in Markdown for each thing that was measured; or one line why nothing can be claimed: fewer than five runs of
 * it, or runs that do not belong together.
 */
export const claims = (runs: ReadonlyArray<RunRecord>): Result.Result<string, string> => {
  for (const what of ["commit", "peer", "node", "machine"] as const) {
    const different = [...new Set(runs.flatMap((run) => run[what] ?? []))]
    if (different.length > 1) {
      return Result.fail(`runs of different kinds (${what}): ${different.join("; ")} — keep each in a file of its own`)
    }
  }
  const changes = runs.find(({ commit }) => commit.endsWith(changed))
  if (changes !== undefined) {
    return Result.fail(`runs of ${changes.commit}: nobody can repeat them — commit, then measure again`)
  }
  const byTitle = Map.groupBy(runs, ({ command, title }) => `${title}, \`${command}\``)
  if (byTitle.size === 0) return Result.fail(`no runs: make ${fewestRuns} with --record FILE`)
  for (const [title, of] of byTitle) {
    if (of.length < fewestRuns) {
      return Result.fail(`${of.length} of at least ${fewestRuns} runs of ${title}: measure more with --record`)
    }
  }
  const { commit, day, machine, node } = runs.at(-1)!
  const peer = runs.find((run) => run.peer !== null)?.peer
  return Result.succeed(
    [
      `${day}, commit ${commit}, Node ${node.slice(1)}${peer == null ? "" : `, ${peer}`}, ${machine}.`,
      ...Array.from(byTitle, ([title, of]) => `${title}, worst of ${of.length} runs:\n\n${table(of)}`)
    ].join("\n\n")
  )
}

const table = (runs: ReadonlyArray<RunRecord>): string => {
  const figures = Map.groupBy(
    runs.flatMap((run) => run.figures),
    ({ name, unit }) => `${name} | ${unit}`
  )
  return [
    "| figure | unit | worst | median | runs |",
    "| --- | --- | ---: | ---: | ---: |",
    ...Array.from(figures, ([key, of]) => {
      // From the worst to the best.
      const values = of.toSorted((a, b) => (a.bad === "low" ? a.value - b.value : b.value - a.value))
      // The worse of the two middle ones.
      const median = values[(values.length - 1) >> 1]!
      return `| ${key} | ${againstUs(values[0]!)} | ${againstUs(median)} | ${values.length} |`
    })
  ].join("\n")
}

/** Three digits, and what is left out never speaks for us. */
const againstUs = ({ bad, value }: Figure): string => {
  if (value === 0) return "0"
  const scale = 10 ** (2 - Math.floor(Math.log10(Math.abs(value))))
  // Without the last digits: 1.1 × 100 is more than 110.
  const scaled = Number((value * scale).toPrecision(12))
  return String(Number(((bad === "low" ? Math.floor(scaled) : Math.ceil(scaled)) / scale).toPrecision(12)))
}
