import * as Command from "effect/cli/Command"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import { askReload, type ReloadAnswer } from "./askReload.ts"
import { ControlError } from "./ControlClient.ts"
import { changeLines } from "./changeLines.ts"
import { controlSocketFlags, controlSocketOf } from "./controlSocketFlags.ts"
import { switchFlag } from "./switchFlag.ts"

/** `sallyport reload`: the running gateway reads its file anew and tells what has changed. */
export const reload = Command.make(
  "reload",
  {
    json: switchFlag("json", "Print the whole report as JSON"),
    ...controlSocketFlags
  },
  Effect.fnUntraced(function* ({ json, ...where }) {
    const report = yield* askReload(yield* controlSocketOf(where))
    yield* Console.log(json ? JSON.stringify(report) : renderReload(report))
    if (report.warnings.length > 0) return yield* new ControlError({ message: report.warnings.join("\n") })
  })
).pipe(
  Command.withDescription("Let the running gateway read its file anew; nobody is cut whom the change does not concern")
)

const renderReload = ({ file, sessions, site, tookMs, version, ...changes }: ReloadAnswer) => {
  const lines = changeLines(changes)
  return [
    ...(lines.length > 0 ? lines : [`${file ?? "the file"} says what it said before`]),
    ...(site === undefined
      ? []
      : [`clients, resources and names are policy ${site} of the site, whatever the file says: sallyport apply FILE`]),
    `sessions ${sessions.cut} cut, ${sessions.untouched} untouched; ${changes.clients.untouched} clients untouched`,
    `policy ${version} is in force after ${tookMs} ms`
  ].join("\n")
}
