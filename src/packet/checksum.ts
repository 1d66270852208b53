/**
 * The Internet checksum (RFC 1071) and its incremental update (RFC 1624).
 * Sums are one's-complement sums of big-endian 16-bit words, folded to 16 bits.
 */
import { isIpv4, type Words } from "./address.ts"
import { read16 } from "./bytes.ts"
import type { PacketView } from "./packetView.ts"
import { protocolIcmp, protocolIcmpv6, protocolTcp, protocolUdp } from "./protocols.ts"

/** One's-complement sum over `length` bytes at `offset`, starting from `initial`; folded, not inverted. */
export type Checksum = (offset: number, length: number, initial: number) => number

/** A `Checksum` in plain JavaScript over `bytes`, for where the WebAssembly one is not at hand. */
export const makeChecksum =
  (bytes: Uint8Array): Checksum =>
  (offset, length, initial) =>
    sumBytes(bytes, offset, length, initial)

/**
 * The sum of `Checksum` over any array; an odd last byte counts as the high half of a word. For up to 64 KiB
 * (the sum of more could pass 32 bits) and an `initial` below 2^31.
 */
export const sumBytes = (bytes: Uint8Array, offset: number, length: number, initial: number): number => {
  let sum = initial
  const last = offset + (length & ~1)
  for (let at = offset; at < last; at += 2) sum += (bytes[at]! << 8) | bytes[at + 1]!
  if ((length & 1) !== 0) sum += bytes[last]! << 8
  return fold(sum)
}

/** Brings a sum of up to 32 bits down to 16 with end-around carry. Not inverted; 0 only for 0. */
export const fold = (sum: number): number => {
  const once = (sum & 0xffff) + (sum >>> 16)
  return (once & 0xffff) + (once >>> 16)
}

/**
 * Sum of the pseudo-header of TCP, UDP (RFC 793, RFC 768) and of anything over IPv6 (RFC 8200 §8.1),
 * folded, not inverted. ICMP over IPv4 has none. `length` is that of the transport header and data.
 */
export const pseudoHeaderSum = (
  source: Readonly<Words>,
  destination: Readonly<Words>,
  protocol: number,
  length: number
): number => fold(addressSum(source) + addressSum(destination) + protocol + length)

/** Sum of the words of an address as it stands in its header: 4 bytes for IPv4, 16 for IPv6; not folded. */
export const addressSum = (a: Readonly<Words>): number => {
  const low = (a.w3 >>> 16) + (a.w3 & 0xffff)
  if (isIpv4(a)) return low
  return (a.w0 >>> 16) + (a.w0 & 0xffff) + (a.w1 >>> 16) + (a.w1 & 0xffff) + (a.w2 >>> 16) + (a.w2 & 0xffff) + low
}

/** What replacing a 16-bit word adds to a sum: `~m + m'` of RFC 1624 equation 3. Deltas of words may be added up. */
export const delta16 = (from: number, to: number): number => (~from & 0xffff) + to

/** A checksum field after its data changed by `delta`: `HC' = ~(~HC + ~m + m')`, RFC 1624 equation 3. */
export const applyDelta = (checksum: number, delta: number): number => ~fold((~checksum & 0xffff) + delta) & 0xffff

/** True for IPv6, which has no header checksum. */
export const ipv4HeaderChecksumOk = (bytes: Uint8Array, view: Readonly<PacketView>): boolean =>
  view.version === 6 || sumBytes(bytes, view.offset, (bytes[view.offset]! & 15) << 2, 0) === 0xffff

/**
 * Whether the TCP, UDP, ICMP or ICMPv6 checksum is right. True as well where there is none to look at: a
 * fragment, another protocol, UDP over IPv4 without a checksum. UDP over IPv6 must have one (RFC 8200 §8.1).
 * `checksum` must sum over the same `bytes`.
 */
export const transportChecksumOk = (bytes: Uint8Array, view: Readonly<PacketView>, checksum: Checksum): boolean => {
  if (view.fragment) return true
  const protocol = view.protocol
  let length = view.transportLength
  let initial = 0
  if (protocol === protocolUdp) {
    if (read16(bytes, view.transport + 6) === 0) return view.version === 4
    length = read16(bytes, view.transport + 4)
  } else if (protocol === protocolIcmp && view.version === 4) {
    return checksum(view.transport, length, 0) === 0xffff
  } else if (protocol !== protocolTcp && !(protocol === protocolIcmpv6 && view.version === 6)) {
    return true
  }
  initial = pseudoHeaderSum(view.source, view.destination, protocol, length)
  return checksum(view.transport, length, initial) === 0xffff
}

/**
 * Where the checksum of the transport header stands, counted from `view.transport`; −1 for a protocol whose
 * checksum is unknown here.
 */
export const checksumOffset = (view: Readonly<PacketView>): number => {
  switch (view.protocol) {
    case protocolTcp:
      return 16
    case protocolUdp:
      return 6
    case protocolIcmp:
      return view.version === 4 ? 2 : -1
    case protocolIcmpv6:
      return view.version === 6 ? 2 : -1
    default:
      return -1
  }
}
