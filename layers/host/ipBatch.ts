/** Addresses, routes and rules of a client's host, set by the program `ip`. */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { runCommand } from "./hostCommand.ts"

/** One line: what failed, why, and the fix. */
export class ClientNetworkError extends Schema.TaggedError<ClientNetworkError>()("ClientNetworkError", {
  message: Schema.String
}) {}

/** Gives `ip` these lines in one go; `what` names in the error what could not be set then. */
export const ipBatch = (
  what: string,
  lines: ReadonlyArray<string>,
  flags: ReadonlyArray<string> = []
): Effect.Effect<void, ClientNetworkError> =>
  lines.length === 0
    ? Effect.void
    : runCommand("ip", [...flags, "-batch", "-"], { input: `${lines.join("\n")}\n` }).pipe(
        Effect.asVoid,
        Effect.mapError(
          ({ kind, output }) =>
            new ClientNetworkError({
              message:
                kind === "missing"
                  ? "the program ip is missing: apt-get install iproute2"
                  : `${what} could not be set: ip ${kind === "timeout" ? "took too long" : `says "${output}"`}`
            })
        )
      )
