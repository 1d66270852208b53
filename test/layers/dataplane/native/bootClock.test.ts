import { assert, describe, it } from "@effect/vitest"
import { makeBootClock, makeBootTime } from "../../../../layers/dataplane/native/bootClock.ts"
import { makeMemory } from "../../../../layers/dataplane/native/memory.ts"

describe("the packet worker's clock", () => {
  it("goes on over a sleep of the host", () => {
    const time = { monotonic: 5_000, boot: 905_000 }
    const clock = makeBootClock(
      () => time.monotonic,
      () => time.boot
    )
    const awake = (ms: number) => {
      time.monotonic += ms
      time.boot += ms
      clock.look()
      return clock.now()
    }
    assert.strictEqual(awake(0), 5_000)
    assert.strictEqual(awake(250), 5_250)
    time.boot += 3_600_000
    assert.strictEqual(awake(250), 3_605_500)
    time.boot += 60_000
    assert.strictEqual(awake(250), 3_665_750)
  })

  it("never goes back, and takes no hiccup between its two readings for a sleep", () => {
    const time = { monotonic: 0, boot: 0 }
    const clock = makeBootClock(
      () => time.monotonic,
      () => time.boot
    )
    for (const drift of [400, -400, 999, -5_000, 0]) {
      time.boot = time.monotonic + drift
      clock.look()
      assert.strictEqual(clock.now(), time.monotonic)
      time.monotonic += 100
    }
  })

  it("reads the system's clocks: while nothing sleeps it is the monotonic one", () => {
    const boot = makeBootTime(makeMemory(1))
    const read = () => ({ from: performance.now(), boot: boot(), to: performance.now() })
    const clock = makeBootClock(() => performance.now(), boot)
    const before = read()
    while (performance.now() - before.to < 20) {
      // A moment that both clocks have to show.
    }
    const after = read()
    const passed = after.boot - before.boot
    assert.isAtLeast(passed, after.from - before.to - 1)
    assert.isAtMost(passed, after.to - before.from + 1)
    clock.look()
    const from = performance.now()
    const now = clock.now()
    assert.isTrue(from <= now && now <= performance.now())
  })
})
