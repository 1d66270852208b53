import * as Command from "effect/cli/Command"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import { Keys } from "./Keys.ts"

/** `sallyport genkey`: a fresh private key on standard output. */
export const genkey = Command.make(
  "genkey",
  {},
  Effect.fnUntraced(function* () {
    const keys = yield* Keys
    yield* Console.log(yield* keys.generate)
  })
).pipe(Command.withDescription("Print a fresh private key"))
