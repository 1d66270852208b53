import { formatAddress, isIpv4, parseAddress } from "../packet/address.ts"
import type { Interface } from "./uplinks.ts"

/**
 * The directed broadcast addresses of the networks that these interfaces are in, canonical text: what is configured, and
 * the last address of each IPv4 network with room for one (RFC 919; a /31 has none, RFC 3021).
 */
export const broadcastAddresses = (interfaces: ReadonlyArray<Interface>): ReadonlyArray<string> => {
  const found = new Set<string>()
  const add = (text: string | undefined, prefix: number): void => {
    const words = text === undefined ? undefined : parseAddress(text)
    if (words === undefined || !isIpv4(words) || prefix < 1 || prefix > 30) return
    found.add(formatAddress({ ...words, w3: words.w3 | (0xffff_ffff >>> prefix) }))
  }
  for (const { addr_info: entries } of interfaces) {
    for (const { broadcast, local, prefixlen } of entries ?? []) {
      if (local === undefined || prefixlen === undefined) continue
      add(local, prefixlen)
      const words = broadcast === undefined ? undefined : parseAddress(broadcast)
      if (words !== undefined && isIpv4(words)) found.add(formatAddress(words))
    }
  }
  return [...found]
}
