import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { TestClock } from "effect/testing"
import * as DataPlaneRecording from "../../layers/memory/DataPlaneRecording.ts"
import { DataPlaneRecorder } from "../../layers/memory/DataPlaneRecording.ts"
import type { Notice } from "../../src/dataplane/notices.ts"
import { forEachNotice } from "../../src/loops/forEachNotice.ts"

const fault = (message: string): Notice => ({ _tag: "Fault", epoch: 1, message })
const settle = TestClock.adjust(0)

/** Runs over the recording data plane; yields what was done, in order. */
const listening = (afterwards: Effect.Effect<void> = Effect.void) => {
  const done: Array<string> = []
  return Effect.as(
    forEachNotice(
      "a loop",
      { Fault: ({ message }) => Effect.sync(() => void done.push(message)) },
      Effect.andThen(
        Effect.sync(() => void done.push("afterwards")),
        afterwards
      )
    ),
    done
  )
}

describe("the loop over notices", () => {
  it.effect("hears from when it is made, handles one after the other, and ignores kinds that nobody asked for", () =>
    Effect.gen(function* () {
      const { publish } = yield* DataPlaneRecorder
      yield* publish(fault("before"))
      const done = yield* listening()
      yield* publish(fault("one"))
      yield* publish({ _tag: "Ready", epoch: 2 })
      yield* publish(fault("two"))
      yield* settle
      assert.deepStrictEqual(done, ["one", "two", "afterwards"])
    }).pipe(Effect.scoped, Effect.provide(DataPlaneRecording.layer))
  )

  it.effect("does what is to be done afterwards again after a bug in it", () =>
    Effect.gen(function* () {
      const { publish } = yield* DataPlaneRecorder
      const done = yield* listening(Effect.die("a bug"))
      for (const message of ["one", "two"]) {
        yield* publish(fault(message))
        yield* settle
      }
      assert.deepStrictEqual(done, ["one", "afterwards", "two", "afterwards"])
    }).pipe(Effect.scoped, Effect.provide(DataPlaneRecording.layer))
  )
})
