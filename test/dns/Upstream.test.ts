/** A question that takes a fiber, asked by one who waits without. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { broken, type Outcome } from "../../src/dns/Exchange.ts"
import { emptyMessage } from "../../src/dns/message.ts"
import { askedByFibers } from "../../src/dns/Upstream.ts"
import { defectCounts } from "../../src/loops/outlive.ts"

const question = { domain: "app.test", type: 1 }

describe("a question that a fiber asks", () => {
  it.effect("ends with a failure when the asking meets a bug, which is counted", () =>
    Effect.gen(function* () {
      const ask = yield* askedByFibers(() => Effect.die(new Error("a bug")))
      const before = (yield* defectCounts)["Upstream.ask"] ?? 0
      const told: Array<Outcome> = []
      ask("system", question, 1_000)((outcome) => told.push(outcome))
      yield* Effect.yieldNow
      assert.deepStrictEqual(told, [broken])
      assert.strictEqual((yield* defectCounts)["Upstream.ask"], before + 1)
    }).pipe(Effect.scoped)
  )

  it.effect("tells once, and a bug of who is told is counted, too", () =>
    Effect.gen(function* () {
      const ask = yield* askedByFibers(() => Effect.succeed(emptyMessage))
      const before = (yield* defectCounts)["Upstream.ask"] ?? 0
      let told = 0
      ask(
        "system",
        question,
        1_000
      )(() => {
        told++
        throw new Error("a bug")
      })
      yield* Effect.yieldNow
      assert.strictEqual(told, 1)
      assert.strictEqual((yield* defectCounts)["Upstream.ask"], before + 1)
    }).pipe(Effect.scoped)
  )
})
