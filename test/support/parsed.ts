import { assert } from "@effect/vitest"
import { makePacketView, type PacketView, parsePacket, parseReasons } from "../../src/packet/packetView.ts"

/** The view of a packet that has to be read with that result; 0 is no complaint. */
export const parse = (packet: Uint8Array, expected = 0): PacketView => {
  const view = makePacketView()
  assert.strictEqual(parseReasons[parsePacket(packet, 0, packet.length, view)], parseReasons[expected])
  return view
}
