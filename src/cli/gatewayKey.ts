import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { ConfigError } from "../config/problem.ts"
import { parseKey } from "../config/values.ts"
import { fetchStatus } from "./fetchStatus.ts"

export const gatewayKeyFlag = Flag.String("gateway-key").pipe(
  Flag.withMetavar("<public key>"),
  Flag.withDescription("The gateway's public key (default: asked from the running gateway)"),
  Flag.optional
)

/** The key that was given, else the running gateway's. */
export const gatewayKeyOf = Effect.fnUntraced(function* (given: Option.Option<string>, socket: string) {
  if (Option.isSome(given)) {
    return yield* Effect.mapError(
      Effect.fromResult(parseKey(given.value)),
      ({ cause, fix }) => new ConfigError({ message: `--gateway-key: ${cause} — ${fix}` })
    )
  }
  const report = yield* fetchStatus(socket).pipe(
    Effect.mapError(
      ({ message }) =>
        new ConfigError({ message: `the gateway's public key is unknown: ${message}; or give it with --gateway-key` })
    )
  )
  return report.gateway.publicKey
})
