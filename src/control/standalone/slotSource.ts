/** Where the slots of a client's new names come from. */
import { type ProxyNetworks, slotCapacity } from "./proxyPool.ts"

export interface SlotSource {
  /** How many slots there are to give to a client; none for a while, or more than before. */
  readonly size: number
  /** The one that is given as the `n`th, from 0 on; always the same one. */
  readonly slotAt: (n: number) => number
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
  exact: () => undefined,
  restedBefore: (now) => now - restMs
})
