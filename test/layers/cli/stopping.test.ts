import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Logger from "effect/Logger"
import { tellingFirst, tellingWhy } from "../../../layers/cli/stopping.ts"
import { StateError } from "../../../src/host/StateStore.ts"

const broken = Effect.fail(new StateError({ message: "the disk is gone" }))

for (const [when, program, lines] of [
  ["running, before anything is undone", tellingFirst(broken), ["stopping: the disk is gone", "undone"]],
  ["starting, when what was begun is undone", broken, ["undone", "stopping: the disk is gone"]]
] as const) {
  it.effect(`a program that fails while it is ${when}, says so once`, () =>
    Effect.gen(function* () {
      const told: Array<string> = []
      const logger = Logger.make(({ message }) => void told.push(String(message)))
      yield* Effect.addFinalizer(() => Effect.logInfo("undone")).pipe(
        Effect.andThen(program),
        Effect.scoped,
        tellingWhy("ends"),
        Effect.ignore,
        Effect.provide(Logger.layer([logger]))
      )
      assert.deepStrictEqual(told, [...lines])
    })
  )
}
