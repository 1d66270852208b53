import * as Effect from "effect/Effect"
import { ReloadReport } from "../control/Registry.ts"
import { askGateway, ControlError } from "./ControlClient.ts"

const withinMs = 60_000

/**
 * Lets a running gateway take a changed file; what came of it, in a line. Fails when a gateway may run that has not taken it,
 * or not all of it: who removes a client must not take that for done.
 */
export const tellGateway = Effect.fnUntraced(function* (socket: string) {
  return yield* askGateway(socket, { method: "POST", path: "/v1/reload", withinMs }, ReloadReport).pipe(
    Effect.matchEffect({
      onSuccess: ({ warnings }) => {
        if (warnings.length === 0) return Effect.succeed("the running gateway has taken the change")
        const message = `the running gateway has taken the change, but ${warnings.join("; and ")}`
        return Effect.fail(new ControlError({ message }))
      },
      onFailure: (error) => {
        if (error.notRunning === true) {
          return Effect.succeed(`no gateway runs at ${socket}: the change counts from its next start`)
        }
        const message = `the file is changed, but the running gateway has not taken it: ${error.message}; then run sallyport reload`
        return Effect.fail(new ControlError({ message }))
      }
    })
  )
})
