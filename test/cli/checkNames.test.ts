import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as FileSystem from "effect/FileSystem"
import * as Result from "effect/Result"
import { TestClock } from "effect/testing"
import { blockRemarks } from "../../src/cli/checkNames.ts"
import { readNameFiles } from "../../src/cli/readNameFiles.ts"
import { parseConfig } from "../../src/config/parseConfig.ts"
import { example } from "../config/fixtures.ts"

it.effect("of block lists on a mount that is dead one is tried, for 5 s, and what comes after it is not", () =>
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
    const block = ["/none", "/dead/one", "/dead/two", "/dead/three"]
    const config = Result.getOrThrow(parseConfig(`${example}block: [${block.join(", ")}]\n`, "a.yaml"))
    const looking = yield* Effect.forkChild(
      Effect.gen(function* () {
        const remarks = yield* blockRemarks(config)
        assert.isBelow(yield* Clock.currentTimeMillis, 10_000)
        assert.isUndefined((yield* readNameFiles(block)).blocked("ads.example.net"))
        return remarks
      }).pipe(Effect.provideService(FileSystem.FileSystem, dead))
    )
    // Files that answer do so in real time.
    while (looking.pollUnsafe() === undefined)
      yield* Effect.andThen(TestClock.withLive(Effect.sleep(5)), TestClock.adjust("100 millis"))
    const remarks = yield* Fiber.join(looking)

    assert.deepStrictEqual(
      remarks.map(({ text }) => text.replace(/: nothing is blocked.*/, "")),
      [
        "the block list /none does not exist",
        "the block list /dead/one does not answer within 5 seconds",
        "2 block lists after /dead/one: not looked at"
      ]
    )
    assert.deepStrictEqual(tried, ["/dead/one", "/dead/one"])
  }).pipe(Effect.provide(NodeServices.layer))
)
