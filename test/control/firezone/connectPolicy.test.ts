import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import {
  type ConnectFailure,
  decide,
  initialLink,
  joined,
  type Link,
  lost
} from "../../../src/control/firezone/connectPolicy.ts"

const day = 86_400_000
const network: ConnectFailure = { _tag: "Network", detail: "connection refused" }
const http = (status: number, retryAfter: string | null = null): ConnectFailure => ({
  _tag: "Http",
  status,
  retryAfter
})

const retry = (link: Link, failure: ConnectFailure, now: number, random = 0.5) => {
  const decision = decide(link, failure, now, random, day)
  assert(decision._tag === "Retry", JSON.stringify(decision))
  return decision
}

const fatal = (link: Link, failure: ConnectFailure, now: number, max = day): string => {
  const decision = decide(link, failure, now, 0.5, max)
  assert(decision._tag === "Fatal", JSON.stringify(decision))
  return decision.message
}

describe("connecting to the portal", () => {
  it("tries every second for the first 15 s, then with growing delays", () => {
    let link = initialLink(0, false)
    for (let now = 0; now < 15_000; now += 1_000) {
      const next = retry(link, network, now)
      assert.strictEqual(next.afterMs, 1_000)
      link = next.link
    }
    assert.strictEqual(retry(link, network, 15_000).afterMs, 60_000)
  })

  it("after a loss waits 0.5 s, then half as long again each time, up to 60 s, by half more or less", () => {
    let link = lost(joined(initialLink(0, false), 1_000), 50_000)
    const delays: Array<number> = []
    for (let n = 0; n < 14; n++) {
      delays.push(retry(link, network, 50_000).afterMs)
      assert.closeTo(retry(link, network, 50_000, 0).afterMs, delays[n]! / 2, 15_001)
      link = retry(link, network, 50_000).link
    }
    assert.deepStrictEqual(delays.slice(0, 4), [500, 750, 1_125, 1_688])
    assert.strictEqual(delays.at(-1), 60_000)
    const first = lost(joined(initialLink(0, false), 0), 0)
    assert.strictEqual(retry(first, network, 0, 0).afterMs, 250)
    assert.strictEqual(retry(first, network, 0, 1).afterMs, 750)
  })

  it("starts over once it was joined for 10 s; a portal that hangs up earlier has failed again", () => {
    let link = lost(joined(initialLink(0, false), 0), 0)
    for (let n = 0; n < 3; n++) link = retry(link, network, 0).link
    assert.strictEqual(retry(lost(joined(link, 0), 9_999), network, 9_999).afterMs, 1_688)
    assert.strictEqual(retry(lost(joined(link, 0), 10_000), network, 10_000).afterMs, 500)
  })

  it("takes a 401 for a portal of 2024 once, and then for the end", () => {
    const first = retry(initialLink(0, false), http(401), 0)
    assert.strictEqual(first.afterMs, 0)
    assert.isTrue(first.link.legacy)
    assert.include(fatal(first.link, http(401), 1), "FIREZONE_TOKEN")
    assert.include(fatal(initialLink(0, true), http(401), 0), "401")
    assert.include(fatal(lost(joined(initialLink(0, false), 0), 5), http(401), 5), "401")
  })

  it("waits as 429 and 5xx ask: seconds or a date, within bounds; other 4xx are tried again", () => {
    const link = lost(joined(initialLink(0, false), 0), 0)
    assert.strictEqual(retry(link, http(429, "1"), 0).afterMs, 1_000)
    assert.strictEqual(retry(link, http(503, "120"), 0).afterMs, 120_000)
    const now = Date.UTC(2026, 0, 1)
    const since = lost(link, now)
    assert.strictEqual(retry(since, http(503, "Thu, 01 Jan 2026 00:00:30 GMT"), now).afterMs, 30_000)
    assert.strictEqual(retry(since, http(503, "Wed, 31 Dec 2025 00:00:30 GMT"), now).afterMs, 500)
    assert.strictEqual(retry(link, http(503, "0"), 0).afterMs, 500)
    assert.strictEqual(retry(link, http(503, "999999999"), 0).afterMs, 600_000)
    for (const status of [400, 403, 404, 409, 422, 429, 500, 502, 503]) {
      assert.strictEqual(retry(link, http(status), 0).afterMs, 500)
    }
    for (const header of ["", "soon", "-1", "1.5", "99999999999999", "Thu", "Thu, 99 Jan 2026"]) {
      assert.strictEqual(retry(link, http(503, header), 0).afterMs, 500, header)
    }
  })

  it("gives up when the portal was away for the whole partition time, after one last try at its end", () => {
    const link = lost(joined(initialLink(0, false), 0), 1_000)
    assert.strictEqual(retry({ ...link, attempts: 50 }, network, 1_000 + day - 5).afterMs, 5)
    const message = fatal(link, network, 1_000 + day)
    assert.include(message, "24 h")
    assert.include(message, "connection refused")
    assert.include(fatal(initialLink(0, false), http(503), 900_000, 900_000), "0.3 h")
  })

  it.prop(
    "never waits less than 250 ms but for the first 401 or by request, never more than 60 s or 10 min by request",
    [
      Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 100 })),
      Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 1_000 })),
      Schema.Union([Schema.Null, Schema.String])
    ],
    ([attempts, chance, header]) => {
      const link = { ...lost(joined(initialLink(0, false), 0), 0), attempts }
      assert.isAtMost(retry(link, http(503, header), 0, chance / 1_000).afterMs, 600_000)
      const { afterMs } = retry(link, network, 0, chance / 1_000)
      assert.isAtLeast(afterMs, 250)
      assert.isAtMost(afterMs, 60_000)
    }
  )
})
