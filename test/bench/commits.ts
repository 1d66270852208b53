/**
 * The Sallyport of an old commit beside that of a new one, in turns: `npm run bench:commits -- --old REVISION`. Both are
 * built from git into the temporary directory (and removed again) and run under this Node; labs, loads and clocks are this
 * checkout's. Prints medians, the median of the turns' ratios, and where the true ratio lies in 95 of 100 cases.
 *
 *   --new REVISION  (HEAD)
 *   --starts N   (4)  both start anew: what a start happens to get in memory and compiled code stays with it
 *   --rounds N   (4)  turns after each start    --seconds N  (2)  --mtu N  (1420)  --only TEXT, as in `bench`
 *   --calm N     (10) waits up to N seconds before each measurement until nothing else runs
 *   --accept     new clients while DNS is a black hole, as in `bench:accept` (and with its options), 6 starts of each
 *   --json       ends with one line of JSON
 */
import process from "node:process"
import { NodeRuntime } from "@effect/platform-node"
import { Effect } from "effect"
import { Lab, LabError } from "../../src/lab/demo/Lab.ts"
import { inLab } from "../support/lab.ts"
import { acceptRun, acceptTitle } from "./support/acceptRun.ts"
import { buildCommit, type BuiltCommit, withProgram } from "./support/builtCommit.ts"
import { untilCalm } from "./support/calm.ts"
import { cases } from "./support/cases.ts"
import { measure, type Sample } from "./support/measure.ts"
import { startPair } from "./support/pairs.ts"
import { compare, isWithin, type Limit, sameShare, type Turn } from "./support/ratios.ts"
import { option, percentile, word } from "./support/report.ts"

const accept = process.argv.includes("--accept")
const starts = option("starts", accept ? 6 : 4)
const rounds = option("rounds", 4)
const seconds = option("seconds", 2)
const mtu = option("mtu", 1_420)
const calm = option("calm", 10)
/** As in `bench -- --quick`, and the pings for their slowest hundredth. */
const chosen = cases.filter(
  ({ name, quick, work }) => (quick || work.kind === "ping") && name.includes(word("only", ""))
)

interface Figure {
  readonly name: string
  readonly unit: string
  readonly bad: "low" | "high"
  readonly limit: Limit
}
/** What a run of one of the two gave. */
type Values = ReadonlyArray<readonly [figure: Figure, value: number]>
type Ends = readonly [old: BuiltCommit, new: BuiltCommit]

const say = (text: string): Effect.Effect<void> => Effect.sync(() => void process.stderr.write(`${text}\n`))

/** Turns of each figure by its name. */
const figures = new Map<string, { readonly figure: Figure; readonly turns: ReadonlyArray<Turn> }>()

/** Both one right after the other; which one begins changes from turn to turn. */
const takeTurn = Effect.fnUntraced(function* <E, R>(turn: number, run: (end: 0 | 1) => Effect.Effect<Values, E, R>) {
  const first = turn % 2 === 0 ? yield* run(0) : undefined
  const next = yield* run(1)
  const old = new Map((first ?? (yield* run(0))).map(([{ name, unit }, value]) => [`${name} ${unit}`, value]))
  for (const [figure, value] of next) {
    const key = `${figure.name} ${figure.unit}`
    const before = old.get(key)
    // Nothing was seen of it, or nothing to compare with.
    if (before === undefined || !Number.isFinite(value / before)) continue
    figures.set(key, { figure, turns: [...(figures.get(key)?.turns ?? []), [before, value]] })
  }
})

/** What is lost is missing in the throughput. */
const valuesOf = (name: string, { cpuPerGiB, mibps, times }: Sample): Values => {
  const sorted = times?.toSorted((a, b) => a - b)
  const values: ReadonlyArray<readonly [Omit<Figure, "name">, number | undefined]> = [
    [{ unit: "MiB/s", bad: "low", limit: "same" }, mibps],
    [{ unit: "CPU-s/GiB", bad: "high", limit: "same" }, cpuPerGiB],
    [{ unit: "ms, p50", bad: "high", limit: "none" }, sorted && percentile(sorted, 0.5)],
    [{ unit: "ms, p99", bad: "high", limit: "notWorse" }, sorted && percentile(sorted, 0.99)]
  ]
  return values.flatMap(([figure, value]) => (value === undefined ? [] : [[{ name, ...figure }, value]]))
}

