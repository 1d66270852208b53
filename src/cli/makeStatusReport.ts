import type { ConfiguredClient, HostPort } from "../config/GatewayConfig.ts"
import type { ControlPlaneHealth } from "../control/ControlPlane.ts"
import type { KeyReport } from "../control/standalone/KeyRotation.ts"
import type { Activity, SilentAddress } from "../dataplane/Activity.ts"
import type { TwoPlaces } from "../dataplane/KeyPlaces.ts"
import type { ClientState } from "../dataplane/notices.ts"
import type { ForeignNetwork } from "../host/ForeignNetworks.ts"
import type { UpstreamServer } from "../dns/Upstream.ts"
import type { FirewallReport } from "../host/FirewallReport.ts"
import type { HostKept } from "../host/HostKept.ts"
import type { Ipv6, Ipv6Part } from "../host/IpFamilies.ts"
import { strandedClients } from "../host/strandedClients.ts"
import { type Authorization, isOpen } from "../model/Authorization.ts"
import { authorizationsOf, type Grant } from "../model/Grant.ts"
import { formatHostPort } from "../packet/endpoint.ts"
import { addressesOf, type NameState } from "../resolution/NameState.ts"
import type { MappingStatus } from "../resolution/Resolutions.ts"
import type { ResolutionReason } from "../resolution/Resolver.ts"
import type { SiteReport } from "../shared/Ownership.ts"
import type { DrainStanding } from "../shared/Presence.ts"
import type { PolicyStanding, SiteStanding } from "../shared/Site.ts"
import type { VirtualAddress } from "../shared/VirtualAddress.ts"
import { describeReason } from "./describeReason.ts"
import { type StatusReport, statusVersion } from "./statusReport.ts"

/** Rows beyond these are left out of a report and counted. */
const maxMappingRows = 10_000
const maxAuthorizationRows = 10_000
const maxExpiredRows = 1_000

/** What a running gateway's services say. */
export interface StatusInput {
  /** Epoch milliseconds. */
  readonly at: number
  /** The same moment by the monotonic clock, which all times but expiry dates are of. */
  readonly now: number
  /** How much the clock that expiry dates are of is ahead of `at`. */
  readonly expiryAhead: number
  readonly startedAt: number
  readonly publicKey: string
  /** The key before, while it answers as well. */
  readonly ending?: KeyReport["ending"]
  readonly endpoint: HostPort
  /** Where metrics and dashboard are served; `null`: nowhere. */
  readonly http?: {
    readonly at: HostPort
    readonly wrong: { readonly why: string; readonly since: number } | null
  } | null
  /** All of the file, those that have expired among them; a portal tells of none that has. */
  readonly grants?: ReadonlyArray<Grant>
  readonly clients: ReadonlyArray<Pick<ConfiguredClient, "id" | "publicKey" | "tunnel4" | "tunnel6">>
  /** The gateway's public key that each client has proved to know. */
  readonly gatewayKeys: ReadonlyMap<string, string>
  readonly clientStates: ReadonlyMap<string, ClientState>
  readonly activity: Pick<Activity, "clients" | "strangers" | "silentAddresses">
  /** Clients whose key is in use at two places at a time. */
  readonly twoPlaces: ReadonlyMap<string, TwoPlaces>
  readonly mappings: ReadonlyArray<MappingStatus>
  readonly authorizations: ReadonlyArray<Authorization>
  readonly workerEpoch: number
  /** `null`: the gateway is alone. */
  readonly site: SiteStanding | null
  /** Left out or `null`: the same. */
  readonly sitePolicy?: PolicyStanding | null
  /** Where its clients are, and the other gateways; `null`: the same. */
  readonly presence: SiteReport | null
  /** What has been told of the site's virtual address. */
  readonly virtualAddress: ReturnType<VirtualAddress["Service"]["told"]>
  /** `null`: it does not give its clients away. */
  readonly draining: DrainStanding | null
  readonly host: HostKept
  readonly ipv6: Ipv6
  readonly foreignNetworks: ReadonlyArray<ForeignNetwork>
  readonly firewall: FirewallReport
  readonly controlPlane: ControlPlaneHealth
  readonly controlPlaneCounters: Readonly<Record<string, number>>
  readonly dataPlaneCounters: Readonly<Record<string, number>>
  readonly resolutionCounters: Readonly<Record<string, number>>
  /** Of the tunnel's DNS server. */
  readonly dnsCounters: Readonly<Record<string, number>>
  readonly dnsServers: ReadonlyArray<UpstreamServer>
  /** Of the questions to those. */
  readonly upstreamCounters: Readonly<Record<string, number>>
  /** Bugs met and outlived, by loop. */
  readonly defects: Readonly<Record<string, number>>
}

