import { isIpv4, readIpv4, readIpv6, type Words, words } from "./address.ts"
import { read16, read32 } from "./bytes.ts"
import { ParseReason } from "./parseReason.ts"
import { maxPacketLength, protocolIcmp, protocolIcmpv6, protocolTcp, protocolUdp } from "./protocols.ts"

/**
 * What the gateway needs to know of one IP packet. Mutable and reused: one is made at start and
 * filled per packet by `parsePacket`. All offsets are absolute within the array that was parsed.
 */
export interface PacketView {
  /** Where the IP header starts. */
  offset: number
  version: 4 | 6
  /** Bytes of the IP packet by its own header, so without trailing padding. */
  length: number
  /** Where the header after IP and its extension headers starts (for a later fragment: its data). */
  transport: number
  transportLength: number
  /** The final next header: 6, 17, 1, 58 … */
  protocol: number
  /** IPv4 addresses are in mapped form. */
  readonly source: Words
  readonly destination: Words
  /** TCP and UDP ports; of an ICMP query both hold the identifier; otherwise 0. */
  sourcePort: number
  destinationPort: number
  /** 0 unless TCP. */
  tcpFlags: number
  /** 0 unless ICMP or ICMPv6 in its own family. */
  icmpType: number
  icmpCode: number
  /** Part of a larger packet. An IPv6 "atomic fragment" (RFC 6946) is whole and does not count. */
  fragment: boolean
  /** In bytes. When not 0 the packet has no transport header: ports, flags and ICMP fields are 0. */
  fragmentOffset: number
  /** Where a fragment ends within its datagram, in bytes; 0 for other packets. */
  fragmentEnd: number
  /** The fragment identification as a signed word (IPv4: 16 bits); 0 for IPv6 without a fragment header. */
  identification: number
  /** ICMP or ICMPv6 echo request or reply. */
  echo: boolean
  /**
   * An ICMP or ICMPv6 request, or the reply to one, with an identifier by which the two find each other: echo, timestamp,
   * information, address mask (RFC 792, RFC 950), extended echo (RFC 8335).
   */
  query: boolean
  /** An ICMP error message (IPv4 types 3, 4, 5, 11, 12; ICMPv6 types below 128, RFC 4443 §2.1). */
  icmpError: boolean
}

export const makePacketView = (): PacketView => ({
  offset: 0,
  version: 4,
  length: 0,
  transport: 0,
  transportLength: 0,
  protocol: 0,
  source: words(),
  destination: words(),
  sourcePort: 0,
  destinationPort: 0,
  tcpFlags: 0,
  icmpType: 0,
  icmpCode: 0,
  fragment: false,
  fragmentOffset: 0,
  fragmentEnd: 0,
  identification: 0,
  echo: false,
  query: false,
  icmpError: false
})

/**
 * Reads the IP packet at bytes[offset, offset + length) into `view`. Returns 0, or the reason why it
 * is refused; then the content of `view` means nothing. Bytes after the packet's own length are
 * allowed (WireGuard pads to 16). Checksums are not looked at. Never throws, never reads outside.
 */
export const parsePacket = (bytes: Uint8Array, offset: number, length: number, view: PacketView): number =>
  parse(bytes, offset, length, view, false)

/**
 * Like `parsePacket`, for the packet quoted in an ICMP error: it may be cut anywhere after the first
 * 8 bytes of its transport header (RFC 792), so lengths inside it are not held against the bytes
 * there are. `length` and `transportLength` count only bytes that are there.
 */
export const parseTruncated = (bytes: Uint8Array, offset: number, length: number, view: PacketView): number =>
  parse(bytes, offset, length, view, true)

