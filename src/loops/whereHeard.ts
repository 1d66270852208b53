import * as Effect from "effect/Effect"
import * as References from "effect/References"

/**
 * Done for every question, a span where nobody collects them is not even made to be thrown away: that takes contexts which
 * are worked out anew.
 */
export const whereHeard = <A, E, R>(
  self: Effect.Effect<A, E, R>,
  spanned: (self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> => Effect.flatMap(References.TracerEnabled, (isHeard) => (isHeard ? spanned(self) : self))
