/**
 * Which slot of proxy IPs each of one client's names has. Pure: what the store has to say is asked for by the step that
 * comes back, and told before the next one. While the store works no slot stands for two names, nor for another one
 * before it has rested; while it fails slots come from where reservations get last, each at most once.
 */
import type { StoredMapping } from "../../host/StateStore.ts"
import type { ClientId } from "../../model/Client.ts"
import type { MappingId } from "../../model/Mapping.ts"
import { ResourceId } from "../../model/Resource.ts"
import { mappingId } from "../../resolution/mappingTable.ts"
import { maxNames, type NameEntry, NameTable, type Numbers, slotsOf } from "./nameTable.ts"
import { firstSlot, type ProxyNetworks, proxyIpsOf } from "./proxyPool.ts"
import { type SlotSource, wholeRanges } from "./slotSource.ts"

/**
 * Slots are reserved as many again as the client has had: few are lost with a restart, and few durable writes are waited for.
 * The first ones are reserved at the start: a client's first names need not wait for the disk.
 */
const leastReserved = 8
const mostReserved = 64
/** A name's use is written down again after this long. */
const touchMs = 3_600_000
/** Names seen in use that are written down in one go. */
const touchesAtOnce = 32
/** An access request has room for the addresses of so many. */
const maxSlotsOfName = 8

/** The name has its slot. */
export interface Named {
  readonly _tag: "Named"
  readonly entry: NameEntry
  /** What made room: it is no longer the name's, or no name any more, and its slot rests from now on. */
  readonly released: NameEntry | undefined
}

/** `holder`: what the slot stands for here. */
export type Learned = Named | { readonly _tag: "Contradicted"; readonly holder: NameEntry }

export type SlotStep =
  | Named
  /** So many slots are to be reserved durably; then `reserved`. */
  | { readonly _tag: "Reserve"; readonly count: number }
  /** A slot that has rested since `before` is to be taken from the store; then `rested`. None: the ranges are used up. */
  | { readonly _tag: "TakeRested"; readonly before: number }

export class Slots {
  private readonly client: ClientId
  private readonly ranges: ProxyNetworks
  private readonly source: SlotSource
  private readonly names: NameTable
  /** The source's slots are counted, here and below. */
  private next = 0
  private reservedUntil = 0
  private taken: number | null = null
  /** Counts up from a random place, so that no slot comes twice. */
  private nextVolatile: number | null = null
  private readonly volatile = new Set<number>()

  constructor(
    client: ClientId,
    ranges: ProxyNetworks,
    limit: number = maxNames,
    source: SlotSource = wholeRanges(ranges)
  ) {
    this.client = client
    this.ranges = ranges
    this.source = source
    this.names = new NameTable(limit)
  }

  /** Asked again after each answer of the store, until the name has its slot. `now`: epoch milliseconds. */
  assign(resource: ResourceId, domain: string, now: number): SlotStep {
    const id = mappingId(this.client, null, domain)
    const known = this.names.find(id)
    const exact = this.source.exact(domain)
    if (known !== undefined) {
      if (exact !== undefined && this.isOutdated(known)) {
        this.names.renumber(known, this.numbersOf(domain, [...new Set([exact, ...slotsOf(known)])]))
        if (!isInMemoryOnly(known)) known.storedAt = 0
      }
      this.names.touch(known, now)
      return { _tag: "Named", entry: known, released: undefined }
    }
    if (exact !== undefined && this.isFree(exact)) return this.name({ id, resource, domain, slot: exact, now })
    while (this.next < Math.min(this.reservedUntil, this.source.size)) {
      const slot = this.source.slotAt(this.next++)
      if (this.isFree(slot)) return this.name({ id, resource, domain, slot, now })
    }
    if (this.next < this.source.size) return { _tag: "Reserve", count: this.reservation }
    const slot = this.taken
    this.taken = null
    if (slot !== null && this.isFree(slot)) return this.name({ id, resource, domain, slot, now })
    return { _tag: "TakeRested", before: this.source.restedBefore(now) }
  }

  /** A slot that the store does not know of, for a new name; `undefined`: there is none left. `random` in [0, 1). */
  assignVolatile(resource: ResourceId, domain: string, now: number, random: number): Named | undefined {
    const { size } = this.source
    const first = Math.floor(size * 0.75)
    let next = this.nextVolatile ?? first + Math.floor(random * (size - first))
    for (let tried = first; tried < size; tried++) {
      const candidate = this.source.slotAt(next)
      next = next + 1 < size ? next + 1 : first
      if (!this.isFree(candidate)) continue
      this.nextVolatile = next
      this.volatile.add(candidate)
      return this.name({ id: mappingId(this.client, null, domain), resource, domain, slot: candidate, now })
    }
    return undefined
  }

  /** A gateway of a site has none to give before it has come there once, nor while another process is that gateway. */
  get givesNone(): boolean {
    return this.source.size === 0
  }

  /** How many slots to reserve before the first name. */
  get firstReservation(): number {
    return Math.min(leastReserved, this.source.atOnce)
  }

  reserved(first: number, count: number): void {
    this.next = first
    this.reservedUntil = first + count
  }

  rested(slot: number): void {
    this.taken = slot
  }

  /**
   * Brings a stored name back, the least recently used one first; `undefined` when its slot lies outside of the ranges. One that
   * was stored under several resources keeps the slot that was used last.
   */
  restore({ domain, lastUsedAt, resource, slot }: StoredMapping): Named | undefined {
    if (proxyIpsOf(slot, this.ranges) === undefined) return undefined
    const id = mappingId(this.client, null, domain)
    const named = this.name({ id, resource: ResourceId.make(resource), domain, slot, now: lastUsedAt })
    named.entry.storedAt = lastUsedAt
    return named
  }

