import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as FileSystem from "effect/FileSystem"
import * as Result from "effect/Result"
import { TestClock } from "effect/testing"
import { holdTests } from "../../src/cli/testConfig.ts"
import { parseConfig } from "../../src/config/parseConfig.ts"
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
  }).pipe(Effect.provide(NodeServices.layer))
)

it.effect("block lists are read for tests that hang on them alone, and count then", () =>
  Effect.gen(function* () {
    const fs = yield* FileSystem.FileSystem
    const list = yield* fs.makeTempFileScoped()
    yield* fs.writeFileString(list, "example.net\n")
    const read: Array<string> = []
    const watched: FileSystem.FileSystem = {
      ...fs,
      stat: (path) =>
        Effect.andThen(
          Effect.sync(() => void read.push(path)),
          fs.stat(path)
        )
    }
    const hold = (reach: string) => {
      const test = `tests: [{ client: bob, reach: "${reach}", expect: denied }]`
      const config = Result.getOrThrow(parseConfig(`${example}block: [${list}]\n${test}\n`, "a.yaml"))
      return Effect.provideService(holdTests(config), FileSystem.FileSystem, watched)
    }
    yield* hold("10.20.0.1")
    yield* hold("gitlab.corp.internal:22")
    assert.notInclude(read, list)
    yield* hold("ads.example.net:443")
    assert.include(read, list)
    assert.include((yield* Effect.flip(hold("example.org:443"))).message, "bob reaches example.org:443")
  }).pipe(Effect.scoped, Effect.provide(NodeServices.layer))
)

it.effect("a file with tests is read although its block lists are on a mount that is dead", () =>
  Effect.gen(function* () {
    const fs = yield* FileSystem.FileSystem
    const tried: Array<string> = []
    const dead: FileSystem.FileSystem = {
      ...fs,
      stat: (path) =>
        Effect.suspend(() => {
          if (!path.startsWith("/dead/")) return fs.stat(path)
          tried.push(path)
          return Effect.never
        })
    }
    const lines = `block: [/dead/one, /dead/two]\ntests: [{ client: bob, reach: "example.org:443", expect: allowed }]\n`
    const config = Result.getOrThrow(parseConfig(`${example}${lines}`, "a.yaml"))
    const holding = yield* Effect.forkChild(Effect.provideService(holdTests(config), FileSystem.FileSystem, dead))
    // The hosts file is read in real time.
    while (holding.pollUnsafe() === undefined)
      yield* Effect.andThen(TestClock.withLive(Effect.sleep(5)), TestClock.adjust("1 second"))
    yield* Fiber.join(holding)

    assert.deepStrictEqual(tried, ["/dead/one"])
  }).pipe(Effect.provide(NodeServices.layer))
)
