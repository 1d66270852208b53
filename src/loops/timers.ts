/** A `TimerQueue` that runs: one fiber sleeps until the next of them. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as FiberSet from "effect/FiberSet"
import type * as Scope from "effect/Scope"
import { monotonicMillisUnsafe } from "./monotonic.ts"
import { makeOutlive } from "./outlive.ts"
import { type Timer, TimerQueue } from "./TimerQueue.ts"

export interface Timers {
  /** Monotonic milliseconds. */
  readonly now: () => number
  /** In a later turn, also when the time has come already. A bug of `run` is told, and the others have their turn. */
  readonly at: (when: number, run: () => void) => Timer
  readonly callOff: (timer: Timer) => void
}

/** None is kept after the scope's end. */
export const makeTimers: Effect.Effect<Timers, never, Scope.Scope> = Effect.gen(function* () {
  const clock = yield* Clock.Clock
  const run = yield* FiberSet.makeRuntime()
  const outlive = makeOutlive("timers")
  const queue = new TimerQueue()
  const now = () => monotonicMillisUnsafe(clock)
  let sleeping: { readonly until: number; readonly fiber: Fiber.Fiber<unknown> } | null = null

  const sleep = (): void => {
    const until = queue.next()
    if (until >= (sleeping?.until ?? Infinity)) return
    sleeping?.fiber.interruptUnsafe()
    const ms = Math.max(1, Math.ceil(until - now()))
    sleeping = { until, fiber: run(Effect.andThen(Effect.sleep(ms), wake)) }
  }
  const wake = Effect.sync(() => {
    sleeping = null
    for (let due = queue.take(now()); due !== undefined; due = queue.take(now())) {
      try {
        due()
      } catch (defect) {
        run(outlive(Effect.die(defect)))
      }
    }
    sleep()
  })
  return {
    now,
    at: (when, then) => {
      const timer = queue.add(when, then)
      sleep()
      return timer
    },
    callOff: (timer) => queue.callOff(timer)
  }
})
