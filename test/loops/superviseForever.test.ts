import { assert, describe, it } from "@effect/vitest"
import { Clock, Deferred, Effect, Exit, Fiber, Metric } from "effect"
import { TestClock } from "effect/testing"
import { defectCounts, makeOutlive } from "../../src/loops/outlive.ts"
import { superviseForever } from "../../src/loops/superviseForever.ts"
import { withLogLines } from "../support/standalone.ts"

const ownCounts = <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.suspend(() => Effect.provideService(self, Metric.MetricRegistry, new Map()))

describe("a supervised loop", () => {
  it.effect("takes turn after turn, without a pause of its own", () =>
    Effect.gen(function* () {
      let turns = 0
      const fifth = yield* Deferred.make<void>()
      const turn = Effect.suspend(() => (++turns === 5 ? Deferred.succeed(fifth, undefined) : Effect.void))
      yield* Effect.forkChild(superviseForever("a loop", turn))
      yield* Deferred.await(fifth)
      assert.strictEqual(yield* Clock.currentTimeMillis, 0)
    })
  )

  it.effect("that meets the same bug each turn is braked to one turn a second", () =>
    Effect.gen(function* () {
      let turns = 0
      yield* Effect.forkChild(
        superviseForever(
          "a loop",
          Effect.sync(() => {
            turns++
            throw new Error("a bug")
          })
        )
      )
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual(turns, 11)
      assert.deepStrictEqual(yield* defectCounts, { "a loop": 11 })
    }).pipe(ownCounts)
  )

  it.effect("tells a bug once a minute with how often it came, and another bug at once", () =>
    withLogLines((lines) =>
      Effect.gen(function* () {
        let turns = 0
        yield* Effect.forkChild(
          superviseForever(
            "a loop",
            Effect.sync(() => {
              turns++
              if (turns === 3) throw new TypeError("another bug")
              throw new Error(`a bug, for the time no ${turns}`)
            })
          )
        )
        yield* TestClock.adjust("61 seconds")
        assert.strictEqual(lines.length, 3)
        assert.match(lines[0]!, /level=ERROR.*a loop met a bug and goes on; please report it.*a bug, for the time no 1/)
        assert.match(lines[1]!, /another bug/)
        assert.match(lines[2]!, /\(58 more since it was said last\)/)
      })
    )
  )

  it.effect("ends when it is interrupted, in a turn or in the brake, and counts no bug for it", () =>
    Effect.gen(function* () {
      for (const turn of [Effect.never, Effect.die("a bug")]) {
        const loop = yield* Effect.forkChild(superviseForever("a loop", turn))
        yield* TestClock.adjust(0)
        yield* Fiber.interrupt(loop)
        const exit = yield* Fiber.await(loop)
        assert(Exit.hasInterrupts(exit))
      }
      assert.deepStrictEqual(yield* defectCounts, { "a loop": 1 })
    }).pipe(ownCounts)
  )

  it.effect("goes on when something inside was interrupted: only its own interruption ends it", () =>
    Effect.gen(function* () {
      let turns = 0
      yield* Effect.forkChild(
        superviseForever(
          "a loop",
          Effect.suspend(() => (++turns === 1 ? Effect.interrupt : Effect.never))
        )
      )
      yield* TestClock.adjust("1 second")
      assert.strictEqual(turns, 2)
    })
  )

  it.effect("ends with a typed error: what that means is for its owner to say", () =>
    Effect.gen(function* () {
      const exit = yield* Effect.exit(superviseForever("a loop", Effect.fail("no device")))
      assert.deepStrictEqual(exit, Exit.fail("no device"))
    })
  )
})

describe("what outlives bugs", () => {
  it.effect("hands results and typed errors through", () =>
    Effect.gen(function* () {
      const outlive = makeOutlive("a loop")
      assert.strictEqual(yield* outlive(Effect.succeed(7)), 7)
      assert.deepStrictEqual(yield* Effect.exit(outlive(Effect.fail("no"))), Exit.fail("no"))
      assert.isUndefined(yield* outlive(Effect.die("a bug")))
      assert.isUndefined(yield* outlive(Effect.ensuring(Effect.fail("no"), Effect.die("a bug"))))
      assert.deepStrictEqual(yield* defectCounts, { "a loop": 2 })
    }).pipe(ownCounts)
  )
})
