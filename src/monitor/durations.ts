/** How long things took, as metrics of their outcome. */
import type * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import { durationBounds, families, type FamilyName } from "./metricFamilies.ts"

/** Outcomes come from code; of more than these somebody has made one up. */
const maxOutcomes = 32

/** Notes that something with this outcome took so many milliseconds. */
const durationsOf = (name: FamilyName): ((outcome: string, millis: number) => Effect.Effect<void>) => {
  const { help } = families[name]
  const histogram = Metric.histogram(name, {
    description: help,
    attributes: { unit: "s" },
    boundaries: durationBounds
  })
  const byOutcome = new Map<string, typeof histogram>()
  return (outcome, millis) => {
    let metric = byOutcome.get(outcome)
    if (metric === undefined) {
      metric = Metric.withAttributes(histogram, { outcome: byOutcome.size < maxOutcomes ? outcome : "other" })
      byOutcome.set(outcome, metric)
    }
    return Metric.update(metric, millis / 1e3)
  }
}

export const acceptTook = durationsOf("sallyport_accept_duration_seconds")
export const lookupTook = durationsOf("sallyport_lookup_duration_seconds")
