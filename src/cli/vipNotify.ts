import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { quote } from "../config/problem.ts"
import { vrrpStateIn, vrrpStates } from "../shared/vrrpState.ts"
import { askGateway } from "./ControlClient.ts"
import { controlSocketFlags, controlSocketOf } from "./controlSocketFlags.ts"
import { vipRequest } from "./plainVipNotice.ts"
import { UsageError } from "./usageError.ts"

/** `sallyport vip-notify STATE`: whoever moves the site's virtual address tells the running gateway whether it is here. */
export const vipNotify = Command.make(
  "vip-notify",
  {
    words: Argument.String("state").pipe(
      Argument.withDescription(
        `${vrrpStates.join(", ")}; or, as keepalived appends it, INSTANCE or GROUP, a name, the state and a priority`
      ),
      Argument.variadic({ min: 1, max: 4 })
    ),
    ...controlSocketFlags
  },
  Effect.fnUntraced(function* ({ words, ...where }) {
    const state = vrrpStateIn(words)
    if (state === undefined) {
      const message = `state: ${quote(words.join(" "))} names none — write one of ${vrrpStates.join(", ")}, or what keepalived appends`
      return yield* new UsageError({ message })
    }
    yield* Console.log(yield* askGateway(yield* controlSocketOf(where), vipRequest(state), Schema.String))
  })
).pipe(
  Command.withDescription("Tell the running gateway whether it has the site's virtual address (keepalived's notify)")
)
