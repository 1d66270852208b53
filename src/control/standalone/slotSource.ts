/** Where the slots of a client's new names come from. */
import { lengthOf, type SlotSpan } from "../../shared/slotZones.ts"
import { type ProxyNetworks, slotCapacity } from "./proxyPool.ts"

export interface SlotSource {
  /** How many slots there are to give to a client; none for a while, or more than before. */
  readonly size: number
  /** The one that is given as the `n`th, from 0 on; always the same one. */
  readonly slotAt: (n: number) => number
  /** How many of them may be set aside at a time: what is left of them at a restart is lost. */
  readonly atOnce: number
  /** The slot that the name has at every client; `undefined`: it is given one. */
  readonly exact: (domain: string) => number | undefined
  /** Released slots come back that have rested since then. `now`: epoch milliseconds. */
  readonly restedBefore: (now: number) => number
}

/** Slots of released names come back after this long, when the client has had all others. */
const restMs = 86_400_000

/** All of the ranges, for a gateway that shares its names with nobody. */
export const wholeRanges = (ranges: ProxyNetworks): SlotSource => ({
  size: slotCapacity(ranges),
  slotAt: (n) => n,
  atOnce: Math.max(1, slotCapacity(ranges) >>> 8),
  exact: () => undefined,
  restedBefore: (now) => now - restMs
})

/** What these spans are, one after the other; a site gives further ones, so more of them may get lost. */
export const withinSpans = (spans: ReadonlyArray<SlotSpan>): Pick<SlotSource, "atOnce" | "size" | "slotAt"> => {
  const size = spans.reduce((sum, span) => sum + lengthOf(span), 0)
  return {
    size,
    atOnce: Math.max(1, size >>> 5),
    slotAt: (n) => {
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
export const ownSpans = (spans: ReadonlyArray<SlotSpan>): SlotSource => ({
  ...withinSpans(spans),
  exact: () => undefined,
  restedBefore: (now) => now - restMs
})
