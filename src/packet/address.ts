/**
 * IP addresses as the packet path sees them: four signed 32-bit words in network order, an IPv4
 * address in its mapped form `::ffff:a.b.c.d` (RFC 4291 §2.5.5.2), so that one table serves both
 * families. Everywhere else an address is its canonical text (RFC 5952).
 */
import { read32, write32 } from "./bytes.ts"

export interface Words {
  w0: number
  w1: number
  w2: number
  w3: number
}

/** The third word of every IPv4 address in mapped form. */
export const mappedPrefix = 0xffff

export const words = (w0 = 0, w1 = 0, w2 = 0, w3 = 0): Words => ({ w0, w1, w2, w3 })

export const isIpv4 = (a: Readonly<Words>): boolean => a.w0 === 0 && a.w1 === 0 && a.w2 === mappedPrefix

export const equal = (a: Readonly<Words>, b: Readonly<Words>): boolean =>
  a.w3 === b.w3 && a.w2 === b.w2 && a.w1 === b.w1 && a.w0 === b.w0

export const copyWords = (from: Readonly<Words>, to: Words): void => {
  to.w0 = from.w0
  to.w1 = from.w1
  to.w2 = from.w2
  to.w3 = from.w3
}

/** Reads the 4 bytes at `at` into mapped form. */
export const readIpv4 = (bytes: Uint8Array, at: number, to: Words): void => {
  to.w0 = 0
  to.w1 = 0
  to.w2 = mappedPrefix
  to.w3 = read32(bytes, at)
}

/** Reads the 16 bytes at `at`. */
export const readIpv6 = (bytes: Uint8Array, at: number, to: Words): void => {
  to.w0 = read32(bytes, at)
  to.w1 = read32(bytes, at + 4)
  to.w2 = read32(bytes, at + 8)
  to.w3 = read32(bytes, at + 12)
}

/** Writes 4 bytes for an IPv4 address, else 16. Returns how many. */
export const writeAddress = (bytes: Uint8Array, at: number, a: Readonly<Words>): number => {
  if (isIpv4(a)) {
    write32(bytes, at, a.w3)
    return 4
  }
  write32(bytes, at, a.w0)
  write32(bytes, at + 4, a.w1)
  write32(bytes, at + 8, a.w2)
  write32(bytes, at + 12, a.w3)
  return 16
}

/** `::` or 0.0.0.0. */
export const isUnspecified = (a: Readonly<Words>): boolean =>
  a.w0 === 0 && a.w1 === 0 && a.w3 === 0 && (a.w2 === 0 || a.w2 === mappedPrefix)

/** 224.0.0.0/4 or ff00::/8. */
export const isMulticast = (a: Readonly<Words>): boolean => (isIpv4(a) ? a.w3 >>> 28 === 0xe : a.w0 >>> 24 === 0xff)

/** 255.255.255.255, the only broadcast address that can be told without knowing a network's prefix. */
export const isBroadcast = (a: Readonly<Words>): boolean => a.w3 === -1 && isIpv4(a)

/** 127.0.0.0/8 or ::1. */
export const isLoopback = (a: Readonly<Words>): boolean =>
  isIpv4(a) ? a.w3 >>> 24 === 127 : a.w0 === 0 && a.w1 === 0 && a.w2 === 0 && a.w3 === 1

/** 169.254.0.0/16 or fe80::/10. */
export const isLinkLocal = (a: Readonly<Words>): boolean =>
  isIpv4(a) ? a.w3 >>> 16 === 0xa9fe : a.w0 >>> 22 === 0xfe80 >>> 6

/** Reads strict dotted-quad or RFC 4291 text; `undefined` for anything else (zones included). */
export const parseAddress = (text: string): Words | undefined =>
  text.includes(":") ? parseIpv6(text) : parseIpv4(text)

/** Canonical text: dotted quad, or RFC 5952. */
export const formatAddress = (a: Readonly<Words>): string => {
  if (isIpv4(a)) return formatQuad(a.w3)
  let start = -1
  let longest = 1
  for (let i = 0; i < 8; i++) {
    let n = 0
    while (i + n < 8 && groupOf(a, i + n) === 0) n++
    if (n > longest) {
      start = i
      longest = n
    }
  }
  let text = ""
  for (let i = 0; i < 8; i++) {
    if (i === start) {
      text += "::"
      i += longest - 1
    } else {
      text += i === 0 || i === start + longest ? "" : ":"
      text += groupOf(a, i).toString(16)
    }
  }
  return text
}

/** The i-th 16 bits. */
const groupOf = (a: Readonly<Words>, i: number): number => {
  const word = i < 2 ? a.w0 : i < 4 ? a.w1 : i < 6 ? a.w2 : a.w3
  return (i & 1) === 0 ? word >>> 16 : word & 0xffff
}

/** A network as address words plus prefix length counted in the 128-bit mapped form (an IPv4 /8 is 104). */
export interface Network {
  readonly address: Readonly<Words>
  readonly prefix: number
}

