/** The names a client has asked for, in the order of their use. Pure. */
import type { MappingId } from "../../model/Mapping.ts"
import type { ResourceId } from "../../model/Resource.ts"

export interface NameEntry {
  /** What the rest of the gateway calls the name's mapping. */
  readonly id: MappingId
  /** That it was first asked for under. */
  readonly resource: ResourceId
  readonly domain: string
  readonly slot: number
  /** Those of the slot, canonical. */
  readonly proxyIps: ReadonlyArray<string>
  lastUsedAt: number
  /** When its use was last written down; infinitely long ago: it is known in memory only. */
  storedAt: number
}

/** At most this many names per client; the least recently used makes room. */
export const maxNames = 4_096

export class NameTable {
  private readonly limit: number
  private readonly byId = new Map<MappingId, NameEntry>()
  private readonly bySlot = new Map<number, NameEntry>()

  constructor(limit: number = maxNames) {
    this.limit = limit
  }

  find(id: MappingId): NameEntry | undefined {
    return this.byId.get(id)
  }

  ofSlot(slot: number): NameEntry | undefined {
    return this.bySlot.get(slot)
  }

  all(): ReadonlyArray<NameEntry> {
    return [...this.byId.values()]
  }

  /** Marks the name as just asked for, or seen in use. */
  touch(entry: NameEntry, now: number): void {
    entry.lastUsedAt = now
    this.byId.delete(entry.id)
    this.byId.set(entry.id, entry)
  }

  /** Adds a name; returns the one that had to make room, if any: with another slot it may be the same. */
  add(entry: NameEntry): NameEntry | undefined {
    const before = this.byId.get(entry.id)
    if (before !== undefined) {
      this.byId.delete(before.id)
      this.bySlot.delete(before.slot)
    }
    this.byId.set(entry.id, entry)
    this.bySlot.set(entry.slot, entry)
    if (this.byId.size <= this.limit) return before
    const oldest = this.byId.values().next().value!
    this.byId.delete(oldest.id)
    this.bySlot.delete(oldest.slot)
    return oldest
  }
}
