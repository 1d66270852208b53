/** What the dashboard shows of a gateway: bounded, and worst first. */
import { describeReason } from "../cli/describeReason.ts"
import type { ConfiguredClient } from "../config/GatewayConfig.ts"
import type { ClientState } from "../dataplane/notices.ts"
import { formatHostPort } from "../packet/endpoint.ts"
import { addressesOf } from "../resolution/NameState.ts"
import type { MappingStatus } from "../resolution/Resolutions.ts"
import type { ReadinessPart } from "./readiness.ts"

export interface DashboardInput {
  /** Epoch milliseconds, and the same moment by the monotonic clock that all times are of. */
  readonly at: number
  readonly now: number
  readonly parts: ReadonlyArray<ReadinessPart>
  readonly clients: ReadonlyArray<Pick<ConfiguredClient, "id" | "tunnel4">>
  readonly clientStates: ReadonlyMap<string, ClientState>
  readonly mappings: ReadonlyArray<MappingStatus>
  readonly dataPlaneCounters: Readonly<Record<string, number>>
}

const maxClients = 200
const maxNames = 300

/** Times are epoch milliseconds. */
export const dashboardView = (input: DashboardInput) => {
  const dateOf = (time: number): number => Math.round(input.at - (input.now - time))
  const count = (key: string): number => input.dataPlaneCounters[key] ?? 0
  const clients = input.clients.map(({ id, tunnel4 }) => {
    const { connected = false, endpoint = null, handshakeAt = null } = input.clientStates.get(id) ?? {}
    return {
      name: id,
      tunnel: tunnel4,
      connected,
      from: endpoint === null ? null : formatHostPort(endpoint.address, endpoint.port),
      handshakeAt: handshakeAt === null ? null : dateOf(handshakeAt)
    }
  })
  const names = input.mappings.map(nameRow(dateOf))
  const failing = names.filter(({ reason }) => reason !== null)
  const drops = Object.entries(input.dataPlaneCounters).flatMap(([key, n]) =>
    /^outbound\.(?:unauthorized|filtered|unmapped|unresolved|destination_refused|source_spoofed|tunnel_address)$/.test(
      key
    )
      ? [{ reason: key.slice("outbound.".length), packets: n }]
      : []
  )
  return {
    at: input.at,
    problems: input.parts.flatMap(({ part, why }) => (why === null ? [] : [`${part}: ${why}`])),
    clients: {
      all: clients.length,
      connected: clients.filter(({ connected }) => connected).length,
      rows: clients.toSorted((a, b) => Number(b.connected) - Number(a.connected)).slice(0, maxClients)
    },
    names: {
      all: names.length,
      failing: failing.length,
      rows: [...failing, ...names.filter(({ reason }) => reason === null)].slice(0, maxNames)
    },
    traffic: {
      fromClients: count("outbound.bytes"),
      toClients: count("inbound.bytes"),
      sessions: count("sessions.live"),
      refused: drops.reduce((sum, { packets }) => sum + packets, 0)
    },
    refused: drops.filter(({ packets }) => packets > 0).toSorted((a, b) => b.packets - a.packets)
  }
}

const nameRow =
  (dateOf: (time: number) => number) =>
  ({ mapping, state }: MappingStatus) => {
    const failure = state._tag === "Resolved" ? state.failure : state._tag === "Unresolved" ? state.reason : null
    return {
      client: mapping.client,
      domain: mapping.name.domain,
      state: state._tag === "Resolved" && failure !== null ? "Stale" : state._tag,
      addresses: addressesOf(state).slice(0, 4),
      reason: failure === null ? null : describeReason(failure),
      since: dateOf(state.since)
    }
  }
