import { assert, describe, it } from "@effect/vitest"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import { readRealTime } from "../../../layers/dataplane/realTime.ts"

/** The switch under this environment, and what the operator was warned of. */
const read = Effect.fnUntraced(function* (env: Readonly<Record<string, string>>) {
  const warnings: Array<string> = []
  const on = yield* readRealTime.pipe(
    Effect.provide(
      Layer.mergeAll(
        ConfigProvider.layer(ConfigProvider.fromUnknown(env)),
        Logger.layer([Logger.make(({ message }) => void warnings.push(String(message)))])
      )
    )
  )
  return { on, warnings }
})

describe("SALLYPORT_REAL_TIME", () => {
  for (const [text, on] of [
    ["true", true],
    ["1", true],
    ["false", false],
    ["0", false],
    ["no", false]
  ] as const) {
    it.effect(`${text} is understood`, () =>
      Effect.gen(function* () {
        assert.deepStrictEqual(yield* read({ SALLYPORT_REAL_TIME: text }), { on, warnings: [] })
      })
    )
  }

  it.effect("that is not set means yes", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* read({}), { on: true, warnings: [] })
    })
  )

  it.effect("with another value warns once and means yes", () =>
    Effect.gen(function* () {
      const { on, warnings } = yield* read({ SALLYPORT_REAL_TIME: "sometimes" })

      assert.isTrue(on)
      assert.deepStrictEqual(warnings, ["SALLYPORT_REAL_TIME is neither true nor false: taken for true"])
    })
  )
})
