import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import * as Policy from "../../src/resolution/refreshPolicy.ts"

const half = 0.5
const closed = Policy.closedBreaker
const unchanged: Policy.Outcome = { _tag: "Answered", changed: false, freshForMs: 0 }
const changed: Policy.Outcome = { _tag: "Answered", changed: true, freshForMs: 0 }

const end = (name: Policy.NamePolicy, outcome: Policy.Outcome, now: number, random = half, breaker = closed) =>
  Policy.ended(Policy.started(name), outcome, breaker, now, random)

/** When lookups start if a cause comes every 100 ms and every one ends like `outcome`, at once. */
const lookupTimes = (
  untilMs: number,
  outcome: Policy.Outcome,
  between?: (name: Policy.NamePolicy, now: number) => Policy.NamePolicy
) => {
  const times: Array<number> = []
  let name = Policy.newName
  for (let now = 0; now <= untilMs; now += 100) {
    if (Policy.decide(name, closed, "Unreachable", now)._tag === "Lookup") {
      times.push(now)
      name = end(name, outcome, now)
    }
    if (between !== undefined) name = between(name, now)
  }
  return times
}

describe("refreshPolicy: answer known", () => {
  it("backs off from 1 s to 60 s while nothing changes", () => {
    const seconds = lookupTimes(250_000, unchanged).map((ms) => ms / 1_000)
    assert.deepStrictEqual(seconds, [0, 1, 3, 7, 15, 31, 63, 123, 183, 243])
  })

  it("remembers one cause during the back-off and ignores the others", () => {
    const name = end(Policy.newName, changed, 0)
    assert.deepStrictEqual(Policy.decide(name, closed, "Unmapped", 999), { _tag: "At", time: 1_000 })
    assert.deepStrictEqual(Policy.decide(Policy.remembered(name), closed, "Unanswered", 999), {
      _tag: "Ignore",
      brake: "back_off"
    })
    assert.strictEqual(Policy.decide(Policy.remembered(name), closed, "Unmapped", 1_000)._tag, "Lookup")
  })

  it("absorbs every cause while a lookup is in flight", () => {
    for (const cause of ["First", "Unmapped", "Unanswered", "Unreachable", "Stale", "ClientAsked"] as const) {
      const decision = Policy.decide(Policy.started(Policy.newName), closed, cause, 1e9)
      assert.deepStrictEqual(decision, { _tag: "Ignore", brake: "in_flight" })
    }
  })

  it("spreads a delay by a fifth in both directions, no further", () => {
    assert.strictEqual(end(Policy.newName, unchanged, 0, 0).notBefore, 800)
    assert.strictEqual(end(Policy.newName, unchanged, 0, 0.999_999).notBefore, 1_200)
  })

  it("starts again from 1 s after a changed answer and after a reply", () => {
    const late = { ...Policy.newName, unchanged: 6, notBefore: 400_000, resetAt: 0 }
    assert.strictEqual(end(late, changed, 300_000).notBefore, 301_000)
    assert.strictEqual(Policy.decide(Policy.answered(late, 300_000), closed, "Unmapped", 300_000)._tag, "Lookup")
    assert.strictEqual(end(Policy.answered(late, 300_000), unchanged, 300_000).notBefore, 301_000)
  })

  it("does not loop when a host replies on one port and is unreachable on another", () => {
    const times = lookupTimes(600_000, unchanged, Policy.answered)
    assert.isAtMost(times.length, 10 * 8)
    assert.isAtMost(times.filter((t) => t >= 60_000 && t < 120_000).length, 8)
  })

  it("does not loop when every answer differs from the last", () => {
    assert.isAtMost(lookupTimes(600_000, changed).length, 10 * 8)
  })

  it("looks a healthy name up at every end of its TTL although the answers stay the same", () => {
    let name = end({ ...Policy.newName, unchanged: 9, resetAt: 0 }, unchanged, 10_000)
    assert.strictEqual(Policy.decide(name, closed, "Stale", 15_000)._tag, "At")
    name = Policy.answered(name, 14_000)
    assert.strictEqual(Policy.decide(name, closed, "Stale", 15_000)._tag, "Lookup")
    assert.strictEqual(Policy.decide(name, closed, "Unreachable", 15_000)._tag, "At")
  })

  it("does not ask again for a client while the answer is fresh, but does for traffic", () => {
    const name = end(Policy.newName, { ...changed, freshForMs: 30_000 }, 0)
    for (const cause of ["First", "ClientAsked"] as const) {
      assert.deepStrictEqual(Policy.decide(name, closed, cause, 29_999), { _tag: "Ignore", brake: "fresh" })
      assert.strictEqual(Policy.decide(name, closed, cause, 30_000)._tag, "Lookup")
    }
    assert.strictEqual(Policy.decide(name, closed, "Unanswered", 5_000)._tag, "Lookup")
  })

  it("does nothing for a restarted mapping", () => {
    assert.deepStrictEqual(Policy.decide(Policy.newName, closed, "Restarted", 0), { _tag: "Ignore", brake: "idle" })
  })
})

