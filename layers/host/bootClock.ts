/** Effect's clock, whose monotonic time goes on while the host sleeps: what was fresh or allowed for a while is not so any longer. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import { makeBootTime } from "../dataplane/native/bootClock.ts"
import { makeMemory } from "../dataplane/native/memory.ts"

export const withBootClock = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.clockWith((clock) => {
    const boot = makeBootTime(makeMemory(1))
    const monotonicTimeNanosUnsafe = () => BigInt(Math.round(boot() * 1e6))
    return Effect.provideService(effect, Clock.Clock, {
      currentTimeMillisUnsafe: () => clock.currentTimeMillisUnsafe(),
      currentTimeMillis: clock.currentTimeMillis,
      currentTimeNanosUnsafe: () => clock.currentTimeNanosUnsafe(),
      currentTimeNanos: clock.currentTimeNanos,
      monotonicTimeNanosUnsafe,
      monotonicTimeNanos: Effect.sync(monotonicTimeNanosUnsafe),
      sleep: (duration) => clock.sleep(duration)
    })
  })
