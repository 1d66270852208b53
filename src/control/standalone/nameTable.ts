/**
 * The names a client has asked for and the slot of proxy IPs each was given. Pure; slots come from outside because they
 * are reserved durably.
 */
import type { ClientId } from "../../model/Client.ts"
import type { MappingId } from "../../model/Mapping.ts"
import { ResourceId } from "../../model/Resource.ts"
import { mappingId } from "../../resolution/mappingTable.ts"

export interface NameEntry {
  readonly resource: string
  readonly domain: string
  readonly slot: number
  lastUsedAt: number
}

/** Design §11: at most this many names per client; the least recently used makes room. */
export const maxNames = 4_096

export class NameTable {
  private readonly client: ClientId
  private readonly byName = new Map<MappingId, NameEntry>()
  private readonly bySlot = new Map<number, NameEntry>()

  constructor(client: ClientId) {
    this.client = client
  }

  find(resource: string, domain: string): NameEntry | undefined {
    return this.byName.get(this.idOf({ resource, domain }))
  }

  ofMapping(id: MappingId): NameEntry | undefined {
    return this.byName.get(id)
  }

  ofSlot(slot: number): NameEntry | undefined {
    return this.bySlot.get(slot)
  }

  /** Marks the name as just asked for, or seen in use. */
  touch(entry: NameEntry, now: number): void {
    entry.lastUsedAt = now
    const id = this.idOf(entry)
    this.byName.delete(id)
    this.byName.set(id, entry)
  }

  /** Adds a name; returns the one that had to make room, if any. */
  add(entry: NameEntry): NameEntry | undefined {
    this.byName.set(this.idOf(entry), entry)
    this.bySlot.set(entry.slot, entry)
    if (this.byName.size <= maxNames) return undefined
    const oldest = this.byName.values().next().value!
    this.remove(oldest)
    return oldest
  }

  remove(entry: NameEntry): void {
    this.byName.delete(this.idOf(entry))
    this.bySlot.delete(entry.slot)
  }

  get size(): number {
    return this.byName.size
  }

  /** What the rest of the gateway calls the name's mapping. */
  idOf(entry: Pick<NameEntry, "resource" | "domain">): MappingId {
    return mappingId(this.client, ResourceId.make(entry.resource), entry.domain)
  }
}
