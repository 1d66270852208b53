/** `SlotSource` of a gateway that shares a site with others. */
import { type SlotSource, withinSpans } from "../control/standalone/slotSource.ts"
import { nameOfPlace, placeName } from "./directory.ts"
import { isExactSlot, isWithin, lengthOf, type SlotSpan, type SlotZones } from "./slotZones.ts"

/**
 * What other gateways gave is told and translated for so long after the site was last read to its end, by the gateway's own
 * clock from before it asked: who has not heard of a removal for longer does not go on. Milliseconds.
 */
export const deadlineMs = 86_400_000

/**
 * A slot rests for so long, by the engine's clock, after its removal was read back from the engine: first the last gateway
 * that may not have heard of it stops, then the client forgets what that one told it last.
 */
const siteRestMs = 2 * deadlineMs

export class SiteSource implements SlotSource {
  readonly site: number
  private readonly zones: SlotZones
  /** By site, in the order in which they came; the blocks of what it gave when it was alone come first. */
  private readonly spans = new Map<number, Array<SlotSpan>>()
  private readonly own = new Map<number, ReturnType<typeof withinSpans>>()
  private directory: ReadonlyMap<string, number> = new Map()
  /** The other way round; made when it is asked for. */
  private domains: ReadonlyMap<number, string> | undefined
  /** Another process gives the same slots. */
  private taken = false
  private engineDate = Number.NEGATIVE_INFINITY

  constructor(zones: SlotZones, site = 0) {
    this.zones = zones
    this.site = site
  }

  /** The zone or block is this gateway's, which is on the disk; in the same order in each of its lives. */
  hold(span: SlotSpan): void {
    if (this.owns(span.from)) return
    const site = this.siteOf(span.from)
    const spans = [...this.spansOf(site), span]
    this.spans.set(site, spans)
    this.own.set(site, withinSpans(spans))
  }

  /** The site was read to its end, at `engineDate` by the engine's clock in epoch milliseconds, and what was read is on the disk. */
  read(directory: ReadonlyMap<string, number>, engineDate: number): void {
    this.directory = directory
    this.domains = undefined
    this.engineDate = engineDate
  }

  /** Whether one more block is due, where a client has had `next` slots: less than one half of the last span is left. */
  wantsMore(next: number, site: number = this.site): boolean {
    const last = this.spansOf(site).at(-1)
    return last === undefined || next > this.size(site) - lengthOf(last) / 2
  }

  /** Whether another process is this gateway: two would give one slot to two names, so this one gives none. */
  take(isTaken: boolean): void {
    this.taken = isTaken
  }

  get isTaken(): boolean {
    return this.taken
  }

  siteOf(slot: number): number {
    return this.zones.siteOf(slot)
  }

  size(site: number = this.site): number {
    return this.taken ? 0 : this.ownAt(site).size
  }

  atOnce(site: number = this.site): number {
    return this.ownAt(site).atOnce
  }

  slotAt(n: number, site: number = this.site): number {
    return this.ownAt(site).slotAt(n)
  }

  owns(slot: number): boolean {
    return this.spansOf(this.siteOf(slot)).some((span) => isWithin(span, slot))
  }

  /** Whether another gateway gave it: it is not to be told or translated once the site has not been read for `deadlineMs`. */
  isOthers(slot: number): boolean {
    return !this.owns(slot) && !isExactSlot(this.zones, slot)
  }

  exact(domain: string, site: number = this.site): number | undefined {
    return this.directory.get(placeName(domain, site))
  }

  /** The name that has the slot at every client. */
  exactAt(slot: number): string | undefined {
    this.domains ??= new Map(Array.from(this.directory, ([place, of]) => [of, nameOfPlace(place)]))
    return this.domains.get(slot)
  }

  /** By the engine's clock, as it was last heard of: gateways' own differ. */
  restedBefore(): number {
    return this.engineDate - siteRestMs
  }

  private ownAt(site: number): ReturnType<typeof withinSpans> {
    return this.own.get(site) ?? none
  }

  private spansOf(site: number): ReadonlyArray<SlotSpan> {
    return this.spans.get(site) ?? []
  }
}

const none = withinSpans([])
