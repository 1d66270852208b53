import * as Result from "effect/Result"
import { recordType } from "../dns/registry.ts"
import type { LocalRecord } from "../dns/tunnelAnswer.ts"
import { parseNetwork } from "../packet/address.ts"
import { concat } from "../packet/bytes.ts"
import { admits, allowableOf, checkAllow } from "./allowList.ts"
import type { ConfigFile } from "./fileSchema.ts"
import type { ConfiguredClient, Zone } from "./GatewayConfig.ts"
import { quote } from "./problem.ts"
import { checkResolver, type Report } from "./report.ts"
import { parseDomain } from "./values.ts"

const maxZones = 1_000
const maxRecords = 10_000
/** Values of one type of a name: what fits into an answer. */
const maxValues = 32
/** As many as resolvers take (resolv.conf(5)). */
const maxSearch = 6
const maxLists = 16
const defaultTtl = 300

interface Known {
  readonly clients: ReadonlyArray<ConfiguredClient>
  readonly resolvers: ReadonlyMap<string, unknown>
}

/** A part of the file by names, with the key of each as it stands there. */
export interface Named<A> {
  readonly key: string
  readonly name: string
  readonly value: A
}

/** The zones in the order of the file; wrong ones are reported and left out. */
export const resolveZones = (file: ConfigFile, known: Known, report: Report): ReadonlyArray<Named<Zone>> => {
  const allowable = allowableOf(known.clients)
  return namedBy("zones", file.zones, maxZones, report).map(({ key, name, value }) => {
    const path = ["zones", key]
    const { allow, resolver } = typeof value === "string" ? { resolver: value, allow: undefined } : value
    checkResolver(resolver, typeof value === "string" ? path : [...path, "resolver"], known.resolvers, report)
    if (allow === undefined) return { key, name, value: { domain: name, resolver, clients: null } }
    checkAllow(allow, [...path, "allow"], allowable, report, [
      `nobody may ask for names in ${name}`,
      "list groups or clients, leave allow out for everybody, or remove the zone"
    ])
    const admitted = new Set(allow)
    const clients = new Set(known.clients.filter((client) => admits(admitted, client)).map(({ id }) => id))
    return { key, name, value: { domain: name, resolver, clients } }
  })
}

type RecordFile = NonNullable<ConfigFile["records"]>[string]

/** The records of each name, in the order of the file; wrong names are reported and left out. */
export const resolveRecords = (file: ConfigFile, report: Report): ReadonlyArray<Named<ReadonlyArray<LocalRecord>>> =>
  namedBy("records", file.records, maxRecords, report).map(({ key, name, value }) => {
    const path = ["records", key]
    const { cname, ttl: _, ...others } = value
    const types = Object.keys(others)
    if (cname === undefined && types.length === 0) {
      report(path, `${name} has no record`, "give it a, aaaa, txt or cname", true)
    } else if (cname !== undefined && types.length > 0) {
      // RFC 1034 §3.6.2
      report([...path, "cname"], `${name} is an alias and has ${types.join(" and ")}`, "an alias has cname alone", true)
    }
    for (const [type, values] of Object.entries(others)) {
      const { length } = listOf(values)
      if (length > 0 && length <= maxValues) continue
      report([...path, type], `${name} has ${length} values of ${type}`, `list 1 to ${maxValues} of them`, true)
    }
    return { key, name, value: recordsOf(value) }
  })

const recordsOf = ({ a, aaaa, cname, ttl = defaultTtl, txt }: RecordFile): ReadonlyArray<LocalRecord> => [
  ...listOf(a).map((address) => ({ type: recordType.A, data: { _tag: "Address", address }, ttl }) as const),
  ...listOf(aaaa).map((address) => ({ type: recordType.AAAA, data: { _tag: "Address", address }, ttl }) as const),
  ...listOf(cname).map((name) => ({ type: recordType.CNAME, data: { _tag: "Name", name }, ttl }) as const),
  ...listOf(txt).map((value) => ({ type: recordType.TXT, data: { _tag: "Raw", bytes: txtData(value) }, ttl }) as const)
]

/** Strings of at most 255 bytes, each after its length (RFC 1035 §3.3.14). */
const txtData = (value: string): Uint8Array => {
  const bytes = new TextEncoder().encode(value)
  const parts: Array<Uint8Array> = []
  for (let at = 0; at < Math.max(bytes.length, 1); at += 255) {
    const part = bytes.subarray(at, at + 255)
    parts.push(Uint8Array.of(part.length), part)
  }
  return concat(parts)
}

const listOf = <A extends string>(value: A | ReadonlyArray<A> | undefined): ReadonlyArray<A> =>
  value === undefined ? [] : typeof value === "string" ? [value] : value

/** Search domains and block lists: as they are, each once. */
export const resolveLists = (file: ConfigFile, report: Report) => {
  const once = (key: "search" | "block", most: number): ReadonlyArray<string> => {
    const items = file[key] ?? []
    for (const [i, item] of items.entries()) {
      if (items.indexOf(item) !== i) report([key, i], `${item} is listed twice`, "remove one of them")
    }
    if (items.length > most) report([key], `${items.length} of ${key}`, `list at most ${most}`, true)
    return items
  }
  return { search: once("search", maxSearch), block: once("block", maxLists) }
}

/** The entries whose keys are names, once each. */
const namedBy = <A>(
  part: "zones" | "records",
  entries: Readonly<Record<string, A>> | undefined,
  most: number,
  report: Report
): ReadonlyArray<Named<A>> => {
  const all = Object.entries(entries ?? {})
  if (all.length > most) {
    report([part], `more than ${most} ${part}`, "let a DNS server of your own have them, as a resolver set", true)
    return []
  }
  const seen = new Map<string, string>()
  return all.flatMap(([key, value]) => {
    const parsed = parseDomain(key)
    if (Result.isFailure(parsed)) {
      report([part, key], parsed.failure.cause, nameFix(part, key) ?? parsed.failure.fix, true)
      return []
    }
    const name = parsed.success
    const twin = seen.get(name)
    if (twin !== undefined) report([part, key], `${quote(key)} is the same name as ${quote(twin)}`, "remove one", true)
    seen.set(name, key)
    return [{ key, name, value }]
  })
}

/** What was probably meant by a key that is no name. */
const nameFix = (part: "zones" | "records", key: string): string | undefined => {
  if (parseNetwork(key) !== undefined) {
    return part === "zones" ? "write the reverse zone, for example 10.in-addr.arpa for 10.0.0.0/8" : undefined
  }
  if (!/[*?]/.test(key)) return undefined
  return part === "zones"
    ? `a zone has all names below it: write ${key.replace(/^[*?.]+/, "") || "a domain"}`
    : "a record has one name; for a whole domain use zones or a resource"
}
