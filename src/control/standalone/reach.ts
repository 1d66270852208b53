/**
 * Whether a client may reach a destination under a policy, by which of its grants, or else why not: what the tunnel's DNS
 * and the packet path would make of it, by the same rules. Pure; what names lead to outside of the policy is not known here.
 */
import type { GatewayConfig } from "../../config/GatewayConfig.ts"
import { recordType } from "../../dns/registry.ts"
import type { FilesOfNames } from "../../host/NameFiles.ts"
import { isOpen, type Right } from "../../model/Authorization.ts"
import { rightsByClient } from "../../model/Grant.ts"
import type { ClientId } from "../../model/Client.ts"
import type { Resource } from "../../model/Resource.ts"
import type { Target } from "../../model/Target.ts"
import { type DestinationPolicy, optInBits, type Refusal } from "../../nat/destinationPolicy.ts"
import { compileFilters, permits } from "../../nat/portFilters.ts"
import { Routes } from "../../nat/routes.ts"
import {
  contains,
  equal,
  formatAddress,
  isBroadcast,
  isMulticast,
  type Network,
  parseAddress,
  parseNetwork,
  type Words
} from "../../packet/address.ts"
import { protocolIcmp, protocolTcp, protocolUdp } from "../../packet/protocols.ts"
import { indexOf } from "./chooseResource.ts"
import { maxAliases, type NamePlan, type NameRights, type NameRoute, NameRoutes, rightsOf } from "./nameRoutes.ts"
import { packetPolicy } from "./packetPolicy.ts"
import { refusalOf } from "./tellable.ts"

/** The part of a policy that says who reaches what. */
export interface ReachPolicy extends NamePlan, Pick<GatewayConfig, "grants"> {
  /** The gateway's own in the tunnel; `null`: nobody's destination. */
  readonly gateway4: string | null
  readonly gateway6: string | null
}

export interface Reach {
  /** The name that was asked for and what it stands for by the file's own records and search domains; none of an address. */
  readonly names: ReadonlyArray<string>
  readonly verdict: Verdict
}

export type Verdict =
  | {
      readonly _tag: "Allowed"
      /** Lets the packet through; `null`: the gateway's own service. */
      readonly by: Right | null
      /** All unexpired ones that have the destination, `by` among them. */
      readonly grants: ReadonlyArray<Right>
      /** `null`: whatever address the name has. */
      readonly address: string | null
    }
  | Denied
  | {
      /** Other servers know the name: it hangs on its addresses. */
      readonly _tag: "Depends"
      readonly resolver: string
      readonly as: "zone" | "networks" | "outside"
      /** Lets the packet through to public addresses. */
      readonly internet: Right | null
    }
  /** A short name: the first of these that exists is meant, and other servers know which do. */
  | { readonly _tag: "Short"; readonly names: ReadonlyArray<string> }

export interface Denied {
  readonly _tag: "Denied"
  readonly why: Denial
}

export type Denial =
  /** Nothing in the policy has it. `outside`: the client may reach it past the tunnel; `asked`: the set that knows the name. */
  | { readonly _tag: "Uncovered"; readonly outside: boolean; readonly asked: string | null }
  /** Others may, and this client may not. */
  | { readonly _tag: "Unauthorized"; readonly resources: ReadonlyArray<Resource> }
  /** The grant that held last. */
  | { readonly _tag: "Expired"; readonly grant: Right; readonly expiresAt: number }
  /** Unexpired grants have the destination, and none lets the packet through. */
  | { readonly _tag: "Filtered"; readonly grants: ReadonlyArray<Right> }
  | {
      readonly _tag: "Refused"
      readonly grants: ReadonlyArray<Right>
      readonly address: string
      readonly refusal: Refusal
    }
  | { readonly _tag: "Blocked"; readonly entry: string }
  /** The name is in a domain of resources or in a zone which are not for this client. */
  | { readonly _tag: "Private" }
  /** `other_names: refuse` */
  | { readonly _tag: "OtherNames" }
  /** A record of the file says that the name has no address. */
  | { readonly _tag: "NoAddress" }
  /** None of the addresses that the gateway's own files have for the name is told to this client. */
  | { readonly _tag: "Untold"; readonly addresses: ReadonlyArray<string> }
  | { readonly _tag: "TooManyAliases" }
  /** Of another client, or a service that the gateway does not have. */
  | { readonly _tag: "Tunnel"; readonly own: boolean }
  /** It stands for a name, at each client for another one. */
  | { readonly _tag: "Proxy" }

/** An IP protocol's number and a destination port. */
interface Packet {
  readonly protocol: number
  readonly port: number
}

