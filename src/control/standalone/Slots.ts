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
  /** So many slots of the site are to be reserved durably; then `reserved`. */
  | { readonly _tag: "Reserve"; readonly count: number }
  /** A slot of the site that has rested since `before` is to be taken from the store; then `rested`. None: the ranges are used up. */
  | { readonly _tag: "TakeRested"; readonly before: number }

/** How far slots of one site have been given. The source's are counted. */
interface Given {
  next: number
  reservedUntil: number
  taken: number | null
  /** Counts up from a random place, so that no slot comes twice. */
  nextVolatile: number | null
}

export class Slots {
  private readonly client: ClientId
  private readonly ranges: ProxyNetworks
  private readonly source: SlotSource
  private readonly names: NameTable
  /** By site. */
  private readonly given = new Map<number, Given>()
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

  /**
   * Asked again after each answer of the store, until the name has its slot, one of the site that serves it. `now`: epoch
   * milliseconds.
   */
  assign(resource: ResourceId, domain: string, now: number, site: number = this.source.site): SlotStep {
    const known = this.find(domain)
    const exact = this.source.exact(domain, site)
    if (known !== undefined) {
      if (this.isOutdated(known, site)) {
        const first = exact !== undefined && this.mayHave(known, exact) ? [exact] : []
        this.renumber(known, [...new Set([...first, ...slotsOf(known)])], site)
      }
      if (this.source.siteOf(known.slot) === site) {
        this.names.touch(known, now)
        return { _tag: "Named", entry: known, released: undefined }
      }
    }
    const give = (slot: number) => this.give({ resource, domain, slot, now }, site)
    if (exact !== undefined && this.isFree(exact)) return give(exact)
    const given = this.givenAt(site)
    const size = this.source.size(site)
    while (given.next < Math.min(given.reservedUntil, size)) {
      const slot = this.source.slotAt(given.next++, site)
      if (this.isFree(slot)) return give(slot)
    }
    if (given.next < size) return { _tag: "Reserve", count: this.reservation(site) }
    const slot = given.taken
    given.taken = null
    if (slot !== null && this.isFree(slot)) return give(slot)
    return { _tag: "TakeRested", before: this.source.restedBefore(now) }
  }

  /** A slot that the store does not know of, for a new name; `undefined`: there is none left. `random` in [0, 1). */
  assignVolatile(
    resource: ResourceId,
    domain: string,
    now: number,
    random: number,
    site: number = this.source.site
  ): Named | undefined {
    const size = this.source.size(site)
    const given = this.givenAt(site)
    const first = Math.floor(size * 0.75)
    let next = given.nextVolatile ?? first + Math.floor(random * (size - first))
    for (let tried = first; tried < size; tried++) {
      const candidate = this.source.slotAt(next, site)
      next = next + 1 < size ? next + 1 : first
      if (!this.isFree(candidate)) continue
      given.nextVolatile = next
      this.volatile.add(candidate)
      return this.give({ resource, domain, slot: candidate, now }, site)
    }
    return undefined
  }

  /** A gateway of a site has none to give before it has come there once, nor while another process is that gateway. */
  get givesNone(): boolean {
    return this.source.size(this.source.site) === 0
  }

  /** How many slots to reserve before the first name. */
  get firstReservation(): number {
    return Math.min(leastReserved, this.source.atOnce(this.source.site))
  }

  reserved(first: number, count: number, site: number = this.source.site): void {
    Object.assign(this.givenAt(site), { next: first, reservedUntil: first + count })
  }

  rested(slot: number): void {
    this.givenAt(this.source.siteOf(slot)).taken = slot
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
    if (holder === undefined) this.names.renumber(known, this.numbersOf(known, [...slotsOf(known), slot]))
    if (lastUsedAt > known.lastUsedAt) this.names.touch(known, lastUsedAt)
    return { _tag: "Named", entry: known, released: undefined }
  }

