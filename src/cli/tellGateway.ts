import * as Effect from "effect/Effect"
import { ControlClient, ControlError } from "./ControlClient.ts"

const withinMs = 60_000

/**
 * Lets a running gateway take a changed file; what came of it, in a line. Fails when a gateway may run that has not taken it:
 * who removes a client must not take that for done.
 */
export const tellGateway = Effect.fnUntraced(function* (socket: string) {
  return yield* (yield* ControlClient).request(socket, { method: "POST", path: "/v1/reload", withinMs }).pipe(
    Effect.as("the running gateway has taken the change"),
    Effect.catch((error) => {
      if (error.notRunning === true) {
        return Effect.succeed(`no gateway runs at ${socket}: the change counts from its next start`)
      }
      const message = `the file is changed, but the running gateway has not taken it: ${error.message}; then run sallyport reload`
      return Effect.fail(new ControlError({ message }))
    })
  )
})
