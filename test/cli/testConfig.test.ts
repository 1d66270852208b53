import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
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
