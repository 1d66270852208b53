import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { questions, warmUp } from "../../layers/warmUp.ts"

describe("warm-up", () => {
  it.effect("goes the whole way to proxy IPs with every question, waits for nothing and ends", () =>
    Effect.gen(function* () {
      assert.strictEqual(yield* warmUp, questions)
    })
  )
})
