import { formatAddress, mappedPrefix, parseAddress, words } from "../packet/address.ts"

/** The address that a PTR question's name (RFC 1035 §3.5, RFC 3596 §2.5; lower case) spells, canonical text; `null` for any other name, shortened ones included. */
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
