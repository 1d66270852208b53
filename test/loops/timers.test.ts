import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { TestClock } from "effect/testing"
import { defectCounts } from "../../src/loops/outlive.ts"
import { TimerQueue } from "../../src/loops/TimerQueue.ts"
import { makeTimers } from "../../src/loops/timers.ts"

/** What is run until then, in order. */
const runUntil = (queue: TimerQueue, now: number): void => {
  for (let due = queue.take(now); due !== undefined; due = queue.take(now)) due()
}

describe("a queue of timers", () => {
  it.prop(
    "has each one run when its time comes, the earliest first, unless it is called off",
    [
      Schema.Array(
        Schema.Struct({
          at: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 50 })),
          calledOff: Schema.Boolean
        })
      )
    ],
    ([wanted]) => {
      const queue = new TimerQueue()
      const ran: Array<number> = []
      const timers = wanted.map(({ at }) => queue.add(at, () => ran.push(at)))
      wanted.forEach(({ calledOff }, i) => {
        if (calledOff) queue.callOff(timers[i]!)
      })
      const left = wanted.flatMap(({ at, calledOff }) => (calledOff ? [] : [at])).toSorted((a, b) => a - b)
      assert.strictEqual(queue.next(), left[0] ?? Infinity)
      runUntil(queue, 25)
      assert.deepStrictEqual(
        ran,
        left.filter((at) => at <= 25)
      )
      runUntil(queue, 50)
      assert.deepStrictEqual(ran, left)
      assert.strictEqual(queue.next(), Infinity)
    }
  )

  it("forgets what is called off long before its time: questions are mostly answered", () => {
    const queue = new TimerQueue()
    const ran: Array<number> = []
    for (let i = 0; i < 100; i++) queue.add(5_000 - i, () => ran.push(5_000 - i))
    for (let i = 0; i < 100_000; i++) queue.callOff(queue.add(4_000 + (i % 7), () => ran.push(-1)))
    assert.isBelow(queue.size, 3_000)
    runUntil(queue, 5_000)
    assert.deepStrictEqual(
      ran,
      Array.from({ length: 100 }, (_, i) => 4_901 + i)
    )
  })

  it("takes it that one is called off twice, or after it has run", () => {
    const queue = new TimerQueue()
    const first = queue.add(1, () => queue.callOff(first))
    const second = queue.add(2, () => undefined)
    runUntil(queue, 1)
    queue.callOff(first)
    queue.callOff(second)
    queue.callOff(second)
    queue.add(3, () => undefined)
    assert.strictEqual(queue.next(), 3)
  })
})

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
