import * as Command from "effect/cli/Command"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import { askReload, type ReloadAnswer } from "./askReload.ts"
import { ControlError } from "./ControlClient.ts"
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

const renderReload = ({
  file,
  clients,
  grants,
  resolvers,
  resources,
  sessions,
  settings,
  tookMs,
  version
}: ReloadAnswer) => {
  const lines = [
    ...changesOf("client", clients),
    ...changesOf("resource", resources),
    ...resolvers.map((name) => `changed  resolver set ${name}: its names are looked up anew`),
    ...settings.map((name) => `changed  ${name}`),
    ...grantLines(grants)
  ]
  return [
    ...(lines.length > 0 ? lines : [`${file ?? "the file"} says what it said before`]),
    `sessions ${sessions.cut} cut, ${sessions.untouched} untouched; ${clients.untouched} clients untouched`,
    `policy ${version} is in force after ${tookMs} ms`
  ].join("\n")
}

/** Names of one kind of change that are shown. */
const maxNames = 20

const grantLines = ({ added, changed, named, removed }: ReloadAnswer["grants"]): ReadonlyArray<string> => {
  const all = added + changed + removed
  if (all === 0) return []
  const shown = named.slice(0, maxNames).map(({ allows, before, change, client, resource }) => {
    const was = before === null ? "" : `, was ${before}`
    return `         ${client}: ${resource} ${allows} ${change}${was}`
  })
  const more = all > shown.length ? [`         and ${all - shown.length} more`] : []
  return [`grants   ${added} added, ${changed} changed, ${removed} removed`, ...shown, ...more]
}

const changesOf = (what: string, of: ReloadAnswer["clients"]): ReadonlyArray<string> =>
  (["added", "changed", "removed"] as const).flatMap((change) => {
    const names = of[change]
    if (names.length === 0) return []
    const shown = names.slice(0, maxNames).join(", ")
    const more = names.length > maxNames ? ` and ${names.length - maxNames} more` : ""
    return [`${change.padEnd(8)} ${what}${names.length === 1 ? "" : "s"} ${shown}${more}`]
  })