/** Puts a report together; the newest mappings stay when there are too many. */
export const makeStatusReport = (input: StatusInput): StatusReport => {
  const dateOf = (time: number): number => Math.round(input.at - (input.now - time))
  const mappings =
    input.mappings.length <= maxMappingRows
      ? input.mappings
      : input.mappings.toSorted((a, b) => b.state.since - a.state.since).slice(0, maxMappingRows)
  const dateOrNull = (time: number | null | undefined) => (time === null || time === undefined ? null : dateOf(time))
  const { host, ipv6 } = input
  const missing = (part: Ipv6[Ipv6Part]) => (part === null ? null : { why: part.why, since: dateOf(part.since) })
  const stranded = strandedClients(input.foreignNetworks, input.clients)
  const authorizationRow = ({ client, expiresAt, resource }: Authorization) => ({
    client: client.id,
    resource: resource.id,
    expiresAt: expiresAt === null ? null : Math.round(expiresAt - input.expiryAhead)
  })
  return {
    version: statusVersion,
    at: input.at,
    gateway: {
      publicKey: input.publicKey,
      ...(input.ending === undefined || input.ending === null ? {} : { endingKey: input.ending }),
      endpoint: formatHostPort(input.endpoint.host, input.endpoint.port),
      startedAt: dateOf(input.startedAt),
      workerEpoch: input.workerEpoch
    },
    ...(input.site === null ? {} : { site: siteRow(input.site, input, dateOf) }),
    http:
      input.http === undefined || input.http === null
        ? null
        : {
            at: formatHostPort(input.http.at.host, input.http.at.port),
            wrong: input.http.wrong === null ? null : { ...input.http.wrong, since: dateOf(input.http.wrong.since) }
          },
    controlPlane: datedHealth(input.controlPlane, dateOf),
    firewall: {
      judged: input.firewall.judged,
      uncounted: input.firewall.uncounted,
      lost: input.firewall.lost.map((loss) => ({ ...loss, since: dateOf(loss.since), latest: dateOf(loss.latest) }))
    },
    host: {
      repaired: host.repaired,
      last: host.last === null ? null : { ...host.last, at: dateOf(host.last.at) },
      wrong: host.wrong === null ? null : { ...host.wrong, since: dateOf(host.wrong.since) }
    },
    ipv6: { sockets: missing(ipv6.sockets), device: missing(ipv6.device), wayOut: missing(ipv6.wayOut) },
    foreignNetworks: input.foreignNetworks.map(({ network, who }) => ({
      network,
      who,
      clients: stranded.flatMap((one) => (one.network === network ? [one.client] : []))
    })),
    dnsServers: input.dnsServers.map(({ answeredAt, latencyMs, oddities, server, silentSince }) => ({
      server,
      answeredAt: answeredAt === null ? null : dateOf(answeredAt),
      silentSince: silentSince === null ? null : dateOf(silentSince),
      latencyMs: latencyMs === null ? null : Math.round(latencyMs),
      oddities
    })),
    clients: input.clients.map((client) => {
      const state = input.clientStates.get(client.id)
      const endpoint = state?.endpoint ?? null
      const twoPlaces = input.twoPlaces.get(client.id)
      const activity = input.activity.clients.get(client.id)
      const owner = input.presence?.owners.get(client.id)
      return {
        name: client.id,
        publicKey: client.publicKey,
        tunnel4: client.tunnel4,
        tunnel6: client.tunnel6,
        connected: state?.connected === true && !isSilent(state, activity?.heardAt ?? null, input.now),
        endpoint: endpoint === null ? null : formatHostPort(endpoint.address, endpoint.port),
        path: state?.path ?? null,
        lastHandshakeAt: typeof state?.handshakeAt === "number" ? dateOf(state.handshakeAt) : null,
        lastHeardAt: dateOrNull(activity?.heardAt),
        lastActivityAt: dateOrNull(activity?.activeAt),
        bytesIn: activity?.bytesIn ?? 0,
        bytesOut: activity?.bytesOut ?? 0,
        flows: activity?.flows ?? 0,
        refused: activity?.refused ?? 0,
        unusedAnswers: activity?.unusedAnswers ?? 0,
        ...gatewayKeyOf(input, client.id),
        ...(state === undefined || state.behindMs === 0 ? {} : { clockWasAheadMs: state.behindMs }),
        ...(owner === undefined ? {} : { owner }),
        ...(twoPlaces === undefined ? {} : { twoPlaces: { ...twoPlaces, at: dateOf(twoPlaces.at) } })
      }
    }),
    mappings: mappings.map((status) => mappingRow(status, dateOf)),
    authorizations: input.authorizations.slice(0, maxAuthorizationRows).map(authorizationRow),
    expired: (input.grants ?? [])
      .filter((grant) => !isOpen(grant, input.at + input.expiryAhead))
      .flatMap(authorizationsOf)
      .slice(0, maxExpiredRows)
      .map(authorizationRow),
    unknownDevices: input.activity
      .strangers(input.now)
      .map(({ address, handshakes, latest, port, publicKey, since }) => ({
        publicKey,
        endpoint: formatHostPort(address, port),
        handshakes,
        since: dateOf(since),
        latest: dateOf(latest)
      })),
    silentAddresses: silentAddresses(input.activity.silentAddresses, input.mappings).map((row) => ({
      ...row,
      since: dateOf(row.since),
      lastReplyAt: dateOrNull(row.lastReplyAt)
    })),
    omitted: {
      mappings: input.mappings.length - mappings.length,
      authorizations: Math.max(0, input.authorizations.length - maxAuthorizationRows)
    },
    counters: {
      controlPlane: input.controlPlaneCounters,
      dataPlane: input.dataPlaneCounters,
      resolutions: input.resolutionCounters,
      dns: input.dnsCounters,
      upstream: input.upstreamCounters,
      host: {
        "host.repaired": host.repaired,
        "host.devices_made": host.devicesMade,
        "host.wrong": host.wrong?.what.length ?? 0,
        "host.packets_taken": input.firewall.counters.lost,
        "host.packets_let_through": input.firewall.counters.healed
      },
      defects: input.defects
    }
  }
}

