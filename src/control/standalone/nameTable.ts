/** The names a client has asked for, in the order of their use. Pure. */
import type { MappingId } from "../../model/Mapping.ts"
import type { ResourceId } from "../../model/Resource.ts"

export interface NameEntry {
  /** What the rest of the gateway calls the name's mapping. */
  readonly id: MappingId
  /** That it was first asked for under. */
  readonly resource: ResourceId
  readonly domain: string
  /** The one that the client is told. */
  readonly slot: number
  /** Those of the slot, canonical. */
  readonly proxyIps: ReadonlyArray<string>
  /** Slots that it was told before, or by other gateways of the site: they stand for the name as well. */
  readonly others: ReadonlyArray<number>
  /** Those of all its slots of this site, lowest first: in an order that does not depend on which one the client is told. */
  readonly translated: ReadonlyArray<string>
  lastUsedAt: number
  /** When its use was last written down; infinitely long ago: it is known in memory only. */
  storedAt: number
}

export type Numbers = Pick<NameEntry, "slot" | "proxyIps" | "others" | "translated">

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
    if (before !== undefined) this.remove(before)
    this.byId.set(entry.id, entry)
    for (const slot of slotsOf(entry)) this.bySlot.set(slot, entry)
    if (this.byId.size <= this.limit) return before
    const oldest = this.byId.values().next().value!
    this.remove(oldest)
    return oldest
  }

  /** The name has these slots from now on. */
  renumber(entry: NameEntry, numbers: Numbers): void {
    for (const before of slotsOf(entry)) this.bySlot.delete(before)
    Object.assign(entry, numbers)
    for (const now of slotsOf(entry)) this.bySlot.set(now, entry)
  }

  remove(entry: NameEntry): void {
    this.byId.delete(entry.id)
    for (const slot of slotsOf(entry)) this.bySlot.delete(slot)
  }
}

/** All that stand for the name, the one that the client is told first. */
export const slotsOf = ({ others, slot }: Pick<NameEntry, "slot" | "others">): ReadonlyArray<number> => [
  slot,
  ...others
]
