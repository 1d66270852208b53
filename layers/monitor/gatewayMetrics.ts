/** Folds what the gateway counts into Effect's metrics, which Prometheus and OTLP read. */
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import type * as Scope from "effect/Scope"
import {
  type CounterGroup,
  families,
  type FamilyName,
  type Series,
  seriesOf
} from "../../src/monitor/metricFamilies.ts"
import { type HistogramState, turnHistogram } from "../../src/monitor/turnHistogram.ts"

interface Told {
  readonly scale: number
  value: number
  fold: number
  readonly remove: () => void
}

/** What is folded at a time. */
export interface Readings {
  readonly counters: Readonly<Record<CounterGroup, Readonly<Record<string, number>>>>
  /** Of what nobody counts. */
  readonly gauges: ReadonlyArray<Series & { readonly value: number }>
}

/**
 * Yields what takes new readings in. A series is made when it is first read, tells its last reading, and goes with the
 * scope; one that is not read any more, a gauge of a client say, goes with the next fold.
 */
export const makeGatewayMetrics: Effect.Effect<(readings: Readings) => void, never, Scope.Scope> = Effect.gen(
  function* () {
    const context = yield* Effect.context()
    /** By who counts and its key; `null`: it is told otherwise. */
    const told = new Map<string, Told | null>()
    let turns: HistogramState = turnHistogram({})
    let fold = 0

    const tell = (key: string, series: () => Series | null, counted: number): void => {
      let known = told.get(key)
      if (known === undefined) {
        known = make(series())
        told.set(key, known)
      }
      if (known === null) return
      known.value = counted * known.scale
      known.fold = fold
    }
    const make = (series: Series | null): Told | null => {
      if (series === null) return null
      const { family, labels, scale = 1 } = series
      const made = { scale, value: 0, fold, remove: () => registration.remove() }
      const registration = register(family, labels, context, () => made.value)
      return made
    }

    const histogram = Metric.histogram("sallyport_packet_turn_duration_seconds", {
      description: families.sallyport_packet_turn_duration_seconds.help,
      attributes: { unit: "s" },
      boundaries: []
    })
    const ofTurns = Metric.registerUnsafe(
      histogram,
      context,
      hooks(() => turns)
    )
    yield* Effect.addFinalizer(() =>
      Effect.sync(() => {
        ofTurns.remove()
        for (const series of told.values()) series?.remove()
      })
    )
    return ({ counters, gauges }) => {
      fold++
      for (const [group, values] of Object.entries(counters)) {
        for (const [key, value] of Object.entries(values)) {
          tell(`${group} ${key}`, () => seriesOf(group as CounterGroup, key), value)
        }
      }
      for (const gauge of gauges) tell(JSON.stringify([gauge.family, gauge.labels]), () => gauge, gauge.value)
      turns = turnHistogram(counters.dataPlane)
      for (const [key, series] of told) {
        if (series === null || series.fold === fold) continue
        series.remove()
        told.delete(key)
      }
    }
  }
)

const hooks = <State>(get: () => State) => ({ get, update: () => {}, modify: () => {} })

const register = (
  name: FamilyName,
  labels: Series["labels"],
  context: Parameters<typeof Metric.snapshotUnsafe>[0],
  read: () => number
): Metric.Registration => {
  const { help, type, unit } = { unit: undefined, ...families[name] }
  const attributes = unit === undefined ? labels : { ...labels, unit }
  const options = { description: help, attributes }
  return type === "counter"
    ? Metric.registerUnsafe(
        Metric.counter(name, { ...options, incremental: true }),
        context,
        hooks(() => ({ count: read(), incremental: true }))
      )
    : Metric.registerUnsafe(
        Metric.gauge(name, options),
        context,
        hooks(() => ({ value: read() }))
      )
}
