import { printable as clean } from "../events/printable.ts"
import { formatAge } from "./formatAge.ts"
import type { StatusReport } from "./statusReport.ts"
import {
  clientDetails,
  clientsInOrder,
  clientTable,
  counterTables,
  nameDetails,
  nameIn,
  nameSummary,
  namesOf,
  nameTable,
  serverTable,
  siteTable
} from "./statusSections.ts"
import { counted, fit, wrap } from "./textTable.ts"
import { type Gravity, isWrong, type Trouble, troublesOf } from "./troubles.ts"

/** What the output is shown on. */
export interface ScreenSize {
  readonly columns: number
  readonly rows: number
  /** Whether it is to have colours (https://no-color.org). */
  readonly color: boolean
}

/** `null`: it is none. One that does not say how large it is counts as the usual one. */
export const screenOf = (
  { columns, isTTY, rows }: { readonly columns: number; readonly isTTY: boolean; readonly rows: number },
  environment: Readonly<Record<string, string | undefined>>
): ScreenSize | null => {
  const { NO_COLOR = "", TERM } = environment
  return isTTY ? { columns: columns || 80, rows: rows || 24, color: NO_COLOR === "" && TERM !== "dumb" } : null
}

/** What of the report is asked for; nothing: one screen. */
export interface StatusView {
  /** Gateways of the site. */
  readonly all: boolean
  readonly clients: boolean
  readonly names: boolean
  readonly counters: boolean
  /** Of a client or a name. */
  readonly target: string | null
}

export const oneScreen: StatusView = { all: false, clients: false, names: false, counters: false, target: null }

/** Where nothing else is known of the reader. */
const defaultRows = 24

/**
 * The report for people, without a newline at its end: what is wrong, then what was asked for; without a question, as
 * much as a screen has room for. A file or a pipe (`null`) gets one line for each thing that is wrong, of any length.
 */
export const renderStatus = (
  report: StatusReport,
  view: StatusView = oneScreen,
  screen: ScreenSize | null = null
): string => {
  const width = screen?.columns ?? Number.POSITIVE_INFINITY
  const paint = painter(screen?.color ?? false)
  const troubles = troublesOf(report)
  if (view.target !== null) {
    const { target } = view
    const details = clientDetails(report, target, width) ?? nameDetails(report, nameIn(target), width)
    const about = troubles.filter((one) => one.about.includes(target) || one.about.includes(nameIn(target)))
    return joined([troubleLines(report, about, width, paint, Infinity), details ?? "nothing in use is called so"])
  }
  if (view.all || view.clients || view.names || view.counters) {
    return joined([
      troubles.some(isWrong) ? paint(troubles[0]!.gravity, `${verdict(troubles)}: sallyport status says what`) : "",
      view.all ? siteTable(report, width) : "",
      view.clients ? clientTable(report, clientsInOrder(report), width) : "",
      view.names ? joined([nameTable(namesOf(report), report.at, width), serverTable(report, width)]) : "",
      view.counters ? counterTables(report, width) : ""
    ])
  }
  const head = fit(headLine(report), width)
  const summary = summaryLines(report, width)
  const room = (screen?.rows ?? defaultRows) - 1
  const shown = troubleLines(report, troubles, width, paint, screen === null ? Infinity : room - summary.length - 3)
  const left = room - (2 + shown.split("\n").length + 1 + summary.length)
  return joined([head, shown, joined([summary.join("\n"), ...restOf(report, width, left)])])
}

/** One line for a monitor. */
export const checkLine = (report: StatusReport): string => {
  const troubles = troublesOf(report)
  const [worst] = troubles
  return worst === undefined || !isWrong(worst)
    ? `OK: ${summaryLines(report, Infinity).join("; ")}`
    : `${verdict(troubles)}: ${clean(worst.what)}${sinceOf(report, worst)}`
}

export const isAllWell = (report: StatusReport): boolean => !troublesOf(report).some(isWrong)

const headLine = ({ at, controlPlane, gateway }: StatusReport): string =>
  clean(
    `${controlPlane.kind === "file" ? "endpoint" : "portal"} ${gateway.endpoint}, up ${formatAge(at - gateway.startedAt)}, key ${gateway.publicKey}`
  )

const verdict = (troubles: ReadonlyArray<Trouble>): string => {
  const wrong = troubles.filter(isWrong).length
  return wrong === 0 ? "nothing is wrong" : `${counted(wrong, "thing is", "things are")} wrong`
}

const marks: Readonly<Record<Gravity, string>> = { outage: "✘", failing: "✘", odd: "!", note: "·" }

const sinceOf = ({ at }: StatusReport, { gravity, since }: Trouble): string =>
  since === null ? "" : gravity === "note" ? ` (${formatAge(at - since)} ago)` : `, for ${formatAge(at - since)}`

/** As many as fit into `room` lines. */
const troubleLines = (
  report: StatusReport,
  troubles: ReadonlyArray<Trouble>,
  width: number,
  paint: Paint,
  room: number
): string => {
  const lines = [
    troubles.some(isWrong) ? paint(troubles[0]!.gravity, verdict(troubles)) : paint("well", verdict(troubles))
  ]
  for (const [shown, trouble] of troubles.entries()) {
    const next = trouble.next === "" ? "" : ` → ${trouble.next}`
    const text = clean(`${trouble.what}${sinceOf(report, trouble)}${next}`)
    const [first, ...more] = wrap(`${marks[trouble.gravity]} ${text}`, width, 2)
    const rest = shown < troubles.length - 1 ? 1 : 0
    if (lines.length + 1 + more.length + rest > room) {
      lines.push(`  and ${troubles.length - shown} more: sallyport status | less`)
      break
    }
    lines.push(paint(trouble.gravity, first!), ...more)
  }
  return lines.join("\n")
}

