/**
 * Which part of the house answers a question of a client. Pure; nobody else decides it. In this order: proxy IPs asked
 * backwards, names of resources, private names that are not for this client, records of the file, blocked names, zones,
 * names outside.
 *
 * A zone is private where the file says so: `zones:`, names that a resource covers, names of services (labels with `_`, RFC
 * 8552) below them, reverse names of local networks, and, below a top-level domain that no public server knows, the
 * domains that resources are in. All else may be public: one name of a public domain takes no other name of it away.
 */
import type { GatewayConfig } from "../../config/GatewayConfig.ts"
import { extendedErrorCode } from "../../dns/extendedError.ts"
import { parentName } from "../../dns/name.ts"
import { isLocalNetwork, isPartOf, isPrivateDomain, isPrivateTop } from "../../dns/privateZones.ts"
import { recordType } from "../../dns/registry.ts"
import { reverseNetwork } from "../../dns/reverse.ts"
import type { TunnelAnswer, TunnelQuestion } from "../../dns/tunnelAnswer.ts"
import type { Authorization } from "../../model/Authorization.ts"
import type { ClientId } from "../../model/Client.ts"
import { domainOf } from "../../model/DomainPattern.ts"
import type { CidrResource, DnsResource, ResourceId } from "../../model/Resource.ts"
import { type Network, parseNetwork } from "../../packet/address.ts"
import { coveringGrants, type DnsGrant, dnsGrants, isOpen, isPrivateName } from "./chooseResource.ts"
import { type ProxyNetworks, slotOf } from "./proxyPool.ts"

export type NameRoute =
  /** Known here. */
  | { readonly _tag: "Here"; readonly answer: TunnelAnswer }
  /** The proxy IP of this slot, asked backwards. */
  | { readonly _tag: "Proxy"; readonly slot: number }
  /** Unexpired grants that cover the name, the most specific one first. */
  | { readonly _tag: "Resource"; readonly grants: ReadonlyArray<DnsGrant> }
  /** Asked of a resolver set. */
  | {
      readonly _tag: "Forward"
      readonly resolver: string
      /** `zone`: the name is private. `networks`: so it is, and this client may know it for addresses that it may reach only. */
      readonly as: "zone" | "networks" | "outside"
    }

/** What a client may reach. */
export interface NameRights {
  readonly client: ClientId
  /** The most specific pattern first. */
  readonly names: ReadonlyArray<DnsGrant>
  /** The smallest network first. */
  readonly networks: ReadonlyArray<NetworkGrant>
}

interface NetworkGrant extends Authorization {
  readonly resource: CidrResource
  readonly network: Network
}

export const rightsOf = (client: ClientId, grants: ReadonlyArray<Authorization>): NameRights => ({
  client,
  names: dnsGrants(grants),
  networks: grants
    .flatMap((grant) =>
      grant.resource.kind === "cidr"
        ? [{ ...grant, resource: grant.resource, network: parseNetwork(grant.resource.network)! }]
        : []
    )
    .toSorted((a, b) => b.network.prefix - a.network.prefix)
})

/** Domains that hold resources. */
interface Held {
  /** Those in it, or in a domain below it. */
  readonly resources: Set<ResourceId>
  /** The sets of those in it, and of those below. */
  readonly own: Set<string>
  readonly below: Set<string>
}

export type NamePlan = Pick<GatewayConfig, "network" | "otherNames" | "resources">

export class NameRoutes {
  private readonly plan: NamePlan
  private readonly ranges: ProxyNetworks
  private readonly held: ReadonlyMap<string, Held>
  /** Where reverse names of a network are asked that says nothing of it; `null`: the file leaves it open. */
  private readonly reverseResolver: string | null

  constructor(plan: NamePlan) {
    this.plan = plan
    this.ranges = { proxy4: parseNetwork(plan.network.proxy4)!, proxy6: parseNetwork(plan.network.proxy6)! }
    const named = plan.resources.filter((resource) => resource.kind === "dns")
    this.held = heldDomains(named)
    this.reverseResolver = oneOf(
      new Set(named.map(({ resolver }) => resolver).filter((set) => set !== "system")),
      "system"
    )
  }

