import { assert } from "@effect/vitest"
import { makePacketView, type PacketView, parsePacket } from "../../src/packet/packetView.ts"
import { ParseReason } from "../../src/packet/parseReason.ts"

const reasons = ["Ok", ...Object.keys(ParseReason)]

/** The view of a packet that has to be read with that result; 0 is no complaint. */
export const parse = (packet: Uint8Array, expected = 0): PacketView => {
  const view = makePacketView()
  assert.strictEqual(reasons[parsePacket(packet, 0, packet.length, view)], reasons[expected])
  return view
}
