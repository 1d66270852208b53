/**
 * How fast packets go through a gateway, beside wireguard-go: `npm run bench`. Each pair of client and gateway has a lab
 * of its own; within a round all of them run each case, one after the other.
 *
 *   --quick        TCP 1 flow both ways and UDP 600 Mbit/s, 3 rounds of 2 s, one MTU
 *   --rounds N     (5)      --seconds N  (3)      --mtu 1280,1420
 *   --only TEXT    cases whose name contains it   --pairs sallyport,peer
 *   --calm N       waits up to N seconds (10) before each measurement until nothing else runs
 *   --prof         profiles the gateway's threads and prints where their time goes
 *   --json         ends with one line of JSON
 *   --record FILE  appends the figures to the file, for `npm run bench:claims`
 *
 * Needs root, iperf3, curl, ping, nft, wg; and wireguard-go: `WIREGUARD_GO=path`, else built by Go, else the path's.
 */
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import process from "node:process"
import { NodeRuntime } from "@effect/platform-node"
import { Effect } from "effect"
import { untilCalm } from "./support/calm.ts"
import { type Case, cases } from "./support/cases.ts"
import { checkIntegrity, measure, type Sample } from "./support/measure.ts"
import { type PairName, pairNames, pairTitles, startPair } from "./support/pairs.ts"
import { hottest } from "./support/profile.ts"
import { record } from "./support/record.ts"
import { option, word } from "./support/report.ts"
import { document, figures, type Measured, type Row, summarize, table } from "./support/table.ts"
import { findWireguardGo, peerTitle, type WireguardBinary } from "./support/wireguardBinary.ts"

const flag = (name: string): boolean => process.argv.includes(`--${name}`)

const quick = flag("quick")
const rounds = option("rounds", quick ? 3 : 5)
const seconds = option("seconds", quick ? 2 : 3)
const calm = option("calm", 10)
const mtus = word("mtu", quick ? "1420" : "1420,1280")
  .split(",")
  .map(Number)
const only = word("only", "")
const wanted = word("pairs", quick ? "floor,sallyport,mixed,peer" : pairNames.join(",")).split(",")
const pairs = pairNames.filter((name) => wanted.includes(name))
const chosen = cases.filter((c) => (quick ? c.quick : true) && c.name.includes(only))
const integrityBytes = quick ? 20_000_000 : 50_000_000

/** Seconds, roughly: what a measurement needs beside its own time, and a lab to come up. */
const perMeasurement = 1.2
const perLab = 12
const perPing = 2
const estimate =
  mtus.length *
  (pairs.length * perLab +
    rounds *
      chosen.reduce((sum, c) => {
        const own = c.work.kind === "ping" ? seconds + perPing : seconds
        return sum + c.pairs.filter((pair) => pairs.includes(pair)).length * (own + perMeasurement)
      }, 0))

let measurements = 0
let disturbed = 0

const say = (text: string): Effect.Effect<void> => Effect.sync(() => void process.stderr.write(`${text}\n`))
const print = (text: string): Effect.Effect<void> => Effect.sync(() => void process.stdout.write(`${text}\n`))

/** All rounds at one MTU, with labs of their own. */
const runAt = Effect.fnUntraced(function* (mtu: number, wireguard: WireguardBinary, profile: string | null) {
  const started = yield* Effect.forEach(
    pairs.filter((name) => chosen.some((c) => c.pairs.includes(name))),
    (name) => startPair(name, { mtu, wireguard, profile })
  )
  const problems: Array<string> = []
  for (const pair of started) {
    const problem = yield* checkIntegrity(pair, integrityBytes)
    if (problem !== null) problems.push(`${pairTitles[pair.name]}, MTU ${mtu}: ${problem}`)
  }
  // All rounds' pings are taken together: a median of rounds leaves out what is compiled in the first one, they would not.
  for (const c of chosen.filter(({ work }) => work.kind === "ping")) {
    for (const pair of started) if (c.pairs.includes(pair.name)) yield* measure(pair, c.work, 4)
  }
  const samples = new Map<Case, Partial<Record<PairName, Array<Sample>>>>()
  for (let round = 0; round < rounds; round++) {
    yield* say(`MTU ${mtu}, round ${round + 1} of ${rounds}`)
    for (const c of chosen) {
      const collected = samples.get(c) ?? {}
      samples.set(c, collected)
      const line: Array<string> = []
      for (let i = 0; i < started.length; i++) {
        // Another one begins each round.
        const pair = started[(i + round) % started.length]!
        if (!c.pairs.includes(pair.name)) continue
        if (!(yield* untilCalm(calm))) disturbed++
        measurements++
        const sample = yield* measure(pair, c.work, seconds)
        ;(collected[pair.name] ??= []).push(sample)
        line.push(
          `${pair.name} ${Math.round(sample.connectionsPerSecond ?? sample.mibps ?? sample.times?.length ?? 0)}`
        )
      }
      yield* say(`  ${c.name}: ${line.join(", ")}`)
    }
  }
  return { measured: chosen.map((c): Measured => ({ case: c, mtu, samples: inOrder(samples.get(c) ?? {}) })), problems }
}, Effect.scoped)

const inOrder = (samples: Partial<Record<PairName, Array<Sample>>>): Measured["samples"] =>
  Object.fromEntries(pairNames.flatMap((name) => (samples[name] === undefined ? [] : [[name, samples[name]]])))

const profileDirectory = Effect.acquireRelease(
  Effect.sync(() => (flag("prof") ? mkdtempSync(join(tmpdir(), "sallyport-bench-profile-")) : null)),
  (path) => Effect.sync(() => path !== null && rmSync(path, { recursive: true, force: true }))
)

const bench = Effect.gen(function* () {
  const wireguard = yield* findWireguardGo
  const peer = peerTitle(wireguard)
  yield* say(`${peer}, ${wireguard.offloads ? "with" : "WITHOUT"} offloads, sha256 ${wireguard.sha256}`)
  if (wireguard.warning !== null) yield* say(`warning: ${wireguard.warning}`)
  yield* say(`takes about ${Math.ceil(estimate / 60)} minutes, longer on a machine that is not idle`)
  const profile = yield* profileDirectory
  const rows: Array<Row> = []
  const problems: Array<string> = []
  for (const mtu of mtus) {
    const result = yield* runAt(mtu, wireguard, profile)
    rows.push(...result.measured.map((m) => summarize(m, wireguard.offloads)))
    problems.push(...result.problems)
  }
  const title = `${rounds} rounds of ${seconds} s, medians`
  record(title, peer, figures(rows))
  yield* print(`${title}; ${peer}`)
  if (wireguard.warning !== null) yield* print(`warning: ${wireguard.warning}`)
  yield* print(table(rows))
  yield* print(
    problems.length === 0 ? `${integrityBytes} bytes each way through every pair: all right` : problems.join("\n")
  )
  if (calm > 0 && disturbed > 0) {
    yield* print(`${disturbed} of ${measurements} measurements began while something else was running`)
  }
  if (!wireguard.offloads) yield* print("no ratios: this wireguard-go has no offloads")
  if (profile !== null) yield* print(hottest(profile))
  if (flag("json")) yield* print(document(rows, wireguard))
  if (problems.length > 0) process.exitCode = 1
}).pipe(Effect.scoped)

NodeRuntime.runMain(bench)
