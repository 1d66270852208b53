import * as Effect from "effect/Effect"
import * as Scheduler from "effect/Scheduler"

/** Nothing in it waits, not even for the scheduler: between a request and its reply, a change and what follows from it. */
export const inOneTurn = <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  // One within another is most often within it, and to provide what is there costs more than to ask.
  Effect.flatMap(Scheduler.PreventSchedulerYield, (isThere) =>
    isThere ? self : Effect.provideService(self, Scheduler.PreventSchedulerYield, true)
  )
