import * as Command from "effect/cli/Command"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { askGateway } from "./ControlClient.ts"
import { controlSocketFlags, controlSocketOf } from "./controlSocketFlags.ts"

/** `sallyport undrain`: it takes clients again. */
export const undrain = Command.make(
  "undrain",
  controlSocketFlags,
  Effect.fnUntraced(function* (where) {
    const request = { method: "POST", path: "/v1/drain", body: JSON.stringify({ drain: false }) } as const
    yield* Console.log(yield* askGateway(yield* controlSocketOf(where), request, Schema.String))
  })
).pipe(Command.withDescription("Take clients again after drain"))