export class ReachRules {
  private readonly policy: ReachPolicy
  private readonly files: FilesOfNames
  private readonly destinations: DestinationPolicy
  private readonly routes: NameRoutes
  private readonly named: ReturnType<typeof indexOf>
  private readonly networks: ReadonlyArray<readonly [Network, Resource]>
  private readonly rightsOfClients: ReadonlyMap<ClientId, ReadonlyArray<Right>>
  /** To what other sites serve. */
  private readonly elsewhere: ReadonlyMap<ClientId, ReadonlyArray<Right>>

  constructor(policy: ReachPolicy, files: FilesOfNames, destinations: DestinationPolicy) {
    this.policy = policy
    this.files = files
    this.destinations = destinations
    this.routes = new NameRoutes(policy)
    this.named = indexOf(policy.resources)
    this.networks = policy.resources.flatMap((resource) =>
      resource.kind === "cidr" ? [[parseNetwork(resource.network)!, resource] as const] : []
    )
    this.rightsOfClients = rightsByClient(policy.grants)
    this.elsewhere = rightsByClient(policy.sites?.elsewhere ?? [])
  }

  /** `now`: epoch milliseconds. */
  reach(client: ClientId, target: Target, now: number): Reach {
    if (target.address !== undefined) return { names: [], verdict: this.toAddress(client, target.address, target, now) }
    return this.toName(this.rights(client), target.host, target, now)
  }

  /** Expired ones as well. */
  grantsOf(client: ClientId): ReadonlyArray<Right> {
    return this.rightsOfClients.get(client) ?? []
  }

  /** Whether the client has the name by a resource: an alias of other servers that leads there ends in its proxy IPs. */
  hasName(client: ClientId, domain: string, now: number): boolean {
    return this.routes.granted(this.rights(client), domain, now) !== undefined
  }

  /** Of a name that an alias of other servers leads to, and that the client has: its grants alone count. */
  toAlias(client: ClientId, domain: string, target: Target, now: number): Verdict {
    return byGrants(grantsIn(this.routes.granted(this.rights(client), domain, now)), target)
  }

  /** Whether the tunnel's DNS leaves the address, one that other servers have for the name, out; and why. */
  untold(client: ClientId, domain: string, address: string, now: number, isPublicTold: boolean): string | undefined {
    return refusalOf(this.rights(client), domain, address, now, { isPublicTold, policy: this.destinations })
  }

  /** The packet of `target` to an address. */
  toAddress(client: ClientId, address: Words, target: Target, now: number): Verdict {
    const { gateway4, gateway6, network } = this.policy
    const isIn = (range: string) => contains(parseNetwork(range)!, address)
    if (isMulticast(address) || isBroadcast(address)) {
      const refusal = isMulticast(address) ? "multicast address" : "broadcast address"
      return denied({ _tag: "Refused", grants: [], address: formatAddress(address), refusal })
    }
    const isOwn = (own: string | null) => own !== null && equal(parseAddress(own)!, address)
    if (isOwn(gateway4) || isOwn(gateway6)) return toGateway(target)
    if (isIn(network.tunnel4) || isIn(network.tunnel6)) return denied({ _tag: "Tunnel", own: false })
    if (isIn(network.proxy4) || isIn(network.proxy6)) return denied({ _tag: "Proxy" })
    const theirs = this.networksElsewhere(client, address, now)
    return theirs.length > 0 ? byGrants(theirs, target) : this.toNetwork(client, address, target, now)
  }

  /** Unexpired grants of networks at other sites that have the address, unless one of this site has it: that one is nearer. */
  private networksElsewhere(client: ClientId, address: Words, now: number): ReadonlyArray<Right> {
    const has = (grant: Right) =>
      isOpen(grant, now) && grant.resource.kind === "cidr" && contains(parseNetwork(grant.resource.network)!, address)
    return this.grantsOf(client).some(has) ? [] : (this.elsewhere.get(client) ?? []).filter(has)
  }

  /** Why none of a name's grants that let the packet through leads to one of its real addresses. */
  refusalFor(grants: ReadonlyArray<Right>, target: Target, address: Words): Refusal | undefined {
    const packets = packetsOf(target, grants)
    const refusals = grants.flatMap((grant) => (isPassed(grant, packets) ? [this.refuses(grant, address)] : []))
    return refusals.includes(undefined) ? undefined : refusals[0]
  }

