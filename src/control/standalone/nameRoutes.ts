/**
 * Which part of the house answers a question of a client. Pure; nobody else decides it. In this order: proxy IPs asked
 * backwards, private names that are not for this client, records of the file, names of resources, blocked names, zones,
 * short names by the search domains, names outside.
 *
 * A name is private where the file says so: `zones:` with `allow:`, names that a resource covers, names of services (labels with `_`, RFC
 * 8552) below them, reverse names of local networks, and, below a top-level domain that no public server knows, the
 * domains that resources are in. All else may be public: one name of a public domain takes no other name of it away.
 */
import type { GatewayConfig, Site, Zone } from "../../config/GatewayConfig.ts"
import { extendedErrorCode } from "../../dns/extendedError.ts"
import { isWithin, parentName } from "../../dns/name.ts"
import { isLocalNetwork, isPartOf } from "../../dns/privateZones.ts"
import { recordType } from "../../dns/registry.ts"
import { reverseNetwork } from "../../dns/reverse.ts"
import type { LocalRecord, TunnelAnswer, TunnelQuestion } from "../../dns/tunnelAnswer.ts"
import type { FilesOfNames } from "../../host/NameFiles.ts"
import { isOpen, type Right } from "../../model/Authorization.ts"
import type { ClientId } from "../../model/Client.ts"
import type { Grant } from "../../model/Grant.ts"
import { compareSpecificity, type PatternIndex } from "../../model/DomainPattern.ts"
import type { CidrResource, DnsResource } from "../../model/Resource.ts"
import { isLoopback, type Network, parseAddress, parseNetwork } from "../../packet/address.ts"
import { byPrecedence } from "../../resolution/cover.ts"
import { type DnsRight, indexOf, isOfName, openGrants } from "./chooseResource.ts"
import { type HeldDomain, heldDomains, reverseResolverOf } from "./heldDomains.ts"
import { type ProxyNetworks, slotOf } from "./proxyPool.ts"

/** Aliases in a row that are followed. */
export const maxAliases = 16

export type NameRoute =
  /** Known here. */
  | { readonly _tag: "Here"; readonly answer: TunnelAnswer }
  /** The proxy IP of this slot, asked backwards. */
  | { readonly _tag: "Proxy"; readonly slot: number }
  /** A record of the file says so. `ttl` in seconds. */
  | { readonly _tag: "Alias"; readonly target: string; readonly ttl: number }
  /** Addresses of the hosts file, to be told as far as the client can reach them. */
  | { readonly _tag: "Hosts"; readonly addresses: ReadonlyArray<string> }
  /** On a block list. */
  | { readonly _tag: "Blocked" }
  /** A short name: the first of these names that exists, else `otherwise`. */
  | { readonly _tag: "Search"; readonly names: ReadonlyArray<string>; readonly otherwise: NameRoute }
  /** Unexpired grants that cover the name, the most specific one first. */
  | { readonly _tag: "Resource"; readonly grants: ReadonlyArray<DnsRight> }
  /** An unexpired grant is the most specific one that covers the name, and of a resource that this site serves. */
  | { readonly _tag: "Elsewhere"; readonly grant: DnsRight; readonly site: Site }
  /** Asked of a resolver set. */
  | {
      readonly _tag: "Forward"
      readonly resolver: string
      /** `zone`: the name is private. `networks`: so it is, and this client may know it for addresses that it may reach only. */
      readonly as: "zone" | "networks" | "outside"
    }

type Granted = Extract<NameRoute, { readonly _tag: "Resource" | "Elsewhere" }>

/** Seconds for what a hosts file says, which has none: a change is to be noticed soon. */
export const hostsTtl = 10

/** What a client may reach. */
export interface NameRights {
  readonly client: ClientId
  /** In the order of `byPrecedence`. */
  readonly names: ReadonlyArray<DnsRight>
  /** The smallest network first. */
  readonly networks: ReadonlyArray<NetworkRight>
  /** All that it sends anywhere comes through the tunnel. */
  readonly internet: boolean
  /** To names that other sites serve, in the order of `byPrecedence`: nothing of them is open here. */
  readonly elsewhere: ReadonlyArray<DnsRight>
}

