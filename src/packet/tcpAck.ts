import { isIpv4, type Words, writeAddress } from "./address.ts"
import { read16, read32, write16, write32 } from "./bytes.ts"
import { pseudoHeaderSum, sumBytes } from "./checksum.ts"
import type { PacketView } from "./packetView.ts"
import { protocolTcp, tcpAck } from "./protocols.ts"

/** What a TCP segment without payload says, besides its addresses. */
export interface AckFields {
  sourcePort: number
  destinationPort: number
  /** Signed words. */
  sequence: number
  acknowledgement: number
  /** As in the header, unscaled. */
  window: number
  /** The option of RFC 7323 §3: who has once agreed on it drops segments that are without. */
  timestamped: boolean
  timestamp: number
  timestampEcho: number
}

export const makeAckFields = (): AckFields => ({
  sourcePort: 0,
  destinationPort: 0,
  sequence: 0,
  acknowledgement: 0,
  window: 0,
  timestamped: false,
  timestamp: 0,
  timestampEcho: 0
})

/** The longest that `writeAck` writes. */
export const maxAckLength = 40 + 20 + 12

/** Reads those of a whole TCP segment that was parsed into `view`. */
export const readAckFields = (bytes: Uint8Array, view: Readonly<PacketView>, to: AckFields): void => {
  const { transport } = view
  to.sourcePort = view.sourcePort
  to.destinationPort = view.destinationPort
  to.sequence = read32(bytes, transport + 4) | 0
  to.acknowledgement = read32(bytes, transport + 8) | 0
  to.window = read16(bytes, transport + 14)
  const option = findTimestamp(
    bytes,
    transport + 20,
    transport + Math.min((bytes[transport + 12]! >>> 4) * 4, view.transportLength)
  )
  to.timestamped = option > 0
  to.timestamp = option > 0 ? read32(bytes, option + 2) | 0 : 0
  to.timestampEcho = option > 0 ? read32(bytes, option + 6) | 0 : 0
}

/** Writes at bytes[at…] a whole IP packet with an empty segment that has ACK set and nothing else. Returns its length. */
export const writeAck = (
  bytes: Uint8Array,
  at: number,
  source: Readonly<Words>,
  destination: Readonly<Words>,
  fields: Readonly<AckFields>
): number => {
  const v4 = isIpv4(source)
  const tcp = at + (v4 ? 20 : 40)
  const tcpLength = fields.timestamped ? 32 : 20
  bytes.fill(0, at, tcp + tcpLength)
  bytes[at] = v4 ? 0x45 : 0x60
  write16(bytes, at + (v4 ? 2 : 4), v4 ? 20 + tcpLength : tcpLength)
  // Identification 0 and DF: an atomic datagram, RFC 6864.
  if (v4) write32(bytes, at + 4, 0x4000)
  bytes[at + (v4 ? 8 : 7)] = 64
  bytes[at + (v4 ? 9 : 6)] = protocolTcp
  writeAddress(bytes, at + (v4 ? 12 : 8), source)
  writeAddress(bytes, at + (v4 ? 16 : 24), destination)
  if (v4) write16(bytes, at + 10, ~sumBytes(bytes, at, 20, 0) & 0xffff)
  write16(bytes, tcp, fields.sourcePort)
  write16(bytes, tcp + 2, fields.destinationPort)
  write32(bytes, tcp + 4, fields.sequence)
  write32(bytes, tcp + 8, fields.acknowledgement)
  bytes[tcp + 12] = (tcpLength / 4) << 4
  bytes[tcp + 13] = tcpAck
  write16(bytes, tcp + 14, fields.window)
  if (fields.timestamped) {
    // Aligned by two that do nothing, as RFC 7323 appendix A shows.
    write32(bytes, tcp + 20, 0x0101_080a)
    write32(bytes, tcp + 24, fields.timestamp)
    write32(bytes, tcp + 28, fields.timestampEcho)
  }
  const initial = pseudoHeaderSum(source, destination, protocolTcp, tcpLength)
  write16(bytes, tcp + 16, ~sumBytes(bytes, tcp, tcpLength, initial) & 0xffff)
  return tcp + tcpLength - at
}

/** Where the option begins in the bytes of options, or 0. */
const findTimestamp = (bytes: Uint8Array, start: number, end: number): number => {
  for (let at = start; at < end;) {
    const kind = bytes[at]!
    if (kind === 0) return 0
    if (kind === 1) {
      at++
      continue
    }
    const length = at + 1 < end ? bytes[at + 1]! : 0
    if (length < 2 || at + length > end) return 0
    if (kind === 8 && length === 10) return at
    at += length
  }
  return 0
}
