import * as Effect from "effect/Effect"
import { ControlClient } from "./ControlClient.ts"
import { fetchStatus } from "./fetchStatus.ts"

const withinMs = 60_000

/** Lets a running gateway take a changed file; what came of it, in a line. */
export const tellGateway = Effect.fnUntraced(function* (socket: string) {
  const running = yield* Effect.isSuccess(fetchStatus(socket))
  if (!running) return `no gateway answers at ${socket}: the change counts from its next start`
  return yield* (yield* ControlClient).request(socket, { method: "POST", path: "/v1/reload", withinMs }).pipe(
    Effect.as("the running gateway has taken the change"),
    Effect.catch(({ message }) =>
      Effect.succeed(`the running gateway has not taken the change (${message}): it counts from its next start`)
    )
  )
})
