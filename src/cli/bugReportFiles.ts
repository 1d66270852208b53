/** What is in a bug report, without what tells whose it is. Pure. */
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { fileKeys } from "../config/fileSchema.ts"
import { parsePostgresAddress } from "../config/postgresAddress.ts"
import type { LoggedEvent } from "../events/Event.ts"
import { printable as clean } from "../events/printable.ts"
import type { DoctorReport } from "./doctorReport.ts"
import { Redactor } from "./Redactor.ts"
import { renderDoctor } from "./renderDoctor.ts"
import { renderStatus } from "./renderStatus.ts"
import { StatusReport } from "./statusReport.ts"

/** Or why there is none. */
type Or<A> = { readonly found: A } | { readonly missing: string }

export interface BugReportSources {
  /** Path of the configuration file. */
  readonly file: string
  /** What the file says, as YAML has it; comments are none of it. */
  readonly config: Or<unknown>
  /** Network devices of the host but the gateway's own. */
  readonly devices: ReadonlyArray<string>
  readonly doctor: DoctorReport
  readonly status: Or<StatusReport>
  readonly log: Or<ReadonlyArray<LoggedEvent>>
  /** Of programs and the system; none of it is redacted. */
  readonly versions: Readonly<Record<string, string>>
}

export interface ReportFile {
  readonly path: string
  readonly text: string
}

export const bugReportFiles = (sources: BugReportSources): ReadonlyArray<ReportFile> => {
  const redactor = new Redactor()
  // Names are found in the documents first, then replaced in texts of all of them.
  parts(sources, redactor)
  return parts(sources, redactor)
}

const parts = (sources: BugReportSources, redactor: Redactor): ReadonlyArray<ReportFile> => {
  redactor.value(sources.file)
  for (const device of sources.devices) redactor.name(device)
  const config = whole(sources.config, (found) => redactFile(found, redactor))
  const status = whole(sources.status, (found) => decode(redactDocument(found, redactor)))
  const log = whole(sources.log, (found) => found.map((event) => redactDocument(event, redactor)))
  const doctor: DoctorReport = {
    ...sources.doctor,
    rows: sources.doctor.rows.map((row) => {
      if (row.check === "file" && row.verdict === "fail" && "missing" in config) {
        return { ...row, what: placeOf(row.what, redactor) }
      }
      const text = (said: string) => (isCiting(row) ? withoutQuotes(redactor.text(said)) : redactor.text(said))
      if (row.check === "ranges") findRouteNames(row.what, redactor)
      return { ...row, what: text(row.what), next: text(row.next) }
    })
  }
  return [
    { path: "README.txt", text: readme },
    { path: "versions.json", text: json(sources.versions) },
    { path: "doctor.txt", text: `${renderDoctor(doctor.rows, null)}\n` },
    { path: "doctor.json", text: json(doctor) },
    file("config.json", config, json, redactor),
    file("status.json", status, json, redactor),
    file("status.txt", status, (found) => `${renderStatus(found)}\n`, redactor),
    file("log.ndjson", log, (found) => found.map((event) => `${JSON.stringify(event)}\n`).join(""), redactor)
  ]
}

/** It is a report as before: words of others are in the place of its texts. */
const decode = Schema.decodeUnknownSync(StatusReport)

const readme = `A bug report of sallyport. Names, addresses, keys, paths and what else tells whose gateway it is have other words in it, the
same one for the same thing everywhere: n1, ipv4-2, ipv6-3, key-4, /path-5. Comments of the configuration and secrets are left
out. Look it through before you hand it on.
`

const whole = <A, B>(source: Or<A>, redact: (found: A) => B): Or<B> =>
  "found" in source ? { found: redact(source.found) } : source

const file = <A>(path: string, source: Or<A>, format: (found: A) => string, redactor: Redactor): ReportFile =>
  "found" in source
    ? { path, text: format(source.found) }
    : { path: `${path}.missing.txt`, text: `${clean(redactor.text(source.missing))}\n` }

const json = (value: unknown): string => `${JSON.stringify(value, null, 2)}\n`

/** Of a file that cannot be read nobody knows what is a name in it. */
const placeOf = (problem: string, redactor: Redactor): string => {
  const place = /^(.*?:\d+:\d+): /.exec(problem)?.[1]
  return place === undefined ? redactor.text(problem) : `${redactor.text(place)}: ${leftOut}`
}

