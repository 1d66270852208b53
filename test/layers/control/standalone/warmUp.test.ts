import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { DataPlaneRecorder } from "../../../../layers/memory/DataPlaneRecording.ts"
import { warmUp } from "../../../../layers/control/standalone/warmUp.ts"
import { Clients } from "../../../../src/access/Clients.ts"
import { Resolutions } from "../../../../src/resolution/Resolutions.ts"
import { layerAccess } from "../../../support/access.ts"

describe("warm-up", () => {
  it.effect("goes the whole way to addresses with every question, waits for nothing and ends", () =>
    Effect.gen(function* () {
      assert.strictEqual(yield* warmUp, 1_000)
    })
  )

  it.effect("leaves nothing in the services of the gateway that is being put together", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* (yield* DataPlaneRecorder).commands, [])
      assert.deepStrictEqual(yield* (yield* Resolutions).list, [])
      assert.deepStrictEqual(yield* (yield* Clients).list, [])
    }).pipe(Effect.provide(Layer.effectDiscard(warmUp).pipe(Layer.provideMerge(layerAccess))))
  )
})
