/** All gateways of a site, as the one that is asked knows them. Pure. */
import { formatAge } from "./formatAge.ts"
import type { StatusReport } from "./statusReport.ts"
import { table } from "./textTable.ts"

type Gateway = NonNullable<StatusReport["site"]>["gateways"][number]

/** Those with something wrong first, then by number. */
export const siteTable = ({ at, site }: StatusReport, width?: number): string => {
  if (site === undefined) return "this gateway has no site (state: in its file names one)"
  const { gateways, postgres } = site
  if (gateways.length === 0) return "this gateway has not met its site yet"
  const newest = Math.max(...gateways.map(({ about }) => about?.policy ?? 0))
  const rows = gateways.toSorted((a, b) => rankOf(a, newest) - rankOf(b, newest) || a.gateway - b.gateway)
  const known = table(
    ["GATEWAY", "HOST", "STATE", "ADDRESS", "CLIENTS", "POLICY", "READ", "VERSION"],
    rows.map((row) => [
      `${row.gateway}${row.own ? " (this)" : ""}`,
      row.about?.host ?? "-",
      stateOf(row, at),
      row.master ? "here" : "-",
      `${row.clients}`,
      policyOf(row, newest),
      row.about?.readAt == null ? "-" : `${formatAge(at - row.about.readAt)} ago`,
      row.about?.version ?? "-"
    ]),
    width
  )
  return postgres.wrong === null
    ? known
    : `${known}\nas it was ${formatAge(at - postgres.since)} ago: PostgreSQL is away`
}

const stateOf = ({ alive, draining, heardAt }: Gateway, at: number): string =>
  alive ? (draining ? "drains" : "alive") : `silent for ${formatAge(at - heardAt)}`

/** One of its own file beside others that go by the site's policy is behind, too. */
const isBehind = ({ about }: Gateway, newest: number): boolean =>
  newest > 0 && about !== undefined && about.policy !== newest

const policyOf = (row: Gateway, newest: number): string => {
  if (row.about === undefined) return "-"
  const { policy } = row.about
  return `${policy ?? "own file"}${isBehind(row, newest) ? ` (not ${newest})` : ""}`
}

const rankOf = (row: Gateway, newest: number): number =>
  row.alive ? (isBehind(row, newest) ? 1 : row.draining ? 2 : 3) : 0