/** `10.0.0.0/8`, `fd00::/7`, or a bare address (a host network); `undefined` when malformed or host bits are set. */
export const parseNetwork = (text: string): Network | undefined => {
  const slash = text.indexOf("/")
  const address = parseAddress(slash < 0 ? text : text.slice(0, slash))
  if (address === undefined) return undefined
  const v4 = !text.includes(":")
  const length = slash < 0 ? (v4 ? 32 : 128) : decimal(text.slice(slash + 1), v4 ? 32 : 128)
  if (length < 0) return undefined
  const network = { address, prefix: v4 ? length + 96 : length }
  return equal(mask(address, network.prefix), address) ? network : undefined
}

export const formatNetwork = (n: Network): string =>
  `${formatAddress(n.address)}/${isIpv4(n.address) && n.prefix >= 96 ? n.prefix - 96 : n.prefix}`

export const contains = (n: Network, a: Readonly<Words>): boolean =>
  ((a.w0 ^ n.address.w0) & maskWord(n.prefix)) === 0 &&
  ((a.w1 ^ n.address.w1) & maskWord(n.prefix - 32)) === 0 &&
  ((a.w2 ^ n.address.w2) & maskWord(n.prefix - 64)) === 0 &&
  ((a.w3 ^ n.address.w3) & maskWord(n.prefix - 96)) === 0

export const mask = (a: Readonly<Words>, prefix: number): Words =>
  words(
    a.w0 & maskWord(prefix),
    a.w1 & maskWord(prefix - 32),
    a.w2 & maskWord(prefix - 64),
    a.w3 & maskWord(prefix - 96)
  )

const maskWord = (bits: number): number => (bits <= 0 ? 0 : bits >= 32 ? -1 : -1 << (32 - bits))

const formatQuad = (w: number): string => `${w >>> 24}.${(w >>> 16) & 255}.${(w >>> 8) & 255}.${w & 255}`

const parseIpv4 = (text: string): Words | undefined => {
  const quad = readQuad(text, 0)
  return quad < 0 ? undefined : words(0, 0, mappedPrefix, quad | 0)
}

/** A dotted quad from there to the text's end, unsigned; −1 when it is none. */
const readQuad = (text: string, from: number): number => {
  if (text.length - from > 15) return -1
  let quad = 0
  let octet = -1
  let octets = 0
  for (let i = from; i <= text.length; i++) {
    const digit = text.charCodeAt(i) - 0x30
    if (digit >= 0 && digit <= 9) {
      // Zero stands alone.
      if (octet === 0) return -1
      octet = Math.max(octet, 0) * 10 + digit
      if (octet > 255) return -1
    } else {
      if (octet < 0 || (i < text.length && (text[i] !== "." || octets === 3))) return -1
      quad = quad * 256 + octet
      octet = -1
      octets++
    }
  }
  return octets === 4 ? quad : -1
}

const parseIpv6 = (text: string): Words | undefined => {
  if (text.length > 45) return undefined
  const groups = [0, 0, 0, 0, 0, 0, 0, 0]
  let n = 0
  /** Where `::` stands for zeros. */
  let gap = -1
  let i = 0
  if (text.startsWith("::")) {
    gap = 0
    i = 2
  }
  while (i < text.length) {
    if (n === 8) return undefined
    let group = 0
    let end = i
    for (; end < text.length && end < i + 5; end++) {
      const digit = hexDigit(text.charCodeAt(end))
      if (digit < 0) break
      group = group * 16 + digit
    }
    if (text[end] === ".") {
      const quad = n <= 6 ? readQuad(text, i) : -1
      if (quad < 0) return undefined
      groups[n++] = Math.floor(quad / 0x10000)
      groups[n++] = quad & 0xffff
      break
    }
    if (end === i || end > i + 4) return undefined
    groups[n++] = group
    i = end
    if (i === text.length) break
    if (text[i] !== ":") return undefined
    i++
    if (text[i] === ":") {
      if (gap >= 0) return undefined
      gap = n
      i++
    } else if (i === text.length) {
      return undefined
    }
  }
  if (gap < 0 ? n !== 8 : n > 7) return undefined
  if (gap >= 0) {
    groups.copyWithin(8 - (n - gap), gap, n)
    groups.fill(0, gap, 8 - (n - gap))
  }
  const word = (at: number) => (groups[at]! << 16) | groups[at + 1]!
  return words(word(0), word(2), word(4), word(6))
}

/** Its value; −1 for another character. */
const hexDigit = (code: number): number => {
  if (code >= 0x30 && code <= 0x39) return code - 0x30
  const letter = code | 0x20
  return letter >= 0x61 && letter <= 0x66 ? letter - 0x57 : -1
}

/** A decimal number without leading zeros, at most `max`; −1 otherwise. */
const decimal = (text: string, max: number): number => {
  if (!/^(0|[1-9][0-9]{0,2})$/.test(text)) return -1
  const n = Number(text)
  return n > max ? -1 : n
}
