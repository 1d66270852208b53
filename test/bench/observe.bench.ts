/**
 * What event log and metrics cost: `npm run bench:observe`. Two gateways of this checkout, one without them, take turns at
 * the same loads; both start anew a few times, as what a start happens to get in memory and compiled code stays with it. The
 * one with them has somebody who follows its log, and in its turns its metrics are read once a second. Prints medians, the
 * median of the turns' ratios, and where the true ratio lies in 95 of 100 cases: of what goes through, and of the processor
 * time of the gateway for it.
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
import { type Pair, processorTime, startPair } from "./support/pairs.ts"
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

/** By case: what each turn without, and with, let through, and its processor time for that. */
const turns = new Map(chosen.map(({ name }) => [name, { rates: new Array<Turn>(), times: new Array<Turn>() }]))

/** Until the scope closes. */
const followLog = Effect.fnUntraced(function* ({ lab }: Pair) {
  const follow = [...lab.program("sallyport"), "log", "--follow", "--socket", `${lab.directory}/gateway.sock`]
  yield* lab.spawn("gateway", ["sh", "-c", 'exec "$@" > /dev/null', "sh", ...follow])
})

/** Once a second, until the scope closes. */
const readMetrics = ({ lab }: Pair) =>
  lab.spawn("gateway", ["curl", "-s", "--rate", "1/s", "-o", "/dev/null", "http://localhost:9820/metrics#[1-999999]"])

const start = Effect.fnUntraced(function* (number: number) {
  const without = yield* startPair("sallyport", { mtu, preload })
  const pairs = [without, yield* startPair("sallyport", { mtu })] as const
  yield* followLog(pairs[1])
  const turn = Effect.fnUntraced(function* (pair: Pair, work: (typeof chosen)[number]["work"]) {
    yield* untilCalm(calm)
    if (pair !== without) yield* readMetrics(pair)
    const before = processorTime(pair.gateway)
    const { connectionsPerSecond, mibps } = yield* measure(pair, work, seconds)
    const after = processorTime(pair.gateway)
    const rate = mibps ?? connectionsPerSecond ?? 0
    if (rate === 0) throw new Error(`nothing got through: ${pair.name}, ${work.kind}`)
    return { rate, time: (after.user + after.system - before.user - before.system) / (rate * seconds) }
  }, Effect.scoped)
  // Their code is compiled while they are warmed up.
  for (const { work } of chosen) for (const pair of pairs) yield* measure(pair, work, seconds)
  for (let round = 0; round < rounds; round++) {
    yield* say(`start ${number + 1} of ${starts}, round ${round + 1} of ${rounds}`)
    for (const { name, work } of chosen) {
      const [first, second] = round % 2 === 0 ? pairs : pairs.toReversed()
      const taken = [yield* turn(first, work), yield* turn(second, work)] as const
      const [old, observed] = first === without ? taken : ([taken[1], taken[0]] as const)
      const { rates, times } = turns.get(name)!
      rates.push([old.rate, observed.rate])
      times.push([old.time, observed.time])
    }
  }
}, Effect.scoped)

const cost = (ratio: number): number => (1 - ratio) * 100

const bench = Effect.gen(function* () {
  for (let number = 0; number < starts; number++) yield* start(number)
  const measures = [...turns].flatMap(([name, { rates, times }]) => {
    const { from, new: observed, old: unobserved, ratio, to } = compare(rates)
    const time = compare(times)
    const unit = name === "connections" ? "1/s" : "MiB/s"
    return [
      { name: `${name}, without log and metrics`, value: unobserved, unit },
      { name: `${name}, with them`, value: observed, unit },
      { name: `${name}, cost`, value: cost(ratio), unit: "%", target: 1 },
      { name: `${name}, cost in 95 of 100 cases at least`, value: cost(to), unit: "%" },
      { name: `${name}, cost in 95 of 100 cases at most`, value: cost(from), unit: "%" },
      { name: `${name}, processor time more`, value: -cost(time.ratio), unit: "%" },
      { name: `${name}, processor time more in 95 of 100 cases at least`, value: -cost(time.from), unit: "%" },
      { name: `${name}, processor time more in 95 of 100 cases at most`, value: -cost(time.to), unit: "%" }
    ]
  })
  report(`${starts} starts, ${rounds} rounds of ${seconds} s, MTU ${mtu}`, measures)
})

NodeRuntime.runMain(bench)
