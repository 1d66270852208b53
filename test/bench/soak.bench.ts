/**
 * Full speed for a long time while connections come and go: `npm run bench:soak`. One line every ten seconds; it fails when
 * the gateway's memory grew from the middle third of the time to the last one. Options: `--minutes` (10), `--mtu` (1420).
 */
import { readFileSync } from "node:fs"
import process from "node:process"
import { NodeRuntime } from "@effect/platform-node"
import { Effect, Fiber } from "effect"
import { mainThread, measure } from "./support/measure.ts"
import { startPair } from "./support/pairs.ts"
import { record } from "./support/record.ts"
import { option } from "./support/report.ts"

const minutes = option("minutes", 10)
const mtu = option("mtu", 1_420)
const sampleSeconds = 10
/** Garbage that waits for its collection comes and goes by as much. */
const allowedGrowth = 1.05
const allowedMiB = 4
const width = 15

const print = (text: string): Effect.Effect<void> => Effect.sync(() => void process.stdout.write(`${text}\n`))

/** Resident memory of a process, in MiB. */
const resident = (pid: number): number =>
  Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))![1]) / 1_024

const soak = Effect.gen(function* () {
  const pair = yield* startPair("sallyport", { mtu })
  const gateway = pair.gateway!
  const seconds = minutes * 60
  const began = performance.now()
  let moved = 0
  let connections = 0
  const transfers = Effect.gen(function* () {
    for (let n = 0; ; n++) {
      const length = 5
      const direction = n % 2 === 0 ? "up" : "down"
      const sample = yield* measure(pair, { kind: "tcp", direction, flows: n % 4 < 2 ? 1 : 16 }, length)
      moved += (sample.mibps ?? 0) * length
    }
  })
  const churn = Effect.gen(function* () {
    for (;;) {
      const sample = yield* measure(pair, { kind: "connect" }, 5)
      connections += (sample.connectionsPerSecond ?? 0) * 5
    }
  })
  const load = yield* Effect.forkChild(Effect.all([transfers, churn], { concurrency: 2 }))
  const rss: Array<number> = []
  const titles = ["seconds", "resident MiB", "main heap", "MiB/s", "connections/s", "client's MiB"]
  yield* print(titles.map((title) => title.padStart(width)).join(""))
  let before = { at: began, moved: 0, connections: 0 }
  while (performance.now() - began < seconds * 1_000) {
    yield* Effect.sleep(sampleSeconds * 1_000)
    if (Fiber.isFiber(load) && load.pollUnsafe() !== undefined) yield* Fiber.join(load)
    const at = performance.now()
    const took = (at - before.at) / 1_000
    const { heapMiB } = yield* mainThread(pair)
    rss.push(resident(gateway))
    const cells = [
      (at - began) / 1_000,
      rss.at(-1)!,
      heapMiB,
      (moved - before.moved) / took,
      (connections - before.connections) / took,
      resident(pair.client!)
    ]
    yield* print(cells.map((value) => value.toFixed(1).padStart(width)).join(""))
    before = { at, moved, connections }
  }
  yield* Fiber.interrupt(load)
  const third = Math.floor(rss.length / 3)
  const middle = Math.max(...rss.slice(third, 2 * third))
  const last = Math.max(...rss.slice(2 * third))
  const flat = last <= middle * allowedGrowth + allowedMiB
  yield* print(
    `${(moved / 1_024).toFixed(1)} GiB and ${Math.round(connections)} connections in ${minutes} minutes; resident memory of the gateway at most ${middle.toFixed(1)} MiB in the middle third, ${last.toFixed(1)} MiB in the last: ${flat ? "flat" : "GROWING"}`
  )
  record(`${minutes} minutes of TCP and new connections, MTU ${mtu}`, null, [
    { name: "resident memory, middle third", unit: "MiB", value: middle, bad: "high" },
    { name: "resident memory, last third", unit: "MiB", value: last, bad: "high" }
  ])
  if (!flat || moved === 0 || connections === 0) process.exitCode = 1
}).pipe(Effect.scoped)

NodeRuntime.runMain(soak)
