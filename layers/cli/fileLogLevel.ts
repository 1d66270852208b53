/** The log level of a gateway's file while the file may change. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as LogLevel from "effect/LogLevel"
import * as References from "effect/References"

/** Fibers keep the level that they began with: here every line goes on to the loggers, which are asked each time. */
export const layer = (level: () => LogLevel.LogLevel): Layer.Layer<never> =>
  Layer.effectContext(
    Effect.map(Effect.service(Logger.CurrentLoggers), (loggers): Context.Context<never> => {
      const asked = Array.from(loggers, (logger) =>
        Logger.make((line) => (LogLevel.isGreaterThan(level(), line.logLevel) ? undefined : logger.log(line)))
      )
      return Context.make(Logger.CurrentLoggers, new Set(asked)).pipe(Context.add(References.MinimumLogLevel, "All"))
    })
  )
