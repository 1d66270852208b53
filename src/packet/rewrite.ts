import { copyWords, isIpv4, type Words, writeAddress } from "./address.ts"
import { read16, write16 } from "./bytes.ts"
import { addressSum, applyDelta, checksumOffset, delta16, fold } from "./checksum.ts"
import type { PacketView } from "./packetView.ts"
import { protocolIcmp, protocolTcp, protocolUdp, tcpSyn } from "./protocols.ts"

/**
 * Outward translation: another destination address, another source port (or ICMP identifier). Bytes
 * and view change together, all checksums by increment. Of a later fragment only the addresses change.
 *
 * `partial`: the transport checksum field holds the folded pseudo-header sum, not inverted, and the
 * kernel completes it (virtio NEEDS_CSUM); then only the address counts towards it.
 *
 * False, and nothing is changed, when the address is of the other family or the protocol is not TCP,
 * UDP, ICMP or ICMPv6 of its family (whose checksum could not be kept right).
 */
export const rewriteDestination = (
  bytes: Uint8Array,
  view: PacketView,
  address: Readonly<Words>,
  newSourcePort: number,
  partial = false
): boolean => {
  if (!canRewrite(view, address)) return false
  const delta = replaceAddress(bytes, view, addressAt(view, true), view.destination, address)
  const portDelta = replacePort(bytes, view, 0, view.sourcePort, newSourcePort)
  if (hasPort(view)) {
    view.sourcePort = newSourcePort
    if (view.query) view.destinationPort = newSourcePort
  }
  fixTransport(bytes, view, delta, portDelta, partial)
  return true
}

/** Inward translation, the mirror of `rewriteDestination`: another source address and destination port. */
export const rewriteSource = (
  bytes: Uint8Array,
  view: PacketView,
  address: Readonly<Words>,
  newDestinationPort: number,
  partial = false
): boolean => {
  if (!canRewrite(view, address)) return false
  const delta = replaceAddress(bytes, view, addressAt(view, false), view.source, address)
  const portDelta = replacePort(bytes, view, 2, view.destinationPort, newDestinationPort)
  if (hasPort(view)) {
    view.destinationPort = newDestinationPort
    if (view.query) view.sourcePort = newDestinationPort
  }
  fixTransport(bytes, view, delta, portDelta, partial)
  return true
}

/** What replacing an address adds to a sum (RFC 1624), folded. */
export const addressDelta = (held: Readonly<Words>, address: Readonly<Words>): number =>
  // An address is replaced whole, so ~m summed over its words is the inverse of the folded sum of m.
  fold((~fold(addressSum(held)) & 0xffff) + addressSum(address))

/** Adds a delta of address words to the checksum of an IPv4 header; nothing to do for IPv6. */
export const fixIpv4Header = (bytes: Uint8Array, view: Readonly<PacketView>, delta: number): void => {
  if (view.version !== 4) return
  const at = view.offset + 10
  write16(bytes, at, applyDelta(read16(bytes, at), delta))
}

/** Replaces an address in the header and in the view, IPv4 header checksum included. Returns the delta, folded. */
export const replaceAddress = (
  bytes: Uint8Array,
  view: PacketView,
  at: number,
  held: Words,
  address: Readonly<Words>
): number => {
  const delta = addressDelta(held, address)
  writeAddress(bytes, at, address)
  copyWords(address, held)
  fixIpv4Header(bytes, view, delta)
  return delta
}

/** Absolute position of the destination (else source) address in the header. */
export const addressAt = (view: Readonly<PacketView>, destination: boolean): number =>
  view.offset + (view.version === 4 ? (destination ? 16 : 12) : destination ? 24 : 8)

/** Whether a port or an ICMP identifier stands in the header. */
export const hasPort = (view: Readonly<PacketView>): boolean =>
  view.fragmentOffset === 0 && (view.protocol === protocolTcp || view.protocol === protocolUdp || view.query)

/** Writes the port at `portOffset` of the transport header (or the identifier). Returns the delta. */
export const replacePort = (
  bytes: Uint8Array,
  view: Readonly<PacketView>,
  portOffset: number,
  held: number,
  port: number
): number => {
  if (!hasPort(view)) return 0
  write16(bytes, view.transport + (view.query ? 4 : portOffset), port)
  return delta16(held, port)
}

/**
 * Brings the transport checksum up to date, when it is there (not in a later fragment, maybe not in a quoted
 * packet). Returns the delta of the field itself, for a checksum around it.
 */
export const fixTransport = (
  bytes: Uint8Array,
  view: Readonly<PacketView>,
  addressDelta: number,
  portDelta: number,
  partial: boolean
): number => {
  const offset = checksumOffset(view)
  if (view.fragmentOffset !== 0 || view.transportLength < offset + 2) return 0
  const at = view.transport + offset
  const held = read16(bytes, at)
  const udp = view.protocol === protocolUdp
  if (udp && held === 0 && !partial) return 0
  const pseudo = view.protocol === protocolIcmp ? 0 : addressDelta
  let sum = partial ? fold(held + pseudo) : applyDelta(held, pseudo + portDelta)
  if (udp && sum === 0) sum = 0xffff
  write16(bytes, at, sum)
  return delta16(held, sum)
}

/**
 * Lowers the MSS option of a TCP SYN so that a full segment fits an IP packet of `mtu` bytes. True when it
 * was changed. A SYN without the option is left alone: its default (536, 1220) fits any tunnel.
 */
export const clampMss = (bytes: Uint8Array, view: Readonly<PacketView>, mtu: number, partial = false): boolean => {
  if (view.protocol !== protocolTcp || (view.tcpFlags & tcpSyn) === 0 || view.fragment) return false
  const limit = mtu - (view.transport - view.offset) - 20
  const end = view.transport + ((bytes[view.transport + 12]! >>> 4) << 2)
  let at = view.transport + 20
  while (at + 4 <= end) {
    const kind = bytes[at]!
    if (kind === 0) return false
    if (kind === 1) {
      at++
      continue
    }
    const size = bytes[at + 1]!
    if (kind === 2 && size === 4) return lowerMss(bytes, view, at + 2, limit, partial)
    if (size < 2) return false
    at += size
  }
  return false
}

const canRewrite = (view: Readonly<PacketView>, address: Readonly<Words>): boolean =>
  isIpv4(address) === (view.version === 4) && checksumOffset(view) >= 0

const lowerMss = (
  bytes: Uint8Array,
  view: Readonly<PacketView>,
  at: number,
  limit: number,
  partial: boolean
): boolean => {
  const held = read16(bytes, at)
  if (limit < 1 || held <= limit) return false
  write16(bytes, at, limit)
  if (partial) return true
  // An option may stand at an odd offset; then its bytes fall into the other halves of the summed words.
  const odd = ((at - view.transport) & 1) !== 0
  const field = view.transport + 16
  write16(bytes, field, applyDelta(read16(bytes, field), odd ? delta16(swap(held), swap(limit)) : delta16(held, limit)))
  return true
}

const swap = (value: number): number => ((value & 255) << 8) | (value >>> 8)