const parse = (bytes: Uint8Array, offset: number, length: number, view: PacketView, cut: boolean): number => {
  if (!(offset >= 0 && length >= 20 && offset + length <= bytes.length)) return ParseReason.Truncated
  view.offset = offset
  view.sourcePort = 0
  view.destinationPort = 0
  view.tcpFlags = 0
  view.icmpType = 0
  view.icmpCode = 0
  view.echo = false
  view.query = false
  view.icmpError = false
  const version = bytes[offset]! >>> 4
  const reason =
    version === 4
      ? parseIpv4(bytes, offset, length, view, cut)
      : version === 6
        ? parseIpv6(bytes, offset, length, view, cut)
        : ParseReason.BadVersion
  if (reason !== 0) return reason
  return view.fragmentOffset === 0 ? parseTransport(bytes, view, cut) : 0
}

const parseIpv4 = (bytes: Uint8Array, offset: number, length: number, view: PacketView, cut: boolean): number => {
  const headerLength = (bytes[offset]! & 15) << 2
  if (headerLength < 20) return ParseReason.BadHeaderLength
  if (headerLength > length) return ParseReason.Truncated
  const total = read16(bytes, offset + 2)
  if (total < headerLength) return ParseReason.BadLength
  if (total > length && !cut) return ParseReason.Truncated
  view.version = 4
  view.length = total < length ? total : length
  view.transport = offset + headerLength
  view.transportLength = view.length - headerLength
  view.protocol = bytes[offset + 9]!
  readIpv4(bytes, offset + 12, view.source)
  readIpv4(bytes, offset + 16, view.destination)
  const flags = read16(bytes, offset + 6)
  view.fragment = (flags & 0x3fff) !== 0
  view.fragmentOffset = (flags & 0x1fff) << 3
  view.identification = read16(bytes, offset + 4)
  view.fragmentEnd = view.fragment ? view.fragmentOffset + total - headerLength : 0
  if (view.fragmentOffset + total > maxPacketLength) return ParseReason.BadFragment
  if ((flags & 0x2000) !== 0 && isNoUnit(total - headerLength)) return ParseReason.BadFragment
  return headerLength === 20 ? 0 : checkIpv4Options(bytes, offset + 20, view.transport)
}

/** RFC 791 §3.1: walks at most 40 bytes and looks for the two source routes only. */
const checkIpv4Options = (bytes: Uint8Array, start: number, end: number): number => {
  let at = start
  while (at < end) {
    const kind = bytes[at]!
    if (kind === 0) return 0
    if (kind === 1) {
      at++
      continue
    }
    if (kind === 131 || kind === 137) return ParseReason.SourceRouted
    if (at + 1 >= end) return ParseReason.BadExtension
    const length = bytes[at + 1]!
    if (length < 2 || at + length > end) return ParseReason.BadExtension
    at += length
  }
  return 0
}

const parseIpv6 = (bytes: Uint8Array, offset: number, length: number, view: PacketView, cut: boolean): number => {
  if (length < 40) return ParseReason.Truncated
  const total = 40 + read16(bytes, offset + 4)
  if (total > length && !cut) return ParseReason.Truncated
  view.version = 6
  view.length = total < length ? total : length
  readIpv6(bytes, offset + 8, view.source)
  readIpv6(bytes, offset + 24, view.destination)
  view.fragment = false
  view.fragmentOffset = 0
  view.fragmentEnd = 0
  view.identification = 0
  if (isIpv4(view.source) || isIpv4(view.destination)) return ParseReason.MappedAddress
  return walkExtensions(bytes, view, cut)
}

const maxExtensions = 8

