import { formatAddress, isIpv4, isLinkLocal, parseAddress } from "../packet/address.ts"

/** More servers than this are left out (glibc stops at 3). */
const maxServers = 8

/**
 * The servers of a resolv.conf(5), in order, without duplicates: `nameserver ADDRESS`, port 53 always. A link-local
 * address keeps its zone (`fe80::1%eth0`). Other lines do not matter here: names are looked up as absolute names.
 */
export const parseResolvConf = (text: string): ReadonlyArray<string> => {
  const servers = new Set<string>()
  for (const line of text.split("\n")) {
    const [keyword, server] = line.trim().split(/\s+/)
    const address = keyword === "nameserver" && server !== undefined ? parseServerAddress(server) : undefined
    if (address !== undefined && servers.size < maxServers) servers.add(address)
  }
  return [...servers]
}

/** Canonical text of an address, with its zone when it is link-local; `undefined` when it is none. */
const parseServerAddress = (text: string): string | undefined => {
  const percent = text.indexOf("%")
  const address = parseAddress(percent < 0 ? text : text.slice(0, percent))
  if (address === undefined) return undefined
  if (percent < 0) return formatAddress(address)
  const linkLocal = !isIpv4(address) && isLinkLocal(address)
  return linkLocal && /^%[\w.-]{1,15}$/.test(text.slice(percent))
    ? formatAddress(address) + text.slice(percent)
    : undefined
}
