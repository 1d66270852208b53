import { assert, describe, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import { parseAddress } from "../../src/packet/address.ts"
import { ipv4HeaderChecksumOk, makeChecksum, transportChecksumOk } from "../../src/packet/checksum.ts"
import { makePacketView, parsePacket } from "../../src/packet/packetView.ts"
import { makeAckFields, maxAckLength, readAckFields, writeAck } from "../../src/packet/tcpAck.ts"
import { buildTcp } from "../support/packets.ts"

const Word = Schema.Int.check(Schema.isBetween({ minimum: -(2 ** 31), maximum: 2 ** 31 - 1 }))
const Port = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 65_535 }))
const Fields = Schema.Struct({
  sourcePort: Port,
  destinationPort: Port,
  sequence: Word,
  acknowledgement: Word,
  window: Port,
  timestamped: Schema.Boolean,
  timestamp: Word,
  timestampEcho: Word
})

const families = [
  ["10.20.0.10", "100.64.1.1"],
  ["fd5a:20::10", "fd00:2021:1111::1:1"]
] as const

describe("an empty segment", () => {
  it.prop("is a whole packet with right sums that says what it was told, in both families", [Fields], ([fields]) => {
    for (const [source, destination] of families) {
      const bytes = new Uint8Array(maxAckLength + 8).fill(0xee)
      const length = writeAck(bytes, 4, parseAddress(source)!, parseAddress(destination)!, fields)
      assert.isAtMost(length, maxAckLength)
      assert.deepStrictEqual([bytes[3], bytes[4 + length]], [0xee, 0xee])

      const view = makePacketView()
      assert.strictEqual(parsePacket(bytes, 4, length, view), 0)
      assert.strictEqual(view.length, length)
      assert.strictEqual(view.tcpFlags, 0x10)
      assert.deepStrictEqual({ ...view.source }, parseAddress(source))
      assert.deepStrictEqual({ ...view.destination }, parseAddress(destination))
      if (view.version === 4) assert.isTrue(ipv4HeaderChecksumOk(bytes, view))
      assert.isTrue(transportChecksumOk(bytes, view, makeChecksum(bytes)))

      const read = makeAckFields()
      readAckFields(bytes, view, read)
      const none = fields.timestamped ? {} : { timestamp: 0, timestampEcho: 0 }
      assert.deepStrictEqual(read, { ...fields, ...none })
    }
  })

  const Options = Schema.Array(Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 255 }))).check(
    Schema.isMaxLength(40)
  )

  it.prop("is read of a segment with any bytes of options, and never from behind them", [Options], ([options]) => {
    const packet = buildTcp({
      source: "10.20.0.10",
      destination: "100.64.1.1",
      sourcePort: 443,
      destinationPort: 50_000,
      flags: 0x10,
      sequence: 7,
      acknowledgement: 9,
      tcpOptions: Uint8Array.from(options),
      // Looks like the option.
      payload: Uint8Array.from([8, 10, 1, 2, 3, 4, 5, 6, 7, 8])
    })
    const view = makePacketView()
    assert.strictEqual(parsePacket(packet, 0, packet.length, view), 0)
    const read = makeAckFields()

    readAckFields(packet, view, read)

    assert.deepInclude(read, { sourcePort: 443, destinationPort: 50_000, sequence: 7, acknowledgement: 9 })
    if (!options.includes(8)) assert.isFalse(read.timestamped)
  })
})
