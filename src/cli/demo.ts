import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { Programs } from "./Programs.ts"
import { switchFlag } from "./switchFlag.ts"
import { UsageError } from "./usageError.ts"

/** `sallyport demo`: the whole story on this host, in namespaces, checked step by step. */
export const demo = Command.make(
  "demo",
  {
    json: switchFlag("json", "End with one line of JSON: what was measured"),
    portal: switchFlag(
      "portal",
      "The portal mode: a portal, relays (coturn, when it is installed), a gateway and a client"
    ),
    break: Flag.Literals("break", ["accept", "icmp", "heal"]).pipe(
      Flag.withDescription("Break this part of the gateway on purpose: the demo must notice and fail"),
      Flag.optional
    )
  },
  Effect.fnUntraced(function* (flags) {
    const programs = yield* Programs
    if (flags.portal && (flags.json || Option.isSome(flags.break))) {
      return yield* new UsageError({ message: "demo --portal takes neither --json nor --break — leave them out" })
    }
    yield* programs.demo({ json: flags.json, portal: flags.portal, break: Option.getOrNull(flags.break) })
  })
).pipe(
  Command.withDescription(
    "Show accept, answer and heal on this host with real packets, in network namespaces; needs root or user namespaces"
  )
)
