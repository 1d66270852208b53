/**
 * What the log says of resolver sets that stop answering and begin again: one that leaves some names unanswered and others
 * not, by whomever they are asked, would have two lines a second.
 */
import * as Effect from "effect/Effect"
import { monotonicMillis } from "../../src/loops/monotonic.ts"
import type { ResolutionReason } from "../../src/resolution/Resolver.ts"

/** A set is said to fail when it has answered nothing for so long since it was found failing. */
const patienceMs = 3_000
/** It is said again after this long at the earliest. */
const againMs = 60_000

interface Outage {
  said: boolean
}

/** `later` runs an effect by itself. */
export const makeFailingSets = (
  later: (effect: Effect.Effect<void>) => void
): ((resolver: string, failing: ResolutionReason | null) => Effect.Effect<void>) => {
  const outages = new Map<string, Outage>()
  const saidAt = new Map<string, number>()

  const sayLater = Effect.fnUntraced(function* (resolver: string, reason: ResolutionReason, outage: Outage) {
    const wait = (saidAt.get(resolver) ?? Number.NEGATIVE_INFINITY) + againMs - (yield* monotonicMillis)
    yield* Effect.sleep(Math.max(patienceMs, wait))
    if (outages.get(resolver) !== outage) return
    outage.said = true
    saidAt.set(resolver, yield* monotonicMillis)
    yield* Effect.logWarning(
      `resolver ${resolver} does not answer (${reason._tag}); known answers are kept, it is asked again every second`
    )
  })

  return (resolver, failing) =>
    Effect.suspend(() => {
      const before = outages.get(resolver)
      if (failing !== null) {
        const outage = { said: false }
        outages.set(resolver, outage)
        later(sayLater(resolver, failing, outage))
        return Effect.void
      }
      outages.delete(resolver)
      return before?.said === true
        ? Effect.logInfo(`resolver ${resolver} answers again; names in demand are being looked up`)
        : Effect.void
    })
}
