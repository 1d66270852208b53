import { assert, describe, it } from "@effect/vitest"
import { ipv4HeaderChecksumOk } from "../../src/packet/checksum.ts"
import { makePacketView, parsePacket } from "../../src/packet/packetView.ts"
import { hearCongestion, isCongested, trafficClassOf } from "../../src/packet/trafficClass.ts"
import { integer } from "../support/packetArbitraries.ts"
import { buildUdp, withTrafficClass } from "../support/packets.ts"

const between4 = { source: "192.0.2.1", destination: "198.51.100.7", sourcePort: 7, destinationPort: 9 }
const between6 = { ...between4, source: "2001:db8::1", destination: "2001:db8::2" }
const [notCapable, capable1, capable0, congested] = [0, 1, 2, 3] as const

for (const [family, between] of [
  [4, between4],
  [6, between6]
] as const) {
  describe(`the traffic class of an IPv${family} packet`, () => {
    const packet = (trafficClass: number) => withTrafficClass(buildUdp(between), trafficClass)
    const heard = (inner: number, outer: number): number | "dropped" => {
      const bytes = packet(inner)
      const passed = !isCongested(outer) || hearCongestion(bytes, 0, bytes.length)
      const view = makePacketView()
      assert.strictEqual(parsePacket(bytes, 0, bytes.length, view), 0)
      assert.isTrue(ipv4HeaderChecksumOk(bytes, view))
      return passed ? trafficClassOf(bytes, 0) : "dropped"
    }

    it.prop("is a byte that can be read", [integer(0, 255)], ([trafficClass]) => {
      assert.strictEqual(trafficClassOf(packet(trafficClass), 0), trafficClass)
    })

    // RFC 6040, figure 4: rows are the inner header, columns the outer one.
    it.each([
      [notCapable, [notCapable, notCapable, notCapable, "dropped"]],
      [capable0, [capable0, capable0, capable0, congested]],
      [capable1, [capable1, capable1, capable1, congested]],
      [congested, [congested, congested, congested, congested]]
    ] as const)("hears of congestion where its sender understands that: %s", (inner, expected) => {
      const classes = [0, 0xb8]
      for (const serviceClass of classes) {
        assert.deepStrictEqual(
          [notCapable, capable0, capable1, congested].map((outer) => heard(inner | serviceClass, outer | 0x48)),
          expected.map((ecn) => (ecn === "dropped" ? ecn : ecn | serviceClass))
        )
      }
    })
  })
}

describe("what is no IP packet", () => {
  it("stays as it is", () => {
    for (const bytes of [new Uint8Array(19).fill(0x45), new Uint8Array(40).fill(0x75)]) {
      const before = bytes.slice()
      assert.isTrue(hearCongestion(bytes, 0, bytes.length))
      assert.deepStrictEqual(bytes, before)
    }
  })
})
