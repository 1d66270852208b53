/** What main is told of the clients: each handshake, loss and move of theirs, moves at most once a second. */
import type { SocketAddress } from "../../model/SocketAddress.ts"
import { equal, formatAddress, isIpv4, isLinkLocal, words } from "../../packet/address.ts"
import type { Endpoint } from "../../packet/endpoint.ts"
import type { PeerEvent } from "../../wireguard/WireGuard.ts"
import { toBase64, toHex } from "../bytesText.ts"
import type { ClientEntry } from "./clientTable.ts"
import type { EngineState } from "./engineState.ts"

/** A client that keeps moving is reported this often. */
const intervalMs = 1_000

export class ClientReports {
  private readonly state: EngineState
  /** Clients with news that main was not told yet. */
  private readonly untold = new Set<ClientEntry>()

  constructor(state: EngineState) {
    this.state = state
    state.clients.onRemoved((client) => this.untold.delete(client))
  }

  /** Whether something waits for `tellDue`. */
  get waiting(): boolean {
    return this.untold.size > 0
  }

  /** Every datagram of a client may come from another address; the other events are rare by themselves. */
  event(client: ClientEntry, event: PeerEvent): void {
    if (event !== "EndpointChanged" || this.state.now - client.toldAt >= intervalMs) return this.tell(client)
    this.untold.add(client)
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
      publicKey: toBase64(peer.publicKey),
      connected: peer.hasSession(this.state.now),
      endpoint: peer.hasEndpoint ? endpointOf(peer.endpoint) : null,
      local: localOf(client),
      lastTai64n: peer.latestTai64n.some((b) => b !== 0) ? toHex(peer.latestTai64n) : null,
      sentTick: peer.lastTick,
      behindMs: peer.behindMs,
      handshakeAt: Number.isFinite(peer.lastHandshakeAt) ? peer.lastHandshakeAt : null,
      gatewayKey: peer.ownKey === null ? null : toBase64(peer.ownKey),
      ...(client.byIce ? { path: pathOf(client) } : {})
    })
  }
}

/** A relay's address is none of ours. */
const localOf = ({ peer: { endpoint, hasEndpoint } }: ClientEntry): string | null =>
  hasEndpoint && endpoint.channel <= 0 && !equal(endpoint.local, nowhere) ? formatAddress(endpoint.local) : null

const nowhere = words()

const endpointOf = ({ interfaceIndex, port, remote }: Readonly<Endpoint>): SocketAddress => ({
  address: formatAddress(remote),
  port,
  ...(!isIpv4(remote) && isLinkLocal(remote) ? { interfaceIndex } : {})
})

const pathOf = ({ agent, peer }: ClientEntry): "direct" | "relayed" | null => {
  if (agent === undefined || agent.path === null) return null
  return agent.relayed || peer.endpoint.channel > 0 ? "relayed" : "direct"
}
