import { assert, describe, it } from "vitest"
import { PortalTime } from "../../../src/control/firezone/PortalTime.ts"

const start = 1_800_000_000_000
const day = 86_400_000

describe("the portal's clock", () => {
  it("is this host's before the first connection, and goes on evenly from there", () => {
    const time = new PortalTime(start, 5_000)
    assert.strictEqual(time.at(5_000), start)
    assert.strictEqual(time.at(6_234), start + 1_234)
  })

  it.each([-60_000, -3_600_000, day, 365 * day])(
    "is what the portal says, with this host's wrong by %s ms",
    (wrong) => {
      const time = new PortalTime(start + wrong, 0)
      time.connected(start + 10_000, start + wrong + 10_400, 10_400)
      assert.strictEqual(time.at(20_400), start + 20_000)
    }
  )

  it("is this host's where the portal says the same, in whole seconds, or nothing", () => {
    const time = new PortalTime(0, 0)
    time.connected(start, start + 999, 1)
    assert.strictEqual(time.at(1), start + 999)
    time.connected(null, start + 7, 2)
    assert.strictEqual(time.at(2), start + 7)
  })
})
