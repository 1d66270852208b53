import * as Context from "effect/Context"
import * as Effect from "effect/Effect"

/**
 * Asks a resolver set something harmless, to see whether it lives: whether a DNS message came back, within a few seconds.
 * `null`: it cannot be asked, only the lookups themselves tell.
 */
export const SetProbe = Context.Reference<(resolver: string) => Effect.Effect<boolean | null>>(
  "sallyport/resolution/SetProbe",
  { defaultValue: () => () => Effect.succeed(null) }
)
