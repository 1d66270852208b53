import type { ClientId } from "../model/Client.ts"
import type { MappingEntry } from "./nameEntry.ts"

/** How long they are kept. */
const keptMs = 600_000
/** Of one client; those withdrawn first go first. */
const mostOfClient = 1_024

interface Outside {
  /** Monotonic milliseconds. */
  readonly now: () => number
  /** Calls back in a later turn, `delay` milliseconds from now. */
  readonly wake: (delay: number, run: () => void) => void
  /** Nobody gets it back; it is taken out meanwhile. */
  readonly lapse: (entry: MappingEntry) => void
}

/** Mappings that no resource covers any more, kept for a while for one that does: their client goes on using their proxies. */
export class KeptMappings {
  private readonly outside: Outside
  /** Those whose time ends first come first. */
  private readonly clients = new Map<ClientId, Set<MappingEntry>>()
  /** Clients for which a timer is set: one, however often a resource comes and goes. */
  private readonly timers = new Set<ClientId>()

  constructor(outside: Outside) {
    this.outside = outside
  }

  keep(entry: MappingEntry): void {
    const { client } = entry.mapping
    entry.keptUntil = this.outside.now() + keptMs
    const kept = this.clients.get(client)
    if (kept === undefined) this.clients.set(client, new Set([entry]))
    else kept.add(entry)
    this.lapseLater(client, entry.keptUntil)
  }

  take(entry: MappingEntry): void {
    const { client } = entry.mapping
    entry.keptUntil = null
    const kept = this.clients.get(client)
    if (kept?.delete(entry) === true && kept.size === 0) this.clients.delete(client)
  }

  /** Lets go of those that are too many. */
  trim(client: ClientId): void {
    for (const entry of this.clients.get(client) ?? []) {
      if (this.countOf(client) <= mostOfClient) return
      this.outside.lapse(entry)
    }
  }

  countOf(client: ClientId): number {
    return this.clients.get(client)?.size ?? 0
  }

  private lapseLater(client: ClientId, at: number): void {
    if (this.timers.has(client)) return
    this.timers.add(client)
    this.outside.wake(at - this.outside.now(), () => {
      this.timers.delete(client)
      this.lapseOf(client)
    })
  }

  private lapseOf(client: ClientId): void {
    const now = this.outside.now()
    for (const entry of this.clients.get(client) ?? []) {
      if (entry.keptUntil! > now) return this.lapseLater(client, entry.keptUntil!)
      this.outside.lapse(entry)
    }
  }
}
