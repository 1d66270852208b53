import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

/** A part of the program is missing or broken; `message` is one line with the fix. */
export class LoadError extends Schema.TaggedError<LoadError>()("LoadError", { message: Schema.String }) {}

/** Imports what a command needs when the command is given, so that one command does not pay for another's modules. */
export const load = <A>(part: () => Promise<A>): Effect.Effect<A, LoadError> =>
  Effect.tryPromise({
    try: part,
    catch: (error) => {
      const cause = error instanceof Error ? error.message.split("\n", 1)[0] : String(error)
      return new LoadError({ message: `a part of the program cannot be loaded (${cause}) — reinstall it` })
    }
  })
