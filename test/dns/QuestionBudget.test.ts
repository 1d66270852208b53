import { assert, describe, it } from "@effect/vitest"
import { QuestionBudget, questionLimit } from "../../src/dns/QuestionBudget.ts"

const many = (budget: QuestionBudget, count: number, now: number) =>
  Array.from({ length: count }, () => budget.admit(now))
const countOf = (admissions: ReadonlyArray<{ readonly _tag: string }>, tag: string) =>
  admissions.filter(({ _tag }) => _tag === tag).length

describe("QuestionBudget", () => {
  it("takes 1,000 questions at once, lets 500 wait for the rate, and refuses further ones", () => {
    const all = many(new QuestionBudget(questionLimit), 3_000, 0)
    const waits = all.flatMap((admission) => (admission._tag === "Admitted" ? [admission.waitMs] : []))
    assert.strictEqual(waits.filter((ms) => ms === 0).length, 1_000)
    assert.deepStrictEqual([waits[1_000], waits.at(-1), waits.length], [2, 1_000, 1_500])
    assert.strictEqual(countOf(all, "Refused"), 1_500)
  })

  it("takes 500 a second for ever, and all of the burst after a pause", () => {
    const budget = new QuestionBudget(questionLimit)
    for (let now = 0; now < 60_000; now += 2) assert.deepStrictEqual(budget.admit(now), { _tag: "Admitted", waitMs: 0 })
    many(budget, 3_000, 60_000)
    const later = many(budget, 1_000, 63_000)
    assert.isTrue(later.every((admission) => admission._tag === "Admitted" && admission.waitMs === 0))
  })

  it("says before it is asked what would become of a question", () => {
    const budget = new QuestionBudget(questionLimit)
    for (let n = 0; n < 12_000; n++) {
      const spent = budget.isSpent(n / 3)
      assert.strictEqual(spent, budget.admit(n / 3)._tag === "Refused")
    }
  })

  it("serves a flood at the rate, and refuses the rest", () => {
    const budget = new QuestionBudget(questionLimit)
    many(budget, 10_000, 0)
    const second = Array.from({ length: 5_000 }, (_, n) => budget.admit((n + 1) / 5))
    assert.strictEqual(countOf(second, "Admitted"), 500)
    assert.isTrue(second.every((admission) => admission._tag !== "Admitted" || admission.waitMs <= 1_000))
  })
})
