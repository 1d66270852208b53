import { formatAddress, isIpv4, mappedPrefix, parseAddress, words } from "../packet/address.ts"

/** The name that a PTR question uses for an address (RFC 1035 §3.5, RFC 3596 §2.5); `undefined` when it is no address. */
export const reverseName = (address: string): string | undefined => {
  const a = parseAddress(address)
  if (a === undefined) return undefined
  if (isIpv4(a)) return `${formatAddress(a).split(".").toReversed().join(".")}.in-addr.arpa`
  const hex = [a.w0, a.w1, a.w2, a.w3].map((w) => (w >>> 0).toString(16).padStart(8, "0")).join("")
  return `${hex.split("").toReversed().join(".")}.ip6.arpa`
}

/** The address that such a name (lower case) spells, canonical text; `null` for any other name, shortened ones included. */
export const reverseAddress = (domain: string): string | null => {
  const v4 = /^([0-9.]+)\.in-addr\.arpa$/.exec(domain)
  if (v4 !== null) {
    const a = parseAddress(v4[1]!.split(".").toReversed().join("."))
    return a === undefined ? null : formatAddress(a)
  }
  const v6 = /^((?:[0-9a-f]\.){32})ip6\.arpa$/.exec(domain)
  if (v6 === null) return null
  const hex = v6[1]!.split(".").toReversed().join("")
  const word = (i: number): number => Number.parseInt(hex.slice(i * 8, i * 8 + 8), 16) | 0
  const a = words(word(0), word(1), word(2), word(3))
  return a.w0 === 0 && a.w1 === 0 && a.w2 === mappedPrefix ? null : formatAddress(a)
}
