import * as Command from "effect/cli/Command"
import { clientAdd } from "./clientAdd.ts"
import { clientList } from "./clientList.ts"
import { clientRemove } from "./clientRemove.ts"
import { clientShow } from "./clientShow.ts"

/** `sallyport client …`: who may connect. */
export const client = Command.make("client").pipe(
  Command.withDescription("Add, remove and show the clients of the configuration"),
  Command.withSubcommands([clientAdd, clientRemove, clientList, clientShow])
)
