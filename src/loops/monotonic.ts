/**
 * The clock of everything that waits, ages or is budgeted: milliseconds of any origin that go on evenly whatever is done
 * to the system's clock. `Clock.currentTimeMillis` is for dates only; test/tooling/clocks.test.ts lists who may read it.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"

export const monotonicMillisUnsafe = (clock: Clock.Clock): number => Number(clock.monotonicTimeNanosUnsafe()) / 1e6

export const monotonicMillis: Effect.Effect<number> = Effect.map(Clock.Clock, monotonicMillisUnsafe)
