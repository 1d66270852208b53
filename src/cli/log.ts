import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Console from "effect/Console"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import { describeEvent } from "../events/describeEvent.ts"
import { clientOf, type EventKind, kindOf, type LoggedEvent } from "../events/Event.ts"
import { controlSocketFlags, controlSocketOf } from "./controlSocketFlags.ts"
import { fetchLog } from "./fetchLog.ts"
import { switchFlag } from "./switchFlag.ts"

/** `sallyport log`: what happened at the running gateway. */
export const log = Command.make(
  "log",
  {
    refused: switchFlag("refused", "Refused packets only: who, where to, and why"),
    flows: switchFlag("flows", "Flows only: opened, and closed with bytes and duration"),
    dns: switchFlag("dns", "Names only: lookups, and questions of clients where the file has log_dns: true"),
    client: Flag.String("client").pipe(
      Flag.withMetavar("<name>"),
      Flag.withDescription("Only what is about this client"),
      Flag.optional
    ),
    follow: switchFlag("follow", "Go on with each event as it comes"),
    json: switchFlag("json", "Print each event as JSON, one a line"),
    ...controlSocketFlags
  },
  Effect.fnUntraced(function* ({ client, dns, flows, follow, json, refused, ...where }) {
    const kinds = new Set<EventKind>([
      ...(refused ? (["refused"] as const) : []),
      ...(flows ? (["flows"] as const) : []),
      ...(dns ? (["dns", "lookups"] as const) : [])
    ])
    const path = yield* controlSocketOf(where)
    yield* fetchLog(path, { follow }).pipe(
      Stream.filter(({ event }) => kinds.size === 0 || kinds.has(kindOf(event))),
      Stream.filter(({ event }) => Option.isNone(client) || clientOf(event) === client.value),
      Stream.runForEach((logged) => Console.log(json ? JSON.stringify(logged) : lineOf(logged)))
    )
  })
).pipe(Command.withDescription("Show what happened lately: refused packets, flows, names, clients, authorizations"))

const lineOf = ({ at, event }: LoggedEvent): string =>
  `${DateTime.formatIso(DateTime.makeUnsafe(at))}  ${describeEvent(event)}`
