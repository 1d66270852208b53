/** The way of an inner packet to its client: seal, send; or stage it until there is a WireGuard session. */
import type { Arena } from "../../packet/arena.ts"
import type { WireGuard } from "../../wireguard/WireGuard.ts"
import type { ClientEntry } from "./clientTable.ts"
import type { EngineState } from "./engineState.ts"

/** Largest datagram that is sealed: an inner packet of 65,535 bytes, header, padding and tag. */
const outCapacity = 65_536 + 64

export class Link {
  private readonly state: EngineState
  private readonly wireguard: WireGuard
  private readonly out: number
  private readonly stagedAt: number

  constructor(state: EngineState, wireguard: WireGuard, arena: Arena) {
    this.state = state
    this.wireguard = wireguard
    this.out = arena.reserve(outCapacity)
    this.stagedAt = arena.reserve(outCapacity)
  }

  /** Sends arena[offset, offset + length); 16 bytes behind it may be overwritten. */
  toClient(client: ClientEntry, offset: number, length: number): void {
    const { state } = this
    const sealed = this.wireguard.seal(client.peer, offset, length, this.out, state.now)
    if (sealed === 0) {
      const kept = client.stage.put(state.bytes, offset, length, state.now)
      state.count(kept ? "inbound.staged" : "inbound.stage_full")
      return
    }
    if (state.io.send(client.peer.endpoint, this.out, sealed, sealed)) state.count("udp.sent")
    else state.count("udp.send_failed")
  }

  /** The session is there: everything staged goes out, in order. */
  flush(client: ClientEntry): void {
    if (client.stage.isEmpty) return
    for (const packet of client.stage.take(this.state.now)) {
      this.state.bytes.set(packet, this.stagedAt)
      this.toClient(client, this.stagedAt, packet.length)
    }
  }
}
