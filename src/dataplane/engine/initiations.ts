/**
 * Handshakes that a new worker starts towards clients who were there before: few a second, first those who are
 * sending right now, since they do not know yet that their session is gone.
 */
import { type Endpoint, sameRemote } from "../../packet/endpoint.ts"
import type { WireGuard } from "../../wireguard/WireGuard.ts"
import type { ClientEntry } from "./clientTable.ts"
import type { EngineState } from "./engineState.ts"

const perSecond = 50

export class Initiations {
  private readonly state: EngineState
  private readonly wireguard: WireGuard
  private readonly batch: number
  private readonly urgent = new Set<ClientEntry>()
  private readonly others = new Set<ClientEntry>()
  /** Who may be heard of, by a hash of the endpoint; of two with the same the later one. */
  private readonly silent = new Map<number, ClientEntry>()
  private workedAt = Number.NEGATIVE_INFINITY

  /** `work` is called every `intervalMs`. */
  constructor(state: EngineState, wireguard: WireGuard, intervalMs: number) {
    this.state = state
    this.wireguard = wireguard
    this.batch = Math.ceil((perSecond * intervalMs) / 1_000)
    state.clients.onRemoved((client) => this.done(client))
  }

  get waiting(): boolean {
    return this.urgent.size > 0 || this.others.size > 0
  }

  add(client: ClientEntry): void {
    this.others.add(client)
    this.silent.set(hashOf(client.peer.endpoint), client)
  }

  /** Somebody sends from there in a session that is not known. */
  heard(from: Readonly<Endpoint>): void {
    if (this.silent.size === 0) return
    const hash = hashOf(from)
    const client = this.silent.get(hash)
    if (client === undefined || !sameRemote(client.peer.endpoint, from)) return
    this.silent.delete(hash)
    if (this.others.delete(client)) this.urgent.add(client)
  }

  work(): void {
    const { now, wall } = this.state
    if (!this.waiting || now - this.workedAt < 1_000 / perSecond) return
    this.workedAt = now
    let left = this.batch
    for (const clients of [this.urgent, this.others]) {
      for (const client of clients) {
        if (left-- <= 0) return
        this.done(client)
        if (!client.peer.hasSession(now)) this.wireguard.initiate(client.peer, now, wall)
      }
    }
  }

  private done(client: ClientEntry): void {
    this.urgent.delete(client)
    this.others.delete(client)
    if (!this.waiting) this.silent.clear()
  }
}

const hashOf = ({ port, remote }: Readonly<Endpoint>): number =>
  Math.imul(remote.w3 ^ Math.imul(remote.w2, 0x9e3779b1) ^ remote.w1 ^ remote.w0, 0x85ebca6b) ^ port
