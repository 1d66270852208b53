import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { TestClock } from "effect/testing"
import { defectCounts } from "../../src/loops/outlive.ts"
import { makeTimers } from "../../src/loops/timers.ts"

describe("timers", () => {
  it.effect(
    "run in their order, also those that are set meanwhile; one that meets a bug keeps none from its turn",
    () =>
      Effect.gen(function* () {
        const timers = yield* makeTimers
        const ran: Array<string> = []
        timers.at(100, () => ran.push("late"))
        timers.at(50, () => {
          ran.push("early")
          timers.at(70, () => ran.push("between"))
          throw new Error("a bug")
        })
        timers.callOff(timers.at(60, () => ran.push("called off")))
        yield* TestClock.adjust(49)
        assert.deepStrictEqual(ran, [])
        yield* TestClock.adjust(1)
        assert.deepStrictEqual(ran, ["early"])
        yield* TestClock.adjust(20)
        assert.deepStrictEqual(ran, ["early", "between"])
        yield* TestClock.adjust(30)
        assert.deepStrictEqual(ran, ["early", "between", "late"])
        assert.deepInclude(yield* defectCounts, { timers: 1 })
      }).pipe(Effect.scoped)
  )

  it.effect("never run within the call that sets them, and not after the end of their scope", () =>
    Effect.gen(function* () {
      const ran: Array<string> = []
      const timers = yield* Effect.scoped(
        Effect.gen(function* () {
          const timers = yield* makeTimers
          timers.at(timers.now() - 1, () => ran.push("due"))
          assert.deepStrictEqual(ran, [])
          yield* TestClock.adjust(1)
          assert.deepStrictEqual(ran, ["due"])
          timers.at(timers.now() + 10, () => ran.push("too late"))
          return timers
        })
      )
      timers.at(timers.now() + 10, () => ran.push("too late"))
      yield* TestClock.adjust(100)
      assert.deepStrictEqual(ran, ["due"])
    })
  )
})
