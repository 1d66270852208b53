/** The upgrade request of a device or a relay (docs/portal-protocol.md, "Connecting"): who is it, and may it come in? */
import { keyBytes } from "../../config/values.ts"
import { hostNumbers, preferredHost, pskBaseOf, tunnelAddresses, uuidOf } from "./identity.ts"
import { type RelayPeer, relayPeer } from "./joinedRelays.ts"
import type { Device, Peer, PortalState, Role } from "./portalState.ts"

export interface UpgradeRequest {
  /** Path and query. */
  readonly url: string
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string | ReadonlyArray<string> | undefined>>
  /** Address text of the peer. */
  readonly remote: string
}

export interface Refused {
  readonly _tag: "Refused"
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
}

/** May connect; becomes a connection when the WebSocket handshake is done. */
export interface Ticket {
  readonly _tag: "Ticket"
  readonly peer: Peer
}

/** The same for a relay. */
export interface RelayTicket {
  readonly _tag: "RelayTicket"
  readonly peer: RelayPeer
}

const relayPath = "/relay/websocket"
const paths: Readonly<Record<string, readonly [Role, 1 | 2]>> = {
  "/gateway/websocket": ["gateway", 1],
  "/client/websocket": ["client", 1],
  "/gateway/v2/websocket": ["gateway", 2],
  "/client/v2/websocket": ["client", 2]
}

const maxUrl = 8192
const maxConnections = 4096
const maxDevices = 65_536

export const checkUpgrade = (state: PortalState, request: UpgradeRequest): Refused | Ticket | RelayTicket => {
  if (request.url.length > maxUrl) return refused(414, "uri_too_long")
  const [path, query = ""] = request.url.split("?", 2)
  if (path === relayPath) return checkRelay(state, request, new URLSearchParams(query))
  const known = Object.hasOwn(paths, path!) ? paths[path!] : undefined
  if (known === undefined) return refused(404, "not_found")
  const [role, endpoint] = known
  const forced = takeRefusal(state, role)
  if (forced !== null) return forced
  const parameters = new URLSearchParams(query)

  const token = tokenOf(request, parameters)
  if (token === null) return refused(401, "missing_token")
  const groups = role === "gateway" ? state.config.gateways : state.config.clients
  const group = groups.find((g) => sameText(g.token, token))
  if (group === undefined) return refused(401, "invalid_token")

  const agent = versionOf(request.headers["user-agent"])
  if (agent === null) return refused(400, "invalid_user_agent")
  const publicKey = parameters.get("public_key") ?? ""
  if (keyBytes(publicKey) === undefined) return refused(400, "invalid_public_key")
  const externalId = parameters.get("external_id") ?? ""
  if (externalId === "" || externalId.length > 255) return refused(400, "invalid_external_id")
  const name = (parameters.get("name") ?? "").slice(0, 255)

  if (isFull(state)) return refused(503, "too_many_connections", 1)
  const id = uuidOf(role, `${group.name}:${externalId}`)
  const device = findDevice(state, { id, role, group, externalId, name: name === "" ? externalId : name })
  if (device === undefined) return refused(503, "too_many_devices", 1)
  return { _tag: "Ticket", peer: { device, publicKey, endpoint, agent, remote: request.remote } }
}

const checkRelay = (
  state: PortalState,
  request: UpgradeRequest,
  parameters: URLSearchParams
): Refused | RelayTicket => {
  const token = tokenOf(request, parameters)
  if (token === null) return refused(401, "missing_token")
  const { relayToken } = state.config
  if (relayToken === null || !sameText(relayToken, token)) return refused(401, "invalid_token")
  const peer = relayPeer(parameters, request.remote)
  if (peer === null) return refused(400, "missing_ip")
  return isFull(state) ? refused(503, "too_many_connections", 1) : { _tag: "RelayTicket", peer }
}

const isFull = ({ connections, relayConnections }: PortalState): boolean =>
  connections.size + relayConnections.size >= maxConnections

/** `os/version component/semver`, or as of 1.1 with the kernel's brackets before the component. */
const versionOf = (userAgent: string | ReadonlyArray<string> | undefined): string | null => {
  if (typeof userAgent !== "string" || userAgent.length > 512) return null
  return /^[^/ ]+\/[^ ]+ (?:\([^)]*\) )?[a-z][a-z-]*\/(\d+\.\d+\.\d+[^ ]*)(?: |$)/.exec(userAgent)?.[1] ?? null
}

/** Out of the header, or out of the query. */
const tokenOf = ({ headers }: UpgradeRequest, parameters: URLSearchParams): string | null => {
  const header = headers["x-authorization"]
  const bearer = typeof header === "string" ? /^Bearer (\S+)$/.exec(header)?.[1] : undefined
  return bearer ?? parameters.get("token")
}

/** In time that depends on the lengths only. */
const sameText = (a: string, b: string): boolean => {
  let difference = a.length ^ b.length
  for (let i = 0; i < a.length; i++) difference |= a.charCodeAt(i) ^ b.charCodeAt(i % (b.length || 1))
  return difference === 0
}

const findDevice = (state: PortalState, device: Omit<Device, "ipv4" | "ipv6" | "pskBase">): Device | undefined => {
  const known = state.devices.get(device.id)
  if (known !== undefined) {
    const renamed = { ...known, name: device.name }
    state.devices.set(device.id, renamed)
    return renamed
  }
  if (state.devices.size >= maxDevices) return undefined
  let host = preferredHost(device.id)
  while (state.hosts.has(host)) host = (host % (hostNumbers - 2)) + 1
  state.hosts.add(host)
  const made = { ...device, ...tunnelAddresses(host), pskBase: pskBaseOf(device.group.token, device.id) }
  state.devices.set(made.id, made)
  return made
}

const takeRefusal = (state: PortalState, role: Role): Refused | null => {
  const { refusal } = state
  if (refusal === null || (refusal.role !== null && refusal.role !== role)) return null
  refusal.left--
  if (refusal.left <= 0) state.refusal = null
  return refused(refusal.status, codes[refusal.status] ?? "refused", refusal.retryAfter)
}

const codes: Readonly<Record<number, string>> = {
  401: "invalid_token",
  403: "forbidden",
  409: "gateway_already_connected",
  429: "rate_limit",
  503: "rate_limit"
}

/** Problem details (RFC 9457) with a code. */
const refused = (status: number, code: string, retryAfter: number | null = null): Refused => ({
  _tag: "Refused",
  status,
  headers: {
    "content-type": "application/problem+json",
    ...(retryAfter === null ? {} : { "retry-after": String(retryAfter) })
  },
  body: JSON.stringify({ status, code, title: code.replaceAll("_", " ") })
})
