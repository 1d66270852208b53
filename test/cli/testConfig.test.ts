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
    // Yields after each round.
    yield* Effect.forkChild(Effect.forever(Effect.sync(() => void turns++)))
    yield* Effect.yieldNow
    yield* holdTests({ ...config, tests: [] })
    const before = turns
    yield* holdTests(config)
    assert.isAtLeast(turns - before, config.tests.length)
  }).pipe(Effect.provide(NodeServices.layer))
)
