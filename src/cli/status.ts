import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { controlSocketFlags, controlSocketOf } from "./controlSocketFlags.ts"
import { showStatus } from "./showStatus.ts"
import { switchFlag } from "./switchFlag.ts"
import { atMostOne } from "./usageError.ts"

/** `sallyport status`: what the running gateway knows. The plainest forms come here only where nobody listens at the default socket: `plainStatus.ts`. */
export const status = Command.make(
  "status",
  {
    target: Argument.String("client or name").pipe(
      Argument.withDescription("All about this client, or this name"),
      Argument.optional
    ),
    clients: switchFlag("clients", "All clients, the connected ones first"),
    names: switchFlag("names", "All names, those with something wrong first, and the DNS servers"),
    all: switchFlag("all", "All gateways of the site, those with something wrong first"),
    counters: switchFlag("counters", "All counters that are not zero"),
    watch: switchFlag("watch", "Look again every two seconds, until Ctrl-C"),
    check: switchFlag("check", "One line for a monitor, and exit code 1 when something is wrong"),
    json: switchFlag("json", "Print the whole report as JSON"),
    ...controlSocketFlags
  },
  Effect.fnUntraced(function* ({ target, all, clients, names, counters, watch, check, json, ...where }) {
    yield* atMostOne({ "--watch": watch, "--check": check, "--json": json })
    yield* showStatus({
      as: json ? "json" : check ? "check" : "text",
      watch,
      view: { all, clients, names, counters, target: Option.getOrNull(target) },
      socket: yield* controlSocketOf(where)
    })
  })
).pipe(Command.withDescription("Show what is wrong with the running gateway, its clients and names"))
