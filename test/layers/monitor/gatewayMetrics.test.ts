import { assert, describe, it } from "@effect/vitest"
import { Effect, Metric } from "effect"
import { PrometheusMetrics } from "effect/observability"
import { makeGatewayMetrics, type Readings } from "../../../layers/monitor/gatewayMetrics.ts"
import { acceptTook } from "../../../src/monitor/durations.ts"

const readings = (dataPlane: Readonly<Record<string, number>>, gauges: Readings["gauges"] = []): Readings => ({
  counters: { controlPlane: {}, dataPlane, resolutions: {}, dns: {}, upstream: {}, host: {} },
  gauges
})
const inOwnRegistry = Effect.provideService(Metric.MetricRegistry, new Map())

describe("gateway metrics", () => {
  it.effect("are what Prometheus reads, in lines that it understands, with the last reading", () =>
    Effect.gen(function* () {
      const fold = yield* makeGatewayMetrics
      fold(readings({ "outbound.bytes": 1, "outbound.filtered": 1, "worker.uptime_ms": 1, "turn.up_to_50_us": 2 }))
      fold(
        readings({ "outbound.bytes": 1500, "outbound.filtered": 3, "worker.uptime_ms": 2500, "turn.up_to_50_us": 2 })
      )
      yield* acceptTook("Resolved", 0.3)

      const text = yield* PrometheusMetrics.format()

      for (const line of text.trim().split("\n")) {
        assert.match(line, /^# (HELP|TYPE) sallyport_\w+ .+$|^sallyport_\w+(\{(\w+="[^"]*",?)+\})? [0-9.e+-]+$/)
      }
      for (const line of [
        "# TYPE sallyport_bytes_total counter",
        'sallyport_bytes_total{direction="from_client"} 1500',
        'sallyport_drops_total{at="outbound",reason="filtered"} 3',
        "sallyport_worker_uptime_seconds 2.5",
        'sallyport_packet_turn_duration_seconds_bucket{le="0.00005"} 2',
        "sallyport_packet_turn_duration_seconds_count 2",
        'sallyport_accept_duration_seconds_bucket{outcome="Resolved",le="0.0005"} 1'
      ]) {
        assert.include(text.split("\n"), line)
      }
      assert.strictEqual(text.match(/^# TYPE sallyport_bytes_total/gm)?.length, 1)
    }).pipe(Effect.scoped, inOwnRegistry)
  )

  it.effect("forget a series that is not read any more, and all of them with their gateway", () =>
    Effect.gen(function* () {
      yield* Effect.gen(function* () {
        const fold = yield* makeGatewayMetrics
        fold(readings({}, [{ family: "sallyport_clients", labels: { state: "away" }, value: 1 }]))
        assert.include(yield* PrometheusMetrics.format(), "sallyport_clients")
        fold(readings({ "udp.sent": 1 }))
        const left = yield* PrometheusMetrics.format()
        assert.notInclude(left, "sallyport_clients")
        assert.include(left, "udp.sent")
      }).pipe(Effect.scoped)

      assert.strictEqual(yield* PrometheusMetrics.format(), "")
    }).pipe(Effect.provideService(Metric.MetricRegistry, new Map()))
  )
})
