/**
 * The portal's side of generations A and B (and C's renames) towards gateways and clients, for tests and development:
 * pure, with time and randomness given. Feed it upgrades, frames, closed sockets and ticks; carry out what `take` gives.
 */
import { type Command, type CommandResult, runCommand } from "./commands.ts"
import * as flows from "./flows.ts"
import * as relays from "./joinedRelays.ts"
import type { RelayConnection } from "./joinedRelays.ts"
import { decodeFrame, type Frame } from "./frame.ts"
import { clientMessages, gatewayMessages } from "./messages.ts"
import type { PortalConfig } from "./PortalConfig.ts"
import {
  type Action,
  type Authorization,
  close,
  type Connection,
  forget,
  log,
  makeState,
  type PortalState,
  push,
  reply,
  type SocketState
} from "./portalState.ts"
import { pushInit } from "./init.ts"
import { checkUpgrade, type Refused, type RelayTicket, type Ticket, type UpgradeRequest } from "./upgrade.ts"
import * as Result from "effect/Result"

/** A socket without any frame for this long is closed. */
const idleTimeoutMs = 37_000
/** Messages per second that a device may send, and at once. */
const rate = 2000
const burst = 8000

export class DevPortal {
  private readonly state: PortalState
  private nextSocket = 1
  private lastTick = 0

  constructor(config: PortalConfig, random: (length: number) => Uint8Array, saved: ReadonlyArray<Authorization> = []) {
    this.state = makeState(config, random, saved)
  }

  /** Who asks for an upgrade, and whether it may come in. */
  check(request: UpgradeRequest): Refused | Ticket | RelayTicket {
    const result = checkUpgrade(this.state, request)
    if (result._tag === "Refused") {
      log(this.state, `${request.remote} refused: ${result.status} ${result.body}`, "Warn")
    }
    return result
  }

  /** The WebSocket is open. An older one of the same device is closed. Gives the socket's number. */
  open(ticket: Ticket | RelayTicket, now: number): number {
    const socket: SocketState = { socket: this.nextSocket++, lastHeard: now, allowance: burst }
    if (ticket._tag === "RelayTicket") {
      relays.openRelay(this.state, ticket.peer, socket, now)
      return socket.socket
    }
    const { peer } = ticket
    const { agent, device, endpoint, remote } = peer
    const older = this.state.online.get(device.id)
    if (older !== undefined) close(this.state, older, 1000, "replaced")
    const connection: Connection = { ...peer, ...socket, joined: false }
    this.state.connections.set(connection.socket, connection)
    this.state.online.set(device.id, connection)
    log(
      this.state,
      `${device.role} ${device.name} (${agent}, ${device.group.name}) connected from ${remote}${endpoint === 2 ? " at v2" : ""}`
    )
    return connection.socket
  }

  /** A text frame came. */
  receive(socket: number, text: string, now: number): void {
    const peer = this.state.connections.get(socket) ?? this.state.relayConnections.get(socket)
    if (peer === undefined) return
    peer.lastHeard = now
    if (peer.allowance-- <= 0) {
      log(this.state, `${nameOf(peer)} sends too much`, "Warn")
      this.cut(peer, 1008, "rate limit", now)
      return
    }
    const frame = decodeFrame(text)
    if (frame === null) {
      log(this.state, `${nameOf(peer)} sent what is no frame`, "Warn")
      return
    }
    if ("device" in peer) this.dispatch(peer, frame, now)
    else relays.receiveRelay(this.state, peer, frame, now)
  }

  /** The socket is gone. */
  closed(socket: number, now: number): void {
    const relay = this.state.relayConnections.get(socket)
    if (relay !== undefined) return relays.forgetRelay(this.state, relay, now)
    const connection = this.state.connections.get(socket)
    if (connection === undefined) return
    forget(this.state, connection)
    log(this.state, `${connection.device.role} ${connection.device.name} disconnected`)
  }

  /** To be called about every second. */
  tick(now: number): void {
    const elapsed = this.lastTick === 0 ? 1000 : Math.max(0, now - this.lastTick)
    this.lastTick = now
    for (const peer of [...this.state.connections.values(), ...this.state.relayConnections.values()]) {
      peer.allowance = Math.min(burst, peer.allowance + (rate * elapsed) / 1000)
      if (now - peer.lastHeard < idleTimeoutMs) continue
      log(this.state, `${nameOf(peer)} is silent: closed`, "Warn")
      this.cut(peer, 1001, "idle", now)
    }
    flows.expirePending(this.state, now)
    flows.expireAuthorizations(this.state, now)
  }

  /** A command of the operator or of a test. */
  command(command: Command, now: number): CommandResult {
    return runCommand(this.state, command, now)
  }

  /** What is to be done now, in order. */
  take(): ReadonlyArray<Action> {
    const { actions } = this.state
    this.state.actions = []
    return actions
  }

