import type { PortFilter } from "../model/PortFilter.ts"
import { protocolIcmp, protocolIcmpv6, protocolTcp, protocolUdp } from "../packet/protocols.ts"

/** Filters made ready for the packet path. */
export interface FilterSet {
  /** No filters were given: everything passes, protocols without ports as well. */
  readonly everything: boolean
  readonly icmp: boolean
  /** Disjoint ranges, ascending: from, to, from, to … */
  readonly tcp: Uint16Array
  readonly udp: Uint16Array
}

export const compileFilters = (filters: ReadonlyArray<PortFilter>): FilterSet => ({
  everything: filters.length === 0,
  icmp: filters.some((f) => f.protocol === "icmp"),
  tcp: ranges(filters, "tcp"),
  udp: ranges(filters, "udp")
})

/**
 * Whether a packet to the port passes. `icmp` lets every ICMP and ICMPv6 message through; with any filter given,
 * protocols other than TCP, UDP and ICMP do not pass.
 */
export const permits = (set: FilterSet, protocol: number, destinationPort: number): boolean => {
  if (set.everything) return true
  if (protocol === protocolTcp) return within(set.tcp, destinationPort)
  if (protocol === protocolUdp) return within(set.udp, destinationPort)
  return (protocol === protocolIcmp || protocol === protocolIcmpv6) && set.icmp
}

const within = (bounds: Uint16Array, port: number): boolean => {
  let low = 0
  let high = bounds.length >>> 1
  while (low < high) {
    const middle = (low + high) >>> 1
    if (port > bounds[middle * 2 + 1]!) low = middle + 1
    else high = middle
  }
  return low < bounds.length >>> 1 && port >= bounds[low * 2]!
}

const ranges = (filters: ReadonlyArray<PortFilter>, protocol: "tcp" | "udp"): Uint16Array => {
  const sorted = filters
    .flatMap((f) => (f.protocol === protocol && f.from <= f.to ? [[f.from, f.to] as const] : []))
    .toSorted((a, b) => a[0] - b[0])
  const bounds: Array<number> = []
  for (const [from, to] of sorted) {
    const last = bounds.length - 1
    if (last > 0 && from <= bounds[last]! + 1) bounds[last] = Math.max(bounds[last]!, to)
    else bounds.push(from, to)
  }
  return Uint16Array.from(bounds)
}