const gatewayKeyOf = (
  { ending, gatewayKeys, publicKey }: StatusInput,
  client: string
): Pick<StatusReport["clients"][number], "gatewayKey"> => {
  const known = gatewayKeys.get(client)
  if (known === undefined) return {}
  return { gatewayKey: known === publicKey ? "current" : known === ending?.publicKey ? "ending" : "gone" }
}

const siteRow = (
  { store, ...standing }: SiteStanding,
  { draining, presence, sitePolicy = null, virtualAddress: told }: StatusInput,
  dateOf: (time: number) => number
) => ({
  ...standing,
  ...(sitePolicy === null ? {} : { policy: policyRow(sitePolicy, dateOf) }),
  ...(told === null ? {} : { virtualAddress: { ...told, since: dateOf(told.since) } }),
  ...(draining === null ? {} : { draining: { ...draining, since: dateOf(draining.since) } }),
  gateways: (presence?.gateways ?? []).map(({ about, ...gateway }) => ({
    ...gateway,
    heardAt: dateOf(gateway.heardAt),
    ...(about === null ? {} : { about: { ...about, readAt: about.readAt && dateOf(about.readAt) } })
  })),
  postgres: {
    server: store._tag === "Connected" ? store.at : null,
    since: dateOf(store.sinceMs),
    wrong: store._tag === "Connected" ? null : store.error.message,
    ...(presence?.met == null ? {} : { clockAheadMs: Math.round(dateOf(presence.met.now) - presence.met.dateMs) })
  }
})

