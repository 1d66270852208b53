/**
 * Preloaded (`--import`) by a gateway under load: measures how late its main thread's event loop comes round. A SIGUSR2
 * begins it and the next one ends it (looking costs 200 wake-ups a second, which pings on a quiet host would feel); both
 * write to the file that `SALLYPORT_BENCH_DELAYS` names how late in between, in milliseconds, and the size of the heap.
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
  let watching = false
  const late = (nanoseconds: number): number => Math.max(0, nanoseconds / 1e6 - resolutionMs)
  process.on("SIGUSR2", () => {
    const heapMiB = process.memoryUsage().heapUsed / 1_048_576
    writeFileSync(file, JSON.stringify({ p99: watching ? late(delays.percentile(99)) : 0, heapMiB }))
    watching = !watching
    if (watching) {
      delays.reset()
      delays.enable()
    } else delays.disable()
  })
}
