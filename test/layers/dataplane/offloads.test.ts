import { assert, describe, it } from "@effect/vitest"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import { type OffloadSwitches, readOffloads } from "../../../layers/dataplane/offloads.ts"

const all: OffloadSwitches = { gso: true, gro: true, tso: true, join: true, simd: true }
const none: OffloadSwitches = { gso: false, gro: false, tso: false, join: false, simd: false }

/** The switches under this environment, and what the operator was warned of. */
const read = Effect.fnUntraced(function* (env: Readonly<Record<string, string>>) {
  const warnings: Array<string> = []
  const switches = yield* readOffloads.pipe(
    Effect.provide(
      Layer.mergeAll(
        ConfigProvider.layer(ConfigProvider.fromUnknown(env)),
        Logger.layer([Logger.make(({ message }) => void warnings.push(String(message)))])
      )
    )
  )
  return { switches, warnings }
})

describe("SALLYPORT_OFFLOADS", () => {
  for (const [text, expected] of [
    ["all", all],
    ["none", none],
    ["", all],
    ["gso", { ...none, gso: true }],
    ["gso, tso ,join", { ...none, gso: true, tso: true, join: true }],
    ["join", none],
    ["gro,simd", { ...none, gro: true, simd: true }]
  ] as const) {
    it.effect(`${JSON.stringify(text)} is understood`, () =>
      Effect.gen(function* () {
        assert.deepStrictEqual(yield* read({ SALLYPORT_OFFLOADS: text }), { switches: expected, warnings: [] })
      })
    )
  }

  it.effect("that is not set means all", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* read({}), { switches: all, warnings: [] })
    })
  )

  it.effect("with an unknown word warns once and names the known ones", () =>
    Effect.gen(function* () {
      const { switches, warnings } = yield* read({ SALLYPORT_OFFLOADS: "gso,usb" })

      assert.deepStrictEqual(switches, { ...none, gso: true })
      assert.strictEqual(warnings.length, 1)
      assert.match(warnings[0]!, /does not know usb: use all, none or gso,gro,tso,join,simd/)
    })
  )
})
