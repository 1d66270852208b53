import { assert, describe, it } from "@effect/vitest"
import {
  applyDelta,
  delta16,
  fold,
  ipv4HeaderChecksumOk,
  makeChecksum,
  pseudoHeaderSum,
  sumBytes,
  transportChecksumOk
} from "../../src/packet/checksum.ts"
import { makePacketView, parsePacket } from "../../src/packet/packetView.ts"
import { build, byte, bytes, integer, packetSpec, port } from "../support/packetArbitraries.ts"
import { concat } from "../../src/packet/bytes.ts"
import { addressWords, buildFragment, buildIp, buildUdp, checksum, partialChecksum } from "../support/packets.ts"

const hex = (text: string) => Uint8Array.from(text.split(" "), (b) => Number.parseInt(b, 16))

describe("sumBytes", () => {
  it("is ddf2 for the example of RFC 1071", () => {
    assert.strictEqual(sumBytes(hex("00 01 f2 03 f4 f5 f6 f7"), 0, 8, 0), 0xddf2)
  })

  it("makes the checksum b861 of a well-known IPv4 header", () => {
    const header = hex("45 00 00 73 00 00 40 00 40 11 00 00 c0 a8 00 01 c0 a8 00 c7")
    assert.strictEqual(~sumBytes(header, 0, 20, 0) & 0xffff, 0xb861)
  })

  it.prop(
    "agrees with RFC 1071 read literally, at any offset and length",
    [bytes(200), integer(0, 9)],
    ([data, at]) => {
      const shifted = concat([new Uint8Array(at).fill(0xa5), data, new Uint8Array(3).fill(0x5a)])
      assert.strictEqual(~sumBytes(shifted, at, data.length, 0) & 0xffff, checksum(data))
      assert.strictEqual(makeChecksum(shifted)(at, data.length, 0), sumBytes(shifted, at, data.length, 0))
    }
  )

  it("adds the carry of a carry back in", () => {
    assert.strictEqual(sumBytes(hex("ff ff ff ff 00 01"), 0, 6, 0), 1)
  })

  it("does not overflow on the longest packet of all ones", () => {
    const data = new Uint8Array(65535).fill(0xff)
    assert.strictEqual(~sumBytes(data, 0, 65535, 0xffff) & 0xffff, checksum(concat([data, hex("00 ff ff")])))
  })

  it.prop("carries on from the sum of an even number of bytes before", [bytes(60), bytes(60)], ([a, b]) => {
    const even = a.subarray(0, a.length & ~1)
    const whole = concat([even, b])
    assert.strictEqual(sumBytes(b, 0, b.length, sumBytes(even, 0, even.length, 0)), sumBytes(whole, 0, whole.length, 0))
  })
})

describe("fold", () => {
  it.each([
    [0, 0],
    [0xffff, 0xffff],
    [0x10000, 1],
    [0x1ffff, 1],
    [0xfffeffff, 0xfffe],
    [0xffffffff, 0xffff]
  ])("brings %d down to %d", (sum, folded) => {
    assert.strictEqual(fold(sum), folded)
  })
})

describe("incremental update", () => {
  it("gives 0000 for the example of RFC 1624 §4 where RFC 1141 gave ffff", () => {
    assert.strictEqual(applyDelta(0xdd2f, delta16(0x5555, 0x3285)), 0x0000)
  })

  it.prop("of one 16-bit word is what the whole sum gives", [bytes(40), integer(0, 19), port], ([data, at, value]) => {
    const before = concat([hex("45 00"), data, new Uint8Array(40 - data.length)])
    const after = before.slice()
    const index = 2 + at * 2
    after.set([value >>> 8, value & 255], index)
    const held = (before[index]! << 8) | before[index + 1]!
    assert.strictEqual(applyDelta(checksum(before), delta16(held, value)), checksum(after))
  })
})

