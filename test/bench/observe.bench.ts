/**
 * What event log and metrics cost: `npm run bench:observe`. One gateway under one load that goes on, with them and without
 * in turns of a few seconds: they are switched off while it runs (`unobserved.ts`), so that memory, compiled code, connections
 * and neighbours are the same ones in both. In the turns with them its metrics are read once a second, too; somebody follows
 * its log all the time. Of each pair of turns next to each other it takes the ratio, of what went through and of the
 * processor time of all of the gateway's threads for it, and prints the median of these and where the true one lies in 95 of
 * 100 cases.
 *
 * A long flow costs them nothing for its packets: what they do then, they do each second. So it takes the same turns of an
 * idle gateway, too, whose processor time next to nothing else disturbs, and tells what that comes to beside a full load:
 * this resolves a tenth of a percent where what goes through varies by several, as on a machine that others use.
 *
 * With `--control` the switch does nothing: what is told then is the error of the method, and must have 0 between its ends.
 *
 *   --starts N (1)  --rounds N (40) pairs of turns after each, 3 minutes of each load  --seconds N (2) of a turn
 *   --only TEXT  --control  --calm N (10) seconds that it waits for an idle machine  --json  --record FILE
 */
import { readFileSync, rmSync, writeFileSync } from "node:fs"
import process from "node:process"
import { fileURLToPath } from "node:url"
import { NodeRuntime } from "@effect/platform-node"
import { Effect, Fiber } from "effect"
import { untilCalm } from "./support/calm.ts"
import { cases } from "./support/cases.ts"
import { measure } from "./support/measure.ts"
import { type Pair, processorNanoseconds, startPair, unobservedFile } from "./support/pairs.ts"
import { compare, type Turn } from "./support/ratios.ts"
import { option, report, word } from "./support/report.ts"

const starts = option("starts", 1)
const rounds = option("rounds", 40)
const seconds = option("seconds", 2)
const calm = option("calm", 10)
const isControl = process.argv.includes("--control")
const mtu = 1_420
/** Until both threads have seen the switch, and what a turn left to do is done. */
const settleMs = 300
/** Until the load is under way and the code compiled; and what its end may be late. */
const warmSeconds = 5
/** Flows that are long, and flows that are told of. */
const chosen = cases.filter(({ name }) => /^(?:TCP 1 flow|connections)/.test(name) && name.includes(word("only", "")))
const preload = fileURLToPath(new URL("./support/unobserved.ts", import.meta.url))

const say = (text: string): Effect.Effect<void> => Effect.sync(() => void process.stderr.write(`${text}\n`))

interface Turns {
  /** Of each pair of turns, without and with: work in a second. */
  readonly rates: Array<Turn>
  /** Processor time for that in nanoseconds. */
  readonly times: Array<Turn>
}

const noTurns = (): Turns => ({ rates: [], times: [] })
const turns = new Map(chosen.map(({ name }) => [name, noTurns()]))
/** Its work is time: milliseconds. */
const idle = noTurns()

/** Until the scope closes. */
const followLog = Effect.fnUntraced(function* ({ lab }: Pair) {
  const follow = [...lab.program("sallyport"), "log", "--follow", "--socket", `${lab.directory}/gateway.sock`]
  yield* lab.spawn("gateway", ["sh", "-c", 'exec "$@" > /dev/null', "sh", ...follow])
})

/** Once a second, until the scope closes. */
const readMetrics = ({ lab }: Pair) =>
  lab.spawn("gateway", ["curl", "-s", "--rate", "1/s", "-o", "/dev/null", "http://localhost:9820/metrics#[1-999999]"])

/** What has gone through the gateway towards its LAN and back: bytes, or packets where flows are short. */
const through = (pid: number, what: "bytes" | "packets" | "time"): number => {
  if (what === "time") return performance.now()
  const line = /^ *inner: *(.*)$/m.exec(readFileSync(`/proc/${pid}/net/dev`, "utf8"))?.[1]
  if (line === undefined) throw new Error("the gateway has no device called inner")
  const [bytesIn, packetsIn, , , , , , , bytesOut, packetsOut] = line.split(/ +/).map(Number)
  return what === "bytes" ? bytesIn! + bytesOut! : packetsIn! + packetsOut!
}

