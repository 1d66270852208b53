import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import * as NameFilesMemory from "../../layers/memory/NameFilesMemory.ts"
import { holdTests } from "../../src/cli/testConfig.ts"
import { parseConfig } from "../../src/config/parseConfig.ts"
import { NameFiles } from "../../src/host/NameFiles.ts"
import { example } from "../config/fixtures.ts"

it.effect("a gateway that reloads gets to everything else between the tests of its file", () =>
  Effect.gen(function* () {
    const denied = `  - { client: bob, reach: gitlab.corp.internal, expect: denied }\n`
    const config = Result.getOrThrow(parseConfig(`${example}tests:\n${denied.repeat(50)}`, "a.yaml"))
    let turns = 0
    const seen = new Set<number>()
    const tests = config.tests.map(({ expect, ...test }) => ({
      ...test,
      get expect() {
        seen.add(turns)
        return expect
      }
    }))
    yield* Effect.forkChild(Effect.forever(Effect.sync(() => void turns++)))
    yield* holdTests({ ...config, tests })
    assert.isAtLeast(seen.size, tests.length)
  }).pipe(Effect.provide(NameFilesMemory.none))
)

it.effect("block lists are asked for by tests that hang on them alone, of the gateway, and count then", () =>
  Effect.gen(function* () {
    const asked: Array<ReadonlyArray<string>> = []
    const blocked = (name: string) => (name.endsWith("example.net") ? "example.net" : undefined)
    const files = Layer.effect(
      NameFiles,
      Effect.map(NameFiles, (none) => ({
        ...none,
        withLists: (block) =>
          Effect.sync(() => {
            asked.push(block)
            return block.length === 0 ? none : { ...none, blocked }
          })
      }))
    ).pipe(Layer.provide(NameFilesMemory.none))
    const hold = (reach: string) => {
      const test = `tests: [{ client: bob, reach: "${reach}", expect: denied }]`
      const config = Result.getOrThrow(parseConfig(`${example}block: [/a/list]\n${test}\n`, "a.yaml"))
      return Effect.provide(holdTests(config), files)
    }
    yield* hold("10.20.0.1")
    yield* hold("gitlab.corp.internal:22")
    assert.deepStrictEqual(asked, [[], []])
    yield* hold("ads.example.net:443")
    assert.deepStrictEqual(asked.slice(2), [[], ["/a/list"]])
    assert.include((yield* Effect.flip(hold("example.org:443"))).message, "bob reaches example.org:443")
  })
)
