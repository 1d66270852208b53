/** Where the slots of a client's new names come from. */
import { type ProxyNetworks, slotCapacity } from "./proxyPool.ts"

export interface SlotSource {
  /** How many slots there are to give to a client. Grows only. */
  readonly size: number
  /** The one that is given as the `n`th, from 0 on; always the same one. */
  readonly slotAt: (n: number) => number
  /** Released slots come back that have rested since then. `now`: epoch milliseconds. */
  readonly restedBefore: (now: number) => number
}

/** Slots of released names come back after this long, when the client has had all others. */
const restMs = 86_400_000

/** All of the ranges. */
export const wholeRanges = (ranges: ProxyNetworks): SlotSource => ({
  size: slotCapacity(ranges),
  slotAt: (n) => n,
  restedBefore: (now) => now - restMs
})
