import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import { configFlag } from "./configFlag.ts"
import { StateFiles } from "./StateFiles.ts"
import { contents, stateDirOf } from "./stateSummary.ts"
import { switchFlag } from "./switchFlag.ts"

/** `sallyport backup FILE`: a consistent copy of the state, of a gateway that runs or does not. */
export const backup = Command.make(
  "backup",
  {
    file: Argument.String("file").pipe(Argument.withDescription("Where the copy goes; it holds the private key")),
    config: configFlag,
    overwrite: switchFlag("overwrite", "Replace the file when it is there")
  },
  Effect.fnUntraced(function* ({ config, file, overwrite }) {
    const files = yield* StateFiles
    const summary = yield* files.backup(yield* stateDirOf(config), file, { overwrite })
    yield* Console.log(`${file}: ${contents(summary)}`)
  })
).pipe(
  Command.withDescription("Copy the gateway's state (its key, clients, proxy IPs) to a file; it may run meanwhile")
)
