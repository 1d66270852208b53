/** What has changed, or would, as an operator is told. Pure. */
import type { ChangeReport } from "../control/standalone/changeReport.ts"

/** None where nothing has. */
export const changeLines = ({
  clients,
  grants,
  resolvers,
  resources,
  settings
}: ChangeReport): ReadonlyArray<string> => [
  ...changesOf("client", clients),
  ...changesOf("resource", resources),
  ...resolvers.map((name) => `changed  resolver set ${name}: its names are looked up anew`),
  ...settings.map((name) => `changed  ${name}`),
  ...grantLines(grants)
]

/** Names of one kind of change that are shown. */
const maxNames = 20

const grantLines = ({ added, changed, named, removed }: ChangeReport["grants"]): ReadonlyArray<string> => {
  const all = added + changed + removed
  if (all === 0) return []
  const shown = named.slice(0, maxNames).map(({ allows, before, change, client, resource }) => {
    const was = before === null ? "" : `, was ${before}`
    return `         ${client}: ${resource} ${allows} ${change}${was}`
  })
  const more = all > shown.length ? [`         and ${all - shown.length} more`] : []
  return [`grants   ${added} added, ${changed} changed, ${removed} removed`, ...shown, ...more]
}

const changesOf = (what: string, of: ChangeReport["clients"]): ReadonlyArray<string> =>
  (["added", "changed", "removed"] as const).flatMap((change) => {
    const names = of[change]
    if (names.length === 0) return []
    const shown = names.slice(0, maxNames).join(", ")
    const more = names.length > maxNames ? ` and ${names.length - maxNames} more` : ""
    return [`${change.padEnd(8)} ${what}${names.length === 1 ? "" : "s"} ${shown}${more}`]
  })