/** RFC 8200 §4. Stops at the first header that is no extension, at ESP and at the data of a later fragment. */
const walkExtensions = (bytes: Uint8Array, view: PacketView, cut: boolean): number => {
  const end = view.offset + view.length
  let at = view.offset + 40
  let next = bytes[view.offset + 6]!
  let sawFragment = false
  for (let count = 0; view.fragmentOffset === 0 && isExtension(next); count++) {
    if (count === maxExtensions) return ParseReason.TooManyExtensions
    if (at + 8 > end) return ParseReason.TransportTruncated
    const size = next === 44 ? 8 : next === 51 ? (bytes[at + 1]! + 2) << 2 : (bytes[at + 1]! + 1) << 3
    if (at + size > end) return ParseReason.TransportTruncated
    if (next === 0 && count !== 0) return ParseReason.BadExtension
    if (next === 43 && bytes[at + 3] !== 0) return ParseReason.SourceRouted
    if (next === 44) {
      if (sawFragment) return ParseReason.BadExtension
      sawFragment = true
      const field = read16(bytes, at + 2)
      view.fragmentOffset = field & 0xfff8
      view.fragment = (field & 0xfff9) !== 0
      view.identification = read32(bytes, at + 4)
      const fragmentEnd = view.fragmentOffset + end - at - 8
      if (fragmentEnd > maxPacketLength) return ParseReason.BadFragment
      view.fragmentEnd = view.fragment ? fragmentEnd : 0
      if ((field & 1) !== 0 && !cut && isNoUnit(end - at - 8)) return ParseReason.BadFragment
    }
    next = bytes[at]!
    at += size
  }
  view.protocol = next
  view.transport = at
  view.transportLength = end - at
  return 0
}

/** Whether another fragment cannot begin after so many bytes. */
const isNoUnit = (length: number): boolean => length === 0 || (length & 7) !== 0

/** Hop-by-hop options, routing, fragment, authentication, destination options. */
const isExtension = (next: number): boolean => next === 0 || next === 43 || next === 44 || next === 51 || next === 60

const parseTransport = (bytes: Uint8Array, view: PacketView, cut: boolean): number => {
  const at = view.transport
  const length = view.transportLength
  const protocol = view.protocol
  if (protocol === protocolTcp) {
    if (length < (cut ? 8 : 20)) return ParseReason.TransportTruncated
    view.sourcePort = read16(bytes, at)
    view.destinationPort = read16(bytes, at + 2)
    if (length >= 14) view.tcpFlags = bytes[at + 13]!
    if (cut) return 0
    const headerLength = (bytes[at + 12]! >>> 4) << 2
    if (headerLength < 20) return ParseReason.BadHeaderLength
    return headerLength > length ? ParseReason.TransportTruncated : 0
  }
  if (protocol === protocolUdp) {
    if (length < 8) return ParseReason.TransportTruncated
    view.sourcePort = read16(bytes, at)
    view.destinationPort = read16(bytes, at + 2)
    const udpLength = read16(bytes, at + 4)
    if (udpLength < 8) return ParseReason.BadLength
    return udpLength > length && !cut && !view.fragment ? ParseReason.BadLength : 0
  }
  const version = view.version
  if (protocol === (version === 4 ? protocolIcmp : protocolIcmpv6)) {
    if (length < 8) return ParseReason.TransportTruncated
    const type = bytes[at]!
    view.icmpType = type
    view.icmpCode = bytes[at + 1]!
    view.echo = version === 4 ? type === 8 || type === 0 : type === 128 || type === 129
    view.icmpError = version === 4 ? type === 3 || type === 4 || type === 5 || type === 11 || type === 12 : type < 128
    view.query = version === 4 ? isQuery4(type) : view.echo || type === 160 || type === 161
    if (view.query) {
      const identifier = read16(bytes, at + 4)
      view.sourcePort = identifier
      view.destinationPort = identifier
    }
  }
  return 0
}

/** Types 0 and 8 are echo, 13 and 14 timestamp, 15 and 16 information, 17 and 18 address mask, 42 and 43 extended echo. */
const isQuery4 = (type: number): boolean =>
  type === 0 || type === 8 || (type >= 13 && type <= 18) || type === 42 || type === 43

/** Whether a query asks, rather than answers. */
export const isRequest = (view: Readonly<PacketView>): boolean => {
  const type = view.icmpType
  if (!view.query) return false
  if (view.version === 6) return type === 128 || type === 160
  return type === 8 || type === 13 || type === 15 || type === 17 || type === 42
}
