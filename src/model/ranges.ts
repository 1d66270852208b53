/** The four networks of the gateway (design §1) and what must hold for them. */
import { contains, formatNetwork, isIpv4, type Network, parseAddress, parseNetwork } from "../packet/address.ts"

/** Canonical network texts. */
export interface Ranges {
  readonly tunnel4: string
  readonly tunnel6: string
  readonly proxy4: string
  readonly proxy6: string
}

export const defaultRanges: Ranges = {
  tunnel4: "100.64.0.0/11",
  tunnel6: "fd00:2021:1111::/107",
  proxy4: "100.96.0.0/11",
  proxy6: "fd00:2021:1111:8000::/107"
}

/** Addresses that clients keep for their own DNS servers; never a proxy IP. */
export const reservedNetworks: ReadonlyArray<string> = ["100.100.111.0/24", "fd00:2021:1111:8000:100:100:111:0/120"]

/** Two networks that must not overlap, or one text that is no network of its family. */
export type RangeProblem =
  | { readonly _tag: "NotANetwork"; readonly range: keyof Ranges; readonly text: string }
  | { readonly _tag: "Overlap"; readonly range: keyof Ranges; readonly text: string; readonly other: string }

/**
 * The first problem of the ranges, among themselves or with the host's routes (network texts; default routes do not
 * count, unreadable ones are passed over).
 */
export const checkRanges = (ranges: Ranges, hostRoutes: ReadonlyArray<string>): RangeProblem | null => {
  const seen: Array<Network> = hostRoutes
    .map((route) => parseNetwork(route))
    .filter((network) => network !== undefined)
    .filter((network) => !isDefaultRoute(network))
  for (const range of rangeNames) {
    const text = ranges[range]
    const network = parseNetwork(text)
    if (network === undefined || isIpv4(network.address) !== range.endsWith("4")) {
      return { _tag: "NotANetwork", range, text }
    }
    const other = seen.find((candidate) => overlap(candidate, network))
    if (other !== undefined) return { _tag: "Overlap", range, text, other: formatNetwork(other) }
    seen.push(network)
  }
  return null
}

/** Decides which addresses may be proxy IPs. Networks that cannot be read admit nothing. */
export const proxyMembership = (
  networks: ReadonlyArray<string>,
  reserved: ReadonlyArray<string> = reservedNetworks
): ((address: string) => boolean) => {
  const inside = networks.map((n) => parseNetwork(n)).filter((n) => n !== undefined)
  const outside = reserved.map((n) => parseNetwork(n)).filter((n) => n !== undefined)
  return (address) => {
    const parsed = parseAddress(address)
    if (parsed === undefined) return false
    return inside.some((n) => contains(n, parsed)) && !outside.some((n) => contains(n, parsed))
  }
}

const rangeNames = ["tunnel4", "tunnel6", "proxy4", "proxy6"] as const

const overlap = (a: Network, b: Network): boolean => contains(a, b.address) || contains(b, a.address)

const isDefaultRoute = (n: Network): boolean => n.prefix === 0 || (isIpv4(n.address) && n.prefix === 96)
