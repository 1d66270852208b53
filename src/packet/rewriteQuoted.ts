import { isIpv4, type Words } from "./address.ts"
import { read16, write16 } from "./bytes.ts"
import { applyDelta, checksumOffset, delta16, fold } from "./checksum.ts"
import type { PacketView } from "./packetView.ts"
import { addressAt, fixTransport, hasPort, replaceAddress, replacePort } from "./rewrite.ts"

/**
 * Inward translation of an ICMP error: the packet quoted in it, seen from outside after
 * `rewriteDestination`, becomes what the client had sent (destination, source port or ICMP
 * identifier), and the error seems to come from `outerSource`. Every checksum is fixed by increment:
 * quoted IPv4 header, quoted transport (when quoted far enough), outer IPv4 header, outer ICMP.
 *
 * `error` and `quoted` are the views that `parsePacket` and `parseQuoted` filled; both are updated.
 * `partial` as in `rewriteDestination`, for the outer packet. False, and nothing is changed, when an
 * address is of the other family or the quoted protocol cannot be translated.
 */
export const rewriteQuoted = (
  bytes: Uint8Array,
  error: PacketView,
  quoted: PacketView,
  outerSource: Readonly<Words>,
  quotedDestination: Readonly<Words>,
  quotedSourcePort: number,
  partial = false
): boolean => {
  const v4 = error.version === 4
  if (quoted.version !== error.version || checksumOffset(quoted) < 0) return false
  if (isIpv4(outerSource) !== v4 || isIpv4(quotedDestination) !== v4) return false

  const headerSumAt = quoted.offset + 10
  const headerSum = v4 ? read16(bytes, headerSumAt) : 0
  const addressDelta = replaceAddress(bytes, quoted, addressAt(quoted, true), quoted.destination, quotedDestination)
  const portDelta = replacePort(bytes, quoted, 0, quoted.sourcePort, quotedSourcePort)
  if (hasPort(quoted)) {
    quoted.sourcePort = quotedSourcePort
    if (quoted.query) quoted.destinationPort = quotedSourcePort
  }
  const transportDelta = fixTransport(bytes, quoted, addressDelta, portDelta, false)
  const headerDelta = v4 ? delta16(headerSum, read16(bytes, headerSumAt)) : 0

  const sourceDelta = replaceAddress(bytes, error, addressAt(error, false), error.source, outerSource)
  const pseudo = v4 ? 0 : sourceDelta
  const at = error.transport + 2
  const held = read16(bytes, at)
  write16(
    bytes,
    at,
    partial ? fold(held + pseudo) : applyDelta(held, pseudo + addressDelta + portDelta + transportDelta + headerDelta)
  )
  return true
}
