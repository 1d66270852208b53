import { readFileSync } from "node:fs"
import { assert, describe, it } from "@effect/vitest"
import { families } from "../../src/monitor/metricFamilies.ts"

const board = readFileSync(new URL("../../deploy/grafana-dashboard.json", import.meta.url), "utf8")

describe("deploy/grafana-dashboard.json", () => {
  it("asks for metrics that there are, and each as what it is", () => {
    const named = new Set(board.match(/\bsallyport_\w+/g))

    assert.isAtLeast(named.size, 12)
    for (const name of named) {
      const family = name.replace(/(_duration_seconds)_bucket$/, "$1")
      assert.property(families, family)
      const { type } = families[family as keyof typeof families]
      assert.strictEqual(type === "histogram", name.endsWith("_bucket"), name)
      const rated = new RegExp(`(rate|increase)\\(${name}\\b`).test(board)
      assert.strictEqual(rated, type !== "gauge", name)
    }
  })
})