interface NetworkRight extends Right {
  readonly resource: CidrResource
}

const isOfNetwork = (right: Right): right is NetworkRight => right.resource.kind === "cidr"

/** Read once: each question for a name outside asks for those of all networks of its client. */
const readNetworks = new WeakMap<CidrResource, Network>()

export const networkOf = (resource: CidrResource): Network => {
  const known = readNetworks.get(resource)
  if (known !== undefined) return known
  const network = parseNetwork(resource.network)!
  readNetworks.set(resource, network)
  return network
}

/** Of one client, all of whose rights these are, here and at other sites. */
export const rightsOf = (
  client: ClientId,
  rights: ReadonlyArray<Right>,
  elsewhere: ReadonlyArray<Right> = []
): NameRights => ({
  client,
  ...inOrder(rights),
  internet: rights.some(isOfInternet),
  elsewhere: inOrder(elsewhere).names
})

const inOrder = (rights: ReadonlyArray<Right>): Pick<NameRights, "names" | "networks"> => ({
  names: rights.filter(isOfName).toSorted((a, b) => byPrecedence(a.resource, b.resource)),
  networks: rights.filter(isOfNetwork).toSorted((a, b) => networkOf(b.resource).prefix - networkOf(a.resource).prefix)
})

const isOfInternet = ({ resource }: Right): boolean => resource.kind === "internet"

/** Of many clients together: resources are put in order once and not for each, and all have the same rights as objects. */
export const rightsOfEach = (
  grants: ReadonlyArray<Grant>,
  wanted: ReadonlySet<ClientId>
): ReadonlyMap<ClientId, NameRights> => {
  // Rights of their own: those that stay as they are would keep the lists of all policies since.
  const clients = new Map(grants.map(({ clients, expiresAt, resource }) => [{ resource, expiresAt }, clients] as const))
  const { names, networks } = inOrder([...clients.keys()])
  const each = new Map<ClientId, Writable<NameRights>>()
  for (const client of wanted) each.set(client, { client, names: [], networks: [], internet: false, elsewhere: [] })
  const give = <A extends Right>(rights: ReadonlyArray<A>, to: (of: Writable<NameRights>, right: A) => void): void => {
    for (const right of rights) {
      for (const { id } of clients.get(right)!) {
        const of = each.get(id)
        if (of !== undefined) to(of, right)
      }
    }
  }
  give(names, (of, right) => void of.names.push(right))
  give(networks, (of, right) => void of.networks.push(right))
  give([...clients.keys()].filter(isOfInternet), (of) => void (of.internet = true))
  return each
}

type Writable<A> = { -readonly [K in keyof A]: A[K] extends ReadonlyArray<infer B> ? Array<B> : A[K] }

export type NamePlan = Pick<
  GatewayConfig,
  "endpoint" | "network" | "otherNames" | "records" | "resources" | "search" | "sites" | "zones"
>

export class NameRoutes {
  private readonly plan: NamePlan
  private readonly ranges: ProxyNetworks
  private readonly named: PatternIndex<DnsResource>
  private readonly sites: ReadonlyMap<DnsResource["id"], Site>
  private readonly zones: ReadonlyMap<string, Zone>
  private readonly held: ReadonlyMap<string, HeldDomain>
  /** Where reverse names of a network are asked that says nothing of it; `null`: the file leaves it open. */
  private readonly reverseResolver: string | null

  constructor(plan: NamePlan) {
    this.plan = plan
    this.ranges = { proxy4: parseNetwork(plan.network.proxy4)!, proxy6: parseNetwork(plan.network.proxy6)! }
    const named = plan.resources.filter((resource) => resource.kind === "dns")
    const elsewhere = plan.sites?.elsewhere ?? []
    const theirs = elsewhere.map(({ resource }) => resource).filter((resource) => resource.kind === "dns")
    this.named = indexOf([...named, ...theirs])
    this.sites = new Map(elsewhere.map(({ resource, site }) => [resource.id, site]))
    this.zones = new Map(plan.zones.map((zone) => [zone.domain, zone]))
    this.held = heldDomains(named, theirs)
    this.reverseResolver = reverseResolverOf(named)
  }