const turn = Effect.fnUntraced(function* (pair: Pair, isObserved: boolean, what: Parameters<typeof through>[1]) {
  const pid = pair.gateway!
  const file = unobservedFile(pair.lab)
  if (isObserved || isControl) rmSync(file, { force: true })
  else writeFileSync(file, "")
  if (isObserved && !isControl) yield* readMetrics(pair)
  yield* Effect.sleep(settleMs)
  const [since, work, time] = [performance.now(), through(pid, what), processorNanoseconds(pid)]
  yield* Effect.sleep(seconds * 1_000)
  const done = through(pid, what) - work
  if (done === 0) return yield* Effect.die(new Error(`nothing got through: ${pair.name}`))
  return {
    rate: (done / (performance.now() - since)) * 1_000,
    time: (processorNanoseconds(pid) - time) / done
  }
}, Effect.scoped)

const takeTurns = Effect.fnUntraced(function* (pair: Pair, what: Parameters<typeof through>[1], into: Turns) {
  for (let round = 0; round < rounds; round++) {
    const first = yield* turn(pair, round % 2 === 0, what)
    const second = yield* turn(pair, round % 2 !== 0, what)
    const [old, observed] = round % 2 === 0 ? [second, first] : [first, second]
    into.rates.push([old.rate, observed.rate])
    into.times.push([old.time, observed.time])
  }
})

const start = Effect.fnUntraced(function* (number: number) {
  const pair = yield* startPair("sallyport", { mtu, preload })
  yield* followLog(pair)
  yield* untilCalm(calm)
  yield* say(`start ${number + 1} of ${starts}, idle`)
  yield* takeTurns(pair, "time", idle)
  for (const { name, work } of chosen) {
    const what = work.kind === "connect" ? "packets" : "bytes"
    yield* untilCalm(calm)
    yield* say(`start ${number + 1} of ${starts}, ${name}`)
    // It ends by itself, after the last turn.
    const load = yield* Effect.forkChild(
      measure(pair, work, Math.ceil(2 * rounds * (seconds + settleMs / 1_000 + 0.2)) + 2 * warmSeconds)
    )
    yield* Effect.sleep(warmSeconds * 1_000)
    yield* takeTurns(pair, what, turns.get(name)!)
    if (load.pollUnsafe() !== undefined) throw new Error(`the load was over before the last turn: ${name}`)
    yield* Fiber.interrupt(load)
  }
}, Effect.scoped)

const percent = (ratio: number): number => (ratio - 1) * 100

const bench = Effect.gen(function* () {
  for (let number = 0; number < starts; number++) yield* start(number)
  const still = compare(idle.times)
  const measures = [...turns].flatMap(([name, { rates, times }]) => {
    const [rate, time] = [compare(rates), compare(times)]
    /** Nanoseconds in a millisecond. */
    const busy = (time.old * rate.old) / 1_000
    const beside = compare(idle.times.map(([old, observed]) => [busy, busy + observed - old]))
    const [unit, perUnit, size] = name === "connections" ? ["packets/s", "ns/packet", 1] : ["MiB/s", "ms/GiB", 2 ** 20]
    return [
      { name: `${name}, without log and metrics`, value: rate.old / size, unit },
      { name: `${name}, less with them`, value: -percent(rate.ratio), unit: "%", target: 1 },
      { name: `${name}, less in 95 of 100 cases at least`, value: -percent(rate.to), unit: "%" },
      { name: `${name}, less in 95 of 100 cases at most`, value: -percent(rate.from), unit: "%" },
      {
        name: `${name}, processor time without them`,
        value: size === 1 ? time.old : (time.old * 2 ** 30) / 1e6,
        unit: perUnit
      },
      { name: `${name}, processor time more with them`, value: percent(time.ratio), unit: "%" },
      { name: `${name}, processor time more in 95 of 100 cases at least`, value: percent(time.from), unit: "%" },
      { name: `${name}, processor time more in 95 of 100 cases at most`, value: percent(time.to), unit: "%" },
      ...(size === 1
        ? []
        : [
            { name: `${name}, that of each second beside it`, value: percent(beside.ratio), unit: "%", target: 1 },
            { name: `${name}, that in 95 of 100 cases at least`, value: percent(beside.from), unit: "%" },
            { name: `${name}, that in 95 of 100 cases at most`, value: percent(beside.to), unit: "%", target: 1 }
          ])
    ]
  })
  const title = `${starts} starts, ${rounds} pairs of turns of ${seconds} s, MTU ${mtu}`
  report(isControl ? `control, nothing is switched: ${title}` : title, [
    { name: "idle, processor time without log and metrics", value: still.old / 1_000, unit: "ms/s" },
    { name: "idle, processor time with them", value: still.new / 1_000, unit: "ms/s" },
    ...measures
  ])
})

NodeRuntime.runMain(bench)