describe("pseudoHeaderSum", () => {
  it.each([
    ["10.1.2.3", "192.168.255.255"],
    ["255.255.255.255", "255.255.255.255"],
    ["0.0.0.0", "0.0.0.0"],
    ["2001:db8::1", "fd00:2021:1111:8000::7"],
    ["::", "::"]
  ])("from %s to %s is that of RFC 768 and RFC 8200", (source, destination) => {
    const sum = pseudoHeaderSum(addressWords(source), addressWords(destination), 17, 1234)
    assert.strictEqual(sum, partialChecksum({ source, destination }, 17, 1234))
  })
})

describe("transportChecksumOk and ipv4HeaderChecksumOk", () => {
  it.prop("hold for every packet as built", [packetSpec], ([spec]) => {
    const packet = build(spec)
    const view = makePacketView()
    assert.strictEqual(parsePacket(packet, 0, packet.length, view), 0)
    assert.isTrue(transportChecksumOk(packet, view, makeChecksum(packet)))
    assert.isTrue(ipv4HeaderChecksumOk(packet, view))
  })

  it.prop("fail when one bit of the data changes", [packetSpec, port, byte], ([spec, at, bit]) => {
    const packet = build(spec)
    const view = makePacketView()
    parsePacket(packet, 0, packet.length, view)
    // Not the UDP length and checksum fields: they have their own tests.
    const start = view.transport + (view.protocol === 17 ? 8 : 0)
    const room = view.offset + view.length - start
    if (spec.kind === "udpWithoutChecksum" || room === 0) return
    const index = start + (at % room)
    packet[index] = packet[index]! ^ (1 << (bit & 7))
    assert.isFalse(transportChecksumOk(packet, view, makeChecksum(packet)))
  })

  it("both see a changed address", () => {
    const packet = buildUdp({ source: "10.0.0.1", destination: "10.0.0.2", sourcePort: 1, destinationPort: 2 })
    const view = makePacketView()
    parsePacket(packet, 0, packet.length, view)
    packet[15] = 9
    assert.isFalse(ipv4HeaderChecksumOk(packet, view))
    parsePacket(packet, 0, packet.length, view)
    assert.isFalse(transportChecksumOk(packet, view, makeChecksum(packet)))
  })

  it("a UDP checksum of 0 is none over IPv4 and wrong over IPv6", () => {
    const o = { sourcePort: 1, destinationPort: 2, withoutChecksum: true }
    const v4 = buildUdp({ ...o, source: "10.0.0.1", destination: "10.0.0.2" })
    const v6 = buildUdp({ ...o, source: "fd00::1", destination: "fd00::2" })
    const view = makePacketView()
    parsePacket(v4, 0, v4.length, view)
    assert.isTrue(transportChecksumOk(v4, view, makeChecksum(v4)))
    parsePacket(v6, 0, v6.length, view)
    assert.isFalse(transportChecksumOk(v6, view, makeChecksum(v6)))
  })

  it("a UDP checksum ends where UDP ends, before other bytes of the IP packet", () => {
    const o = { source: "10.0.0.1", destination: "10.0.0.2" }
    const udp = buildUdp({ ...o, sourcePort: 1, destinationPort: 2, payload: hex("01 02 03") }).slice(20)
    const packet = buildIp(o, 17, concat([udp, hex("aa bb cc")]))
    const view = makePacketView()
    parsePacket(packet, 0, packet.length, view)
    assert.isTrue(transportChecksumOk(packet, view, makeChecksum(packet)))
  })

  it("cannot fault fragments and unknown protocols", () => {
    const o = { source: "10.0.0.1", destination: "10.0.0.2" }
    const data = new Uint8Array(64).fill(7)
    const view = makePacketView()
    for (const packet of [
      ...buildFragment({ ...o, protocol: 6, data: tcpLike(data), size: 32, identification: 1 }),
      buildIp(o, 47, data)
    ]) {
      assert.strictEqual(parsePacket(packet, 0, packet.length, view), 0)
      assert.isTrue(transportChecksumOk(packet, view, makeChecksum(packet)))
    }
  })
})

/** Data that begins like a TCP header of 20 bytes with a wrong checksum. */
const tcpLike = (data: Uint8Array) => {
  const tcp = data.slice()
  tcp[12] = 0x50
  return tcp
}
