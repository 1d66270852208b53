import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { DataPlaneRecorder } from "../../../../layers/memory/DataPlaneRecording.ts"
import { warmUp } from "../../../../layers/control/standalone/warmUp.ts"
import { Clients } from "../../../../src/access/Clients.ts"
import { SetProbe } from "../../../../src/resolution/SetProbe.ts"
import { Resolutions } from "../../../../src/resolution/Resolutions.ts"
import { layerAccess } from "../../../support/access.ts"

describe("warm-up", () => {
  it.effect("goes the whole way to addresses with every question, waits for nothing and ends", () =>
    Effect.gen(function* () {
      assert.strictEqual(yield* warmUp, 1_000)
    })
  )

  it.live("asks no server of the gateway's whether it lives", () => {
    const asked: Array<string> = []
    const probe = Layer.succeed(SetProbe, (set) => Effect.sync(() => asked.push(set) > 0))
    return Effect.gen(function* () {
      yield* warmUp

      assert.deepStrictEqual(asked, [])
    }).pipe(Effect.provide(probe))
  })

  it.effect("leaves nothing in the services of the gateway that is being put together", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* (yield* DataPlaneRecorder).commands, [])
      assert.deepStrictEqual(yield* (yield* Resolutions).list, [])
      assert.deepStrictEqual(yield* (yield* Clients).list, [])
    }).pipe(Effect.provide(Layer.effectDiscard(warmUp).pipe(Layer.provideMerge(layerAccess))))
  )
})
