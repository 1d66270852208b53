import { assert, describe, it } from "@effect/vitest"
import { icmpErrorLimit, RateLimits } from "../../src/nat/rateLimits.ts"

const taken = (limits: RateLimits, client: number, now: number, tries = 1_000): number =>
  Array.from({ length: tries }, () => limits.take(client, now)).filter(Boolean).length

describe("rate limits", () => {
  it("grant the burst at once, then the rate", () => {
    const limits = new RateLimits(icmpErrorLimit)
    assert.strictEqual(taken(limits, 1, 0), 20)
    assert.strictEqual(taken(limits, 1, 49), 0)
    assert.strictEqual(taken(limits, 1, 50), 1)
    assert.strictEqual(taken(limits, 1, 1_050), 20)
    assert.strictEqual(taken(limits, 1, 1e9), 20)
  })

  it("grant no more than the rate over a long time, however often they are asked", () => {
    const limits = new RateLimits({ perSecond: 20, burst: 20 })
    let granted = 0
    for (let now = 0; now < 10_000; now++) granted += taken(limits, 1, now, 3)
    assert.strictEqual(granted, 20 + 199)
  })

  it("are each client's own, for any client number", () => {
    const limits = new RateLimits(icmpErrorLimit)
    assert.strictEqual(taken(limits, 1, 0), 20)
    assert.strictEqual(taken(limits, 10_000, 0), 20)
    limits.forgetClient(1)
    limits.forgetClient(1e6)
    assert.strictEqual(taken(limits, 1, 0), 20)
    assert.strictEqual(taken(limits, 10_000, 0), 0)
  })
})
