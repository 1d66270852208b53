import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import type { LogLevel } from "effect/LogLevel"
import * as fileLogLevel from "../../../layers/cli/fileLogLevel.ts"

it.effect("the log level of the file holds for fibers that began before it changed, in either direction", () => {
  const lines: Array<string> = []
  const logger = Logger.layer([Logger.make(({ message }) => void lines.push(String(message)))])
  let level: LogLevel = "Info"
  return Effect.gen(function* () {
    for (const next of ["Info", "Debug", "Error", "None"] as const) {
      level = next
      yield* Effect.logDebug(`debug at ${next}`)
      yield* Effect.logInfo(`info at ${next}`)
      yield* Effect.logError(`error at ${next}`)
    }
    assert.deepStrictEqual(lines, [
      "info at Info",
      "error at Info",
      "debug at Debug",
      "info at Debug",
      "error at Debug",
      "error at Error"
    ])
  }).pipe(
    Effect.provide(
      Layer.provideMerge(
        fileLogLevel.layer(() => level),
        logger
      )
    )
  )
})
