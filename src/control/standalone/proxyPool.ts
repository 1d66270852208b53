/**
 * Which proxy IPs a slot stands for: four addresses per family, counted up from the start of the proxy ranges.
 * Slot 0 is not used (its first address is the network's own), neither are blocks in `reservedNetworks`, so that a mapping
 * never collides with a client's resolver.
 */
import type { Ranges } from "../../model/defaultRanges.ts"
import { reservedNetworks } from "../../model/ranges.ts"
import {
  contains,
  formatAddress,
  formatNetwork,
  type Network,
  parseAddress,
  parseNetwork,
  words
} from "../../packet/address.ts"

const proxiesPerFamily = 4

export interface ProxyNetworks {
  readonly proxy4: Network
  readonly proxy6: Network
}

/** Those of a configuration. */
export const proxyNetworks = ({ proxy4, proxy6 }: Pick<Ranges, "proxy4" | "proxy6">): ProxyNetworks => ({
  proxy4: parseNetwork(proxy4)!,
  proxy6: parseNetwork(proxy6)!
})

const reserved = reservedNetworks.map((text) => parseNetwork(text)!)

/** The first slot that a client may be given. */
export const firstSlot = 1

/** Eight canonical addresses, IPv4 first; `undefined` when the slot lies beyond a range or is reserved. */
export const proxyIpsOf = (slot: number, ranges: ProxyNetworks): ReadonlyArray<string> | undefined => {
  const proxies: Array<string> = []
  for (const range of [ranges.proxy4, ranges.proxy6]) {
    for (let i = 0; i < proxiesPerFamily; i++) {
      const offset = slot * proxiesPerFamily + i
      const base = range.address
      const low = (base.w3 >>> 0) + offset
      const address = words(base.w0, base.w1, base.w2 + Math.floor(low / 2 ** 32), low | 0)
      if (slot < firstSlot || offset > 0x7fffffff || !contains(range, address)) return undefined
      if (reserved.some((network) => contains(network, address))) return undefined
      proxies.push(formatAddress(address))
    }
  }
  return proxies
}

/** No slot from this one on lies within both ranges. */
export const slotCapacity = (ranges: ProxyNetworks): number => {
  const capacity = (range: Network) => 2 ** Math.min(31, 128 - range.prefix) / proxiesPerFamily
  return Math.min(capacity(ranges.proxy4), capacity(ranges.proxy6))
}

/** The networks of a span of slots, whose size is a power of two and which begins at a multiple of it; IPv4 first. */
export const networksOfSlots = (from: number, to: number, ranges: ProxyNetworks): ReadonlyArray<string> =>
  [ranges.proxy4, ranges.proxy6].map(({ address: { w0, w1, w2, w3 } }) => {
    const low = (w3 >>> 0) + from * proxiesPerFamily
    const address = words(w0, w1, w2 + Math.floor(low / 2 ** 32), low | 0)
    return formatNetwork({ address, prefix: 128 - Math.log2((to - from) * proxiesPerFamily) })
  })

/** The slot whose block holds the address; −1 for one outside of the ranges. */
export const slotOf = (address: string, ranges: ProxyNetworks): number => {
  const a = parseAddress(address)
  if (a === undefined) return -1
  const range = [ranges.proxy4, ranges.proxy6].find((r) => contains(r, a))
  if (range === undefined) return -1
  const offset = ((a.w2 >>> 0) - (range.address.w2 >>> 0)) * 2 ** 32 + (a.w3 >>> 0) - (range.address.w3 >>> 0)
  const slot = Math.floor(offset / proxiesPerFamily)
  return slot >= firstSlot && slot <= 0x7fffffff ? slot : -1
}
