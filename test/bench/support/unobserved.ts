/**
 * Preloaded (`--import`) by one of two gateways of `bench:observe`: it has no event log, gathers nothing for one, and folds
 * and serves no metrics. Nothing of it is in the program itself. The packet path's plain counters stay.
 */
import { registerHooks } from "node:module"

const root = new URL("../../../", import.meta.url)
const replaced = new Set(
  [
    "layers/events/EventLog.ts",
    "layers/events/journalEvents.ts",
    "layers/monitor/Monitor.ts",
    "src/dataplane/engine/journal.ts"
  ].map((file) => new URL(file, root).href)
)
const replacement = new URL("./unobservedParts.ts", import.meta.url).href

registerHooks({
  resolve: (specifier, context, next) => {
    const found = next(specifier, context)
    return replaced.has(found.url) && context.parentURL !== replacement ? { ...found, url: replacement } : found
  }
})
