/**
 * Preloaded (`--import`) by a gateway under load: measures how late its main thread's event loop comes round. With each
 * SIGUSR2 it writes how late since the last one, in milliseconds, and the size of its heap to the file that `SALLYPORT_BENCH_DELAYS` names.
 */
import { writeFileSync } from "node:fs"
import { monitorEventLoopDelay } from "node:perf_hooks"
import process from "node:process"
import { isMainThread } from "node:worker_threads"

/** Between two looks; what is measured is the whole interval. */
const resolutionMs = 5
const file = process.env["SALLYPORT_BENCH_DELAYS"]

if (isMainThread && file !== undefined) {
  const delays = monitorEventLoopDelay({ resolution: resolutionMs })
  delays.enable()
  const late = (nanoseconds: number): number => Math.max(0, nanoseconds / 1e6 - resolutionMs)
  process.on("SIGUSR2", () => {
    const heapMiB = process.memoryUsage().heapUsed / 1_048_576
    writeFileSync(file, JSON.stringify({ p99: late(delays.percentile(99)), heapMiB }))
    delays.reset()
  })
}