describe("refreshPolicy: resolver failing", () => {
  const fails = (breaker: Policy.Breaker, key: string, name = Policy.newName) => Policy.setFailed(breaker, key, name, 0)
  const open = fails(fails(closed, "a"), "b")

  it("opens when two names fail without an answer between them, and closes at the first answer", () => {
    assert.isTrue(open.open)
    assert.isFalse(fails(fails(closed, "a"), "a").open)
    assert.isFalse(fails(Policy.setAnswered(0), "b").open)
    assert.isFalse(Policy.setAnswered(0).open)
  })

  it("does not open for names that fail at a set which answers others", () => {
    const [a, b] = [0, 0].map((now) => end(Policy.newName, { _tag: "Failed" }, now))
    assert.isFalse(fails(fails(Policy.setAnswered(500), "a", a), "b", b).open)
    assert.isTrue(fails(fails(Policy.setAnswered(-500), "a", a), "b", b).open)
  })

  it("lets one probe a second through while open, whatever the cause", () => {
    for (const cause of ["First", "Unmapped", "ClientAsked"] as const) {
      assert.deepStrictEqual(Policy.decide(Policy.newName, open, cause, 999), {
        _tag: "Ignore",
        brake: "resolver_failing"
      })
      assert.strictEqual(Policy.decide(Policy.newName, open, cause, 1_000)._tag, "Lookup")
    }
    assert.strictEqual(Policy.decide(Policy.newName, Policy.probed(open, 1_000), "First", 1_999)._tag, "Ignore")
  })

  it("does not lengthen any name's delay while open", () => {
    let name = Policy.newName
    for (let n = 0; n < 100; n++) name = end(name, { _tag: "Failed" }, n * 1_000, half, open)
    assert.strictEqual(name.notBefore, 99_000)
    assert.strictEqual(name.failures, 0)
  })

  const retries = (untilMs: number, breaker: (now: number) => Policy.Breaker) => {
    const times: Array<number> = []
    let name = Policy.newName
    for (let now = 0; now <= untilMs; now += 100) {
      if (Policy.decide(name, breaker(now), "Unmapped", now)._tag !== "Lookup") continue
      times.push(now / 1_000)
      name = end(name, { _tag: "Failed" }, now, half, breaker(now))
    }
    return times
  }

  it("backs off for the one name that fails at a set which answers others", () => {
    const times = retries(128_000, (now) => Policy.setAnswered(now - 50))
    assert.deepStrictEqual(times, [0, 1, 2, 4, 8, 16, 32, 64, 124])
  })

  it("tries the only name in demand each second", () => {
    assert.deepStrictEqual(
      retries(5_000, () => closed),
      [0, 1, 2, 3, 4, 5]
    )
    assert.deepStrictEqual(
      retries(5_000, (now) => Policy.setAnswered(Math.min(now, 150))),
      [0, 1, 2, 3, 4, 5]
    )
  })

  it("keeps the two brakes apart: an outage does not forget or lengthen the back-off of a known answer", () => {
    const known = { ...Policy.newName, unchanged: 4, notBefore: 8_000 }
    const after = end(known, { _tag: "Failed" }, 8_000, half, open)
    assert.strictEqual(after.unchanged, 4)
    assert.strictEqual(end(after, unchanged, 9_000).notBefore, 9_000 + 16_000)
  })

  it("counts a name as idle 30 s after its last cause", () => {
    const name = Policy.demanded(Policy.newName, 1_000)
    assert.isTrue(Policy.inDemand(name, 31_000))
    assert.isFalse(Policy.inDemand(name, 31_001))
    assert.isFalse(Policy.inDemand(Policy.newName, 0))
  })
})

const event = Schema.Union([
  Schema.TaggedStruct("Cause", { cause: Schema.Literals(["Unmapped", "Unanswered", "Unreachable", "ClientAsked"]) }),
  Schema.TaggedStruct("Reply", {}),
  Schema.TaggedStruct("Wait", { ms: Schema.Literals([1, 799, 800, 999, 1_000, 1_001, 1_600, 59_999]) })
])

describe("refreshPolicy: whatever happens", () => {
  it.prop(
    "a name is looked up at most 16 times in any minute",
    [Schema.Array(event).check(Schema.isMinLength(80), Schema.isMaxLength(160)), Schema.Array(Schema.Boolean)],
    ([events, changes]) => {
      const times: Array<number> = []
      let name = Policy.newName
      let now = 0
      for (const each of events) {
        if (each._tag === "Wait") now += each.ms
        if (each._tag === "Reply") name = Policy.answered(name, now)
        if (each._tag !== "Cause" || Policy.decide(name, closed, each.cause, now)._tag !== "Lookup") continue
        times.push(now)
        name = end(name, changes[times.length % (changes.length + 1)] === true ? changed : unchanged, now, 0)
      }
      for (const from of times) {
        assert.isAtMost(times.filter((t) => t >= from && t < from + 60_000).length, 16, `from ${from}: ${times.join()}`)
      }
    },
    { arbitrary: { runs: 300, seed: 11 } }
  )
})
