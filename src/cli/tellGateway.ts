import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import { askReload } from "./askReload.ts"
import { ControlError } from "./ControlClient.ts"

/**
 * Lets a running gateway take a changed file; what came of it, in a line. Fails when a gateway may run that has not taken it,
 * or not all of it: who removes a client must not take that for done.
 */
export const tellGateway = Effect.fnUntraced(function* (socket: string, file: string) {
  const fs = yield* FileSystem.FileSystem
  const changed = yield* Effect.orElseSucceed(fs.realPath(file), () => file)
  return yield* askReload(socket).pipe(
    Effect.matchEffect({
      onSuccess: ({ file: read, site, warnings }) => {
        if (read !== changed) {
          const message = `the file is changed, but the gateway at ${socket} runs with ${read ?? "no file"}; ${file} counts when one starts with it`
          return Effect.fail(new ControlError({ message }))
        }
        if (site !== undefined) {
          return Effect.succeed(
            `it counts from sallyport apply ${file} on: the gateway goes by policy ${site} of the site`
          )
        }
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