  /**
   * A name that has the slot, as the site knows: the name's first one, or one more. Where the slot stands for another name
   * here, nothing changes: the site is right, so `forget` it, loudly, and learn again. `undefined`: it is outside of the ranges.
   */
  learn(row: StoredMapping): Learned | undefined {
    const { domain, lastUsedAt, slot } = row
    const holder = this.names.ofSlot(slot)
    if (holder !== undefined && holder.domain !== domain) return { _tag: "Contradicted", holder }
    const known = holder ?? this.find(domain)
    if (known === undefined) return this.restore(row)
    if (proxyIpsOf(slot, this.ranges) === undefined) return undefined
    if (holder === undefined) this.names.renumber(known, this.numbersOf(domain, [...slotsOf(known), slot]))
    if (lastUsedAt > known.lastUsedAt) this.names.touch(known, lastUsedAt)
    return { _tag: "Named", entry: known, released: undefined }
  }

  /** The slot stands for nothing any more. Yields the name that it stood for, which goes with its last slot. */
  forget(slot: number): NameEntry | undefined {
    const entry = this.names.ofSlot(slot)
    if (entry === undefined) return undefined
    const left = slotsOf(entry).filter((other) => other !== slot)
    if (left.length === 0) this.names.remove(entry)
    else this.names.renumber(entry, this.numbersOf(entry.domain, left))
    return entry
  }

  /** These mappings have sessions: they are not the ones to make room. Yields those to be written. */
  inUse(mappings: ReadonlyArray<MappingId>, now: number): ReadonlyArray<NameEntry> {
    const due: Array<NameEntry> = []
    for (const id of mappings) {
      const entry = this.names.find(id)
      if (entry === undefined) continue
      this.names.touch(entry, now)
      if (due.length < touchesAtOnce && isDue(entry, now)) due.push(entry)
    }
    return due
  }

  /** A client asks for the name again. */
  touch(entry: NameEntry, now: number): void {
    this.names.touch(entry, now)
  }

  find(domain: string): NameEntry | undefined {
    return this.names.find(mappingId(this.client, null, domain))
  }

  /** All names that have one. */
  named(): ReadonlyArray<NameEntry> {
    return this.names.all()
  }

  ofMapping(id: MappingId): NameEntry | undefined {
    return this.names.find(id)
  }

  ofSlot(slot: number): NameEntry | undefined {
    return this.names.ofSlot(slot)
  }

  /** Whether the name has a slot of the site's by now that the client is not told yet. */
  isOutdated(entry: NameEntry): boolean {
    const exact = this.source.exact(entry.domain)
    return exact !== undefined && exact !== entry.slot && this.mayHave(entry, exact)
  }

  /** What the store keeps of it. */
  rowsOf(entry: NameEntry): ReadonlyArray<StoredMapping> {
    const { domain, lastUsedAt, resource } = entry
    return slotsOf(entry).map((slot) => ({ client: this.client, resource, domain, slot, lastUsedAt }))
  }

  private name(of: Pick<NameEntry, "id" | "resource" | "domain" | "slot"> & { readonly now: number }): Named {
    const { domain, id, now, resource, slot } = of
    const numbers = this.numbers(slot, [])
    const entry = { id, resource, domain, ...numbers, lastUsedAt: now, storedAt: Number.NEGATIVE_INFINITY }
    return { _tag: "Named", entry, released: this.names.add(entry) }
  }

  private mayHave(entry: NameEntry, slot: number): boolean {
    return this.names.ofSlot(slot) === entry || this.isFree(slot)
  }

  /** Told first is the site's slot for the name, or else the lowest one: the same at all gateways that know them all. */
  private numbersOf(domain: string, slots: ReadonlyArray<number>): Numbers {
    const exact = this.source.exact(domain)
    const first = exact !== undefined && slots.includes(exact) ? exact : Math.min(...slots)
    return this.numbers(
      first,
      slots.filter((slot) => slot !== first)
    )
  }

  /** All slots are within the ranges; of too many the last ones are left out. */
  private numbers(slot: number, further: ReadonlyArray<number>): Numbers {
    const others = further.slice(0, maxSlotsOfName - 1)
    const proxyIps = proxyIpsOf(slot, this.ranges)!
    const all = [slot, ...others].toSorted((a, b) => a - b)
    const translated = others.length === 0 ? proxyIps : all.flatMap((each) => proxyIpsOf(each, this.ranges)!)
    return { slot, proxyIps, others, translated }
  }

  private isFree(slot: number): boolean {
    return (
      slot >= firstSlot &&
      !this.volatile.has(slot) &&
      this.names.ofSlot(slot) === undefined &&
      proxyIpsOf(slot, this.ranges) !== undefined
    )
  }

  /** Not beyond what there is to give. */
  private get reservation(): number {
    const wanted = Math.min(Math.max(leastReserved, this.next), mostReserved)
    return Math.min(wanted, this.source.atOnce, this.source.size - this.next)
  }
}

export const isInMemoryOnly = ({ storedAt }: NameEntry): boolean => storedAt === Number.NEGATIVE_INFINITY

/** Whether its row is to be written; also when that happened at a time that is still to come: the clock was ahead then. */
export const isDue = (entry: NameEntry, now: number): boolean => now - entry.storedAt >= touchMs || now < entry.storedAt