const summaryLines = (report: StatusReport, width: number): ReadonlyArray<string> => {
  const { at, authorizations, clients, dnsServers = [], omitted, site } = report
  const connected = clients.filter((client) => client.connected).length
  const silent = dnsServers.filter(({ silentSince }) => silentSince !== null).length
  return [
    `${counted(clients.length, "client")}, ${connected} connected`,
    nameSummary(report),
    counted(authorizations.length + omitted.authorizations, "authorization"),
    ...(dnsServers.length === 0
      ? []
      : [`${counted(dnsServers.length, "DNS server")}, ${silent === 0 ? "all answer" : `${silent} silent`}`]),
    ...(site === undefined ? [] : [siteLine(site, at), ...policyLines(site, at), ...gatewayLines(site, at)])
  ].map((line) => fit(line, width))
}

const siteLine = (
  { draining, gateway, name, postgres, untold, virtualAddress }: NonNullable<StatusReport["site"]>,
  at: number
): string => {
  const where = postgres.server === null ? "PostgreSQL away" : `PostgreSQL ${postgres.server}`
  const rest = untold === 0 ? "" : `, ${counted(untold, "change")} still to be told`
  const site = name === undefined ? "its site" : `site ${name}`
  return `${gateway === null ? `no gateway of ${site} yet` : `gateway ${gateway} of ${site}`}: ${where} for ${formatAge(at - postgres.since)}${rest}${addressOf(virtualAddress, at)}${drainOf(draining, at)}`
}

const policyLines = ({ policy }: NonNullable<StatusReport["site"]>, at: number): ReadonlyArray<string> => {
  if (policy === undefined) return []
  if (policy.inForce === null) {
    return [
      `policy of its own file: ${policy.refused === null ? "none was applied to" : "it goes by none of"} the site`
    ]
  }
  const { at: appliedAt, by, version } = policy.inForce
  return [`policy ${version} of the site, applied by ${by} ${formatAge(at - appliedAt)} ago`]
}

const addressOf = (told: NonNullable<StatusReport["site"]>["virtualAddress"], at: number): string =>
  told === undefined
    ? ""
    : `; virtual address ${told.state === "MASTER" ? "here" : "not here"} (${told.state}) for ${formatAge(at - told.since)}`

const drainOf = (draining: NonNullable<StatusReport["site"]>["draining"], at: number): string =>
  draining === undefined
    ? ""
    : `; gives its clients away for ${formatAge(at - draining.since)}, ${
        !draining.mayMove
          ? "which the others do not know yet"
          : draining.clients === 0
            ? "none is here any more"
            : `${counted(draining.clients, "client")} still here`
      }`

/** More are counted. */
const maxGateways = 8

/** One for each of the others. */
const gatewayLines = ({ gateways }: NonNullable<StatusReport["site"]>, at: number): ReadonlyArray<string> => {
  const others = gateways.filter(({ own }) => !own)
  const lines = others.slice(0, maxGateways).map(({ alive, clients, draining, gateway, heardAt, master }) => {
    const state = alive ? `${counted(clients, "client")} connected` : `silent for ${formatAge(at - heardAt)}`
    return `gateway ${gateway}: ${state}${alive && master ? ", has the virtual address" : ""}${alive && draining ? ", gives its clients away" : ""}`
  })
  return others.length <= maxGateways
    ? lines
    : [...lines, `and ${counted(others.length - maxGateways, "more gateway")}: sallyport status --all`]
}

/** Tables with as many rows as there is room for, the worst and the latest first. */
const restOf = (report: StatusReport, width: number, room: number): ReadonlyArray<string> => {
  const parts: Array<string> = []
  let left = room
  const add = <A>(rows: ReadonlyArray<A>, lines: number, flag: string, draw: (rows: ReadonlyArray<A>) => string) => {
    // Besides the rows: a blank line, the head and, perhaps, how many more there are.
    const most = rows.length + 2 <= lines ? rows.length : lines - 3
    if (rows.length === 0 || most < 1) return
    const more = rows.length - most
    parts.push(`${draw(rows.slice(0, most))}${more === 0 ? "" : `\nand ${more} more: sallyport status ${flag}`}`)
    left -= most + (more === 0 ? 2 : 3)
  }
  const names = namesOf(report)
  const clients = clientsInOrder(report)
  const forNames = Math.max(room - clients.length - 2, Math.ceil(room / 2))
  add(names, forNames, "--names", (rows) => nameTable(rows, report.at, width))
  add(clients, left, "--clients", (rows) => clientTable(report, rows, width))
  return parts
}

type Paint = (style: Gravity | "well", text: string) => string

const colors: Readonly<Record<Gravity | "well", string>> = {
  outage: "31;1",
  failing: "31",
  odd: "33",
  note: "2",
  well: "32"
}

const painter =
  (color: boolean): Paint =>
  (style, text) =>
    color ? `\u001b[${colors[style]}m${text}\u001b[0m` : text

const joined = (parts: ReadonlyArray<string>): string => parts.filter((part) => part !== "").join("\n\n")
