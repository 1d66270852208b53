import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"

/**
 * What date it is for expiry dates, in epoch milliseconds: who gave a date decides whose clock it is of. One that an
 * operator wrote down ends when the host's clock says so.
 */
export const ExpiryClock = Context.Reference<Effect.Effect<number>>("sallyport/access/ExpiryClock", {
  defaultValue: () => Clock.currentTimeMillis
})