  private toNetwork(client: ClientId, address: Words, target: Target, now: number): Verdict {
    const covering = this.networkGrants(client, now).filter(
      ({ resource }) => resource.kind === "internet" || contains(parseNetwork(resource.network)!, address)
    )
    const routes = new Routes()
    for (const [i, { resource }] of covering.entries()) {
      const network = resource.kind === "cidr" ? parseNetwork(resource.network) : undefined
      routes.set(0, i, resource.id, network, compileFilters(resource.filters))
    }
    let refusal: Refusal | undefined
    for (const { port, protocol } of packetsOf(target, covering)) {
      for (let nth = 0; ; nth++) {
        const grant = covering[routes.choose(0, address, protocol, port, nth)]
        if (grant === undefined) break
        const why = this.refuses(grant, address)
        if (why === undefined) {
          return { _tag: "Allowed", by: grant, grants: covering, address: formatAddress(address) }
        }
        refusal ??= why
      }
    }
    const own = covering.filter(({ resource }) => resource.kind === "cidr")
    if (refusal !== undefined && (own.length > 0 || !this.isAnothers(address))) {
      return denied({ _tag: "Refused", grants: covering, address: formatAddress(address), refusal })
    }
    if (refusal === undefined && covering.length > 0) return denied({ _tag: "Filtered", grants: covering })
    const resources = this.networks.flatMap(([network, resource]) => (contains(network, address) ? [resource] : []))
    const internet = this.policy.resources.filter(({ kind }) => kind === "internet")
    const isPublic = this.destinations.judgeForInternet(address, 0) === undefined
    return this.withoutGrant(client, resources.length === 0 && isPublic ? internet : resources, now, isPublic)
  }

  /** Whether a network of the policy has the address. */
  private isAnothers(address: Words): boolean {
    return this.networks.some(([network]) => contains(network, address))
  }

  private refuses({ resource }: Right, address: Words): Refusal | undefined {
    const optIns = optInBits(resource.allow)
    return resource.kind === "internet"
      ? this.destinations.judgeForInternet(address, optIns)
      : this.destinations.judge(address, optIns)
  }

  private toName(rights: NameRights, domain: string, target: Target, now: number, aliases = 0): Reach {
    const at = (verdict: Verdict): Reach => ({ names: [domain], verdict })
    const beyond = (reach: Reach): Reach => ({ ...reach, names: [domain, ...reach.names] })
    const route = this.route(rights, domain, now)
    switch (route._tag) {
      case "Resource":
      case "Elsewhere":
        return at(byGrants(grantsIn(route), target))
      case "Alias":
        return aliases >= maxAliases
          ? at(denied({ _tag: "TooManyAliases" }))
          : beyond(this.toName(rights, route.target, target, now, aliases + 1))
      case "Search": {
        const names = route.names.filter((name) => this.mayHaveAddress(rights, name, now))
        const [first] = names
        if (first === undefined) return at(this.otherwise(rights, route.otherwise, domain, target, now))
        return names.length > 1 && this.route(rights, first, now)._tag === "Forward"
          ? at({ _tag: "Short", names })
          : beyond(this.toName(rights, first, target, now, aliases + 1))
      }
      default:
        return at(this.otherwise(rights, route, domain, target, now))
    }
  }

  private route(rights: NameRights, domain: string, now: number): NameRoute {
    return this.routes.route(rights, { domain, type: recordType.A, family: 4, reverse: null }, now, this.files)
  }

  /** Nothing here says that it has none. */
  private mayHaveAddress(rights: NameRights, domain: string, now: number): boolean {
    const route = this.route(rights, domain, now)
    return route._tag === "Here" ? route.answer._tag === "Records" : route._tag !== "Blocked"
  }

  /** Of a name that nothing else stands for. */
  private otherwise(rights: NameRights, route: NameRoute, domain: string, target: Target, now: number): Verdict {
    switch (route._tag) {
      case "Here":
        return this.answeredHere(rights, route.answer._tag, domain, target, now)
      case "Hosts": {
        const { addresses } = route
        const told = addresses.filter((text) => this.untold(rights.client, domain, text, now, true) === undefined)
        return told.length === 0 ? denied({ _tag: "Untold", addresses }) : this.toAny(rights.client, told, target, now)
      }
      case "Blocked":
        return denied({ _tag: "Blocked", entry: this.files.blocked(domain) ?? domain })
      case "Forward":
        return this.forwarded(rights.client, route, target, now)
      default:
        return denied({ _tag: "Uncovered", outside: false, asked: null })
    }
  }

  private forwarded(
    client: ClientId,
    { as, resolver }: { readonly as: "zone" | "networks" | "outside"; readonly resolver: string },
    target: Target,
    now: number
  ): Verdict {
    const open = this.networkGrants(client, now)
    if (open.length === 0) return denied({ _tag: "Uncovered", outside: as === "outside", asked: resolver })
    const passing = open.filter((grant) => isPassed(grant, packetsOf(target, open)))
    if (passing.length === 0) return denied({ _tag: "Filtered", grants: open })
    return {
      _tag: "Depends",
      resolver,
      as,
      internet: passing.find(({ resource }) => resource.kind === "internet") ?? null
    }
  }