  /** By resources of the client that cover the name; `undefined`: it has none. */
  granted(of: NameRights, domain: string, now: number): Granted | undefined {
    return this.grantedBy(of, this.named.covering(domain), now)
  }

  /** The most specific grant says who looks the name up, and where: of two alike the one of this site. */
  private grantedBy(of: NameRights, resources: ReadonlyArray<DnsResource>, now: number): Granted | undefined {
    const grants = openGrants(of.names, resources, now)
    const [theirs] = openGrants(of.elsewhere, resources, now)
    const site = theirs === undefined ? undefined : this.sites.get(theirs.resource.id)
    const [own] = grants
    const isLess = (a: DnsRight, b: DnsRight): boolean => compareSpecificity(a.resource.pattern, b.resource.pattern) > 0
    if (theirs !== undefined && site !== undefined && (own === undefined || isLess(own, theirs)))
      return { _tag: "Elsewhere", grant: theirs, site }
    return own === undefined ? undefined : { _tag: "Resource", grants }
  }

  /** `now`: epoch milliseconds. */
  route(of: NameRights, question: TunnelQuestion, now: number, files: FilesOfNames): NameRoute {
    const { domain, reverse, type } = question
    if (type === recordType.PTR && reverse !== null) {
      const slot = slotOf(reverse, this.ranges)
      if (slot >= 0) return { _tag: "Proxy", slot }
    }
    // The gateway itself is found outside of its tunnel.
    if (this.isEndpoint(domain)) return { _tag: "Forward", resolver: "system", as: "outside" }
    const resources = this.named.covering(domain)
    const granted = this.grantedBy(of, resources, now)
    if (granted === undefined && resources.length > 0) return noName
    const zone = longest(this.zones, domain)
    if (granted === undefined && zone?.clients?.has(of.client) === false) return noName
    const records = this.plan.records.get(domain)
    if (records !== undefined) return recordsOf(records, type)
    if (granted !== undefined) return granted
    const held = zone === undefined ? this.heldZone(of, question, now) : ({ ...zone, as: "zone" } as const)
    if (held !== undefined && "_tag" in held) return held
    const blocked = files.blocked(domain)
    // What the file itself says of a domain counts, unless the list says something of a domain in it.
    if (blocked !== undefined && (held === undefined || !isWithin(held.domain, blocked))) return { _tag: "Blocked" }
    if (held !== undefined) return this.forward(question, held, files)
    const outside = this.outside(question, files)
    const isShort = question.family !== null && !domain.includes(".") && domain !== "localhost"
    if (!isShort || this.plan.search.length === 0 || outside._tag === "Hosts") return outside
    return { _tag: "Search", names: this.plan.search.map((search) => `${domain}.${search}`), otherwise: outside }
  }

  /** What the file calls the site with this number. */
  nameOfSite(number: number): string {
    return (
      this.plan.sites?.all.find((site) => site.number === number)?.name ?? `${number}, which the file does not have`
    )
  }

  private isEndpoint(domain: string): boolean {
    const { endpoint, sites } = this.plan
    return domain === endpoint.host || sites?.all.some((site) => site.endpoint.host === domain) === true
  }

  private outside(question: TunnelQuestion, files: FilesOfNames): NameRoute {
    if (this.plan.otherNames === "refuse") return refused
    return this.forward(question, { resolver: "system", as: "outside" }, files)
  }

  /** The hosts file stands before the system's servers, for what it says of other hosts. */
  private forward(
    { domain, family, reverse }: TunnelQuestion,
    { as, resolver }: Pick<Held, "as" | "resolver">,
    { hostOf, hosts }: FilesOfNames
  ): NameRoute {
    const name = reverse !== null && resolver === "system" && isOfOthers(reverse) ? hostOf(reverse) : undefined
    if (name !== undefined) return { _tag: "Here", answer: { _tag: "Reverse", name, ttl: hostsTtl } }
    const addresses = family === null || resolver !== "system" ? undefined : hosts(domain)?.filter(isOfOthers)
    return addresses === undefined || addresses.length === 0
      ? { _tag: "Forward", resolver, as }
      : { _tag: "Hosts", addresses }
  }

