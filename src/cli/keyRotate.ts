import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Console from "effect/Console"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { defaultDays, KeyReport, type KeyRequest } from "../control/standalone/KeyRotation.ts"
import { askGateway, ControlError } from "./ControlClient.ts"
import { controlSocketFlags, controlSocketOf } from "./controlSocketFlags.ts"
import { switchFlag } from "./switchFlag.ts"
import { counted } from "./textTable.ts"
import { atMostOne } from "./usageError.ts"

/** `sallyport key rotate`: the running gateway gets another key, and nobody is cut: the old one answers for a time, too. */
export const keyRotate = Command.make(
  "rotate",
  {
    days: Flag.Int("days").pipe(
      Flag.withMetavar("<days>"),
      Flag.withDescription(`How long the key before answers as well (default: ${defaultDays}); again: another date`),
      Flag.filter(
        (days) => days >= 1 && days <= 366,
        () => "--days is a number of days from 1 to 366"
      ),
      Flag.optional
    ),
    finish: switchFlag("finish", "Forget the key before now; clients that have not moved are named"),
    cancel: switchFlag("cancel", "Hand out the key before again; who has the new one is not cut"),
    ...controlSocketFlags
  },
  Effect.fnUntraced(function* ({ cancel, days, finish, ...where }) {
    yield* atMostOne({ "--days": Option.isSome(days), "--finish": finish, "--cancel": cancel })
    const step = cancel ? "cancel" : finish ? "finish" : "rotate"
    const request: KeyRequest = { step, days: Option.getOrNull(days) }
    const socket = yield* controlSocketOf(where)
    const report = yield* askGateway(
      socket,
      { method: "POST", path: "/v1/key/rotate", body: JSON.stringify(request) },
      KeyReport
    ).pipe(
      Effect.mapError((error) =>
        error.notRunning === true
          ? new ControlError({
              message: `nothing was changed, as the key is rotated by the running gateway: ${error.message}`
            })
          : error
      )
    )
    yield* Console.log(render(report))
  })
).pipe(
  Command.withDescription(
    "Give the running gateway a new key: the one before answers as well until its clients have moved"
  )
)

const carry =
  "the other gateways of the site need it, before any client has a new file: sallyport backup FILE here; there stop the gateway, sallyport restore FILE, start it"

const render = ({ ending, forgotten, inSite, left, moved, publicKey }: KeyReport): string => {
  const all = counted(moved + left.length, "client")
  return [
    `client-config and client add hand out ${publicKey}`,
    ...(ending === null
      ? []
      : [`${ending.publicKey} answers as well until ${DateTime.formatIso(DateTime.makeUnsafe(ending.endsAt))}`]),
    ...(forgotten === null ? [] : [`${forgotten} is forgotten`]),
    ...(inSite ? [carry] : []),
    left.length === 0
      ? `all of ${all} have the first one`
      : `${moved} of ${all} ${moved === 1 ? "has" : "have"} the first one; not yet, and in need of new files (sallyport client-config NAME):`,
    ...left.map((name) => `  ${name}`),
    ...(ending === null ? [] : ["sallyport client list shows who has moved; sallyport key rotate --finish ends it"])
  ].join("\n")
}
