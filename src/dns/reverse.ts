import { formatAddress, mappedPrefix, type Network, parseAddress, words } from "../packet/address.ts"

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

/**
 * The network that a name under in-addr.arpa or ip6.arpa (lower case) is about: what its numbers next to the zone spell,
 * whatever stands before them (RFC 2317, RFC 6763 §11). `null` for other names.
 */
export const reverseNetwork = (domain: string): Network | null => {
  const v4 = domain === "in-addr.arpa" || domain.endsWith(".in-addr.arpa")
  if (!v4 && domain !== "ip6.arpa" && !domain.endsWith(".ip6.arpa")) return null
  const numbers: Array<number> = []
  const labels = domain.split(".").slice(0, -2)
  const most = v4 ? 4 : 32
  for (let label = labels.pop(); label !== undefined && numbers.length < most; label = labels.pop()) {
    if (!(v4 ? /^(0|[1-9][0-9]{0,2})$/ : /^[0-9a-f]$/).test(label)) break
    const number = Number.parseInt(label, v4 ? 10 : 16)
    if (number > 255) break
    numbers.push(number)
  }
  const bits = v4 ? 8 : 4
  const word = (from: number): number => {
    let value = 0
    for (let i = from; i < from + 32 / bits; i++) value = (value << bits) | (numbers[i] ?? 0)
    return value
  }
  return v4
    ? { address: words(0, 0, mappedPrefix, word(0)), prefix: 96 + numbers.length * 8 }
    : { address: words(word(0), word(8), word(16), word(24)), prefix: numbers.length * 4 }
}
