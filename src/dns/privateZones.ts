/** Domains that the public DNS does not have: whoever asks it for a name in them tells it a secret and learns nothing. */
import { contains, type Network, parseNetwork } from "../packet/address.ts"
import { isWithin } from "./name.ts"

/**
 * Reserved for private use (RFC 6761 §6.2, RFC 6762 §3 and appendix G, RFC 8375, ICANN's resolution 2024.07.29.06), or
 * never to be delegated for being used so (ICANN on name collisions: corp, home, mail).
 */
const privateTops = [
  "corp",
  "home",
  "home.arpa",
  "internal",
  "intranet",
  "lan",
  "local",
  "localdomain",
  "mail",
  "private",
  "test"
]

/** Whether it is one of these top-level domains. */
export const isPrivateTop = (domain: string): boolean => privateTops.includes(domain)

/** Whether the name is in one of them, or one. */
export const isPrivateDomain = (domain: string): boolean => privateTops.some((top) => isWithin(domain, top))

/** Whether the addresses' reverse names are nobody's but their network's (RFC 6303 §4, RFC 7793 §4). */
export const isLocalNetwork = (network: Network): boolean => localNetworks.some((local) => isPartOf(network, local))

/** Whether all of `inner` lies in `outer`. */
export const isPartOf = (inner: Network, outer: Network): boolean =>
  inner.prefix >= outer.prefix && contains(outer, inner.address)

const localNetworks: ReadonlyArray<Network> = [
  "0.0.0.0/8",
  "10.0.0.0/8",
  "100.64.0.0/10",
  "127.0.0.0/8",
  "169.254.0.0/16",
  "172.16.0.0/12",
  "192.0.2.0/24",
  "192.168.0.0/16",
  "198.51.100.0/24",
  "203.0.113.0/24",
  "255.255.255.255/32",
  "::/127",
  "2001:db8::/32",
  "fc00::/7",
  "fe80::/10"
].map((text) => parseNetwork(text)!)
