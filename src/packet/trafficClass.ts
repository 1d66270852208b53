/**
 * What an inner packet and its tunnel say to each other in the traffic class (RFC 2474: six bits of service class; RFC
 * 3168: two of congestion notification). Going in, the tunnel's header has the packet's; coming out, the packet keeps its
 * own, but hears of congestion on the way (RFC 6040).
 */
import { read16, write16 } from "./bytes.ts"
import { applyDelta, delta16 } from "./checksum.ts"

const congested = 3

/** Traffic class of the IP packet at `offset`, a byte. */
export const trafficClassOf = (bytes: Uint8Array, offset: number): number => {
  const first = bytes[offset]!
  const second = bytes[offset + 1]!
  return first >>> 4 === 6 ? ((first & 15) << 4) | (second >>> 4) : second
}

/** Whether a router on the way was congested. */
export const isCongested = (trafficClass: number): boolean => (trafficClass & congested) === congested

/**
 * Tells the packet in bytes[offset, offset + length) that its tunnel's header met congestion, if its sender understands
 * that. False: it does not, and the packet is to be dropped, as the router would have done (RFC 6040 §4.2). What is no IP
 * packet stays as it is.
 */
export const hearCongestion = (bytes: Uint8Array, offset: number, length: number): boolean => {
  if (length < 20) return true
  const version = bytes[offset]! >>> 4
  if (version !== 4 && version !== 6) return true
  if ((trafficClassOf(bytes, offset) & congested) === 0) return false
  if (version === 6) {
    bytes[offset + 1]! |= congested << 4
    return true
  }
  const held = read16(bytes, offset)
  write16(bytes, offset, held | congested)
  write16(bytes, offset + 10, applyDelta(read16(bytes, offset + 10), delta16(held, held | congested)))
  return true
}
