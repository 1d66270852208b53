/**
 * The in-tunnel control packet (docs/portal-protocol.md, "Control messages in the tunnel"): an IPv6 packet from `::` to
 * `::` with next header 255. Behind the IPv6 header come the event's number, seven bytes of zero, and the event's
 * payload. Not acknowledged; events are idempotent.
 */
import { isUnspecified } from "./address.ts"
import { write16 } from "./bytes.ts"
import type { PacketView } from "./packetView.ts"

const protocolControl = 255
const ipHeader = 40
const eventHeader = 8

/** Most bytes of an event's payload: the packet must fit the smallest IPv6 MTU. */
export const maxControlPayload = 1_280 - ipHeader - eventHeader

/** Whether a packet has the addresses and the protocol of control packets; it need not be a well-formed one. */
export const isControl = (view: Readonly<PacketView>): boolean =>
  view.protocol === protocolControl &&
  view.version === 6 &&
  isUnspecified(view.source) &&
  isUnspecified(view.destination)

/** A well-formed control packet: no extension headers, an event header, a payload of at most `maxControlPayload`. */
export const isWholeControl = (view: Readonly<PacketView>): boolean =>
  view.transport === view.offset + ipHeader &&
  view.transportLength >= eventHeader &&
  view.transportLength <= eventHeader + maxControlPayload

/** Number of a whole control packet's event: 0 AssignedIps, 1 DomainStatus, 2 Goodbye. */
export const controlEvent = (bytes: Uint8Array, view: Readonly<PacketView>): number => bytes[view.transport]!

/** A copy of the event's payload. */
export const controlPayload = (bytes: Uint8Array, view: Readonly<PacketView>): Uint8Array =>
  bytes.slice(view.transport + eventHeader, view.transport + view.transportLength)

/** Writes the packet at `at` and returns its length. `payload` is at most `maxControlPayload` bytes. */
export const writeControl = (bytes: Uint8Array, at: number, event: number, payload: Uint8Array): number => {
  const length = ipHeader + eventHeader + payload.length
  bytes.fill(0, at, at + ipHeader + eventHeader)
  bytes[at] = 0x60
  write16(bytes, at + 4, length - ipHeader)
  bytes[at + 6] = protocolControl
  bytes[at + ipHeader] = event
  bytes.set(payload, at + ipHeader + eventHeader)
  return length
}