  /** `now`: epoch milliseconds. */
  route(of: NameRights, question: TunnelQuestion, now: number): NameRoute {
    const { domain, reverse, type } = question
    if (type === recordType.PTR && reverse !== null) {
      const slot = slotOf(reverse, this.ranges)
      if (slot >= 0) return { _tag: "Proxy", slot }
    }
    const grants = coveringGrants(of.names, domain, now)
    if (grants.length > 0) return { _tag: "Resource", grants }
    if (isPrivateName(this.plan.resources, domain)) return noName
    return this.zone(of, question, now) ?? this.outside()
  }

  private outside(): NameRoute {
    return this.plan.otherNames === "refuse" ? refused : { _tag: "Forward", resolver: "system", as: "outside" }
  }

  /** The zone that the name is in; `undefined`: none that is private. */
  private zone(of: NameRights, { domain, family }: TunnelQuestion, now: number): NameRoute | undefined {
    const network = reverseNetwork(domain)
    if (network !== null) return this.reverseZone(of, network, now)
    const service = serviceOf(domain)
    if (service !== null) {
      const [grant] = coveringGrants(of.names, service, now)
      if (grant !== undefined) return { _tag: "Forward", resolver: grant.resource.resolver, as: "zone" }
      if (isPrivateName(this.plan.resources, service)) return noName
    }
    const held = longest(this.held, domain)
    if (held === undefined) return undefined
    const resolver = oneOf(held.own.size > 0 ? held.own : held.below, null)
    if (resolver === null) return noName
    if (of.names.some((grant) => held.resources.has(grant.resource.id) && isOpen(grant, now))) {
      return { _tag: "Forward", resolver, as: "zone" }
    }
    const byNetwork = family !== null && of.networks.some((grant) => isOpen(grant, now))
    return byNetwork ? { _tag: "Forward", resolver, as: "networks" } : noName
  }

  private reverseZone(of: NameRights, network: Network, now: number): NameRoute | undefined {
    const open = of.networks.filter((grant) => isOpen(grant, now))
    const grant = open.find((grant) => isPartOf(network, grant.network))
    const isLocal = isLocalNetwork(network)
    const resolver = grant === undefined ? null : (grant.resource.resolver ?? (isLocal ? this.reverseResolver : null))
    if (resolver !== null) return { _tag: "Forward", resolver, as: "zone" }
    if (!isLocal) return undefined
    // What lies above a name that exists does, too (RFC 8020).
    return open.some((grant) => isPartOf(grant.network, network)) ? noData : noName
  }
}

const noName: NameRoute = { _tag: "Here", answer: { _tag: "NameError", ttl: 5 } }
const noData: NameRoute = { _tag: "Here", answer: { _tag: "NoData", ttl: 5 } }
const refused: NameRoute = {
  _tag: "Here",
  answer: { _tag: "Refused", error: { code: extendedErrorCode.Prohibited, text: "other names are refused" } }
}

/** The domains that resources are in, as far as no public server knows them. */
const heldDomains = (resources: ReadonlyArray<DnsResource>): ReadonlyMap<string, Held> => {
  const held = new Map<string, Held>()
  for (const { id, pattern, resolver } of resources) {
    const own = domainOf(pattern)
    for (
      let domain = own;
      isPrivateDomain(domain) && (domain === own || !isPrivateTop(domain));
      domain = parentName(domain)
    ) {
      const entry = held.get(domain) ?? { resources: new Set(), own: new Set(), below: new Set() }
      held.set(domain, entry)
      entry.resources.add(id)
      if (domain === own) entry.own.add(resolver)
      else entry.below.add(resolver)
    }
  }
  return held
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

/** The only one; `none` when there is none, `null` when there are several. */
const oneOf = <A>(items: ReadonlySet<A>, none: A | null): A | null =>
  items.size === 0 ? none : items.size === 1 ? [...items][0]! : null
