import { assert, describe, it } from "@effect/vitest"
import { isLater, millisOf, tickOf, writeTick } from "../../src/wireguard/tai64n.ts"
import { integer } from "../support/packetArbitraries.ts"

const label = (tick: number): Uint8Array => {
  const out = new Uint8Array(12)
  writeTick(tick, out, 0)
  return out
}

/** Seconds and nanoseconds by big integers. */
const expected = (wall: number): string => {
  const nanos = BigInt(wall) * 1_000_000n
  const whole = (nanos / 0x100_0000n) * 0x100_0000n
  const seconds = 0x4000_0000_0000_000an + whole / 1_000_000_000n
  return seconds.toString(16).padStart(16, "0") + (whole % 1_000_000_000n).toString(16).padStart(8, "0")
}

/** From 1970 to 2100, and a second later than its very start, so that there is an earlier tick. */
const wall = integer(1, 4_102_444_800)

describe("a TAI64N label", () => {
  it.prop(
    "is the time rounded down to 16.8 ms, plus the ten seconds",
    [wall, integer(0, 999)],
    ([seconds, ms]) => {
      const time = seconds * 1_000 + ms

      assert.strictEqual(Buffer.from(label(tickOf(time))).toString("hex"), expected(time))
    },
    { arbitrary: { runs: 2_000 } }
  )

  it.prop("is read as the time that it was made of, 17 ms early at most", [wall], ([seconds]) => {
    const time = seconds * 1_000 + 7
    assert.approximately(millisOf(label(tickOf(time))), time - 8.5, 9.5)
  })

  it("is exact at the first millisecond of a tick and the last one before", () => {
    for (let tick = 106_991_000_000; tick < 106_991_002_000; tick++) {
      const first = Math.ceil((tick * 0x4_0000) / 15_625)
      assert.strictEqual(tickOf(first), tick)
      assert.strictEqual(tickOf(first - 1), tick - 1)
    }
  })

  it.prop("is later than another exactly when its tick is", [wall, integer(-2, 2)], ([seconds, step]) => {
    const tick = tickOf(seconds * 1_000)

    assert.strictEqual(isLater(label(tick + step), label(tick)), step > 0)
  })

  it("is the known one of 2026-11-22 12:00:00 UTC", () => {
    const at = Date.UTC(2026, 10, 22, 12)

    const written = Buffer.from(label(tickOf(at))).toString("hex")

    assert.strictEqual(written.slice(0, 15), (0x4000_0000_0000_000an + BigInt(at / 1000)).toString(16).slice(0, 15))
    assert.isBelow(Number.parseInt(written.slice(16), 16), 1_000_000_000)
  })
})
