import * as Command from "effect/cli/Command"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import { Keys } from "./Keys.ts"
import { keyFromInput } from "./keyFromInput.ts"

/** `sallyport pubkey`: the public key of the private key on standard input. */
export const pubkey = Command.make(
  "pubkey",
  {},
  Effect.fnUntraced(function* () {
    const keys = yield* Keys
    const key = yield* keyFromInput("sallyport genkey | sallyport pubkey")
    yield* Console.log(yield* keys.publicKey(key))
  })
).pipe(Command.withDescription("Print the public key of the private key on standard input"))
