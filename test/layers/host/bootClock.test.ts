import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import { TestClock } from "effect/testing"
import { readFileSync } from "node:fs"
import { withBootClock } from "../../../layers/host/bootClock.ts"
import { monotonicMillis } from "../../../src/loops/monotonic.ts"

describe("the clock of a gateway", () => {
  it.effect("counts from the host's start, sleep included, and leaves dates and timers to the clock around it", () =>
    Effect.gen(function* () {
      yield* TestClock.adjust("5 seconds")
      const [now, date] = yield* withBootClock(Effect.all([monotonicMillis, Clock.currentTimeMillis]))
      // The kernel tells the same in whole hundredths of a second.
      assert.approximately(now, Number(readFileSync("/proc/uptime", "utf8").split(" ")[0]) * 1_000, 5_000)
      assert.strictEqual(date, 5_000)
      const asleep = yield* Effect.forkChild(withBootClock(Effect.as(Effect.sleep("1 second"), "awake")))
      yield* TestClock.adjust("1 second")
      assert.isDefined(asleep.pollUnsafe())
    })
  )
})
