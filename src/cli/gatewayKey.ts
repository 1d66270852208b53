import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { ConfigError } from "../config/problem.ts"
import { parseKey } from "../config/values.ts"
import { fetchStatus } from "./fetchStatus.ts"
import { fromFlag } from "./usageError.ts"

export const gatewayKeyFlag = Flag.String("gateway-key").pipe(
  Flag.withMetavar("<public key>"),
  Flag.withDescription("The gateway's public key (default: asked from the running gateway)"),
  Flag.optional
)

/** The key that was given, else the running gateway's. */
export const gatewayKeyOf = Effect.fnUntraced(function* (given: Option.Option<string>, socket: string) {
  if (Option.isSome(given)) {
    return yield* fromFlag("--gateway-key", parseKey(given.value))
  }
  const report = yield* fetchStatus(socket).pipe(
    Effect.mapError(
      ({ message }) =>
        new ConfigError({ message: `the gateway's public key is unknown: ${message}; or give it with --gateway-key` })
    )
  )
  return report.gateway.publicKey
})
