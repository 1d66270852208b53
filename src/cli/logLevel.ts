import { LogLevel as LogLevelFlag } from "effect/cli/GlobalFlag"
import * as Effect from "effect/Effect"
import type { LogLevel } from "effect/LogLevel"
import * as Option from "effect/Option"
import * as References from "effect/References"

/** Whether `--log-level` says which level holds, and not a file. */
export const hasLogLevelFlag = Effect.map(Effect.serviceOption(LogLevelFlag), (flag) =>
  Option.isSome(Option.flatten(flag))
)

/** The file's log level holds unless `--log-level` says otherwise. */
export const withConfiguredLogLevel = <A, E, R>(
  program: Effect.Effect<A, E, R>,
  level: LogLevel
): Effect.Effect<A, E, R> =>
  Effect.flatMap(hasLogLevelFlag, (isFlagged) =>
    isFlagged ? program : Effect.provideService(program, References.MinimumLogLevel, level)
  )
