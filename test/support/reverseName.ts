import { formatAddress, isIpv4, parseAddress } from "../../src/packet/address.ts"

/** The name that a PTR question uses for an address (RFC 1035 §3.5, RFC 3596 §2.5). */
export const reverseName = (address: string): string => {
  const a = parseAddress(address)!
  if (isIpv4(a)) return `${formatAddress(a).split(".").toReversed().join(".")}.in-addr.arpa`
  const hex = [a.w0, a.w1, a.w2, a.w3].map((w) => (w >>> 0).toString(16).padStart(8, "0")).join("")
  return `${hex.split("").toReversed().join(".")}.ip6.arpa`
}
