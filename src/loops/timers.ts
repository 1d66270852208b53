/** What is to be done at a time unless it is called off before, of many: one fiber sleeps until the next. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as FiberSet from "effect/FiberSet"
import type * as Scope from "effect/Scope"
import { monotonicMillisUnsafe } from "./monotonic.ts"
import { Deadlines, type Timed } from "../wireguard/timers.ts"
import { makeOutlive } from "./outlive.ts"

export interface Timer extends Timed {
  readonly run: () => void
}

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
  const queue = new Deadlines<Timer>()
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
    for (let due = queue.takeDue(now()); due !== undefined; due = queue.takeDue(now())) {
      try {
        due.run()
      } catch (defect) {
        run(outlive(Effect.die(defect)))
      }
    }
    sleep()
  })
  return {
    now,
    at: (when, then) => {
      const timer = timerOf(then)
      queue.atLatest(timer, when)
      sleep()
      return timer
    },
    callOff: (timer) => queue.remove(timer)
  }
})

const timerOf = (run: () => void): Timer => ({ heapIndex: -1, deadline: 0, run })
