import * as Config from "effect/Config"
import * as Effect from "effect/Effect"

/** A variable that is not set, or set to nothing, is absent. */
export const optional = (variable: string): Effect.Effect<string | null> =>
  Config.withDefault(Config.String(variable), "").pipe(
    Effect.map((text) => (text.trim() === "" ? null : text.trim())),
    Effect.orElseSucceed(() => null)
  )
