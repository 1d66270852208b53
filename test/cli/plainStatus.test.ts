import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Effect, Stream } from "effect"
import { Command } from "effect/cli"
import { TestConsole } from "effect/testing"
import { ControlClient } from "../../src/cli/ControlClient.ts"
import { plainStatus } from "../../src/cli/plainStatus.ts"
import { showStatus } from "../../src/cli/showStatus.ts"
import { status } from "../../src/cli/status.ts"
import { report } from "./fixtures.ts"

/** Which socket is asked, and what is printed. */
const outcome = <E, R>(program: Effect.Effect<void, E, R>) =>
  Effect.gen(function* () {
    const asked: Array<string> = []
    const request = (path: string) => Effect.sync(() => (asked.push(path), JSON.stringify(report)))
    const before = (yield* TestConsole.logLines).length
    const asking = Effect.provideService(program, ControlClient, {
      isListening: () => Effect.succeed(true),
      request,
      lines: () => Stream.empty
    })
    const code = (yield* Effect.isFailure(asking)) ? 1 : 0
    return { code, asked, printed: (yield* TestConsole.logLines).slice(before) }
  })

const withFramework = (argv: ReadonlyArray<string>, environment: Record<string, string>) =>
  Command.runWith(Command.make("sallyport").pipe(Command.withSubcommands([status])), { version: "9.9.9" })(argv).pipe(
    Effect.provide([NodeServices.layer, ConfigProvider.layer(ConfigProvider.fromUnknown(environment))])
  )

const words = [
  "--json",
  "--check",
  "--socket",
  "/a",
  "/b",
  "",
  "relative",
  "-",
  "--",
  "--socket=/a",
  "--config",
  "-c",
  "--help"
]
const lists = (length: number): ReadonlyArray<ReadonlyArray<string>> =>
  length === 0 ? [[]] : lists(length - 1).flatMap((list) => words.map((word) => [...list, word]))

describe("plainStatus", () => {
  it.effect("reads every command line that it takes as the framework does", () =>
    Effect.gen(function* () {
      let taken = 0
      for (const environment of [{}, { SALLYPORT_CONFIG: "/nowhere.yaml" }]) {
        for (const flags of [0, 1, 2, 3].flatMap(lists)) {
          const argv = ["status", ...flags]
          const plain = plainStatus(argv, environment)
          if (plain === null) continue
          taken++
          assert.deepStrictEqual(
            yield* outcome(showStatus(plain)),
            yield* outcome(withFramework(argv, environment)),
            argv.join(" ")
          )
        }
      }
      // All forms without a socket, and all with each of the two, these in both environments.
      assert.strictEqual(taken, 3 + 3 * 4)
    })
  )

  it("leaves to the framework what needs a configuration, help or an explanation", () => {
    for (const argv of [
      [],
      ["check"],
      ["status", "--help"],
      ["status", "--config", "/etc/sallyport.yaml"],
      ["status", "--socket"],
      ["status", "--socket", "--json"],
      ["status", "--json", "--json"],
      ["status", "extra"],
      ["status", "--json", "--check"],
      ["status", "--log-level", "debug"],
      ["--log-level", "debug", "status"]
    ]) {
      assert.isNull(plainStatus(argv, {}), argv.join(" "))
    }
    assert.isNull(plainStatus(["status", "--json"], { SALLYPORT_CONFIG: "/etc/sallyport.yaml" }))
  })
})
