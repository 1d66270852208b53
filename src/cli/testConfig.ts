/** `tests:` of the file, run by `check`, and before a file counts. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type { GatewayConfig } from "../config/GatewayConfig.ts"
import { ConfigError } from "../config/problem.ts"
import type { TestOutcome } from "../control/standalone/policyTests.ts"
import { type FilesOfNames, NameFiles } from "../host/NameFiles.ts"
import { load } from "./load.ts"

/** Failed tests that are told at once. */
const maxTold = 20

/** `filesWith` these block lists. */
export const testConfig = Effect.fnUntraced(function* <R>(
  config: GatewayConfig,
  filesWith: (block: GatewayConfig["block"]) => Effect.Effect<FilesOfNames, never, R>
) {
  if (config.tests.length === 0) return []
  const { runPolicyTests } = yield* load(() => import("../control/standalone/policyTests.ts"))
  const now = yield* Clock.currentTimeMillis
  const run = Effect.fnUntraced(function* (files: FilesOfNames) {
    const outcomes: Array<TestOutcome> = []
    for (const outcome of runPolicyTests(config, files, now)) {
      outcomes.push(outcome)
      // A gateway that is reloading goes on with everything else.
      yield* Effect.yieldNow
    }
    return outcomes
  })
  // Block lists are long. Addresses and names of the file's own, what tests are of as a rule, hang on none.
  const asked: Array<string> = []
  const blocked = (domain: string) => void asked.push(domain)
  const outcomes = yield* run({ ...(yield* filesWith([])), blocked })
  return asked.length > 0 && config.block.length > 0 ? yield* run(yield* filesWith(config.block)) : outcomes
})

/** By what the gateway has read already. */
const outcomesOf = (config: GatewayConfig) =>
  Effect.flatMap(NameFiles, ({ withLists }) => testConfig(config, withLists))

/** Fails where a test does not hold. */
export const holdTests = Effect.fnUntraced(function* (config: GatewayConfig) {
  const lines = failuresOf(yield* outcomesOf(config))
  if (lines.length > 0) return yield* new ConfigError({ message: lines.join("\n") })
  return config
})

/**
 * The same at a start, where what has expired since the file was written is only warned of: a gateway that starts again at
 * night must not stay away for it.
 */
export const holdTestsAtStart = Effect.fnUntraced(function* (config: GatewayConfig) {
  const outcomes = yield* outcomesOf(config)
  const lines = failuresOf(outcomes.filter(({ hasExpired }) => !hasExpired))
  if (lines.length > 0) return yield* new ConfigError({ message: lines.join("\n") })
  for (const line of failuresOf(outcomes)) yield* Effect.logWarning(line)
})

/** A line each, as mistakes in the file are told. */
export const failuresOf = (outcomes: ReadonlyArray<TestOutcome>): ReadonlyArray<string> => {
  const lines = outcomes.flatMap(({ fix, found, test: { expect, place } }) =>
    fix === null ? [] : [`${place}: the test expects ${expect}, but ${found} — ${fix}`]
  )
  const more = lines.length - maxTold
  return more > 0 ? [...lines.slice(0, maxTold), `and ${more} more tests do not hold`] : lines
}
