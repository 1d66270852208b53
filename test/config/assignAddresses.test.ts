import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import { assignAddresses, gatewayAddress, refuseFixed } from "../../src/config/assignAddresses.ts"
import { contains, parseAddress, parseNetwork } from "../../src/packet/address.ts"

const claim = (n: number, fixed?: string) => {
  const publicKey = new Uint8Array(32)
  new DataView(publicKey.buffer).setUint32(28, n)
  return { publicKey, fixed }
}

const Numbers = Schema.UniqueArray(Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 4000 })))

describe("tunnel addresses", () => {
  it("give the gateway the first host address", () => {
    assert.strictEqual(gatewayAddress("100.64.0.0/11"), "100.64.0.1")
    assert.strictEqual(gatewayAddress("fd00:2021:1111::/107"), "fd00:2021:1111::1")
  })

  it.prop(
    "are unique, inside the range and never the gateway's, in a nearly full range too",
    [Numbers],
    ([numbers]) => {
      for (const range of ["10.9.8.0/25", "fd00::/107"]) {
        const claims = numbers.slice(0, 125).map((n) => claim(n))
        const addresses = assignAddresses(range, claims)!
        assert.strictEqual(new Set(addresses).size, claims.length)
        for (const address of addresses) {
          assert.isTrue(contains(parseNetwork(range)!, parseAddress(address)!))
          assert.isUndefined(refuseFixed(range, address, parseAddress(address)!))
        }
      }
    }
  )

  it.prop("do not depend on the order of the file", [Numbers], ([numbers]) => {
    const claims = numbers.slice(0, 60).map((n) => claim(n))
    const forward = assignAddresses("10.9.8.0/26", claims)
    const backward = assignAddresses("10.9.8.0/26", claims.toReversed())
    assert.deepStrictEqual(forward, backward?.toReversed())
  })

  it("stay when another client comes, as long as no two fall on one address", () => {
    const claims = [claim(1), claim(2), claim(3)]
    const before = assignAddresses("100.64.0.0/11", claims)!
    const after = assignAddresses("100.64.0.0/11", [claim(77), ...claims])!
    assert.deepStrictEqual(after.slice(1), before)
  })

  it("give way to a fixed address", () => {
    const [own] = assignAddresses("10.9.8.0/24", [claim(5)])!
    const [fixed, moved] = assignAddresses("10.9.8.0/24", [claim(6, own), claim(5)])!
    assert.strictEqual(fixed, own)
    assert.notStrictEqual(moved, own)
  })

  it("fill a range completely and refuse one client more", () => {
    const claims = Array.from({ length: 5 }, (_, i) => claim(i))
    const full = assignAddresses("10.9.8.0/29", claims)
    assert.deepStrictEqual(full?.toSorted(), ["10.9.8.2", "10.9.8.3", "10.9.8.4", "10.9.8.5", "10.9.8.6"])
    assert.isUndefined(assignAddresses("10.9.8.0/29", [...claims, claim(9)]))
  })
})
