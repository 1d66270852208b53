import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { maxGateways } from "../shared/slotZones.ts"
import { askGateway } from "./ControlClient.ts"
import { controlSocketFlags, controlSocketOf } from "./controlSocketFlags.ts"
import { UsageError } from "./usageError.ts"

/** PostgreSQL waits for those who have locks. */
const answerMs = 15_000

/** `sallyport forget-gateway NUMBER`: the site waits no more for a gateway that does not come back. */
export const forgetGateway = Command.make(
  "forget-gateway",
  {
    gateway: Argument.Int("number").pipe(
      Argument.withDescription("The gateway's number in the site, as status has it")
    ),
    ...controlSocketFlags
  },
  Effect.fnUntraced(function* ({ gateway, ...where }) {
    if (gateway < 0 || gateway >= maxGateways) {
      const message = `number: ${gateway} is no gateway's — they go from 0 to ${maxGateways - 1}, and sallyport status has them`
      return yield* new UsageError({ message })
    }
    const body = JSON.stringify({ gateway })
    const request = { method: "POST", path: "/v1/site/forget", body, withinMs: answerMs } as const
    yield* Console.log(yield* askGateway(yield* controlSocketOf(where), request, Schema.String))
  })
).pipe(Command.withDescription("Let the site wait no more for a gateway that does not come back"))
