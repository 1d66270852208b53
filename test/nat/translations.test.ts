import { assert, describe, it } from "@effect/vitest"
import { MappingState, Translations } from "../../src/nat/translations.ts"
import { words } from "../../src/packet/address.ts"
import { addressWords as address } from "../support/packets.ts"

const maxAddresses = 32
const p1 = address("100.96.0.1")
const p2 = address("100.96.0.2")
const p6 = address("fd00:2021:1111:8000::1")
const r1 = address("10.0.0.1")
const r2 = address("10.0.0.2")

describe("translations", () => {
  it("find a proxy's mapping at its own client only", () => {
    const t = new Translations()
    t.place(5, 1, [9], [p1, p6], 1, 0)
    t.place(6, 2, [9], [p1], 1, 0)
    assert.deepStrictEqual([t.find(1, p1), t.find(1, p6), t.find(2, p1), t.find(2, p6)], [5, 5, 6, -1])
    assert.deepStrictEqual([t.resourcesOf(5), t.clientOf(6), t.resourcesOf(7), t.clientOf(7)], [[9], 2, [], -1])
  })

  it("start unresolved and keep the outcome of the latest lookup, whenever an older one comes in", () => {
    const t = new Translations()
    t.place(5, 1, [9], [p1], 1, 0)
    assert.strictEqual(t.state(5), MappingState.Unresolved)
    assert.isTrue(t.setAddresses(5, 2, MappingState.Resolved, [r1], [], 77))
    assert.isFalse(t.setAddresses(5, 1, MappingState.Unresolved, [], [], 0))
    assert.strictEqual(t.state(5), MappingState.Resolved)
    assert.deepStrictEqual(
      [76, 77].map((now) => t.isStale(5, { now })),
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
    t.place(5, 1, [9], [p1], 1, 0)
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

  it("keep the addresses of a mapping whose proxies change", () => {
    const t = new Translations()
    t.place(5, 1, [9], [p1], 3, 0)
    t.setAddresses(5, 1, MappingState.Resolved, [r1], [], 0)
    t.place(5, 1, [9], [p2], 4, 0)
    assert.deepStrictEqual([t.find(1, p1), t.find(1, p2), t.version(5)], [-1, 5, 4])
    assert.deepStrictEqual(t.addresses(5, p2), [r1])
  })

  it("extend a mapping by further proxies, and by nothing else", () => {
    const t = new Translations()
    t.place(5, 1, [9], [p1], 3, 0)
    t.setAddresses(5, 1, MappingState.Resolved, [r1], [], 0)
    for (const proxies of [[], [p1], [p2], [p2, p6]]) assert.isFalse(t.extend(5, 1, proxies, 4))
    for (const [mapping, client] of [
      [5, 2],
      [6, 1],
      [-1, 1]
    ] as const) {
      assert.isFalse(t.extend(mapping, client, [p1, p2], 4))
    }
    assert.deepStrictEqual([t.find(1, p1), t.find(1, p2), t.version(5)], [5, -1, 3])

    assert.isTrue(t.extend(5, 1, [p2, p6, p1], 4))
    assert.deepStrictEqual([t.find(1, p1), t.find(1, p2), t.find(1, p6), t.version(5)], [5, 5, 5, 4])
    assert.deepStrictEqual([t.proxies(5, p1), t.proxies(5, p6)], [[p2, p1], [p6]])
    assert.deepStrictEqual(t.addresses(5, p2), [r1])
    t.remove(5)
    assert.deepStrictEqual([t.find(1, p1), t.find(1, p2), t.find(1, p6)], [-1, -1, -1])
  })

  it("leave a proxy to its new owner, once the old one was told that it has it no more", () => {
    const t = new Translations()
    t.place(5, 1, [9], [p1, p2], 1, 0)
    t.place(5, 1, [9], [p2], 2, 0)
    t.place(6, 1, [9], [p1], 3, 0)
    assert.deepStrictEqual([t.find(1, p1), t.find(1, p2)], [6, 5])
    t.remove(5)
    assert.deepStrictEqual([t.find(1, p1), t.find(1, p2)], [6, -1])
    assert.deepStrictEqual([t.version(5), t.version(6)], [-1, 3])
  })

  it("keep a suspended mapping's proxies, and take any lookup for its first", () => {
    const t = new Translations()
    t.place(5, 1, [9], [p1], 1, 0)
    t.setAddresses(5, 100, MappingState.Resolved, [r1], [], 0)
    t.suspend(5)
    assert.deepStrictEqual([t.find(1, p1), t.state(5), t.addresses(5, p1)], [5, MappingState.Unresolved, []])
    assert.isTrue(t.setAddresses(5, 1, MappingState.Resolved, [r2], [], 0))
  })

  it("forget everything about a removed mapping, so that its number can be used again", () => {
    const t = new Translations()
    t.place(5, 1, [9], [p1], 8, 0)
    t.setAddresses(5, 100, MappingState.Resolved, [r1], [], 0)
    t.remove(5)
    t.remove(5)
    t.place(5, 2, [3], [p1], 1, 0)
    assert.deepStrictEqual(t.addresses(5, p1), [])
    assert.isTrue(t.setAddresses(5, 1, MappingState.Unresolved, [], [], 0))
  })
})
