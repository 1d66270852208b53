import { assert, describe, it } from "@effect/vitest"
import { SessionBirths } from "../../src/nat/sessionBirths.ts"
import { Sessions } from "../../src/nat/sessions.ts"
import { addressWords } from "../support/packets.ts"

const proxy = addressWords("100.96.0.4")
const real = addressWords("10.20.0.10")

const world = (capacity: number, perClient = 16_384) => {
  const sessions = new Sessions({ capacity: 4_096, perClient })
  const births = new SessionBirths(sessions, capacity)
  const granted = (client: number, tries: number, now: number): number => {
    let n = 0
    for (let i = 0; i < tries; i++) if (births.take(client, now)) n++
    return n
  }
  const open = (client: number, port: number): number => sessions.insert(client, 6, port, proxy, 443, real, 0, 0, 0)
  return { births, granted, open, sessions }
}

describe("how fast a client may open sessions", () => {
  it("is 16,384 at once and 512 a second in a large gateway, each for itself", () => {
    const { granted } = world(1_048_576)
    assert.strictEqual(granted(1, 20_000, 0), 16_384)
    assert.strictEqual(granted(1, 20_000, 1_000), 512)
    assert.strictEqual(granted(2, 20_000, 1_000), 16_384)
  })

  it.each([4_800, 52_428, 209_715, 1_048_576])(
    "leaves half of %i places in the kernel's table to others, whatever the client does for two minutes",
    (capacity) => {
      const { granted } = world(capacity)
      let all = 0
      for (let second = 0; second < 120; second++) all += granted(1, 20_000, second * 1_000)
      assert.isAtMost(all, capacity / 2)
      assert.isAtLeast(all, Math.min(16_384, capacity / 4))
    }
  )

  it("is much less when each one costs the client a connection that was answered", () => {
    const { births, granted, open, sessions } = world(240_000, 8)
    for (let port = 1; port <= 8; port++) sessions.inbound(open(1, port), 0, 0)
    assert.strictEqual(granted(1, 10_000, 0), 240_000 / 64)
    let all = 0
    for (let second = 1; second <= 7_440; second++) all += granted(1, 10, second * 1_000)
    assert.closeTo(all, 240_000 / 8, 10)
    sessions.remove(sessions.findOutbound(1, 6, 1, proxy, 443))
    assert.strictEqual(granted(1, 1_000, 7_440_000), 1_000)
    births.forgetClient(1)
    open(1, 9)
    assert.strictEqual(granted(1, 1_000, 7_440_000), 1_000)
  })
})
