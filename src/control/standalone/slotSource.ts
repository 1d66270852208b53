/** Where the slots of a client's new names come from. */
import { lengthOf, type SlotSpan } from "../../shared/slotZones.ts"
import { type ProxyNetworks, slotCapacity } from "./proxyPool.ts"

export interface SlotSource {
  /** The number of the gateway's site: packets to names of others do not come here. */
  readonly site: number
  /** Which site a slot's packets go to. */
  readonly siteOf: (slot: number) => number
  /** How many slots of a site there are to give to a client; none for a while, or more than before. */
  readonly size: (site: number) => number
  /** The one of a site that is given as the `n`th, from 0 on; always the same one. */
  readonly slotAt: (n: number, site: number) => number
  /** How many of them may be set aside at a time: what is left of them at a restart is lost. */
  readonly atOnce: (site: number) => number
  /** The slot that the name has at every client; `undefined`: it is given one. */
  readonly exact: (domain: string, site: number) => number | undefined
  /** Released slots come back that have rested since then. `now`: epoch milliseconds. */
  readonly restedBefore: (now: number) => number
}

/** Slots of released names come back after this long, when the client has had all others. */
const restMs = 86_400_000

/** Where there is only one site. */
const onlySite = { site: 0, siteOf: () => 0 } as const

/** All of the ranges, for a gateway that shares its names with nobody. */
export const wholeRanges = (ranges: ProxyNetworks): SlotSource => ({
  ...onlySite,
  size: () => slotCapacity(ranges),
  slotAt: (n) => n,
  atOnce: () => Math.max(1, slotCapacity(ranges) >>> 8),
  exact: () => undefined,
  restedBefore: (now) => now - restMs
})

/** What these spans are, one after the other; a site gives further ones, so more of them may get lost. */
export const withinSpans = (spans: ReadonlyArray<SlotSpan>) => {
  const size = spans.reduce((sum, span) => sum + lengthOf(span), 0)
  return {
    size,
    atOnce: Math.max(1, size >>> 5),
    slotAt: (n: number): number => {
      let left = n
      for (const span of spans) {
        if (left < lengthOf(span)) return span.from + left
        left -= lengthOf(span)
      }
      throw new RangeError(`slot ${n} of ${size}`)
    }
  }
}

/** For a gateway that has left its site: what the others have of the ranges stands for other names, as far as they know. */
export const ownSpans = (spans: ReadonlyArray<SlotSpan>): SlotSource => {
  const { atOnce, size, slotAt } = withinSpans(spans)
  return {
    ...onlySite,
    size: () => size,
    slotAt,
    atOnce: () => atOnce,
    exact: () => undefined,
    restedBefore: (now) => now - restMs
  }
}
