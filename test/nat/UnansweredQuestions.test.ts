import { assert, describe, it } from "@effect/vitest"
import { UnansweredQuestions } from "../../src/nat/UnansweredQuestions.ts"

const taken = (questions: UnansweredQuestions, client: number, tries: number, now = 0): number =>
  Array.from({ length: tries }, () => questions.take(client, now)).filter(Boolean).length

describe("unanswered questions", () => {
  it("of one client take half of the room; of several each as much as they leave free", () => {
    const alone = new UnansweredQuestions()
    assert.strictEqual(taken(alone, 0, 10_000), 1_024)
    const many = new UnansweredQuestions()
    for (let round = 0; round < 2_000; round++) for (let client = 0; client < 3; client++) many.take(client, 0)
    assert.strictEqual(taken(many, 0, 10), 0)
    assert.strictEqual(taken(many, 300, 2_000), 256)
  })

  it("are none once they are answered: a client that waits for answers asks without end", () => {
    const questions = new UnansweredQuestions()
    for (let n = 0; n < 100_000; n++) {
      assert.isTrue(questions.take(7, 0))
      questions.answered(7)
    }
    questions.answered(7)
    questions.answered(8)
    questions.answered(7_000)
    assert.strictEqual(taken(questions, 7, 10_000), 1_024, "answers to nothing make no room")
    assert.strictEqual(taken(questions, 8, 10_000), 512)
  })

  it("that are never answered are forgotten, a quarter each second", () => {
    const questions = new UnansweredQuestions()
    assert.strictEqual(taken(questions, 1, 10_000, 5_000_000_000), 1_024)
    assert.strictEqual(taken(questions, 1, 10_000, 5_000_000_099), 0)
    assert.strictEqual(taken(questions, 1, 10_000, 5_000_000_100), 30)
    assert.strictEqual(taken(questions, 2, 10_000, 5_000_000_100), 512)
    questions.forgetClient(2)
    assert.strictEqual(taken(questions, 1, 10_000, 5_000_001_100), 256)
    assert.strictEqual(taken(questions, 1, 10_000, 5_000_100_000), 1_024)
  })

  it("go with their client", () => {
    const questions = new UnansweredQuestions()
    taken(questions, 1, 10_000)
    assert.strictEqual(taken(questions, 2, 10_000), 512)
    questions.forgetClient(1)
    questions.forgetClient(1e6)
    assert.strictEqual(taken(questions, 3, 10_000), 768)
  })
})
