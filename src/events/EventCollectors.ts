import * as Context from "effect/Context"
import type * as Logger from "effect/Logger"

/** Loggers that get each event as a record of its own, whatever the log level is: those of a collector elsewhere. */
export const EventCollectors = Context.Reference<ReadonlySet<Logger.Logger<unknown, unknown>>>(
  "sallyport/events/EventCollectors",
  { defaultValue: () => new Set() }
)
