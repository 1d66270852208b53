import { assert, describe, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import { extendDirectory } from "../../src/shared/directory.ts"

const all = () => true
const standard = { from: 262_144, to: 393_216 }
const seven = { from: 8, to: 15 }

describe("the directory of exact names", () => {
  it("has the slots that the domains' hashes point to: clients know them, so they stay what they are", () => {
    assert.deepStrictEqual(extendDirectory(new Map(), ["gitlab.corp.internal", "wiki.corp.internal"], standard, all), [
      { domain: "gitlab.corp.internal", slot: 325_347 },
      { domain: "wiki.corp.internal", slot: 362_116 }
    ])
  })

  it("gives a domain whose place is taken the next one that is free, after the last one the first", () => {
    const alone = extendDirectory(new Map(), ["git.corp"], seven, all)[0]!.slot
    const rest = Array.from({ length: 6 }, (_, n) => ((alone - 8 + 1 + n) % 7) + 8)
    for (const [n, expected] of rest.entries()) {
      const taken = new Map([alone, ...rest.slice(0, n)].map((slot, i) => [`n${i}.corp`, slot]))
      assert.deepStrictEqual(extendDirectory(taken, ["git.corp"], seven, all), [{ domain: "git.corp", slot: expected }])
    }
  })

  it("leaves slots out that have no addresses, and domains that find no slot", () => {
    const odd = (slot: number) => slot % 2 === 1
    const domains = ["a.corp", "b.corp", "c.corp", "d.corp", "e.corp"]
    const slots = extendDirectory(new Map(), domains, seven, odd).map(({ slot }) => slot)
    assert.deepStrictEqual(
      slots.toSorted((a, b) => a - b),
      [9, 11, 13]
    )
  })

  const Domain = Schema.Literals(Array.from("abcdefghij", (name) => `${name}.corp`))
  const Policy = Schema.Array(Domain).check(Schema.isMaxLength(5))

  it.prop(
    "only grows, with one domain to a slot, and comes out the same when it is made in two steps or in one",
    [Policy, Policy, Policy],
    (policies) => {
      let known: ReadonlyMap<string, number> = new Map()
      for (const policy of policies) {
        const added = extendDirectory(known, policy, seven, all)
        const next = new Map([...known, ...added.map(({ domain, slot }) => [domain, slot] as const)])
        assert.strictEqual(next.size, known.size + added.length)
        assert.strictEqual(new Set(next.values()).size, next.size)
        assert.isTrue([...next.values()].every((slot) => slot >= seven.from && slot < seven.to))
        assert.strictEqual(next.size, Math.min(7, new Set([...known.keys(), ...policy]).size))
        known = next
      }
      const atOnce = extendDirectory(new Map(), policies.flat(), seven, all)
      assert.deepStrictEqual(new Map(atOnce.map(({ domain, slot }) => [domain, slot])), new Map(known))
    },
    { arbitrary: { runs: 200, seed: 7 } }
  )
})
