import * as Effect from "effect/Effect"
import type * as Tracer from "effect/Tracer"
import { whereHeard } from "./whereHeard.ts"

/**
 * A span around what always yields a value: it ends as failed, with `problem` as its message, where that is not `null`.
 * The value comes through all the same.
 */
export const withOutcomeSpan =
  <A>(name: string, options: Tracer.SpanOptionsNoTrace, problem: (value: A) => string | null) =>
  <E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    whereHeard(self, (inner) =>
      Effect.flatMap(inner, (value): Effect.Effect<A, Unsuccessful<A>> => {
        const message = problem(value)
        return message === null ? Effect.succeed(value) : Effect.fail(new Unsuccessful(message, value))
      }).pipe(
        Effect.withSpan(name, options, { captureStackTrace: false }),
        Effect.catchIf(
          (error): error is Unsuccessful<A> => error instanceof Unsuccessful,
          ({ value }) => Effect.succeed(value)
        )
      )
    )

class Unsuccessful<A> extends Error {
  override readonly name = "Unsuccessful"
  readonly value: A

  constructor(message: string, value: A) {
    super(message)
    this.value = value
  }
}
