import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import { isInside, withoutEndpoint } from "../../src/config/loopFree.ts"
import { contains, formatAddress, mask, parseAddress, parseNetwork, words } from "../../src/packet/address.ts"

const Byte = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 255 }))
const Prefix = Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 32 }))

describe("networks without the endpoint", () => {
  it("are what they were where it is elsewhere, of the other family, or where everything is routed", () => {
    const networks = ["10.0.0.0/8", "fd00::/8", "0.0.0.0/0", "::/0"]
    assert.deepStrictEqual(withoutEndpoint(networks, ["192.0.2.1", "2001:db8::1"]), networks)
  })

  it("hold no address of the other family, whose words they may have", () => {
    assert.isFalse(isInside("192.0.2.1", "::/64"))
    assert.isTrue(isInside("::2", "::/64"))
  })

  it("cover every neighbour of the endpoint once, whichever bit it differs in", () => {
    const endpoint = parseAddress("2001:db8:5555:5555:5555:5555:5555:5555")!
    const parts = withoutEndpoint(["2000::/3"], [formatAddress(endpoint)]).map((part) => parseNetwork(part)!)
    assert.lengthOf(parts, 125)
    for (let bit = 3; bit < 128; bit++) {
      const neighbour = { ...endpoint }
      neighbour[`w${(bit >> 5) as 0 | 1 | 2 | 3}`] ^= 1 << (31 - (bit & 31))
      assert.lengthOf(
        parts.filter((part) => contains(part, neighbour)),
        1,
        `bit ${bit}`
      )
    }
  })

  it("leave out every address of it", () => {
    assert.deepStrictEqual(withoutEndpoint(["192.0.2.0/30"], ["192.0.2.1"]), ["192.0.2.2/31", "192.0.2.0/32"])
    assert.deepStrictEqual(withoutEndpoint(["192.0.2.0/30"], ["192.0.2.1", "192.0.2.2"]), [
      "192.0.2.3/32",
      "192.0.2.0/32"
    ])
    assert.deepStrictEqual(withoutEndpoint(["192.0.2.1/32"], ["192.0.2.1"]), [])
    assert.deepStrictEqual(withoutEndpoint(["fd00::/126"], ["fd00::3"]), ["fd00::/127", "fd00::2/128"])
  })

  it.prop("cover all else, and only that", [Byte, Byte, Prefix, Byte, Byte], ([a, b, length, c, d]) => {
    const prefix = Math.max(8, length)
    const endpoint = words(0, 0, 0xffff, (10 << 24) | (a << 16) | (b << 8) | 1)
    const network = `${formatAddress(mask(endpoint, prefix + 96))}/${prefix}`
    const other = words(0, 0, 0xffff, (10 << 24) | (c << 16) | (d << 8) | 7)
    const parts = withoutEndpoint([network], [formatAddress(endpoint)])
    const covered = (address: typeof other) => parts.filter((part) => contains(parseNetwork(part)!, address)).length
    assert.strictEqual(covered(endpoint), 0)
    assert.strictEqual(covered(other), isInside(formatAddress(other), network) ? 1 : 0)
    assert.isDefined(parseAddress(formatAddress(other)))
  })
})
