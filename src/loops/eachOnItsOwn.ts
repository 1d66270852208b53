import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"

/** One after the other: one that meets a bug keeps no other from its turn, and is told of at the end. */
export const eachOnItsOwn = <A, E, R>(
  items: Iterable<A>,
  run: (item: A) => Effect.Effect<unknown, E, R>
): Effect.Effect<void, E, R> =>
  Effect.flatMap(
    Effect.forEach(items, (each) => Effect.exit(run(each))),
    Exit.asVoidAll
  )
