import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import { families } from "../monitor/metricFamilies.ts"
import { makeOddities } from "./oddities.ts"

const defects = Metric.frequency("sallyport_defects_total", { description: families.sallyport_defects_total.help })

/** How many bugs each loop has met and outlived; loops without any are left out. */
export const defectCounts: Effect.Effect<Readonly<Record<string, number>>> = Effect.map(
  Metric.value(defects),
  ({ occurrences }) => Object.fromEntries(occurrences)
)

/**
 * Makes what lets a loop outlive bugs: the effect then ends with `undefined` instead, the bug is counted, and told once a
 * minute. Typed errors pass. An interruption from inside counts as a bug, one of the loop's own fiber ends it.
 */
export const makeOutlive = (
  loop: string
): (<A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A | undefined, E, R>) => {
  const odd = makeOddities(Effect.logError)
  return Effect.catchCauseIf(
    (cause) => Cause.hasDies(cause) || !Cause.hasFails(cause),
    (cause) =>
      Effect.andThen(
        Metric.update(defects, loop),
        Effect.as(
          odd(placeOf(Cause.squash(cause)), `${loop} met a bug and goes on; please report it`, cause),
          undefined
        )
      )
  )
}

/** Where it was thrown: of places there are only so many, of messages there may be one for each packet. */
const placeOf = (defect: unknown): string =>
  (defect instanceof Error ? /^\s+at .*/m.exec(defect.stack ?? "")?.[0] : undefined) ?? "somewhere"
