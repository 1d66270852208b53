import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import { configFlag } from "./configFlag.ts"
import { load } from "./load.ts"
import { tellGateway } from "./tellGateway.ts"

/** `sallyport client remove NAME`: one client less. */
export const clientRemove = Command.make(
  "remove",
  {
    name: Argument.String("name").pipe(Argument.withDescription("A client of the configuration")),
    config: configFlag
  },
  Effect.fnUntraced(function* ({ config: file, name }) {
    const { removeClient } = yield* load(() => import("../config/editClients.ts"))
    const { editFile } = yield* load(() => import("./editFile.ts"))
    const config = yield* editFile(file, (text) =>
      Effect.map(Effect.fromResult(removeClient(text, file, name)), (edited) => ({
        text: edited.text,
        result: edited.config
      }))
    )
    yield* Console.log(`${name} is removed from ${file}`)
    yield* Console.log(yield* tellGateway(config.controlSocket, file))
  })
).pipe(Command.withDescription("Remove a client; all others keep their addresses"))
