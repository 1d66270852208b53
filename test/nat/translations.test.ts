import { assert, describe, it } from "@effect/vitest"
import { MappingState, Translations } from "../../src/nat/translations.ts"
import { parseAddress, type Words, words } from "../../src/packet/address.ts"

const maxAddresses = 32
const address = (text: string): Words => parseAddress(text)!
const p1 = address("100.96.0.1")
const p2 = address("100.96.0.2")
const p6 = address("fd00:2021:1111:8000::1")
const r1 = address("10.0.0.1")
const r2 = address("10.0.0.2")

describe("translations", () => {
  it("find a proxy's mapping at its own client only", () => {
    const t = new Translations()
    t.setMapping(5, 1, 9, [p1, p6], 1)
    t.setMapping(6, 2, 9, [p1], 1)
    assert.deepStrictEqual([t.find(1, p1), t.find(1, p6), t.find(2, p1), t.find(2, p6)], [5, 5, 6, -1])
    assert.deepStrictEqual([t.resourceOf(5), t.clientOf(6), t.resourceOf(7), t.clientOf(7)], [9, 2, -1, -1])
  })

  it("start unresolved and keep the outcome of the latest lookup, whenever an older one comes in", () => {
    const t = new Translations()
    t.setMapping(5, 1, 9, [p1], 1)
    assert.strictEqual(t.state(5), MappingState.Unresolved)
    assert.isTrue(t.setAddresses(5, 2, MappingState.Resolved, [r1], [], 77))
    assert.isFalse(t.setAddresses(5, 1, MappingState.Unresolved, [], [], 0))
    assert.strictEqual(t.state(5), MappingState.Resolved)
    assert.deepStrictEqual(
      [76, 77].map((wall) => t.isStale(5, { wall })),
      [false, true]
    )
    assert.deepStrictEqual(t.addresses(5, p1), [r1])
    assert.deepStrictEqual(t.addresses(5, p6), [])
    assert.isTrue(t.setAddresses(5, 2, MappingState.Resolved, [r2], [], 78))
    assert.deepStrictEqual(t.addresses(5, p1), [r2])
    assert.isFalse(t.setAddresses(6, 1, MappingState.Resolved, [r1], [], 0))
  })

  it("use a bounded number of addresses", () => {
    const t = new Translations()
    t.setMapping(5, 1, 9, [p1], 1)
    t.setAddresses(
      5,
      1,
      MappingState.Resolved,
      Array.from({ length: 100 }, (_, i) => words(0, 0, 0xffff, i)),
      [],
      0
    )
    assert.strictEqual(t.addresses(5, p1).length, maxAddresses)
  })

  it("are untouched by the same mapping again, so that a replay ends no session", () => {
    const t = new Translations()
    assert.deepStrictEqual(t.setMapping(5, 1, 9, [p1, p6], 3), [])
    t.setAddresses(5, 1, MappingState.Resolved, [r1], [], 0)
    assert.deepStrictEqual(t.setMapping(5, 1, 9, [p1, p6], 3), [])
    assert.deepStrictEqual(t.addresses(5, p1), [r1])
  })

  it("name the mapping itself when its generation or proxies change, and keep its addresses", () => {
    const t = new Translations()
    t.setMapping(5, 1, 9, [p1], 3)
    t.setAddresses(5, 1, MappingState.Resolved, [r1], [], 0)
    assert.deepStrictEqual(t.setMapping(5, 1, 9, [p1], 4), [5])
    assert.deepStrictEqual(t.setMapping(5, 1, 9, [p2], 5), [5])
    assert.deepStrictEqual([t.find(1, p1), t.find(1, p2)], [-1, 5])
    assert.deepStrictEqual(t.addresses(5, p2), [r1])
  })

  it("ignore an older generation", () => {
    const t = new Translations()
    t.setMapping(5, 1, 9, [p2], 4)
    assert.deepStrictEqual(t.setMapping(5, 1, 9, [p1], 3), [])
    assert.deepStrictEqual([t.find(1, p1), t.find(1, p2)], [-1, 5])
  })

  it("name the mapping that loses a proxy to another name, and leave the proxy to its new owner", () => {
    const t = new Translations()
    t.setMapping(5, 1, 9, [p1, p2], 1)
    assert.deepStrictEqual(t.setMapping(6, 1, 9, [p1], 1), [5])
    assert.deepStrictEqual([t.find(1, p1), t.find(1, p2)], [6, 5])
    t.removeMapping(5)
    assert.deepStrictEqual([t.find(1, p1), t.find(1, p2)], [6, -1])
    assert.isFalse(t.has(5))
    assert.isTrue(t.has(6))
  })

  it("forget everything about a removed mapping, so that its number can be used again", () => {
    const t = new Translations()
    t.setMapping(5, 1, 9, [p1], 8)
    t.setAddresses(5, 100, MappingState.Resolved, [r1], [], 0)
    t.removeMapping(5)
    t.removeMapping(5)
    assert.deepStrictEqual(t.setMapping(5, 2, 3, [p1], 1), [])
    assert.deepStrictEqual(t.addresses(5, p1), [])
    assert.isTrue(t.setAddresses(5, 1, MappingState.Unresolved, [], [], 0))
  })
})
