import * as Command from "effect/cli/Command"
import { keyRotate } from "./keyRotate.ts"

/** `sallyport key …`: the gateway's own key. */
export const key = Command.make("key").pipe(
  Command.withDescription("Replace the gateway's own key"),
  Command.withSubcommands([keyRotate])
)
