import { contains, formatAddress, isIpv4, parseNetwork, words, type Network, type Words } from "../packet/address.ts"

/** Who gets an address: a client's key and, when the file fixes one, its address. */
export interface Claim {
  readonly publicKey: Uint8Array
  readonly fixed: string | undefined
}

/**
 * The first host address of a range: the gateway's own. Those of further sites have the last ones, which nobody has chosen for
 * a client as long as there was only one.
 */
export const gatewayAddress = (range: string, site = 0): string => {
  const network = networkOf(range)
  return formatAddress(nth(network, site === 0 ? 1 : hostsOf(network) - 1 - site))
}

/** Those of as many sites. */
const gatewayAddresses = (range: string, sites: number): ReadonlyArray<string> =>
  Array.from({ length: sites }, (_, site) => gatewayAddress(range, site))

/**
 * One address of the range for each claim, in the same order. A client's address comes from a hash of its public key,
 * so it stays when the file is re-ordered or other clients come and go; only two keys that fall on the same address
 * look at each other (the smaller key keeps it). The network, IPv4 broadcast and gateways' addresses stay free, of as many
 * sites as there may be. `undefined` when the range is too small.
 */
export const assignAddresses = (
  range: string,
  claims: ReadonlyArray<Claim>,
  sites = 1
): ReadonlyArray<string> | undefined => {
  const network = networkOf(range)
  const usable = usableHosts(network)
  if (claims.length > usable) return undefined
  const taken = new Set(gatewayAddresses(range, sites))
  for (const { fixed } of claims) if (fixed !== undefined) taken.add(fixed)
  const result = claims.map((claim) => claim.fixed ?? "")
  const order = claims.map((_, i) => i).sort((a, b) => compare(claims[a]!.publicKey, claims[b]!.publicKey))
  for (const i of order) {
    const claim = claims[i]!
    if (claim.fixed !== undefined) continue
    const start = hash(claim.publicKey) % usable
    for (let step = 0; step < usable; step++) {
      const candidate = formatAddress(nth(network, 2 + ((start + step) % usable)))
      if (taken.has(candidate)) continue
      taken.add(candidate)
      result[i] = candidate
      break
    }
  }
  return result.includes("") ? undefined : result
}

/** Why a fixed address cannot be a client's, or `undefined`. */
export const refuseFixed = (range: string, address: string, parsed: Readonly<Words>, sites = 1): string | undefined => {
  const network = networkOf(range)
  if (isIpv4(parsed) !== isIpv4(network.address) || !contains(network, parsed)) return `is outside ${range}`
  if (address === formatAddress(network.address)) return `is the first address of ${range}`
  if (address === gatewayAddress(range)) return "is the gateway's own address"
  if (gatewayAddresses(range, sites).includes(address)) return "is that of a site's gateways"
  if (isIpv4(parsed) && address === formatAddress(nth(network, 2 ** (128 - network.prefix) - 1))) {
    return `is the broadcast address of ${range}`
  }
  return undefined
}

/** Addresses of the range that clients can have, capped: more than 2^31 make no difference. */
const usableHosts = (network: Network): number => Math.max(0, hostsOf(network) - (isIpv4(network.address) ? 3 : 2))

const hostsOf = ({ prefix }: Network): number => Math.min(2 ** (128 - prefix), 2 ** 31)

const networkOf = (range: string): Network => parseNetwork(range)!

/** Networks are aligned to their size, so adding a number below that size never carries out of the last word. */
const nth = (network: Network, n: number): Words => {
  const { w0, w1, w2, w3 } = network.address
  return words(w0, w1, w2, ((w3 >>> 0) + n) | 0)
}

/** FNV-1a, 32 bits: keys are uniform already; it only folds all bytes in. */
const hash = (bytes: Uint8Array): number => {
  let h = 0x811c_9dc5
  for (const byte of bytes) h = Math.imul(h ^ byte, 0x0100_0193)
  return h >>> 0
}

const compare = (a: Uint8Array, b: Uint8Array): number => {
  for (let i = 0; i < a.length; i++) {
    const d = a[i]! - b[i]!
    if (d !== 0) return d
  }
  return 0
}
