/** The log level of a gateway's file while the file may change. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as LogLevel from "effect/LogLevel"
import * as References from "effect/References"
import { EventCollectors } from "../../src/events/EventCollectors.ts"
import { LineLevel } from "../../src/events/LineLevel.ts"

/**
 * Fibers keep the level that they began with: here every line goes on to the loggers, which are asked each time. Events go to a
 * collector at any level.
 */
export const layer = (level: () => LogLevel.LogLevel): Layer.Layer<never> =>
  Layer.effectContext(
    Effect.gen(function* (): Effect.fn.Return<Context.Context<never>> {
      const asked = new Map(Array.from(yield* Logger.CurrentLoggers, (logger) => [logger, asking(logger, level)]))
      const collectors = Array.from(
        yield* EventCollectors,
        ([logger, collector]) => [asked.get(logger) ?? logger, collector] as const
      )
      return Context.make(Logger.CurrentLoggers, new Set(asked.values())).pipe(
        Context.add(EventCollectors, new Map(collectors)),
        Context.add(LineLevel, level),
        Context.add(References.MinimumLogLevel, "All")
      )
    })
  )

const asking = (logger: Logger.Logger<unknown, unknown>, level: () => LogLevel.LogLevel) =>
  Logger.make<unknown, unknown>((line) =>
    LogLevel.isGreaterThan(level(), line.logLevel) ? undefined : logger.log(line)
  )