  private answeredHere(rights: NameRights, answer: string, domain: string, target: Target, now: number): Verdict {
    const records = this.policy.records.get(domain)
    if (answer === "Records" || (answer === "NoData" && records !== undefined)) {
      // Those of IPv6, too, which nobody has asked for.
      const addresses = (records ?? []).flatMap(({ data }) => (data._tag === "Address" ? [data.address] : []))
      return addresses.length === 0 ? denied({ _tag: "NoAddress" }) : this.toAny(rights.client, addresses, target, now)
    }
    if (answer === "Refused") return denied({ _tag: "OtherNames" })
    const covering = this.named.covering(domain)
    return covering.length === 0 ? denied({ _tag: "Private" }) : this.withoutGrant(rights.client, covering, now)
  }

  /** Of several addresses of one name: what is said of the first that is allowed, or of the first. */
  private toAny(client: ClientId, addresses: ReadonlyArray<string>, target: Target, now: number): Verdict {
    const verdicts = addresses.map((text) => this.toAddress(client, parseAddress(text)!, target, now))
    return verdicts.find(({ _tag }) => _tag === "Allowed") ?? verdicts[0]!
  }

  /** Why the client has no unexpired grant for any of these, which all have the destination. */
  private withoutGrant(client: ClientId, resources: ReadonlyArray<Resource>, now: number, outside = false): Denied {
    let last: { readonly grant: Right; readonly expiresAt: number } | undefined
    const ids = new Set(resources.map(({ id }) => id))
    for (const grant of this.grantsOf(client)) {
      if (!ids.has(grant.resource.id) || grant.expiresAt === null || isOpen(grant, now)) continue
      if (last === undefined || grant.expiresAt > last.expiresAt) last = { grant, expiresAt: grant.expiresAt }
    }
    if (last !== undefined) return denied({ _tag: "Expired", ...last })
    return resources.length > 0
      ? denied({ _tag: "Unauthorized", resources })
      : denied({ _tag: "Uncovered", outside, asked: null })
  }

  private rights(client: ClientId): NameRights {
    return rightsOf(client, this.grantsOf(client), this.elsewhere.get(client))
  }

  /** Unexpired grants of networks and of the Internet. */
  private networkGrants(client: ClientId, now: number): ReadonlyArray<NetworkGrant> {
    return this.grantsOf(client).flatMap((grant) =>
      grant.resource.kind === "dns" || !isOpen(grant, now) ? [] : [{ ...grant, resource: grant.resource }]
    )
  }
}

interface NetworkGrant extends Right {
  readonly resource: Extract<Resource, { readonly kind: "cidr" | "internet" }>
}

/** At whatever site. */
const grantsIn = (granted: ReturnType<NameRoutes["granted"]>): ReadonlyArray<Right> =>
  granted === undefined ? [] : granted._tag === "Elsewhere" ? [granted.grant] : granted.grants

/** Of a name that these cover: which lets the packet through. */
const byGrants = (grants: ReadonlyArray<Right>, target: Target): Verdict => {
  const by = grants.find((grant) => isPassed(grant, packetsOf(target, grants)))
  return by === undefined ? denied({ _tag: "Filtered", grants }) : { _tag: "Allowed", by, grants, address: null }
}

const denied = (why: Denial): Denied => ({ _tag: "Denied", why })

const numbers = { tcp: protocolTcp, udp: protocolUdp, icmp: protocolIcmp } as const

/** What the target means; where that is several kinds of packets, those that pass if any of them does. */
const packetsOf = ({ port, protocol }: Target, grants: ReadonlyArray<Right>): ReadonlyArray<Packet> =>
  protocol !== null && (port !== null || protocol === "icmp")
    ? [{ protocol: numbers[protocol], port: port ?? 0 }]
    : grants.flatMap(({ resource: { filters } }) =>
        filters.length === 0
          ? [{ protocol: numbers[protocol ?? "tcp"], port: 0 }]
          : filters
              .filter((filter) => protocol === null || filter.protocol === protocol)
              .map((filter) => ({
                protocol: numbers[filter.protocol],
                port: filter.protocol === "icmp" ? 0 : filter.from
              }))
      )

const isPassed = ({ resource }: Right, packets: ReadonlyArray<Packet>): boolean => {
  const filters = compileFilters(resource.filters)
  return packets.some(({ port, protocol }) => permits(filters, protocol, port))
}

/** Its DNS server, and ping. */
const toGateway = ({ port, protocol }: Target): Verdict => {
  const isServed = protocol === null || protocol === "icmp" || port === null || port === packetPolicy.dnsPort
  return isServed ? { _tag: "Allowed", by: null, grants: [], address: null } : denied({ _tag: "Tunnel", own: true })
}
