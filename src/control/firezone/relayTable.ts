import type { Relay, RelayId } from "../../model/Relay.ts"

/** The portal names the two nearest; a list that grows beyond this is a mistake, and the oldest go. */
const maxRelays = 32

/**
 * The relays the portal has told of. A repeated `init` only adds and replaces; what is gone is told by
 * `relays_presence`. Each method says whether anything changed.
 */
export class RelayTable {
  private readonly relays = new Map<RelayId, Relay>()

  get list(): ReadonlyArray<Relay> {
    return [...this.relays.values()]
  }

  get size(): number {
    return this.relays.size
  }

  upsert(relays: ReadonlyArray<Relay>): boolean {
    let changed = false
    for (const relay of relays) {
      const known = this.relays.get(relay.id)
      if (known !== undefined && JSON.stringify(known) === JSON.stringify(relay)) continue
      this.relays.delete(relay.id)
      this.relays.set(relay.id, relay)
      changed = true
    }
    for (const id of this.relays.keys()) {
      if (this.relays.size <= maxRelays) break
      this.relays.delete(id)
    }
    return changed
  }

  /** Relays that are not known yet; others stay as they are. */
  add(relays: ReadonlyArray<Relay>): boolean {
    return this.upsert(relays.filter((relay) => !this.relays.has(relay.id)))
  }

  remove(ids: ReadonlyArray<RelayId>): boolean {
    let changed = false
    for (const id of ids) changed = this.relays.delete(id) || changed
    return changed
  }
}
