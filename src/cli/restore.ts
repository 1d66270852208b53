import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import { configFlag } from "./configFlag.ts"
import { StateFiles } from "./StateFiles.ts"
import { contents, stateDirOf } from "./stateSummary.ts"

/** `sallyport restore FILE`: the way back, for a gateway that is stopped. */
export const restore = Command.make(
  "restore",
  { file: Argument.String("file").pipe(Argument.withDescription("A copy that backup has made")), config: configFlag },
  Effect.fnUntraced(function* ({ config, file }) {
    const files = yield* StateFiles
    const stateDir = yield* stateDirOf(config)
    const { before, kept, slotsLost, ...summary } = yield* files.restore(stateDir, file)
    yield* Console.log(`${stateDir} has the state of ${file}: ${contents(summary)}`)
    if (kept !== null) yield* Console.log(`what was there is kept as ${kept}`)
    if (kept !== null && before === null) {
      yield* Console.log(
        "the state before could not be read: clients whose files have another public key than the one above need new ones"
      )
    }
    if (slotsLost) {
      yield* Console.log(
        "proxy IPs that were given to names after the backup are not known, and may come to stand for other names"
      )
    }
    if (before !== null && before !== summary.publicKey) {
      yield* Console.log(
        `the gateway's public key changes from ${before} to ${summary.publicKey}: clients that have the first one need new files`
      )
    }
  })
).pipe(Command.withDescription("Put a backup in the place of the state of a gateway that is stopped"))
