/** Relays that join the portal by themselves, as Firezone's do: devices are told of them as long as they are there. */
import { parseAddress } from "../../packet/address.ts"
import { encodePush, encodeReply, type Frame } from "./frame.ts"
import { uuidOf } from "./identity.ts"
import { decodeJoin } from "./messages.ts"
import type { PortalRelay } from "./PortalConfig.ts"
import { log, type Peer, type PortalState, push, send, type SocketState } from "./portalState.ts"
import { relayEntries } from "./views.ts"
import * as Result from "effect/Result"

/** A relay as it comes with an upgrade. */
export interface RelayPeer extends Pick<PortalRelay, "id" | "name" | "addresses"> {
  readonly remote: string
}

export interface RelayConnection extends RelayPeer, SocketState {
  /** Its credentials follow from it; `null` until it has joined. */
  stampSecret: string | null
}

const defaultPort = 3478

/** Out of the query: `ipv4`, `ipv6` or both, and `port`; `null` when that makes no relay. */
export const relayPeer = (parameters: URLSearchParams, remote: string): RelayPeer | null => {
  const port = Number(parameters.get("port") ?? defaultPort)
  if (!Number.isInteger(port) || port < 1 || port > 65_535) return null
  const addresses: Array<string> = []
  for (const family of ["ipv4", "ipv6"] as const) {
    const text = parameters.get(family) ?? ""
    if (text === "") continue
    if (parseAddress(text) === undefined || text.includes(":") !== (family === "ipv6")) return null
    addresses.push(text)
  }
  if (addresses.length === 0) return null
  const name = `${addresses.join(" ")} ${port}`
  return { id: uuidOf("relay", name), name, addresses: addresses.map((address) => ({ address, port })), remote }
}

export const openRelay = (state: PortalState, peer: RelayPeer, socket: SocketState, now: number): void => {
  for (const older of state.relayConnections.values()) {
    if (older.id === peer.id) closeRelay(state, older, 1000, "replaced", now)
  }
  state.relayConnections.set(socket.socket, { ...peer, ...socket, stampSecret: null })
  log(state, `relay ${peer.name} connected from ${peer.remote}`)
}

export const receiveRelay = (state: PortalState, relay: RelayConnection, frame: Frame, now: number): void => {
  const answer = (status: "ok" | "error", response: Readonly<Record<string, unknown>>): void => {
    if (frame.ref !== null) send(state, relay.socket, encodeReply(frame, status, response))
  }
  if (frame.topic === "phoenix" && frame.event === "heartbeat") return answer("ok", {})
  if (frame.topic !== "relay") return answer("error", { reason: "unmatched topic" })
  const join = frame.event === "phx_join" ? decodeJoin(frame.payload) : undefined
  if (join === undefined || Result.isFailure(join)) return answer("error", { reason: "unknown_message" })
  answer("ok", {})
  send(state, relay.socket, encodePush("relay", "init", {}))
  relay.stampSecret = join.success.stamp_secret
  tell(state, [], [relay], now)
  log(state, `relay ${relay.name} joined`)
}

/** The socket is gone. */
export const forgetRelay = (state: PortalState, relay: RelayConnection, now: number): void => {
  state.relayConnections.delete(relay.socket)
  if (relay.stampSecret === null) return
  tell(state, [relay.id], [], now)
  log(state, `relay ${relay.name} left`)
}

/** What a device is told of all relays. */
export const relaysFor = (state: PortalState, to: Peer, now: number) =>
  relaysOf(state).flatMap((relay) => relayEntries(relay, to, now))

/** All relays that devices are told of now. */
export const relaysOf = (state: PortalState): ReadonlyArray<PortalRelay> => [
  ...state.relays,
  ...[...state.relayConnections.values()].flatMap(asRelay)
]

export const closeRelay = (
  state: PortalState,
  relay: RelayConnection,
  code: number,
  reason: string,
  now: number
): void => {
  state.actions.push({ _tag: "Close", socket: relay.socket, code, reason })
  forgetRelay(state, relay, now)
}

const asRelay = ({ addresses, id, name, stampSecret }: RelayConnection): ReadonlyArray<PortalRelay> =>
  stampSecret === null ? [] : [{ id, name, addresses, credentials: { stampSecret } }]

const tell = (
  state: PortalState,
  disconnected: ReadonlyArray<string>,
  joined: ReadonlyArray<RelayConnection>,
  now: number
): void => {
  for (const to of state.online.values()) {
    if (!to.joined) continue
    const connected = joined.flatMap(asRelay).flatMap((relay) => relayEntries(relay, to, now))
    push(state, to, "relays_presence", { disconnected_ids: disconnected, connected })
  }
}
