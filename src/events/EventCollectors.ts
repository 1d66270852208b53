import * as Context from "effect/Context"
import type * as Logger from "effect/Logger"

/**
 * Those of the current loggers that get each event as a record of its own, which are those of a collector elsewhere; and what
 * takes these records, whatever the log level is.
 */
export const EventCollectors = Context.Reference<
  ReadonlyMap<Logger.Logger<unknown, unknown>, Logger.Logger<unknown, unknown>>
>("sallyport/events/EventCollectors", { defaultValue: () => new Map() })