const throughput = Effect.fnUntraced(function* (ends: Ends, start: number) {
  const startEnd = (end: 0 | 1) => startPair("sallyport", { mtu, program: ends[end].program })
  const first = start % 2 === 0 ? yield* startEnd(0) : undefined
  const next = yield* startEnd(1)
  const pairs = [first ?? (yield* startEnd(0)), next] as const
  // Their code is compiled while they are warmed up.
  for (const { work } of chosen) for (const pair of pairs) yield* measure(pair, work, seconds)
  for (let round = 0; round < rounds; round++) {
    yield* say(`start ${start + 1} of ${starts}, round ${round + 1} of ${rounds}`)
    for (const { name, work } of chosen) {
      yield* takeTurn(start + round, (end) =>
        Effect.andThen(
          untilCalm(calm),
          Effect.map(measure(pairs[end], work, seconds), (sample) => valuesOf(name, sample))
        )
      )
    }
  }
}, Effect.scoped)

const accepting = Effect.fnUntraced(function* (ends: Ends, start: number) {
  yield* takeTurn(start, (end) =>
    Effect.gen(function* () {
      yield* say(`start ${start + 1} of ${starts}: ${ends[end].commit}`)
      const measures = yield* Effect.updateService(acceptRun, Lab, (lab) => withProgram(lab, ends[end].program))
      return measures
        .filter(({ name, unit }) => unit.startsWith("ms") && !name.includes("generator"))
        .map(({ name, unit, value }) => {
          const limit: Limit = unit === "ms/client" ? "same" : name.endsWith("p99") ? "notWorse" : "none"
          return [{ name, unit, bad: "high", limit }, value] as const
        })
    }).pipe(inLab)
  )
})

const cell = (text: string | number): string => (typeof text === "number" ? text.toPrecision(4) : text).padStart(10)

const bench = Effect.gen(function* () {
  const revision = word("old", "")
  if (revision === "") return yield* new LabError({ message: "which commit? --old REVISION" })
  yield* say("building both")
  const ends: Ends = [yield* buildCommit(revision), yield* buildCommit(word("new", "HEAD"))]
  const [old, next] = ends
  for (let start = 0; start < starts; start++) yield* accept ? accepting(ends, start) : throughput(ends, start)
  const results = [...figures.values()].map(({ figure, turns }) => {
    const compared = compare(turns)
    return { ...figure, ...compared, met: isWithin(compared, figure.bad, figure.limit) }
  })
  const title = accept ? acceptTitle : `${starts} starts, ${rounds} rounds of ${seconds} s, MTU ${mtu}`
  const width = Math.max(...results.map(({ name, unit }) => name.length + unit.length)) + 2
  const lines = results.map(({ bad, from, limit, met, name, new: after, old: before, ratio, to, turns, unit }) => {
    const within = bad === "low" ? `≥ ${1 - sameShare}` : `≤ ${1 + sameShare}`
    const verdict = `${met ? "met" : "MISSED"} (${limit === "same" ? within : "not surely worse"})`
    const where = `${from.toFixed(3)}–${to.toFixed(3)}`.padStart(14)
    const cells = [before, after, ratio.toFixed(3)].map(cell).join("")
    return `${`${name}, ${unit}`.padEnd(width)}${cells}  ${where}${cell(String(turns))}  ${limit === "none" ? "" : verdict}`.trimEnd()
  })
  process.stdout.write(
    [
      `old: ${old.commit} ${old.subject}`,
      `new: ${next.commit} ${next.subject}`,
      `Node ${process.version}; ${title}; medians, ratio new to old`,
      `${"".padEnd(width)}${["old", "new", "ratio"].map(cell).join("")}  ${"95 of 100".padStart(14)}${cell("turns")}`,
      ...lines,
      ...(process.argv.includes("--json") ? [JSON.stringify({ old, new: next, title, figures: results })] : []),
      ""
    ].join("\n")
  )
  if (results.some(({ met }) => !met)) process.exitCode = 1
}).pipe(Effect.scoped)

NodeRuntime.runMain(bench)
