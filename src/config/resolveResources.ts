import { ResourceId, type DestinationOptIn, type Resource } from "../model/Resource.ts"
import type { ConfigFile } from "./fileSchema.ts"
import type { ConfiguredClient, NetworkConfig } from "./GatewayConfig.ts"
import { overlaps, rangesOf } from "./ranges.ts"
import { allowableOf, checkAllow } from "./allowList.ts"
import { checkName, checkResolver, type Report } from "./report.ts"

const maxResources = 10_000

/** A resource and whom its `allow` list names (groups and clients share one name space). */
export interface ResolvedResource {
  readonly resource: Resource
  readonly allow: ReadonlySet<string>
  readonly expiresAt: number | null
}

interface Known {
  readonly clients: ReadonlyArray<ConfiguredClient>
  readonly resolvers: ReadonlyMap<string, unknown>
  /** `null` when the ranges themselves are wrong. */
  readonly network: NetworkConfig | null
}

/** The resources in the order of the file; wrong ones are reported and left out. */
export const resolveResources = (file: ConfigFile, known: Known, report: Report): ReadonlyArray<ResolvedResource> => {
  const entries = Object.entries(file.resources ?? {})
  if (entries.length > maxResources) {
    report(["resources"], `more than ${maxResources} resources`, "use patterns, or split the gateway", true)
    return []
  }
  const groups = new Set(known.clients.flatMap((client) => client.groups))
  for (const client of known.clients) {
    if (groups.has(client.id)) {
      report(["clients", client.id], `${client.id} is a client and a group`, "rename one: allow lists name both", true)
    }
  }
  const allowable = allowableOf(known.clients)
  return entries.flatMap(([name, entry]) => {
    const path = ["resources", name]
    checkName(name, path, report)
    checkAllow(entry.allow, [...path, "allow"], allowable, report, [
      `nobody may reach ${name}`,
      "list groups or clients, or remove the resource"
    ])
    if (entry.ports?.length === 0) {
      report(
        [...path, "ports"],
        "an empty list of ports would let everything through",
        "list ports, or leave ports out"
      )
    }
    const resource = resourceOf(name, entry, known, report)
    return resource === undefined ? [] : [{ resource, allow: new Set(entry.allow), expiresAt: entry.expires ?? null }]
  })
}

type ResourceFile = NonNullable<ConfigFile["resources"]>[string]

const resourceOf = (name: string, entry: ResourceFile, known: Known, report: Report): Resource | undefined => {
  const path = ["resources", name]
  const kinds = (["name", "cidr", "internet"] as const).filter((kind) => entry[kind] !== undefined)
  if (kinds.length !== 1) {
    const cause =
      kinds.length === 0 ? `${name} has neither name, cidr nor internet` : `${name} has ${kinds.join(" and ")}`
    report(path, cause, "give it exactly one of name, cidr and internet", true)
    return undefined
  }
  if (entry.resolver !== undefined) {
    if (entry.internet !== undefined) {
      report([...path, "resolver"], "only a resource with name or cidr has a resolver", "remove resolver", true)
    }
    checkResolver(entry.resolver, [...path, "resolver"], known.resolvers, report)
  }
  if (entry.ip_family !== undefined && entry.name === undefined) {
    report([...path, "ip_family"], "only a resource with a name has an ip_family", "remove ip_family", true)
  }
  const base = { id: ResourceId.make(name), filters: entry.ports ?? [], allow: optIns(entry) }
  if (entry.name !== undefined) {
    const resource = { ...base, kind: "dns", pattern: entry.name, resolver: entry.resolver ?? "system" } as const
    return typeof entry.ip_family === "number" ? { ...resource, family: entry.ip_family } : resource
  }
  if (entry.cidr !== undefined) {
    const cidr = entry.cidr
    const range = known.network === null ? undefined : rangesOf(known.network).find((r) => overlaps(r.network, cidr))
    if (cidr.endsWith("/0")) {
      report([...path, "cidr"], `${cidr} is every address`, "write internet: true instead of cidr")
    } else if (range !== undefined) {
      const fix = `use a narrower network, or move network.${range.key}`
      report([...path, "cidr"], `${cidr} overlaps ${range.key} ${range.network}`, fix)
    }
    return {
      ...base,
      kind: "cidr",
      network: cidr,
      ...(entry.resolver === undefined ? {} : { resolver: entry.resolver })
    }
  }
  if (entry.internet === false) {
    report([...path, "internet"], "internet: false says nothing", "write internet: true, or remove the resource")
  }
  return { ...base, kind: "internet" }
}

const optIns = (entry: ResourceFile): ReadonlyArray<DestinationOptIn> => {
  const all = {
    gateway_host: entry.allow_gateway_host,
    loopback: entry.allow_loopback,
    link_local: entry.allow_link_local,
    metadata: entry.allow_metadata
  } as const
  return (["gateway_host", "loopback", "link_local", "metadata"] as const).filter((key) => all[key] === true)
}