const policyRow = ({ inForce, refused }: PolicyStanding, dateOf: (time: number) => number) => ({
  inForce,
  refused: refused === null ? null : { ...refused, since: dateOf(refused.since) }
})

const datedHealth = (
  { filtered, ...health }: ControlPlaneHealth,
  dateOf: (time: number) => number
): StatusReport["controlPlane"] => {
  if (filtered === undefined) return health
  const { count, last } = filtered
  return { ...health, filtered: { count, last: last === null ? null : { ...last, at: dateOf(last.at) } } }
}

/** A keepalive comes every 25 s; where ICE finds the path, it watches that. */
const isSilent = ({ path }: ClientState, heardAt: number | null, now: number): boolean =>
  path === undefined && heardAt !== null && now - heardAt > silentAfterMs

const silentAfterMs = 75_000

/** By name and address, over all clients; only addresses that the names still have. */
const silentAddresses = (
  rows: ReadonlyArray<SilentAddress>,
  mappings: ReadonlyArray<MappingStatus>
): ReadonlyArray<NonNullable<StatusReport["silentAddresses"]>[number]> => {
  const byId = new Map(mappings.map((status) => [status.mapping.id, status]))
  const found = new Map<string, NonNullable<StatusReport["silentAddresses"]>[number]>()
  for (const { address, mapping, repliedAt, since, tries } of rows) {
    const status = byId.get(mapping)
    if (status === undefined || !addressesOf(status.state).includes(address)) continue
    const { client, name } = status.mapping
    const { domain, resolver } = name
    const key = `${resolver} ${domain} ${address}`
    const before = found.get(key)
    found.set(key, {
      domain,
      resolver,
      address,
      since: Math.min(since, before?.since ?? since),
      tries: tries + (before?.tries ?? 0),
      clients: [...(before?.clients ?? []), client],
      lastReplyAt: latest(repliedAt, before?.lastReplyAt ?? null)
    })
  }
  return Array.from(found.values()).toSorted((a, b) => b.tries - a.tries)
}

const latest = (a: number | null, b: number | null): number | null => (a === null ? b : b === null ? a : Math.max(a, b))

const mappingRow = (
  { mapping, state, nextTryAt, lookups }: MappingStatus,
  dateOf: (time: number) => number
): StatusReport["mappings"][number] => {
  const reason = reasonOf(state)
  return {
    client: mapping.client,
    resource: mapping.resources[0]!,
    resources: mapping.resources,
    domain: mapping.name.domain,
    resolver: mapping.name.resolver,
    proxyIps: mapping.proxyIps,
    addresses: addressesOf(state),
    state: state._tag === "Resolved" && reason !== null ? "Stale" : state._tag,
    reason: reason === null ? null : describeReason(reason),
    since: dateOf(state.since),
    nextTryAt: nextTryAt === null ? null : dateOf(nextTryAt),
    lookups
  }
}

const reasonOf = (state: NameState): ResolutionReason | null => {
  if (state._tag === "Resolved") return state.failure
  return state._tag === "Unresolved" ? state.reason : null
}
