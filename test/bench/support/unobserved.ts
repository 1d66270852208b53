/**
 * Preloaded (`--import`) by the gateway of `bench:observe`: its event log and metrics can be switched off while it runs.
 * Where the file is there that `SALLYPORT_BENCH_UNOBSERVED` names, it records nothing, gathers nothing for that on the
 * packet path, and folds and serves no metrics. Nothing of it is in the program itself. The packet path's plain counters
 * stay.
 */
import { registerHooks } from "node:module"

const root = new URL("../../../", import.meta.url)
const replaced = new Set(
  ["layers/events/EventLog.ts", "layers/monitor/Monitor.ts", "src/dataplane/engine/journal.ts"].map(
    (file) => new URL(file, root).href
  )
)
const replacement = new URL("./unobservedParts.ts", import.meta.url).href

registerHooks({
  resolve: (specifier, context, next) => {
    const found = next(specifier, context)
    return replaced.has(found.url) && context.parentURL !== replacement ? { ...found, url: replacement } : found
  }
})
