/**
 * How the slots of a client are divided among what gives them where there are several gateways. Pure. The lower half are
 * blocks, which gateways lease; they begin where a gateway alone counts from, so that one that was alone keeps what it gave by
 * leasing the first ones. A quarter is the directory's, for exact names, and the last one are own zones, one for each gateway
 * by its number. Zones and blocks are one gateway's at all clients, for ever: no two gateways can give one slot to two names,
 * whatever they know of each other.
 *
 * Several sites have a slice of the slots each, so that a client's packets go by their proxy IPs to the site that serves the
 * name. Site 0 has what the only site had, but for slices of the lower half, which are the others' and divided in the same
 * way: so nothing moves when a second site comes about. All gateways of all sites have a zone in each slice.
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
  /** All slots of a site. */
  readonly slice: (site: number) => ReadonlyArray<SlotSpan>
  /** 0 for what is nobody's, too. */
  readonly siteOf: (slot: number) => number
  readonly exact: (site: number) => SlotSpan
  /** Of the gateway with this number. */
  readonly own: (gateway: number, site: number) => SlotSpan
  /** By its number among those of all sites. */
  readonly block: (no: number) => SlotSpan
  /** The numbers of a site's blocks. */
  readonly blocks: (site: number) => SlotSpan
}

/** What is one gateway's of the zones. */
export interface Holding {
  /** Its number, once it has one. */
  readonly gateway: number | null
  /** In the order in which they came. */
  readonly blocks: ReadonlyArray<number>
}

/** The number of the block that the slot is of; `undefined`: it is of none. */
export const blockOf = ({ block, blocks, siteOf }: SlotZones, slot: number): number | undefined => {
  const all = blocks(siteOf(slot))
  const first = block(all.from)
  const no = all.from + Math.floor((slot - first.from) / lengthOf(first))
  return isWithin(all, no) ? no : undefined
}

export const isHeld = (zones: SlotZones, { blocks, gateway }: Holding, slot: number): boolean => {
  if (gateway !== null && isWithin(zones.own(gateway, zones.siteOf(slot)), slot)) return true
  const no = blockOf(zones, slot)
  return no !== undefined && blocks.includes(no)
}

/** Whether the slot is one of the directory's, for exact names. */
export const isExactSlot = ({ exact, siteOf }: SlotZones, slot: number): boolean => isWithin(exact(siteOf(slot)), slot)

/** Gateways that there may ever be, of all sites. */
export const maxGateways = 256
/** Sites that there may be where there are several: as many have room, whatever their number. */
export const maxSites = 8
/** With fewer slots for a client a gateway would be out of them at once. */
const leastOwn = 4

/**
 * Of ranges with `capacity` slots for each client, a power of two; complains of those that are too small.
 * @param sites 1: the gateway's is the only one
 */
export const slotZones = (capacity: number, sites = 1, count = maxGateways): Parsed<SlotZones> => {
  const size = sites === 1 ? capacity : capacity / (2 * sites)
  if (size / 4 / count < leastOwn) {
    const least = (4 * count * leastOwn * capacity) / size
    const bits = Math.log2(4 * least)
    const who = sites === 1 ? "gateways" : "sites"
    return Result.fail({
      cause: `the proxy ranges have addresses for ${capacity} names of a client, and several ${who} need room for ${least}`,
      fix: `make proxy_ipv4 a /${32 - bits} or larger and proxy_ipv6 a /${128 - bits} or larger (network:)`
    })
  }
  const quarter = (site: number): number => (site === 0 ? capacity : size) / 4
  const span = (first: number, no: number, of: number): SlotSpan => ({
    from: first + no * of,
    to: first + (no + 1) * of
  })
  return Result.succeed({
    slice: (site) => (sites > 1 && site === 0 ? [span(0, 0, size), span(0, 1, capacity / 2)] : [span(0, site, size)]),
    siteOf: (slot) => {
      const site = Math.floor(slot / size)
      return site < sites ? site : 0
    },
    exact: (site) => span(site * size + 2 * quarter(site), 0, quarter(site)),
    own: (gateway, site) => span(site * size + 3 * quarter(site), gateway, quarter(site) / count),
    block: (no) => {
      const site = Math.floor(no / count)
      return span(site * size, no % count, (2 * quarter(site)) / count)
    },
    blocks: (site) => ({ from: site * count, to: site * count + (site === 0 ? count / sites : count) })
  })
}

/**
 * Of the spans that a gateway was given those that it counts through where there is only one site: what it was given of the slices of
 * several, if there were any, came in between.
 */
export const spansOfFirst = (spans: ReadonlyArray<SlotSpan>, capacity: number): ReadonlyArray<SlotSpan> => {
  const several = slotZones(capacity, maxSites)
  if (Result.isFailure(several)) return spans
  const { own, siteOf } = several.success
  const isOwnZone = ({ from, to }: SlotSpan) => siteOf(from) > 0 && to - from === lengthOf(own(0, 1))
  return spans.some(isOwnZone) ? spans.filter(({ from }) => siteOf(from) === 0) : spans
}
