/** What main is told of the clients: each handshake, loss and move of theirs, moves at most once a second. */
import { equal, formatAddress, words } from "../../packet/address.ts"
import { millisOf } from "../../wireguard/tai64n.ts"
import type { PeerEvent } from "../../wireguard/WireGuard.ts"
import { toHex } from "../bytesText.ts"
import type { ClientEntry } from "./clientTable.ts"
import type { EngineState } from "./engineState.ts"

/** A client that keeps moving is reported this often. */
const intervalMs = 1_000

export class ClientReports {
  private readonly state: EngineState
  /** Clients with news that main was not told yet. */
  private readonly untold = new Set<ClientEntry>()
  /** Clients that were said to be behind their own timestamps. */
  private readonly behind = new Set<ClientEntry>()

  constructor(state: EngineState) {
    this.state = state
    state.clients.onRemoved((client) => {
      this.untold.delete(client)
      this.behind.delete(client)
    })
  }

  /** Whether something waits for `tellDue`. */
  get waiting(): boolean {
    return this.untold.size > 0
  }

  /** Every datagram of a client may come from another address; the other events are rare by themselves. */
  event(client: ClientEntry, event: PeerEvent): void {
    if (event === "HandshakeDone") this.tellBehind(client)
    if (event !== "EndpointChanged" || this.state.now - client.toldAt >= intervalMs) return this.tell(client)
    this.untold.add(client)
  }

  /** Says once that a client's clock was ahead, until its timestamps grow again. */
  private tellBehind(client: ClientEntry): void {
    const { behindMs, latestTai64n } = client.peer
    if (behindMs === 0) return void this.behind.delete(client)
    if (this.behind.has(client)) return
    this.behind.add(client)
    const before = millisOf(latestTai64n)
    this.state.notices.put({
      _tag: "Fault",
      epoch: this.state.epoch,
      message: `the clock of client ${client.id} was ahead, or is wrong now: a handshake of it was dated ${dateOf(before)}, the latest one ${dateOf(before - behindMs)}; it is served all the same, since it has proved to be there`
    })
  }

  /** Reports the moves that waited for their second to end. */
  tellDue(): void {
    for (const client of this.untold) if (this.state.now - client.toldAt >= intervalMs) this.tell(client)
  }

  /** Reports the client as it is now. */
  tell(client: ClientEntry): void {
    const { peer } = client
    client.toldAt = this.state.now
    this.untold.delete(client)
    this.state.notices.put({
      _tag: "ClientState",
      epoch: this.state.epoch,
      client: client.id,
      connected: peer.hasSession(this.state.now),
      endpoint: peer.hasEndpoint ? { address: formatAddress(peer.endpoint.remote), port: peer.endpoint.port } : null,
      local: localOf(client),
      lastTai64n: peer.latestTai64n.some((b) => b !== 0) ? toHex(peer.latestTai64n) : null,
      sentTick: peer.lastTick,
      behindMs: peer.behindMs,
      handshakeAt: Number.isFinite(peer.lastHandshakeAt) ? peer.lastHandshakeAt : null,
      ...(client.byIce ? { path: pathOf(client) } : {})
    })
  }
}

/** A relay's address is none of ours. */
const localOf = ({ peer: { endpoint, hasEndpoint } }: ClientEntry): string | null =>
  hasEndpoint && endpoint.channel === 0 && !equal(endpoint.local, nowhere) ? formatAddress(endpoint.local) : null

const nowhere = words()

/** The second that a label is of; what lies outside of all calendars (a client may send anything) as such. */
const dateOf = (ms: number): string =>
  Math.abs(ms) <= 8.64e15 ? new Date(ms).toISOString() : "a time beyond all dates"

const pathOf = ({ agent, peer }: ClientEntry): "direct" | "relayed" | null => {
  if (agent === undefined || agent.path === null) return null
  return agent.relayed || peer.endpoint.channel !== 0 ? "relayed" : "direct"
}
