/**
 * What event log and metrics cost: `npm run bench:observe`. Two gateways of this checkout, one without them, take turns at
 * the same loads; both start anew a few times, as what a start happens to get in memory and compiled code stays with it.
 * Prints medians, the median of the turns' ratios, and where the true ratio lies in 95 of 100 cases.
 *
 *   --starts N (3)  --rounds N (6) turns after each start  --seconds N (2)  --only TEXT  --calm N (10), as in `bench`
 *   --json
 */
import process from "node:process"
import { fileURLToPath } from "node:url"
import { NodeRuntime } from "@effect/platform-node"
import { Effect } from "effect"
import { untilCalm } from "./support/calm.ts"
import { cases } from "./support/cases.ts"
import { measure } from "./support/measure.ts"
import { startPair } from "./support/pairs.ts"
import { compare, type Turn } from "./support/ratios.ts"
import { option, report, word } from "./support/report.ts"

const starts = option("starts", 3)
const rounds = option("rounds", 6)
const seconds = option("seconds", 2)
const calm = option("calm", 10)
const mtu = 1_420
/** Flows that are long, and flows that are told of. */
const chosen = cases.filter(({ name }) => /^(?:TCP 1 flow|connections)/.test(name) && name.includes(word("only", "")))
const preload = fileURLToPath(new URL("./support/unobserved.ts", import.meta.url))

const say = (text: string): Effect.Effect<void> => Effect.sync(() => void process.stderr.write(`${text}\n`))

/** By case: each turn without, and with. */
const turns = new Map(chosen.map(({ name }) => [name, new Array<Turn>()]))

const start = Effect.fnUntraced(function* (number: number) {
  const without = yield* startPair("sallyport", { mtu, preload })
  const pairs = [without, yield* startPair("sallyport", { mtu })] as const
  const rate = Effect.fnUntraced(function* (pair: (typeof pairs)[number], work: (typeof chosen)[number]["work"]) {
    yield* untilCalm(calm)
    const { connectionsPerSecond, mibps } = yield* measure(pair, work, seconds)
    return mibps ?? connectionsPerSecond ?? 0
  })
  // Their code is compiled while they are warmed up.
  for (const { work } of chosen) for (const pair of pairs) yield* measure(pair, work, seconds)
  for (let round = 0; round < rounds; round++) {
    yield* say(`start ${number + 1} of ${starts}, round ${round + 1} of ${rounds}`)
    for (const { name, work } of chosen) {
      const [first, second] = round % 2 === 0 ? pairs : pairs.toReversed()
      const one = yield* rate(first, work)
      const other = yield* rate(second, work)
      turns.get(name)!.push(first === without ? [one, other] : [other, one])
    }
  }
}, Effect.scoped)

const cost = (ratio: number): number => (1 - ratio) * 100

const bench = Effect.gen(function* () {
  for (let number = 0; number < starts; number++) yield* start(number)
  const measures = [...turns].flatMap(([name, taken]) => {
    const { from, new: observed, old: unobserved, ratio, to } = compare(taken)
    const unit = name === "connections" ? "1/s" : "MiB/s"
    return [
      { name: `${name}, without log and metrics`, value: unobserved, unit },
      { name: `${name}, with them`, value: observed, unit },
      { name: `${name}, cost`, value: cost(ratio), unit: "%", target: 1 },
      { name: `${name}, cost in 95 of 100 cases at least`, value: cost(to), unit: "%" },
      { name: `${name}, cost in 95 of 100 cases at most`, value: cost(from), unit: "%" }
    ]
  })
  report(`${starts} starts, ${rounds} rounds of ${seconds} s, MTU ${mtu}`, measures)
})

NodeRuntime.runMain(bench)
