/**
 * How the slots of a client are divided among what gives them in a site of several gateways. Pure. The lower half are blocks,
 * which gateways lease; they begin where a gateway alone counts from, so that one that was alone keeps what it gave by leasing
 * the first ones. A quarter is the directory's, for exact names, and the last one are own zones, one for each gateway by its
 * number. Zones and blocks are one gateway's at all clients, for ever: no two gateways can give one slot to two names,
 * whatever they know of each other.
 */
import * as Result from "effect/Result"
import type { Parsed } from "../config/values.ts"

/** `[from, to)`. */
export interface SlotSpan {
  readonly from: number
  readonly to: number
}

export const lengthOf = ({ from, to }: SlotSpan): number => to - from

export const isWithin = ({ from, to }: SlotSpan, slot: number): boolean => slot >= from && slot < to

export interface SlotZones {
  readonly exact: SlotSpan
  /** Of the gateway with this number. */
  readonly own: (gateway: number) => SlotSpan
  readonly block: (no: number) => SlotSpan
  /** So many own zones there are, and so many blocks; both count from 0. */
  readonly count: number
}

/** What is one gateway's of the zones. */
export interface Holding {
  /** Its number, once it has one. */
  readonly gateway: number | null
  /** In the order in which they came. */
  readonly blocks: ReadonlyArray<number>
}

export const isHeld = ({ block, count, own }: SlotZones, { blocks, gateway }: Holding, slot: number): boolean => {
  if (gateway !== null && isWithin(own(gateway), slot)) return true
  const first = block(0)
  const no = Math.floor((slot - first.from) / lengthOf(first))
  return no < count && blocks.includes(no)
}

/** Gateways that a site may ever have. */
export const maxGateways = 256
/** With fewer slots for a client a gateway would be out of them at once. */
const leastOwn = 4

/** Of ranges with `capacity` slots for each client, a power of two; complains of those that are too small. */
export const slotZones = (capacity: number, count = maxGateways): Parsed<SlotZones> => {
  const quarter = capacity / 4
  const size = quarter / count
  if (size < leastOwn) {
    const least = 4 * count * leastOwn
    const bits = Math.log2(4 * least)
    return Result.fail({
      cause: `the proxy ranges have addresses for ${capacity} names of a client, and several gateways need room for ${least}`,
      fix: `make proxy_ipv4 a /${32 - bits} or larger and proxy_ipv6 a /${128 - bits} or larger (network:)`
    })
  }
  const span = (first: number, no: number, of: number): SlotSpan => ({
    from: first + no * of,
    to: first + (no + 1) * of
  })
  return Result.succeed({
    exact: span(2 * quarter, 0, quarter),
    own: (gateway) => span(3 * quarter, gateway, size),
    block: (no) => span(0, no, 2 * size),
    count
  })
}