  /** What has to survive a restart; `revision` grows when it changes. */
  get saved(): { readonly revision: number; readonly authorizations: ReadonlyArray<Authorization> } {
    return { revision: this.state.revision, authorizations: [...this.state.authorizations.values()] }
  }

  private cut(peer: Connection | RelayConnection, code: number, reason: string, now: number): void {
    if ("device" in peer) close(this.state, peer, code, reason)
    else relays.closeRelay(this.state, peer, code, reason, now)
  }

  private dispatch(connection: Connection, frame: Frame, now: number): void {
    if (frame.topic === "phoenix" && frame.event === "heartbeat") {
      reply(this.state, connection, frame, "ok", {})
    } else if (frame.topic !== connection.device.role) {
      reply(this.state, connection, frame, "error", { reason: "unmatched topic" })
    } else if (frame.event === "phx_join") {
      connection.joined = true
      reply(this.state, connection, frame, "ok", {})
      pushInit(this.state, connection, now)
    } else if (frame.event === "phx_leave") {
      connection.joined = false
      reply(this.state, connection, frame, "ok", {})
    } else if (!connection.joined) {
      reply(this.state, connection, frame, "error", { reason: "unmatched topic" })
    } else if (!this.handle(connection, frame, now)) {
      reply(this.state, connection, frame, "error", { reason: "unknown_message" })
      log(this.state, `${connection.device.name}: ${frame.event} is unknown or malformed`, "Warn")
    }
  }

  /** `false`: unknown or malformed. */
  private handle(from: Connection, frame: Frame, now: number): boolean {
    const { state } = this
    if (frame.event === "no_relays") {
      const connected = relays.relaysFor(state, from, now)
      push(state, from, "relays_presence", { disconnected_ids: [], connected })
      return true
    }
    const handlers = from.device.role === "gateway" ? gatewayHandlers : clientHandlers
    return Object.hasOwn(handlers, frame.event) && handlers[frame.event]!(state, from, frame, now)
  }
}

const nameOf = (peer: Connection | RelayConnection): string =>
  "device" in peer ? peer.device.name : `relay ${peer.name}`

type Handler = (state: PortalState, from: Connection, frame: Frame, now: number) => boolean

const on =
  <A>(
    decode: (payload: unknown) => Result.Result<A, unknown>,
    act: (state: PortalState, from: Connection, message: A, frame: Frame, now: number) => void
  ): Handler =>
  (state, from, frame, now) => {
    const message = decode(frame.payload)
    if (Result.isSuccess(message)) act(state, from, message.success, frame, now)
    return Result.isSuccess(message)
  }

const flowAuthorized = on(gatewayMessages.flow_authorized, flows.flowAuthorized)
const gatewayCandidates = (event: string): Handler =>
  on(gatewayMessages.candidates, (state, from, message) =>
    flows.forwardCandidates(state, from, message.client_ids, message.candidates, event)
  )
const gatewayHandlers: Readonly<Record<string, Handler>> = {
  broadcast_ice_candidates: gatewayCandidates("ice_candidates"),
  broadcast_invalidated_ice_candidates: gatewayCandidates("invalidate_ice_candidates"),
  flow_authorized: flowAuthorized,
  authorization_created: flowAuthorized,
  connection_ready: on(gatewayMessages.connection_ready, flows.connectionReady),
  set_snownet_capabilities: on(gatewayMessages.set_snownet_capabilities, () => {})
}

const createFlow = on(clientMessages.create_flow, flows.createFlow)
const clientCandidates = (event: string): Handler =>
  on(clientMessages.candidates, (state, from, message) =>
    flows.forwardCandidates(state, from, message.gateway_ids, message.candidates, event)
  )
const newClientCandidates = (event: string): Handler =>
  on(clientMessages.gateway_candidates, (state, from, { candidates, gateway_id }) =>
    flows.forwardCandidates(state, from, [gateway_id], candidates, event)
  )
const clientHandlers: Readonly<Record<string, Handler>> = {
  broadcast_ice_candidates: clientCandidates("ice_candidates"),
  broadcast_invalidated_ice_candidates: clientCandidates("invalidate_ice_candidates"),
  new_gateway_ice_candidates: newClientCandidates("ice_candidates"),
  invalidate_gateway_ice_candidates: newClientCandidates("invalidate_ice_candidates"),
  set_snownet_capabilities: on(clientMessages.set_snownet_capabilities, () => {}),
  request_device_access: on(clientMessages.request_device_access, flows.refuseDevice),
  create_flow: createFlow,
  request_authorization: createFlow,
  prepare_connection: on(clientMessages.prepare_connection, flows.prepareConnection),
  request_connection: on(clientMessages.request_connection, flows.requestConnection),
  reuse_connection: on(clientMessages.reuse_connection, flows.reuseConnection)
}
