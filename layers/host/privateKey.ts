/** The key of a standalone gateway: one for its life, since every client has it in its configuration. */
import { randomBytes } from "node:crypto"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { StateStore } from "../../src/host/StateStore.ts"

export class KeyError extends Schema.TaggedError<KeyError>()("KeyError", { message: Schema.String }) {}

/** The one persisted key. A gateway whose clients know a lost key does not get another one silently. */
export const privateKey = Effect.fnUntraced(function* (newKey: boolean) {
  const store = yield* StateStore
  const stored = yield* store.privateKey
  if (stored !== null) return new Uint8Array(Buffer.from(stored, "base64"))
  if (!newKey) {
    return yield* new KeyError({
      message:
        "the gateway's private key is gone although clients know it: restore the state directory, or start once with --new-key and give every client the new public key"
    })
  }
  const key = new Uint8Array(randomBytes(32))
  yield* store.setPrivateKey(Buffer.from(key).toString("base64"))
  return key
})
