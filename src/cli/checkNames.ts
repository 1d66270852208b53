/** What `check` tells of names: zones, records, search domains, block lists, what is in several resources, what is odd. */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type { GatewayConfig } from "../config/GatewayConfig.ts"
import { overlaps, rangesOf } from "../config/ranges.ts"
import { sharedNames } from "../config/sharedNames.ts"
import { BlockList } from "../dns/BlockList.ts"
import { parseResolvConf } from "../dns/resolvConf.ts"
import type { LocalRecord } from "../dns/tunnelAnswer.ts"
import type { Right } from "../model/Authorization.ts"
import { isExact } from "../model/DomainPattern.ts"
import { formatPortFilters } from "../model/PortFilter.ts"
import { noAnswer, readNameFile } from "./readNameFiles.ts"
import { counted, table } from "./textTable.ts"

export const nameTables = (config: GatewayConfig): ReadonlyArray<string> => {
  const { clients, records, search, zones } = config
  return [
    ...tableOf(
      ["IN SEVERAL RESOURCES", "CLIENTS", "MAY USE"],
      sharedNames(config).map(({ clients, grants, what }) => [what, clients.join(" "), grants.map(portsOf).join(", ")])
    ),
    ...(search.length === 0 ? [] : [`short names are looked for in ${search.join(", ")}`]),
    ...tableOf(
      ["ZONE", "RESOLVER", "FOR"],
      zones.map(({ clients: allowed, domain, resolver }) => [
        domain,
        resolver,
        allowed === null ? "all" : clients.flatMap(({ id }) => (allowed.has(id) ? [id] : [])).join(" ")
      ])
    ),
    ...tableOf(
      ["RECORD", "IS", "TTL"],
      [...records].flatMap(([name, all]) => all.map((record) => [name, formatRecord(record), `${record.ttl} s`]))
    )
  ]
}

/** None without rows. */
const tableOf = (...[head, rows]: Parameters<typeof table>): ReadonlyArray<string> =>
  rows.length === 0 ? [] : [table(head, rows)]

/** `tcp/443 udp/443 (web)` */
const portsOf = ({ expiresAt, resource: { filters, id } }: Right): string => {
  const until = expiresAt === null ? "" : `, until ${DateTime.formatIso(DateTime.makeUnsafe(expiresAt))}`
  return `${formatPortFilters(filters)} (${id}${until})`
}

const formatRecord = ({ data }: LocalRecord): string => {
  switch (data._tag) {
    case "Address":
      return data.address
    case "Name":
      return `an alias of ${data.name}`
    default:
      return "text"
  }
}

export interface Remark {
  /** Something is to be done. */
  readonly warning: boolean
  readonly text: string
}

const warning = (text: string): Remark => ({ warning: true, text })

/** What the block lists say now, and what of the file they would have blocked. */
export const blockRemarks = Effect.fnUntraced(function* (config: GatewayConfig) {
  const remarks: Array<Remark> = []
  for (const [i, path] of config.block.entries()) {
    const text = yield* readNameFile(path)
    if (Result.isFailure(text)) {
      remarks.push(
        warning(
          `the block list ${path} ${text.failure}: nothing is blocked by it — name a file that can be read, or remove it from block`
        )
      )
      if (text.failure !== noAnswer) continue
      const rest = config.block.length - 1 - i
      if (rest > 0) remarks.push(warning(`${counted(rest, "block list")} after ${path}: not looked at`))
      break
    }
    const list = new BlockList()
    list.add(text.success)
    remarks.push({ warning: false, text: `block list ${path}: ${list.size} names` })
    if (list.bad > 0) {
      remarks.push(
        warning(
          `${path}:${list.firstBad}: ${list.bad} of its lines make no sense, this is the first — write 0.0.0.0 and names, or a domain`
        )
      )
    }
    if (list.leftOut > 0) remarks.push(warning(`${path}: ${list.leftOut} names do not fit — use a shorter list`))
    const own = [
      ...config.zones.map(({ domain }) => ["the zone", domain] as const),
      ...[...config.records.keys()].map((name) => ["the record", name] as const),
      ...config.resources.flatMap((resource) =>
        resource.kind === "dns" && isExact(resource.pattern) ? [["the resource", resource.pattern] as const] : []
      ),
      ["the endpoint", config.endpoint.host] as const
    ]
    for (const [what, name] of own) {
      const entry = list.find(name)
      if (entry === undefined) continue
      remarks.push(warning(`${what} ${name} is on the block list ${path} (${entry}): it is answered all the same`))
    }
  }
  return remarks
})

/** The gateway's own resolver must not wait for the gateway. */
export const resolverRemarks = Effect.fnUntraced(function* (config: GatewayConfig, path = "/etc/resolv.conf") {
  const text = yield* readNameFile(path)
  if (Result.isFailure(text)) return []
  return parseResolvConf(text.success).servers.flatMap((server) => {
    const range = server.includes("%") ? undefined : rangesOf(config.network).find((r) => overlaps(r.network, server))
    return range === undefined
      ? []
      : [
          warning(
            `${path} names ${server}, which lies in ${range.key} ${range.network}: the gateway would ask itself — name a server outside the tunnel`
          )
        ]
  })
})
