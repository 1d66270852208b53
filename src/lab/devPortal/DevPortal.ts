/**
 * The portal's side of generations A and B (and C's renames) towards gateways and clients, for tests and development:
 * pure, with time and randomness given. Feed it upgrades, frames, closed sockets and ticks; carry out what `take` gives.
 */
import { type Command, type CommandResult, runCommand } from "./commands.ts"
import * as flows from "./flows.ts"
import { decodeFrame, type Frame } from "./frame.ts"
import { gatewayMessages } from "./messages.ts"
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
  reply
} from "./portalState.ts"
import { relayEntries } from "./views.ts"
import { pushInit } from "./init.ts"
import { checkUpgrade, type Refused, type Ticket, type UpgradeRequest } from "./upgrade.ts"
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
  check(request: UpgradeRequest): Refused | Ticket {
    const result = checkUpgrade(this.state, request)
    if (result._tag === "Refused") {
      log(this.state, `${request.remote} refused: ${result.status} ${result.body}`, "Warn")
    }
    return result
  }

  /** The WebSocket is open. An older one of the same device is closed. Gives the socket's number. */
  open(ticket: Ticket, now: number): number {
    const { device } = ticket
    const older = this.state.online.get(device.id)
    if (older !== undefined) close(this.state, older, 1000, "replaced")
    const connection: Connection = {
      socket: this.nextSocket++,
      device,
      publicKey: ticket.publicKey,
      endpoint: ticket.endpoint,
      agent: ticket.agent,
      remote: ticket.remote,
      joined: false,
      lastHeard: now,
      allowance: burst
    }
    this.state.connections.set(connection.socket, connection)
    this.state.online.set(device.id, connection)
    log(
      this.state,
      `${device.role} ${device.name} (${ticket.agent}, ${device.group.name}) connected from ${ticket.remote}${ticket.endpoint === 2 ? " at v2" : ""}`
    )
    return connection.socket
  }

  /** A text frame came. */
  receive(socket: number, text: string, now: number): void {
    const connection = this.state.connections.get(socket)
    if (connection === undefined) return
    connection.lastHeard = now
    if (connection.allowance-- <= 0) {
      log(this.state, `${connection.device.name} sends too much`, "Warn")
      close(this.state, connection, 1008, "rate limit")
      return
    }
    const frame = decodeFrame(text)
    if (frame === null) {
      log(this.state, `${connection.device.name} sent what is no frame`, "Warn")
      return
    }
    this.dispatch(connection, frame, now)
  }

  /** The socket is gone. */
  closed(socket: number): void {
    const connection = this.state.connections.get(socket)
    if (connection === undefined) return
    forget(this.state, connection)
    log(this.state, `${connection.device.role} ${connection.device.name} disconnected`)
  }

  /** To be called about every second. */
  tick(now: number): void {
    const elapsed = this.lastTick === 0 ? 1000 : Math.max(0, now - this.lastTick)
    this.lastTick = now
    for (const connection of this.state.connections.values()) {
      connection.allowance = Math.min(burst, connection.allowance + (rate * elapsed) / 1000)
      if (now - connection.lastHeard < idleTimeoutMs) continue
      log(this.state, `${connection.device.name} is silent: closed`, "Warn")
      close(this.state, connection, 1001, "idle")
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
  private handle(connection: Connection, frame: Frame, now: number): boolean {
    const { state } = this
    switch (frame.event) {
      case "broadcast_ice_candidates":
        return flows.forwardCandidates(state, connection, frame, "ice_candidates")
      case "broadcast_invalidated_ice_candidates":
        return flows.forwardCandidates(state, connection, frame, "invalidate_ice_candidates")
      case "no_relays":
        push(state, connection, "relays_presence", {
          disconnected_ids: [],
          connected: state.relays.flatMap((relay) => relayEntries(relay, connection.device.id, now))
        })
        return true
    }
    return connection.device.role === "gateway"
      ? this.handleGateway(connection, frame, now)
      : this.handleClient(connection, frame, now)
  }

  private handleGateway(gateway: Connection, frame: Frame, now: number): boolean {
    switch (frame.event) {
      case "flow_authorized":
      case "authorization_created":
        return flows.flowAuthorized(this.state, gateway, frame, now)
      case "connection_ready":
        return flows.connectionReady(this.state, gateway, frame)
      case "set_snownet_capabilities":
        return Result.isSuccess(gatewayMessages.set_snownet_capabilities(frame.payload))
    }
    return false
  }

  private handleClient(client: Connection, frame: Frame, now: number): boolean {
    switch (frame.event) {
      case "create_flow":
      case "request_authorization":
        return flows.createFlow(this.state, client, frame, now)
      case "prepare_connection":
        return flows.prepareConnection(this.state, client, frame)
      case "request_connection":
        return flows.requestConnection(this.state, client, frame, now)
      case "reuse_connection":
        return flows.reuseConnection(this.state, client, frame, now)
    }
    return false
  }
}
