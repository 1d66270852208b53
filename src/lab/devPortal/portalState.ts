/** What the portal knows, shared by its parts; and what it wants done. */
import { encodePush, encodeReply, type Frame } from "./frame.ts"
import type { RelayConnection } from "./joinedRelays.ts"
import type { DeviceGroup, PortalConfig, PortalRelay, PortalResource } from "./PortalConfig.ts"

export type Role = "gateway" | "client"

/** A gateway or a client, the same one whenever the same `external_id` comes with a token of the same group. */
export interface Device {
  readonly id: string
  readonly role: Role
  readonly group: DeviceGroup
  readonly externalId: string
  readonly name: string
  readonly ipv4: string
  readonly ipv6: string
  readonly pskBase: Uint8Array
}

/** A device as it comes with an upgrade. */
export interface Peer {
  readonly device: Device
  /** Standard base64 of the WireGuard public key. */
  readonly publicKey: string
  /** 2: the endpoint of generation C, where some messages have other names. */
  readonly endpoint: 1 | 2
  /** Version out of the User-Agent. */
  readonly agent: string
  /** Address text of the peer. */
  readonly remote: string
}

/** What is kept of every socket. */
export interface SocketState {
  readonly socket: number
  lastHeard: number
  /** Messages that it may send at once. */
  allowance: number
}

export interface Connection extends Peer, SocketState {
  joined: boolean
}

/** Client × resource at a gateway. `expiresAt` in Unix seconds, `null` never. */
export interface Authorization {
  readonly client: string
  readonly resource: string
  readonly gateway: string
  readonly expiresAt: number | null
  /** When the gateway last confirmed it, epoch milliseconds. */
  readonly answeredAt: number | null
}

/** A request that a gateway has not answered yet. */
export interface Pending {
  readonly kind: "flow" | "connection" | "reuse"
  readonly client: string
  readonly gateway: string
  readonly resource: string
  readonly since: number
  /** The client's message, for the reply of generation A. */
  readonly request: Pick<Frame, "topic" | "ref">
  /** The client's socket at that time: an answer for an older one is dropped. */
  readonly socket: number
  /** The flow's id. */
  readonly flow: string
}

/** How the next upgrades are answered instead. */
interface Refusal {
  readonly status: number
  readonly role: Role | null
  readonly retryAfter: number | null
  left: number
}

export type Action =
  | { readonly _tag: "Send"; readonly socket: number; readonly text: string }
  | { readonly _tag: "Close"; readonly socket: number; readonly code: number; readonly reason: string }
  | { readonly _tag: "Log"; readonly level: "Info" | "Warn" | "Debug"; readonly message: string }

export interface PortalState {
  readonly config: PortalConfig
  readonly random: (length: number) => Uint8Array
  readonly connections: Map<number, Connection>
  /** By device id: the one socket that counts. */
  readonly online: Map<string, Connection>
  readonly devices: Map<string, Device>
  /** Host numbers of tunnel addresses in use. */
  readonly hosts: Set<number>
  readonly resources: Map<string, PortalResource>
  /** Those of the configuration, or of the last command. */
  relays: ReadonlyArray<PortalRelay>
  /** By socket. */
  readonly relayConnections: Map<number, RelayConnection>
  /** Signs the tokens of flow logs. */
  readonly ingestKey: Uint8Array
  /** By `authorizationKey`. */
  readonly authorizations: Map<string, Authorization>
  /** Grows with each change of `authorizations`. */
  revision: number
  readonly pending: Map<string, Pending>
  refusal: Refusal | null
  /** Ids of devices that get no answers, not even to heartbeats. */
  readonly muted: Set<string>
  actions: Array<Action>
}

export const makeState = (
  config: PortalConfig,
  random: (length: number) => Uint8Array,
  saved: ReadonlyArray<Authorization>
): PortalState => ({
  config,
  random,
  connections: new Map(),
  online: new Map(),
  devices: new Map(),
  hosts: new Set(),
  resources: new Map(config.resources.map((resource) => [resource.id, resource])),
  relays: config.relays,
  relayConnections: new Map(),
  ingestKey: random(32),
  authorizations: new Map(saved.map((a) => [authorizationKey(a), a])),
  revision: 0,
  pending: new Map(),
  refusal: null,
  muted: new Set(),
  actions: []
})

export const authorizationKey = (of: Pick<Authorization, "client" | "resource" | "gateway">): string =>
  `${of.client} ${of.resource} ${of.gateway}`

const maxAuthorizations = 100_000

export const log = (state: PortalState, message: string, level: "Info" | "Warn" | "Debug" = "Info"): void =>
  void state.actions.push({ _tag: "Log", level, message })

export const push = (state: PortalState, to: Connection, event: string, payload: unknown): void =>
  transmit(state, to, encodePush(to.device.role, event, payload))

export const reply = (
  state: PortalState,
  to: Connection,
  request: Pick<Frame, "topic" | "ref">,
  status: "ok" | "error",
  response: Readonly<Record<string, unknown>>
): void => {
  if (request.ref !== null) transmit(state, to, encodeReply(request, status, response))
}

export const close = (state: PortalState, connection: Connection, code: number, reason: string): void => {
  state.actions.push({ _tag: "Close", socket: connection.socket, code, reason })
  forget(state, connection)
}

/** Takes a socket that is gone out of the tables. */
export const forget = (state: PortalState, connection: Connection): void => {
  state.connections.delete(connection.socket)
  if (state.online.get(connection.device.id) === connection) state.online.delete(connection.device.id)
}

/** The joined connection of a device. */
export const joined = (state: PortalState, id: string, role: Role): Connection | undefined => {
  const connection = state.online.get(id)
  return connection?.joined === true && connection.device.role === role ? connection : undefined
}

export const authorize = (state: PortalState, authorization: Authorization): void => {
  state.authorizations.set(authorizationKey(authorization), authorization)
  if (state.authorizations.size > maxAuthorizations) {
    const [oldest] = state.authorizations.keys()
    state.authorizations.delete(oldest!)
  }
  state.revision++
}

export const withdraw = (state: PortalState, authorization: Authorization): void => {
  state.authorizations.delete(authorizationKey(authorization))
  state.revision++
  const gateway = joined(state, authorization.gateway, "gateway")
  if (gateway === undefined) return
  push(state, gateway, "reject_access", { client_id: authorization.client, resource_id: authorization.resource })
}

/** Whether the two have to do with each other. */
export const related = (state: PortalState, client: string, gateway: string): boolean => {
  for (const a of state.authorizations.values()) if (a.client === client && a.gateway === gateway) return true
  for (const p of state.pending.values()) if (p.client === client && p.gateway === gateway) return true
  return false
}

const transmit = (state: PortalState, to: Connection, text: string): void => {
  if (!state.muted.has(to.device.id)) send(state, to.socket, text)
}

export const send = (state: PortalState, socket: number, text: string): void =>
  void state.actions.push({ _tag: "Send", socket, text })
