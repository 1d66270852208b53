/**
 * What the parts of a file make of each other: names that another part hides, aliases that go in circles, the tunnel's own
 * ends among what it leads to. What can never work is an error, what is only odd a warning.
 */
import { isWithin } from "../dns/name.ts"
import { isLocalNetwork } from "../dns/privateZones.ts"
import { recordType } from "../dns/registry.ts"
import type { LocalRecord } from "../dns/tunnelAnswer.ts"
import { domainOf, isExact, matches, PatternIndex } from "../model/DomainPattern.ts"
import type { CidrResource, DnsResource } from "../model/Resource.ts"
import { heldDomains, reverseResolverOf } from "../control/standalone/heldDomains.ts"
import { maxAliases } from "../control/standalone/nameRoutes.ts"
import {
  isLinkLocal,
  isLoopback,
  isMulticast,
  mask,
  type Network,
  parseNetwork,
  type Words,
  words
} from "../packet/address.ts"
import { gatewayAddress } from "./assignAddresses.ts"
import type { ConfigFile } from "./fileSchema.ts"
import type { NetworkConfig, Zone } from "./GatewayConfig.ts"
import { overlaps, rangesOf } from "./ranges.ts"
import type { Report } from "./report.ts"
import type { Named } from "./resolveNames.ts"
import type { ResolvedResource } from "./resolveResources.ts"

/** A file whose parts are right, each by itself. */
export interface Parts {
  readonly file: ConfigFile
  readonly network: NetworkConfig
  readonly resources: ReadonlyArray<ResolvedResource>
  readonly zones: ReadonlyArray<Named<Zone>>
  readonly records: ReadonlyArray<Named<ReadonlyArray<LocalRecord>>>
  readonly search: ReadonlyArray<string>
  readonly resolvers: ReadonlyMap<string, unknown>
}

export const checkAgainstItself = (parts: Parts, report: Report, warn: Report): void => {
  const all = parts.resources.map(({ resource }) => resource)
  const named = all.filter((resource) => resource.kind === "dns")
  const networks = all.filter((resource) => resource.kind === "cidr")
  checkEndpoint(parts, named, networks, report, warn)
  checkResources(parts, warn)
  checkNetworks(networks, report)
  checkZones(parts, named, report)
  checkRecords(parts, named, report, warn)
  checkDomains(parts, named, networks, warn)
  checkSearch(parts, named, warn)
  checkResolvers(parts, warn)
}

/** What clients dial must not lead into the tunnel that they dial it for. */
const checkEndpoint = (
  { file: { endpoint } }: Parts,
  named: ReadonlyArray<DnsResource>,
  networks: ReadonlyArray<CidrResource>,
  report: Report,
  warn: Report
): void => {
  for (const { id, pattern } of named) {
    if (!matches(pattern, endpoint.host)) continue
    const path = ["resources", id, "name"]
    if (isExact(pattern)) {
      report(
        path,
        `${pattern} is the endpoint: clients would look for the gateway inside of its own tunnel`,
        "give the resource or the endpoint another name"
      )
    } else {
      warn(
        path,
        `${pattern} covers the endpoint ${endpoint.host}, which is left out of the resource`,
        "give the endpoint a name outside of it"
      )
    }
  }
  for (const { id, network } of networks) {
    if (network !== `${endpoint.host}/32` && network !== `${endpoint.host}/128`) continue
    report(
      ["resources", id, "cidr"],
      `${network} is the endpoint: the tunnel would lead into itself`,
      "reach the gateway's host outside of the tunnel, or by another of its addresses"
    )
  }
}

/** Packets to such a network are refused, all of them, unless the resource opts in. */
const checkNetworks = (networks: ReadonlyArray<CidrResource>, report: Report): void => {
  for (const { allow, id, network: text } of networks) {
    if (allow.length > 0) continue
    const network = parseNetwork(text)!
    const ends = [network.address, lastOf(network)]
    const refused = refusedNetworks.find(({ has }) => ends.every(has))
    if (refused === undefined) continue
    report(["resources", id, "cidr"], `every packet to ${text} is refused: ${refused.what}`, refused.fix)
  }
}

const refusedNetworks: ReadonlyArray<{
  readonly what: string
  readonly fix: string
  readonly has: (address: Readonly<Words>) => boolean
}> = [
  { what: "loopback addresses", fix: "add allow_loopback: true if that is meant", has: isLoopback },
  {
    what: "link-local addresses",
    fix: "add allow_link_local: true, or allow_metadata: true for a metadata service, if that is meant",
    has: isLinkLocal
  },
  { what: "multicast addresses", fix: "remove the resource", has: isMulticast }
]

const lastOf = ({ address, prefix }: Network): Words => {
  const inside = mask(words(-1, -1, -1, -1), prefix)
  return words(address.w0 | ~inside.w0, address.w1 | ~inside.w1, address.w2 | ~inside.w2, address.w3 | ~inside.w3)
}

/** Of one name that several resources have, only one resolver set is asked. */
const checkResources = ({ resources }: Parts, warn: Report): void => {
  const first = new Map<string, DnsResource>()
  for (const { resource } of resources) {
    if (resource.kind !== "dns") continue
    const before = first.get(resource.pattern)
    if (before === undefined) first.set(resource.pattern, resource)
    else if (before.resolver !== resource.resolver) {
      warn(
        ["resources", resource.id],
        `${resource.id} and ${before.id} are both ${resource.pattern}: who may reach both is told what ${before.resolver} says, never ${resource.resolver}`,
        "give both the same resolver",
        true
      )
    }
  }
}