  /** The slot stands for nothing any more. Yields the name that it stood for, which goes with its last slot. */
  forget(slot: number): NameEntry | undefined {
    const entry = this.names.ofSlot(slot)
    if (entry === undefined) return undefined
    const left = slotsOf(entry).filter((other) => other !== slot)
    if (left.length === 0) this.names.remove(entry)
    else this.names.renumber(entry, this.numbersOf(entry, left))
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

  /** Whether what the client is told of the name is of another site than serves it, or not the one that it has everywhere by now. */
  isOutdated(entry: NameEntry, site: number = this.source.site): boolean {
    const exact = this.source.exact(entry.domain, site)
    return (
      this.source.siteOf(entry.slot) !== site ||
      (exact !== undefined && exact !== entry.slot && this.mayHave(entry, exact))
    )
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

  /** Of a new name, or of one that is of another site now. */
  private give(of: Pick<NameEntry, "resource" | "domain" | "slot"> & { readonly now: number }, site: number): Named {
    const known = this.find(of.domain)
    if (known === undefined) return this.name({ ...of, id: mappingId(this.client, null, of.domain) })
    this.renumber(known, [of.slot, ...slotsOf(known)], site)
    this.names.touch(known, of.now)
    return { _tag: "Named", entry: known, released: undefined }
  }

  /** As it is told now, which is to be written down. */
  private renumber(entry: NameEntry, slots: ReadonlyArray<number>, site: number): void {
    this.names.renumber(entry, this.numbersOf(entry, slots, site))
    if (!isInMemoryOnly(entry)) entry.storedAt = 0
  }

  private givenAt(site: number): Given {
    const known = this.given.get(site)
    if (known !== undefined) return known
    const given = { next: 0, reservedUntil: 0, taken: null, nextVolatile: null }
    this.given.set(site, given)
    return given
  }

  private mayHave(entry: NameEntry, slot: number): boolean {
    return this.names.ofSlot(slot) === entry || this.isFree(slot)
  }

  /**
   * Told first is, of those of the name's site, the one that it has everywhere, or else the lowest one: the same at all
   * gateways that know them all.
   */
  private numbersOf(
    { domain, slot: told }: Pick<NameEntry, "domain" | "slot">,
    slots: ReadonlyArray<number>,
    site: number = this.source.siteOf(told)
  ): Numbers {
    const there = slots.filter((slot) => this.source.siteOf(slot) === site)
    const exact = this.source.exact(domain, site)
    const first = exact !== undefined && there.includes(exact) ? exact : Math.min(...(there.length > 0 ? there : slots))
    return this.numbers(
      first,
      slots.filter((slot) => slot !== first)
    )
  }

  /** All slots are within the ranges; of too many the last ones are left out. */
  private numbers(slot: number, further: ReadonlyArray<number>): Numbers {
    const others = further.slice(0, maxSlotsOfName - 1)
    const proxyIps = proxyIpsOf(slot, this.ranges)!
    const here = [slot, ...others].filter((each) => this.source.siteOf(each) === this.source.site)
    const isOnly = here.length === 1 && here[0] === slot
    const translated = isOnly
      ? proxyIps
      : here.toSorted((a, b) => a - b).flatMap((each) => proxyIpsOf(each, this.ranges)!)
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
  private reservation(site: number): number {
    const { next } = this.givenAt(site)
    const wanted = Math.min(Math.max(leastReserved, next), mostReserved)
    return Math.min(wanted, this.source.atOnce(site), this.source.size(site) - next)
  }
}

export const isInMemoryOnly = ({ storedAt }: NameEntry): boolean => storedAt === Number.NEGATIVE_INFINITY

/** Whether its row is to be written; also when that happened at a time that is still to come: the clock was ahead then. */
export const isDue = (entry: NameEntry, now: number): boolean => now - entry.storedAt >= touchMs || now < entry.storedAt
