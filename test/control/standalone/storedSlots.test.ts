import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { TestClock } from "effect/testing"
import { makeStoredSlots } from "../../../layers/control/standalone/storedSlots.ts"
import * as StateStoreMemory from "../../../layers/memory/StateStoreMemory.ts"
import { Slots } from "../../../src/control/standalone/Slots.ts"
import { parseNetwork } from "../../../src/packet/address.ts"
import { Resolutions } from "../../../src/resolution/Resolutions.ts"
import { clientId, resourceId } from "../../support/engineWorld.ts"
import { makeSteppedClock } from "../../support/steppedClock.ts"

const day = 86_400_000
const ranges = { proxy4: parseNetwork("100.96.0.0/27")!, proxy6: parseNetwork("fd00:2021:1111:8000::/120")! }
const layer = Layer.merge(
  StateStoreMemory.layer,
  Layer.mock(Resolutions, {
    askAgain: () => undefined,
    answersNobody: () => false,
    firstLookupAt: () => undefined,
    release: () => Effect.void
  })
)

describe("the slot of a released name, in ranges that are used up", () => {
  it.effect("rests for a day, also when the clock jumps ahead by one", () =>
    Effect.gen(function* () {
      const clock = yield* makeSteppedClock
      const stepped = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.provideService(effect, Clock.Clock, clock)
      yield* Effect.gen(function* () {
        const stored = yield* stepped(makeStoredSlots)
        const of = { client: { id: clientId(1) }, slots: new Slots(clientId(1), ranges, 1) }
        let names = 0
        const another = stepped(
          Effect.gen(function* () {
            const now = yield* Clock.currentTimeMillis
            const entry = yield* stored.entryOf(of, resourceId("app"), `n${names++}.corp`, now)
            if (entry !== undefined) yield* stored.keep(of, entry, now)
            return entry?.slot
          })
        )
        while ((yield* another) !== undefined) assert.isBelow(names, 100)
        clock.aheadMs = day
        assert.isUndefined(yield* another)
        yield* TestClock.adjust(day)
        assert.isDefined(yield* another)
      }).pipe(Effect.provide(layer))
    })
  )
})