const checkZones = ({ zones }: Parts, named: ReadonlyArray<DnsResource>, report: Report): void => {
  for (const { key, name } of zones) {
    const over = named.find(({ pattern }) => coversAll(pattern, name))
    if (over === undefined) continue
    report(
      ["zones", key],
      `every name in ${name} is one of the resource ${over.id} (${over.pattern}): the zone would never be asked`,
      "remove the zone, or narrow the resource",
      true
    )
  }
}

const checkRecords = (
  { file, network, records, zones }: Parts,
  named: ReadonlyArray<DnsResource>,
  report: Report,
  warn: Report
): void => {
  const targets = new Map(records.flatMap(({ name, value }) => aliasOf(value).map((target) => [name, target] as const)))
  const index = new PatternIndex(named, ({ pattern }) => pattern)
  const written = new Set(records.map(({ name }) => name))
  const isKnown = (name: string): boolean =>
    written.has(name) || index.covering(name).length > 0 || zones.some((zone) => isWithin(name, zone.name))
  for (const { key, name, value } of records) {
    const path = ["records", key]
    const covering = index.covering(name)
    const exact = covering.find(({ pattern }) => isExact(pattern))
    const [wide] = covering
    const target = targets.get(name)
    if (exact !== undefined) {
      report(
        path,
        `the record hides the resource ${exact.id} from all who may reach it`,
        "remove one of them; an alias is a record with another name and cname: " + exact.pattern,
        true
      )
    } else if (wide !== undefined && target === undefined) {
      warn(
        path,
        `${name} is also a name of the resource ${wide.id} (${wide.pattern}): the record is told instead, to those only who may reach it`,
        "remove the record, or leave it if that is meant",
        true
      )
    }
    for (const { data } of value) {
      if (data._tag !== "Address") continue
      const range = rangesOf(network).find((range) => overlaps(range.network, data.address))
      if (range === undefined || data.address === gatewayAddress(range.network)) continue
      const fix = range.key.startsWith("proxy")
        ? "write cname: and the resource's name"
        : "clients do not reach each other; write another address"
      report(path, `${data.address} lies in ${range.key} ${range.network}`, fix, true)
    }
    if (target === undefined) continue
    const chain = chainOf(name, targets)
    if (chain === null) {
      report(
        [...path, "cname"],
        `${name} is an alias of more than ${maxAliases} aliases, or leads back to itself`,
        "let one of the aliases end at a host"
      )
    } else if (file.other_names === "refuse" && !isKnown(chain)) {
      warn(
        [...path, "cname"],
        `${chain} is under no resource, zone or record, and other names are refused`,
        "add it to one of them"
      )
    }
  }
}

const aliasOf = (records: ReadonlyArray<LocalRecord>): ReadonlyArray<string> =>
  records.flatMap(({ data, type }) => (type === recordType.CNAME && data._tag === "Name" ? [data.name] : []))

/** Where a chain of aliases ends; `null`: nowhere. */
const chainOf = (name: string, targets: ReadonlyMap<string, string>): string | null => {
  let at = name
  for (let hops = 0; hops <= maxAliases; hops++) {
    const target = targets.get(at)
    if (target === undefined) return at
    at = target
  }
  return null
}

/** Private names for which it stays open who knows them. */
const checkDomains = (
  { zones }: Parts,
  named: ReadonlyArray<DnsResource>,
  networks: ReadonlyArray<CidrResource>,
  warn: Report
): void => {
  for (const [domain, { resolver, resources }] of heldDomains(named)) {
    if (resolver !== null || zones.some((zone) => isWithin(domain, zone.name))) continue
    const [id] = resources
    warn(
      ["resources", id!],
      `resources in ${domain} have several resolvers: other names there are told not to exist`,
      `say who knows them: zones: { ${domain}: ${named.find((resource) => resource.id === id)!.resolver} }`,
      true
    )
  }
  if (reverseResolverOf(named) !== null) return
  for (const { id, network, resolver } of networks) {
    if (resolver !== undefined || !isLocalNetwork(parseNetwork(network)!)) continue
    if (zones.some((zone) => zone.name.endsWith(".arpa"))) continue
    warn(
      ["resources", id],
      `the file has several resolvers: names for the addresses of ${network} are told not to exist`,
      "say who knows them: resolver: in the resource, or a reverse zone under zones:",
      true
    )
  }
}

const checkSearch = (
  { file, records, search, zones }: Parts,
  named: ReadonlyArray<DnsResource>,
  warn: Report
): void => {
  for (const [i, domain] of search.entries()) {
    const isServed =
      named.some(({ pattern }) => isWithin(domainOf(pattern), domain) || matches(pattern, `x.${domain}`)) ||
      zones.some((zone) => isWithin(domain, zone.name) || isWithin(zone.name, domain)) ||
      records.some((record) => isWithin(record.name, domain))
    if (isServed) continue
    const who = file.other_names === "refuse" ? "refused" : "asked of the system's servers"
    warn(
      ["search", i],
      `no resource, zone or record is in ${domain}: short names are ${who} there`,
      "remove it, or add a zone"
    )
  }
}

const checkResolvers = ({ file, resolvers }: Parts, warn: Report): void => {
  const used = new Set([
    ...Object.values(file.resources ?? {}).map(({ resolver }) => resolver),
    ...Object.values(file.zones ?? {}).map((zone) => (typeof zone === "string" ? zone : zone.resolver))
  ])
  for (const name of resolvers.keys()) {
    if (used.has(name)) continue
    warn(["resolvers", name], `no resource and no zone asks ${name}`, "name it as a resolver, or remove it", true)
  }
}

/** Whether a pattern covers a domain and all names below it. */
const coversAll = (pattern: string, domain: string): boolean =>
  pattern.startsWith("**.") && isExact(pattern.slice(3)) && isWithin(domain, pattern.slice(3))
