/** Whether the packet worker may be a real-time thread: yes, unless `SALLYPORT_REAL_TIME` says otherwise. */
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"

/** A value that means neither yes nor no is told and ignored. */
export const readRealTime: Effect.Effect<boolean> = Config.option(Config.Boolean("SALLYPORT_REAL_TIME")).pipe(
  Effect.map(Option.getOrElse(() => true)),
  Effect.catch(() =>
    Effect.as(Effect.logWarning("SALLYPORT_REAL_TIME is neither true nor false: taken for true"), true)
  )
)
