import * as Context from "effect/Context"
import type { LogLevel } from "effect/LogLevel"

/** The level of the log's lines where that changes while fibers run; `null`: each fiber has its own. */
export const LineLevel = Context.Reference<(() => LogLevel) | null>("sallyport/events/LineLevel", {
  defaultValue: () => null
})
