import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type { LoadError } from "./load.ts"

/** WireGuard key pairs for the command line. Keys are standard base64 of 32 bytes. */
export class Keys extends Context.Service<
  Keys,
  {
    /** A fresh private key (Curve25519, clamped). */
    readonly generate: Effect.Effect<string>
    /** The public key of a private key, which must be a well-formed one. */
    readonly publicKey: (privateKey: string) => Effect.Effect<string, LoadError>
  }
>()("sallyport/cli/Keys") {}
