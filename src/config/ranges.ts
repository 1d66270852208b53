import { contains, isIpv4, parseNetwork } from "../packet/address.ts"
import type { NetworkConfig } from "./GatewayConfig.ts"
import type { Report } from "./report.ts"

/** The four ranges with the names they have in the file. */
export const rangesOf = (network: NetworkConfig): ReadonlyArray<{ readonly key: string; readonly network: string }> => [
  { key: "tunnel_ipv4", network: network.tunnel4 },
  { key: "tunnel_ipv6", network: network.tunnel6 },
  { key: "proxy_ipv4", network: network.proxy4 },
  { key: "proxy_ipv6", network: network.proxy6 }
]

/** Do two networks (canonical text) share an address? */
export const overlaps = (a: string, b: string): boolean => {
  const [x, y] = [parseNetwork(a)!, parseNetwork(b)!]
  if (isIpv4(x.address) !== isIpv4(y.address)) return false
  return contains(x, y.address) || contains(y, x.address)
}

/** Right family, room for clients and proxies, no overlap with each other, nothing that cannot be routed. */
export const checkRanges = (network: NetworkConfig, report: Report): void => {
  const ranges = rangesOf(network)
  for (const [i, { key, network }] of ranges.entries()) {
    const v4 = key.endsWith("ipv4")
    const path = ["network", key]
    const parsed = parseNetwork(network)!
    const bits = v4 ? parsed.prefix - 96 : parsed.prefix
    if (isIpv4(parsed.address) !== v4) {
      report(
        path,
        `${network} is not an ${v4 ? "IPv4" : "IPv6"} network`,
        `write an ${v4 ? "IPv4" : "IPv6"} range here`
      )
      continue
    }
    const [from, to] = v4 ? [8, key === "proxy_ipv4" ? 24 : 29] : [32, key === "proxy_ipv6" ? 120 : 125]
    if (bits < from || bits > to) {
      report(path, `${key} ${network} has a prefix of ${bits} bits`, `use a prefix from /${from} to /${to}`)
    }
    const special = reserved.find((other) => overlaps(network, other))
    if (special !== undefined) report(path, `${network} overlaps the special range ${special}`, "use a private range")
    const other = ranges.slice(0, i).find((other) => overlaps(network, other.network))
    if (other !== undefined) {
      report(path, `${key} ${network} overlaps ${other.key} ${other.network}`, "choose ranges that share no address")
    }
  }
}

/** Loopback, link-local, multicast and unspecified cannot carry a tunnel. */
const reserved = ["0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3", "::/96", "fe80::/10", "ff00::/8"]
