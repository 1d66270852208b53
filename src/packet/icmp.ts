import { isBroadcast, isIpv4, isLoopback, isMulticast, isUnspecified, type Words, writeAddress } from "./address.ts"
import { read16, write16, write32 } from "./bytes.ts"
import { applyDelta, delta16, pseudoHeaderSum, sumBytes } from "./checksum.ts"
import { type PacketView, parseTruncated } from "./packetView.ts"
import { protocolIcmp, protocolIcmpv6, protocolUdp } from "./protocols.ts"

/** Kinds of "destination unreachable", each with its meaning in both families. */
export type Unreachable = 0 | 1
/**
 * IPv4 3/0 network unreachable; ICMPv6 1/3 address unreachable. To who sent UDP, port unreachable (3/3, 1/4): those would be
 * soft errors, which Linux does not tell a connected UDP socket; of this one it hears as ECONNREFUSED.
 */
export const networkUnreachable: Unreachable = 0
/** Administratively prohibited: IPv4 3/13 (RFC 1812), ICMPv6 1/1. */
export const prohibited: Unreachable = 1

/** Most bytes an ICMP error has: RFC 1812 §4.3.2.3 and RFC 4443 §2.4 (c). */
const maxIcmpv4Error = 576
const maxIcmpv6Error = 1280

/**
 * Writes at bytes[at…] a whole IP packet that tells the sender of `original` (a parsed packet in the
 * same array, not overlapping) that it was not delivered. `source` is the sender of the error,
 * normally the original destination. Returns the length, or 0 when no error may be sent (about an ICMP
 * error, a later fragment, a group or no single host) or when it would not fit the array.
 */
export const writeUnreachable = (
  bytes: Uint8Array,
  at: number,
  original: Readonly<PacketView>,
  source: Readonly<Words>,
  kind: Unreachable
): number =>
  original.version === 4
    ? writeError(bytes, at, original, source, 3, kind === prohibited ? 13 : original.protocol === protocolUdp ? 3 : 0)
    : writeError(bytes, at, original, source, 1, kind === prohibited ? 1 : original.protocol === protocolUdp ? 4 : 3)

/**
 * Reads the packet quoted in the ICMP error `error` into `quoted`. False when there is none that could be
 * matched to a flow: not an error, another family, a later fragment, fewer than 8 bytes of its transport header.
 */
export const parseQuoted = (bytes: Uint8Array, error: Readonly<PacketView>, quoted: PacketView): boolean =>
  error.icmpError &&
  !error.fragment &&
  parseTruncated(bytes, error.transport + 8, error.transportLength - 8, quoted) === 0 &&
  quoted.version === error.version &&
  quoted.fragmentOffset === 0 &&
  quoted.transportLength >= 8

/** An ICMP error that says the destination cannot be reached at all; "packet too big" does not. */
export const isUnreachable = (view: Readonly<PacketView>): boolean =>
  view.icmpError && (view.version === 4 ? view.icmpType === 3 && view.icmpCode !== 4 : view.icmpType === 1)

/** Makes port unreachable of an error that says softly that network or host cannot be reached; see `networkUnreachable`. */
export const hardenUnreachable = (bytes: Uint8Array, error: PacketView): void => {
  const { icmpCode, icmpType, transport, version } = error
  const soft = version === 4 ? icmpType === 3 && softCodes4.has(icmpCode) : icmpType === 1 && softCodes6.has(icmpCode)
  if (!soft) return
  const code = version === 4 ? 3 : 4
  const delta = delta16(icmpCode, code)
  bytes[transport + 1] = code
  write16(bytes, transport + 2, applyDelta(read16(bytes, transport + 2), delta))
  error.icmpCode = code
}

/** Network or host unreachable, by the source route, or for the type of service. */
const softCodes4: ReadonlySet<number> = new Set([0, 1, 5, 11, 12])
/** No route, beyond the scope, address unreachable. */
const softCodes6: ReadonlySet<number> = new Set([0, 2, 3])

const writeError = (
  bytes: Uint8Array,
  at: number,
  original: Readonly<PacketView>,
  source: Readonly<Words>,
  type: number,
  code: number
): number => {
  const v4 = original.version === 4
  if (!mayAnswer(original) || isIpv4(source) !== v4) return 0
  const header = v4 ? 20 : 40
  const room = (v4 ? maxIcmpv4Error : maxIcmpv6Error) - header - 8
  const quoted = original.length < room ? original.length : room
  const length = header + 8 + quoted
  if (!(at >= 0 && at + length <= bytes.length)) return 0

  const icmp = at + header
  bytes[icmp] = type
  bytes[icmp + 1] = code
  write16(bytes, icmp + 2, 0)
  write32(bytes, icmp + 4, 0)
  bytes.copyWithin(icmp + 8, original.offset, original.offset + quoted)
  if (v4) writeIpv4Header(bytes, at, length, source, original.source)
  else writeIpv6Header(bytes, at, length, source, original.source)
  const initial = v4 ? 0 : pseudoHeaderSum(source, original.source, protocolIcmpv6, length - header)
  write16(bytes, icmp + 2, ~sumBytes(bytes, icmp, length - header, initial) & 0xffff)
  return length
}

const writeIpv4Header = (
  bytes: Uint8Array,
  at: number,
  length: number,
  source: Readonly<Words>,
  destination: Readonly<Words>
): void => {
  bytes[at] = 0x45
  // Internetwork control precedence, RFC 1812 §4.3.2.5.
  bytes[at + 1] = 0xc0
  write16(bytes, at + 2, length)
  // Identification 0 and DF: an atomic datagram, RFC 6864.
  write32(bytes, at + 4, 0x4000)
  bytes[at + 8] = 64
  bytes[at + 9] = protocolIcmp
  write16(bytes, at + 10, 0)
  writeAddress(bytes, at + 12, source)
  writeAddress(bytes, at + 16, destination)
  write16(bytes, at + 10, ~sumBytes(bytes, at, 20, 0) & 0xffff)
}

const writeIpv6Header = (
  bytes: Uint8Array,
  at: number,
  length: number,
  source: Readonly<Words>,
  destination: Readonly<Words>
): void => {
  write32(bytes, at, 0x60000000)
  write16(bytes, at + 4, length - 40)
  bytes[at + 6] = protocolIcmpv6
  bytes[at + 7] = 64
  writeAddress(bytes, at + 8, source)
  writeAddress(bytes, at + 24, destination)
}

/** RFC 1812 §4.3.2.7 and RFC 4443 §2.4 (e). */
const mayAnswer = (original: Readonly<PacketView>): boolean =>
  !original.icmpError &&
  original.fragmentOffset === 0 &&
  isSingleHost(original.source) &&
  !isMulticast(original.destination) &&
  !isBroadcast(original.destination)

/** Class E (240.0.0.0/4) includes the broadcast address. */
const isSingleHost = (a: Readonly<Words>): boolean =>
  !isUnspecified(a) && !isMulticast(a) && !isLoopback(a) && !(isIpv4(a) && (a.w3 >>> 28 === 0xf || a.w3 >>> 24 === 0))