/** It may cite what others have written: a file that is wrong, rules of the host's own firewall. */
const isCiting = ({ check, verdict }: DoctorReport["rows"][number]): boolean =>
  check === "firewall" || check === "gateway" || (check === "file" && verdict === "fail")

/** What is cited may be anything. */
const withoutQuotes = (text: string): string => text.replaceAll(/"(?:[^"\\]|\\.)*"/g, '"…"')

/** What devices and routing tables of the host are called: `… dev eth1 table corp`, `… (eth1)`. */
const findRouteNames = (text: string, redactor: Redactor): void => {
  for (const [, after, inside] of text.matchAll(/ (?:dev|table) ([^\s:]*[^\s:\d][^\s:]*)|\(([^\s()]+)\)/g)) {
    redactor.name(after ?? inside!)
  }
}

/** Maps in the file whose keys are names. */
const named = new Set(["clients", "resources", "resolvers", "sites", "zones", "records"])
/** Keys whose values are none of anybody's names. */
const plain = new Set(
  "ports expect expires order ip_family firewall other_names log_level log_format reload device fwmark ttl mtu listen number".split(
    " "
  )
)
const secret = new Set(["preshared_key", "txt"])
const leftOut = "(left out)"

const redactFile = (value: unknown, redactor: Redactor, key = "", names = false): unknown => {
  if (secret.has(key)) return leftOut
  if (key === "state" && typeof value === "string") findStateNames(value, redactor)
  if (Array.isArray(value)) return value.map((one: unknown) => redactFile(one, redactor, key))
  if (typeof value === "object" && value !== null) {
    return Object.fromEntries(
      Object.entries(value).map(([inner, one]) => {
        const isName = names || !fileKeys.has(inner)
        const is = key === "" && named.has(inner)
        return [isName ? redactor.name(inner) : inner, redactFile(one, redactor, isName ? key : inner, is)]
      })
    )
  }
  if (plain.has(key)) return typeof value === "string" ? redactor.text(value) : value
  return typeof value === "string" || typeof value === "number" ? redactor.value(String(value)) : value
}

/** What the messages of PostgreSQL, and of the gateway about it, call by name. */
const findStateNames = (address: string, redactor: Redactor): void => {
  const parsed = parsePostgresAddress(address)
  if (Result.isFailure(parsed)) return
  const { database, hosts, user } = parsed.success
  for (const name of [user, database, ...hosts.map(({ host }) => host)]) {
    if (name !== "sallyport" && name !== "localhost") redactor.value(name)
  }
}

/** Fields of the report and of events that are one name, address or key, or a list of them. */
const identifying = new Set(
  (
    "client clients name publicKey tunnel4 tunnel6 endpoint endpoints resource resources domain resolver proxyIps addresses " +
    "address real network server host by"
  ).split(" ")
)

/** Fields whose values are words of the gateway's own, whatever clients are called. */
const own = new Set(["_tag", "state", "path", "kind", "gatewayKey", "cause", "protocol"])

/** Fields that cite what others have written: rules of the host's own firewall, messages of PostgreSQL, a refused policy. */
const citing = new Set(["likely", "fix", "wrong", "why"])

/** `asked`: a name in it is what a client has asked for, within its rights or not. */
const redactDocument = (value: unknown, redactor: Redactor, key = "", asked = false): unknown => {
  if (Array.isArray(value)) return value.map((one: unknown) => redactDocument(one, redactor, key, asked))
  if (typeof value === "object" && value !== null) {
    // Their words name clients and resources that may be gone, so that no other document names them.
    if ("_tag" in value && (value._tag === "Reloaded" || value._tag === "KeysChanged"))
      return { ...value, what: leftOut }
    const within = asked || key === "filtered" || ("_tag" in value && value._tag === "Question")
    return Object.fromEntries(
      Object.entries(value).map(([inner, one]) => [inner, redactDocument(one, redactor, inner, within)])
    )
  }
  if (typeof value !== "string" || own.has(key)) return value
  if (key === "who") findRouteNames(value, redactor)
  if (citing.has(key)) return withoutQuotes(redactor.text(value))
  if (asked && (key === "name" || key === "domain")) return redactor.asked(value)
  return identifying.has(key) ? redactor.value(value) : redactor.text(value)
}
