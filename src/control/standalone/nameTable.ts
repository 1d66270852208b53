/**
 * The names a client has asked for and the slot of proxy IPs each was given. A slot belongs to one (resource, domain)
 * for ever: released names keep nothing, and their slots rest for good. Pure; slots come from outside because they are
 * reserved durably.
 */
export interface NameEntry {
  readonly resource: string
  readonly domain: string
  readonly slot: number
  lastUsedAt: number
}

/** Design §11: at most this many names per client; the least recently asked for makes room. */
export const maxNames = 4_096

export class NameTable {
  private readonly byName = new Map<string, NameEntry>()
  private readonly bySlot = new Map<number, NameEntry>()

  find(resource: string, domain: string): NameEntry | undefined {
    return this.byName.get(key(resource, domain))
  }

  ofSlot(slot: number): NameEntry | undefined {
    return this.bySlot.get(slot)
  }

  /** Marks the name as just asked for. */
  touch(entry: NameEntry, now: number): void {
    entry.lastUsedAt = now
    const k = key(entry.resource, entry.domain)
    this.byName.delete(k)
    this.byName.set(k, entry)
  }

  /** Adds a name; returns the one that had to make room, if any. */
  add(entry: NameEntry): NameEntry | undefined {
    this.byName.set(key(entry.resource, entry.domain), entry)
    this.bySlot.set(entry.slot, entry)
    if (this.byName.size <= maxNames) return undefined
    const oldest = this.byName.values().next().value!
    this.remove(oldest)
    return oldest
  }

  remove(entry: NameEntry): void {
    this.byName.delete(key(entry.resource, entry.domain))
    this.bySlot.delete(entry.slot)
  }

  get size(): number {
    return this.byName.size
  }
}

const key = (resource: string, domain: string): string => `${resource} ${domain}`
