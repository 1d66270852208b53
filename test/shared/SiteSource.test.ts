import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import { SiteSource } from "../../src/shared/SiteSource.ts"
import { slotZones } from "../../src/shared/slotZones.ts"

const day = 86_400_000
const zones = Result.getOrThrow(slotZones(524_288))

describe("where a gateway of a site takes slots from", () => {
  it("is nothing before it has a number", () => {
    const source = new SiteSource(zones)
    assert.strictEqual(source.size(), 0)
    assert.isTrue(source.wantsMore(0))
  })

  it("is its own zone, then its blocks, as they came", () => {
    const source = new SiteSource(zones)
    source.hold(zones.own(3, 0))
    source.hold(zones.block(9))
    source.hold(zones.own(3, 0))
    assert.strictEqual(source.size(), 512 + 1_024)
    const { from } = zones.own(3, 0)
    assert.deepStrictEqual(
      [0, 511, 512, 1_535].map((n) => source.slotAt(n)),
      [from, from + 511, 9_216, 10_239]
    )
    for (const slot of [from, from + 511, 9_216, 10_239]) assert.isTrue(source.owns(slot))
    for (const slot of [from - 1, from + 512, 9_215, 10_240]) assert.isFalse(source.owns(slot))
  })

  it("is where it was when it was alone, if it has leased those blocks first", () => {
    const source = new SiteSource(zones)
    for (const no of [0, 1]) source.hold(zones.block(no))
    source.hold(zones.own(0, 0))
    for (const n of [1, 1_023, 1_024, 2_047]) assert.strictEqual(source.slotAt(n), n)
  })

  it("is enlarged ahead of need, when one half of what came last is left to some client", () => {
    const source = new SiteSource(zones)
    source.hold(zones.own(0, 0))
    assert.deepStrictEqual(
      [256, 257].map((next) => source.wantsMore(next)),
      [false, true]
    )
    source.hold(zones.block(0))
    assert.deepStrictEqual(
      [257, 1_024, 1_025].map((next) => source.wantsMore(next)),
      [false, false, true]
    )
  })

  it("takes released slots again two days later by the engine's clock, as it was last read", () => {
    const source = new SiteSource(zones)
    assert.strictEqual(source.restedBefore(), Number.NEGATIVE_INFINITY)
    source.read(new Map([["git.corp", zones.exact(0).from]]), 5 * day)
    assert.strictEqual(source.restedBefore(), 3 * day)
    assert.strictEqual(source.exact("git.corp"), zones.exact(0).from)
    assert.isUndefined(source.exact("wiki.corp"))
  })

  it("knows what others gave: neither its own nor the directory's", () => {
    const source = new SiteSource(zones)
    source.hold(zones.own(0, 0))
    const exact = zones.exact(0)
    const slots = [exact.from - 1, exact.from, exact.to - 1, exact.to, exact.to + 511, exact.to + 512]
    assert.deepStrictEqual(
      slots.map((slot) => source.isOthers(slot)),
      [true, false, false, false, false, true]
    )
  })
})
