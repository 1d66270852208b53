import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { askGateway } from "./ControlClient.ts"
import { controlSocketFlags, controlSocketOf } from "./controlSocketFlags.ts"

/** Until all gateways know. */
const withinMs = 15_000

/** `sallyport drain`: the running gateway gives its clients to the others of its site, and loses nothing. */
export const drain = Command.make(
  "drain",
  {
    force: Flag.Boolean("force").pipe(
      Flag.withDescription("Although no other gateway knows of it"),
      Flag.withDefault(false)
    ),
    ...controlSocketFlags
  },
  Effect.fnUntraced(function* ({ force, ...where }) {
    const body = JSON.stringify({ drain: true, force })
    const request = { method: "POST", path: "/v1/drain", body, withinMs } as const
    yield* Console.log(yield* askGateway(yield* controlSocketOf(where), request, Schema.String))
  })
).pipe(Command.withDescription("Give the clients to the other gateways of the site, and lose nothing"))
