import { assert, describe, it } from "@effect/vitest"
import { countingAtFirst, judgeCounting, type TrafficSeen, withRules } from "../../src/host/countingNeed.ts"

/** What grows between two looks, which are half a second apart. */
type Look = Partial<Omit<TrafficSeen, "at" | "rules">> & {
  readonly rules?: number
  readonly lost?: boolean
  readonly uncounted?: boolean
}

const many: Look = { written: 2_000, received: 2_000 }
const few: Look = { written: 10, received: 10 }
const nothing: Look = {}

/** Whether the host counts after each of the looks. */
const counts = (...looks: ReadonlyArray<Look>): ReadonlyArray<boolean> => {
  let counting = countingAtFirst
  let seen: TrafficSeen = { at: 0, written: 0, received: 0, missed: 0, asked: 0, answered: 0, rules: 1 }
  counting = judgeCounting(counting, seen, true)
  return looks.map((look) => {
    seen = {
      at: seen.at + 500,
      written: seen.written + (look.written ?? 0),
      received: seen.received + (look.received ?? 0),
      missed: seen.missed + (look.missed ?? 0),
      asked: seen.asked + (look.asked ?? 0),
      answered: seen.answered + (look.answered ?? 0),
      rules: look.rules ?? seen.rules
    }
    counting = judgeCounting(counting, seen, look.uncounted === true ? null : look.lost !== true)
    return counting.on
  })
}

const times = (n: number, look: Look): ReadonlyArray<Look> => Array.from({ length: n }, () => look)
const last = (list: ReadonlyArray<boolean>): boolean | undefined => list.at(-1)

describe("judgeCounting", () => {
  it("counts from the start, and while there are few packets or none", () => {
    assert.isFalse(counts(...times(100, few), ...times(100, nothing)).includes(false))
  })

  it("stops where many packets come through, and begins again when they have been few for a while", () => {
    assert.deepStrictEqual(counts(many, many), [false, false])
    assert.isFalse(last(counts(many, ...times(29, few))))
    assert.isTrue(last(counts(many, ...times(30, few))))
  })

  it("goes on where something is lost already", () => {
    assert.isTrue(last(counts(...times(60, { ...many, lost: true }))))
  })

  it("goes on trying while nothing can be counted; what is missed meanwhile is in no trial", () => {
    const missing = (missed: number) => ({ ...many, missed })
    const uncounted = times(60, { ...missing(1_000), uncounted: true })
    assert.isFalse(counts(...uncounted, ...times(11, many)).includes(false))
    const later = [...uncounted, ...times(12, many), missing(10)]
    assert.deepStrictEqual(counts(...later).slice(-2), [false, true])
  })

  for (const [what, doubt] of [
    ["a flow has no answer, or an error for one", { ...many, missed: 1 }],
    ["others have changed a rule", { ...many, rules: 2 }]
  ] as const) {
    it(`begins at once when ${what}, for as long as a trial takes`, () => {
      assert.isTrue(last(counts(many, doubt)))
      assert.isTrue(last(counts(many, doubt, ...times(11, many))))
      assert.isFalse(last(counts(many, doubt, ...times(12, many))))
    })
  }

  it("goes on while others change rules", () => {
    const changes = [2, 3, 4].flatMap((rules) => times(12, { ...many, rules }))
    assert.isTrue(last(counts(many, ...changes)))
    assert.isFalse(last(counts(many, ...changes, { ...many, rules: 4 })))
  })

  it("does not mind misses that are as many as they were while it counted and nothing was lost", () => {
    const missing = (missed: number) => ({ ...many, missed })
    const tried = [many, ...times(13, missing(1))]
    assert.deepStrictEqual(counts(...tried), [false, ...times(12, many).map(() => true), false])
    assert.isFalse(
      counts(...tried, ...times(600, missing(1)))
        .slice(13)
        .includes(true)
    )
    // Twice those of six seconds at once, or more than twice as many all the time.
    assert.isFalse(last(counts(...tried, missing(26))))
    assert.isTrue(last(counts(...tried, missing(27))))
    assert.isTrue(
      counts(...tried, ...times(60, missing(3)))
        .slice(14)
        .includes(true)
    )
    // One each ten seconds is one within six.
    const seldom = [missing(1), ...times(19, many)]
    const begun = counts(many, ...Array.from({ length: 20 }, () => seldom).flat()).filter(
      (on, i, all) => on && all[i - 1] !== true
    )
    assert.lengthOf(begun, 1)
  })

  it("minds misses again that are many times those of the last minutes, whatever was missed in a trial once", () => {
    const missing = (missed: number) => ({ ...many, missed })
    const scanned = [many, ...times(13, missing(1_000))]
    assert.isFalse(
      counts(...scanned, ...times(1_200, missing(500)))
        .slice(13)
        .includes(true)
    )
    const calm = times(2 * 60 * 20, missing(1))
    assert.isFalse(
      counts(...scanned, ...calm)
        .slice(13)
        .includes(true)
    )
    assert.isTrue(
      counts(...scanned, ...calm, ...times(20, missing(100)))
        .slice(13)
        .includes(true)
    )
    // One each ten seconds is seldom still, as is one each minute.
    const seldom = Array.from({ length: 30 }, () => [missing(1), ...times(119, many)]).flat()
    assert.isFalse(
      counts(...scanned, ...calm, ...seldom)
        .slice(13)
        .includes(true)
    )
  })

  it("begins when the gateway's services do not answer from one look to the next, however much else comes through", () => {
    assert.deepStrictEqual(counts(many, { ...many, asked: 1 }, { ...many, answered: 1 }, many), [
      false,
      false,
      false,
      false
    ])
    assert.deepStrictEqual(counts(many, { ...many, asked: 1 }, many), [false, false, true])
  })

  it("begins when everything has come to rest but one side's tries", () => {
    for (const side of ["written", "received"]) {
      assert.deepStrictEqual(counts(many, { [side]: 5 }, nothing), [false, false, true])
      assert.deepStrictEqual(counts(many, { [side]: 5 }, few, few), [false, false, false, false])
    }
  })

  it("does not mind a stream that goes one way, nor a rest", () => {
    assert.isFalse(counts(...times(60, { written: 4_000 })).includes(true))
    assert.isFalse(counts(...times(60, { received: 4_000 })).includes(true))
    assert.isFalse(counts(many, ...times(10, nothing)).includes(true))
  })

  it("knows a change of the rules that was its own", () => {
    const seen = { at: 0, written: 0, received: 0, missed: 0, asked: 0, answered: 0, rules: 1 }
    const still = { ...judgeCounting(countingAtFirst, seen, true), on: false, manyAt: 0 }
    assert.isTrue(judgeCounting(still, { ...seen, at: 500, rules: 2 }, true).on)
    assert.isFalse(judgeCounting(withRules(still, 2), { ...seen, at: 500, rules: 2 }, true).on)
  })
})
