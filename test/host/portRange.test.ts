import { assert, describe, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import { freePortRange, freePrivilegedRange } from "../../src/host/portRange.ts"

describe("freePortRange", () => {
  it.prop(
    "is the longest run of unprivileged ports on which nothing listens",
    [
      Schema.Array(
        Schema.Union([
          Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 65535 })),
          Schema.Literals([10_239, 10_240, 10_241, 65_534, 65_535])
        ])
      )
    ],
    ([taken]) => {
      const { from, to } = freePortRange(taken)

      const blocked = new Set(taken)
      let longest = 0
      let run = 0
      for (let port = 10_240; port <= 65_535; port++) {
        run = blocked.has(port) ? 0 : run + 1
        if (run > longest) longest = run
      }
      assert.isFalse(taken.some((port) => port >= from && port <= to))
      assert.isAtLeast(from, 10_240)
      assert.isAtMost(to, 65_535)
      assert.strictEqual(to - from + 1, longest)
    }
  )

  it("keeps clear of the WireGuard port", () => {
    assert.deepStrictEqual(freePortRange([51_820]), { from: 10_240, to: 51_819 })
  })
})

describe("freePrivilegedRange", () => {
  it("is the longest run among ports that only root may bind and that the kernel's own clients use", () => {
    assert.deepStrictEqual(freePrivilegedRange([111, 853, 990, 51_820]), { from: 665, to: 852 })
    assert.deepStrictEqual(freePrivilegedRange([]), { from: 665, to: 1_023 })
  })
})
