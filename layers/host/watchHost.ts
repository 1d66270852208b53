/** Asks the kernel whether anything has happened on the host, and wakes who waits for it. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import { monotonicMillisUnsafe } from "../../src/loops/monotonic.ts"
import type { InForce } from "./hostInForce.ts"
import type { HostLook } from "./hostLook.ts"

/** How often the kernel is asked whether anything has happened. */
const watchEveryMs = 500
/** How long the host is believed to be as it was when nothing is said to have happened. */
const believedMs = 5_000

/** One turn: waits until something has happened, and tells those who wait for it. */
export const watchHost = (
  look: HostLook,
  current: () => InForce | null,
  news: Queue.Queue<void>,
  stirs: Queue.Queue<void>
) => {
  let generation: number | null = null
  let stirredAt = Number.NEGATIVE_INFINITY
  /** What there is to tell. */
  const asked = (now: number): ReadonlyArray<Queue.Queue<void>> => {
    const inForce = current()
    const { any, moved } = look.events(inForce?.plan ?? null)
    const rules = look.generation()
    // Our own changes are none.
    const rulesChanged = rules !== generation && rules !== inForce?.generation
    generation = rules
    const stirred = any || rulesChanged || now - stirredAt >= believedMs
    if (stirred) stirredAt = now
    return [...(moved ? [news] : []), ...(stirred ? [stirs] : [])]
  }
  return Effect.flatMap(Clock.Clock, (clock) =>
    Effect.callback<ReadonlyArray<Queue.Queue<void>>>((resume) => {
      const done = (turn: Effect.Effect<ReadonlyArray<Queue.Queue<void>>>): void => {
        stop()
        resume(turn)
      }
      const stop = every(watchEveryMs, () => {
        try {
          const told = asked(monotonicMillisUnsafe(clock))
          if (told.length > 0) done(Effect.succeed(told))
        } catch (defect) {
          done(Effect.die(defect))
        }
      })
      return Effect.sync(stop)
    })
  ).pipe(Effect.tap((told) => Effect.forEach(told, (queue) => Queue.offer(queue, undefined), { discard: true })))
}

/** A timer of node's own: a fiber that wakes twice a second for nothing costs thrice as much. Returns its end. */
const every = (milliseconds: number, run: () => void): (() => void) => {
  const timer = setInterval(run, milliseconds)
  return () => clearInterval(timer)
}