  /** What makes the name private without a zone of the file; `undefined`: nothing. */
  private heldZone(of: NameRights, { domain, family }: TunnelQuestion, now: number): Held | NameRoute | undefined {
    const network = reverseNetwork(domain)
    if (network !== null) return this.reverseZone(of, domain, network, now)
    const service = serviceOf(domain)
    if (service !== null) {
      const resources = this.named.covering(service)
      const granted = this.grantedBy(of, resources, now)
      if (granted?._tag === "Elsewhere") return granted
      if (granted !== undefined) return { domain: service, resolver: granted.grants[0]!.resource.resolver, as: "zone" }
      if (resources.length > 0) return noName
    }
    const found = longest(this.held, domain)
    if (found === undefined) return undefined
    const { resolver } = found
    if (resolver === null) return noName
    if (of.names.some((grant) => found.resources.has(grant.resource.id) && isOpen(grant, now))) {
      return { domain: found.domain, resolver, as: "zone" }
    }
    const byNetwork = family !== null && of.networks.some((grant) => isOpen(grant, now))
    return byNetwork ? { domain: found.domain, resolver, as: "networks" } : noName
  }

  private reverseZone(of: NameRights, domain: string, network: Network, now: number): Held | NameRoute | undefined {
    const open = of.networks.filter((grant) => isOpen(grant, now))
    const grant = open.find((grant) => isPartOf(network, networkOf(grant.resource)))
    const isLocal = isLocalNetwork(network)
    const resolver = grant === undefined ? null : (grant.resource.resolver ?? (isLocal ? this.reverseResolver : null))
    if (resolver !== null) return { domain, resolver, as: "zone" }
    if (!isLocal) return undefined
    // What lies above a name that exists does, too (RFC 8020).
    return open.some((grant) => isPartOf(networkOf(grant.resource), network)) ? noData : noName
  }
}

/** A zone that is asked of a resolver set. */
interface Held {
  readonly domain: string
  readonly resolver: string
  readonly as: "zone" | "networks" | "outside"
}

const recordsOf = (records: ReadonlyArray<LocalRecord>, type: number): NameRoute => {
  const [first] = records
  if (first?.data._tag === "Name" && type !== recordType.CNAME) {
    return { _tag: "Alias", target: first.data.name, ttl: first.ttl }
  }
  const found = records.filter((record) => record.type === type)
  return {
    _tag: "Here",
    answer: found.length > 0 ? { _tag: "Records", records: found } : { _tag: "NoData", ttl: first?.ttl ?? 0 }
  }
}

/** What the hosts file says of the gateway's own names is of no use elsewhere. */
const isOfOthers = (text: string): boolean => {
  const address = parseAddress(text)
  return address !== undefined && !isLoopback(address)
}

const noName: NameRoute = { _tag: "Here", answer: { _tag: "NameError", ttl: 5 } }
const noData: NameRoute = { _tag: "Here", answer: { _tag: "NoData", ttl: 5 } }
const refused: NameRoute = {
  _tag: "Here",
  answer: { _tag: "Refused", error: { code: extendedErrorCode.Prohibited, text: "other names are refused" } }
}

/** Whose service a name with labels like `_tcp` is (RFC 8552): what stands behind the last of them; `null` without. */
const serviceOf = (domain: string): string | null => {
  let found: string | null = null
  for (let rest = domain; rest !== "."; rest = parentName(rest)) if (rest.startsWith("_")) found = parentName(rest)
  return found === "." ? null : found
}

/** The entry of the name, or of the nearest domain above it. */
const longest = <A>(zones: ReadonlyMap<string, A>, name: string): A | undefined => {
  for (let domain = name; domain !== "."; domain = parentName(domain)) {
    const found = zones.get(domain)
    if (found !== undefined) return found
  }
  return undefined
}
