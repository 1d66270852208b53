import * as Crypto from "node:crypto"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { load } from "../../src/cli/load.ts"
import { Keys } from "../../src/cli/Keys.ts"

/** Key pairs from node's crypto. */
export const layer: Layer.Layer<Keys> = Layer.succeed(Keys, {
  generate: Effect.sync(() => {
    const secret = Crypto.randomBytes(32)
    // Clamped as RFC 7748 §5 does at use, so that the text is the same everywhere.
    secret[0]! &= 248
    secret[31] = (secret[31]! & 127) | 64
    return secret.toString("base64")
  }),
  publicKey: (privateKey) =>
    Effect.map(
      load(() => import("../host/keyText.ts")),
      ({ publicKeyOf }) => publicKeyOf(privateKey)
    )
})
