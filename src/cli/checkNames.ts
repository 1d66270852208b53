/** What `check` tells of names: zones, records, search domains, block lists, and what is odd about them. */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import type { GatewayConfig } from "../config/GatewayConfig.ts"
import { overlaps, rangesOf } from "../config/ranges.ts"
import { BlockList } from "../dns/BlockList.ts"
import { parseResolvConf } from "../dns/resolvConf.ts"
import type { LocalRecord } from "../dns/tunnelAnswer.ts"
import { isExact } from "../model/DomainPattern.ts"
import { table } from "./renderStatus.ts"

/** What the gateway reads of a file that others write. */
const longest = 64n << 20n

export const nameTables = ({ clients, records, search, zones }: GatewayConfig): ReadonlyArray<string> => [
  ...(search.length === 0 ? [] : [`short names are looked for in ${search.join(", ")}`]),
  ...(zones.length === 0
    ? []
    : [
        table(
          ["ZONE", "RESOLVER", "FOR"],
          zones.map(({ clients: allowed, domain, resolver }) => [
            domain,
            resolver,
            allowed === null ? "all" : clients.flatMap(({ id }) => (allowed.has(id) ? [id] : [])).join(" ")
          ])
        )
      ]),
  ...(records.size === 0
    ? []
    : [
        table(
          ["RECORD", "IS", "TTL"],
          [...records].flatMap(([name, all]) => all.map((record) => [name, formatRecord(record), `${record.ttl} s`]))
        )
      ])
]

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

/** What the block lists say now, and what of the file they would have blocked. */
export const blockLines = Effect.fnUntraced(function* (config: GatewayConfig) {
  const lines: Array<string> = []
  for (const path of config.block) {
    const text = yield* readFile(path)
    if (text === null) {
      lines.push(
        `warning: the block list ${path} cannot be read: nothing is blocked by it — create it, or remove it from block`
      )
      continue
    }
    const list = new BlockList()
    list.add(text)
    lines.push(`block list ${path}: ${list.size} names`)
    if (list.bad > 0) {
      lines.push(
        `warning: ${path}:${list.firstBad}: ${list.bad} of its lines make no sense, this is the first — write 0.0.0.0 and names, or a domain`
      )
    }
    if (list.leftOut > 0) lines.push(`warning: ${path}: ${list.leftOut} names do not fit — use a shorter list`)
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
      lines.push(`warning: ${what} ${name} is on the block list ${path} (${entry}): it is answered all the same`)
    }
  }
  return lines
})

/** The gateway's own resolver must not wait for the gateway. */
export const resolverLines = Effect.fnUntraced(function* (config: GatewayConfig, path = "/etc/resolv.conf") {
  const text = yield* readFile(path)
  if (text === null) return []
  return parseResolvConf(text).servers.flatMap((server) => {
    const range = server.includes("%") ? undefined : rangesOf(config.network).find((r) => overlaps(r.network, server))
    return range === undefined
      ? []
      : [
          `warning: ${path} names ${server}, which lies in ${range.key} ${range.network}: the gateway would ask itself — name a server outside the tunnel`
        ]
  })
})

const readFile = Effect.fnUntraced(function* (path: string) {
  const fs = yield* FileSystem.FileSystem
  const info = yield* Effect.option(fs.stat(path))
  if (Option.isNone(info) || info.value.type !== "File" || info.value.size > longest) return null
  return yield* Effect.orElseSucceed(fs.readFileString(path), () => null)
})
