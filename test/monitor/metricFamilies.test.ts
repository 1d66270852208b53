import { assert, describe, it } from "@effect/vitest"
import { countersByteLength, countTurn, readCounters } from "../../src/dataplane/counters.ts"
import { families, type Family, type Series, seriesOf } from "../../src/monitor/metricFamilies.ts"
import { turnHistogram } from "../../src/monitor/turnHistogram.ts"

const packetCounters = Object.keys(readCounters(new Float64Array(countersByteLength / 8)))
const labelsOf = (key: string) => seriesOf("dataPlane", key)?.labels

describe("metric families", () => {
  it("keep to Prometheus' conventions for names, types and units", () => {
    for (const [name, family] of Object.entries<Family>(families)) {
      assert.match(name, /^sallyport(_[a-z0-9]+)+$/)
      assert.match(family.help, /^[A-Z].*\.$/, name)
      assert.strictEqual(name.endsWith("_total"), family.type === "counter", name)
      assert.notMatch(name, /_(count|sum|bucket|info|ms|millis|milliseconds|kb|mb|counter|gauge|histogram)(_|$)/)
      const unit = /_(seconds|bytes)(?:_total)?$/.exec(name)?.[1]
      assert.strictEqual(family.unit, unit === undefined ? undefined : { seconds: "s", bytes: "By" }[unit], name)
    }
  })

  it("have one series for every counter of the packet path", () => {
    const seen = new Map<string, string>()
    for (const key of packetCounters) {
      const series = seriesOf("dataPlane", key)
      if (series === null) {
        assert.match(key, /^turn\./)
        continue
      }
      const { family, labels } = series
      assert.property(families, family)
      for (const value of Object.values(labels)) assert.match(value, /^[a-z0-9_.]+$/)
      const name = JSON.stringify([family, labels])
      assert.strictEqual(seen.get(name), undefined, `${key} and ${seen.get(name)}`)
      seen.set(name, key)
    }
  })

  it("tell what was dropped, where and why, from what was not", () => {
    assert.deepStrictEqual(
      ["outbound.filtered", "inbound.no_session", "system.send_full", "udp.send_failed", "parking.expired"].map(
        labelsOf
      ),
      [
        { at: "outbound", reason: "filtered" },
        { at: "inbound", reason: "no_session" },
        { at: "system", reason: "send_full" },
        { at: "udp", reason: "send_failed" },
        { at: "parking", reason: "expired" }
      ]
    )
    for (const key of ["outbound.parked", "outbound.to_gateway", "inbound.staged", "udp.received"]) {
      assert.deepStrictEqual(labelsOf(key), { event: key })
    }
  })

  it("tell causes, brakes and outcomes of lookups apart, and DNS answers by RCODE", () => {
    const of = (key: string): Series | null => seriesOf("resolutions", key)
    assert.deepStrictEqual(of("brake.client_rate"), {
      family: "sallyport_lookup_brakes_total",
      labels: { brake: "client_rate" }
    })
    assert.deepStrictEqual(of("lookups.started"), { family: "sallyport_lookups_total", labels: { event: "started" } })
    assert.deepStrictEqual(of("cause.First"), {
      family: "sallyport_lookup_causes_total",
      labels: { cause: "First" }
    })
    assert.deepStrictEqual(seriesOf("dns", "rcode.NXDOMAIN"), {
      family: "sallyport_dns_answers_total",
      labels: { rcode: "NXDOMAIN" }
    })
    assert.deepStrictEqual(of("queued")?.family, "sallyport_lookups_queued")
  })

  it("make a cumulative histogram of the turns of the packet worker", () => {
    const counters = new Float64Array(countersByteLength / 8)
    for (const microseconds of [10, 50, 51, 900, 70_000]) countTurn(counters, microseconds)

    const { buckets, count, max, min, sum } = turnHistogram(readCounters(counters))

    assert.deepStrictEqual([count, min, max], [5, 0, 0.05])
    assert.closeTo(sum, 0.071011, 1e-9)
    assert.deepStrictEqual(buckets.slice(0, 5), [
      [0.00005, 2],
      [0.0001, 3],
      [0.00025, 3],
      [0.0005, 3],
      [0.001, 4]
    ])
    assert.deepStrictEqual(buckets.at(-1), [0.05, 4])
  })
})
