/** A clock whose dates can be set while everything else goes on: NTP, an operator, a resumed virtual machine. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"

export interface SteppedClock extends Clock.Clock {
  /** Milliseconds that dates are ahead of the test's clock. */
  aheadMs: number
}

/** Over the clock of the test. */
export const makeSteppedClock: Effect.Effect<SteppedClock> = Effect.map(Clock.Clock, (clock) => {
  const wall = () => clock.currentTimeMillisUnsafe() + stepped.aheadMs
  const stepped: SteppedClock = {
    aheadMs: 0,
    currentTimeMillisUnsafe: wall,
    currentTimeMillis: Effect.sync(wall),
    currentTimeNanosUnsafe: () => BigInt(wall()) * 1_000_000n,
    currentTimeNanos: Effect.sync(() => BigInt(wall()) * 1_000_000n),
    monotonicTimeNanosUnsafe: () => clock.monotonicTimeNanosUnsafe(),
    monotonicTimeNanos: clock.monotonicTimeNanos,
    sleep: (duration) => clock.sleep(duration)
  }
  return stepped
})
