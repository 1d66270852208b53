import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Effect, Exit, Layer, Stream } from "effect"
import { Command } from "effect/cli"
import { TestConsole } from "effect/testing"
import { ControlClient, ControlError } from "../../src/cli/ControlClient.ts"
import { key as keyCommand } from "../../src/cli/key.ts"
import { layerUsageErrors } from "../../src/cli/usageError.ts"
import type { KeyReport } from "../../src/control/standalone/KeyRotation.ts"
import { key } from "../config/fixtures.ts"

const begun: KeyReport = {
  publicKey: key(1),
  ending: { publicKey: key(2), endsAt: Date.UTC(2026, 11, 30) },
  forgotten: null,
  left: ["alice"],
  moved: 1,
  inSite: false
}

const cli = Command.make("sallyport").pipe(Command.withSubcommands([keyCommand]))

/** Runs the command at a gateway that answers so. */
const run = (line: string, answer: Effect.Effect<KeyReport, ControlError> = Effect.succeed(begun)) =>
  Effect.gen(function* () {
    const asked: Array<unknown> = []
    const control = Layer.succeed(ControlClient, {
      isListening: () => Effect.succeed(true),
      request: (_, { body, method, path }) => {
        asked.push(`${method} ${path} ${body}`)
        return Effect.map(answer, (report) => JSON.stringify(report))
      },
      lines: () => Stream.empty
    })
    const command = Command.runWith(cli, { version: "0" })(`key rotate --socket s ${line}`.trim().split(" "))
    const exit = yield* Effect.exit(Effect.provide(command, control))
    const said = (yield* TestConsole.logLines).map(String)
    return { asked, said, error: Exit.isFailure(exit) ? (yield* Effect.orDie(Effect.flip(exit))).message : null }
  }).pipe(Effect.provide([NodeServices.layer, layerUsageErrors, ConfigProvider.layer(ConfigProvider.fromUnknown({}))]))

describe("sallyport key rotate", () => {
  it.effect("says which keys answer until when, who has not moved, and what is next", () =>
    Effect.gen(function* () {
      const { asked, said } = yield* run("--days 30")
      assert.deepStrictEqual(asked, [`POST /v1/key/rotate {"step":"rotate","days":30}`])
      assert.deepStrictEqual(said.join("\n").split("\n"), [
        `client-config and client add hand out ${key(1)}`,
        `${key(2)} answers as well until 2026-12-30T00:00:00.000Z`,
        "1 of 2 clients has the first one; not yet, and in need of new files (sallyport client-config NAME):",
        "  alice",
        "sallyport client list shows who has moved; sallyport key rotate --finish ends it"
      ])
    })
  )

  it.effect("says which key is forgotten, and who is left behind", () =>
    Effect.gen(function* () {
      const { asked, said } = yield* run(
        "--finish",
        Effect.succeed({ ...begun, ending: null, forgotten: key(2), left: [], moved: 2 })
      )
      assert.deepStrictEqual(asked, [`POST /v1/key/rotate {"step":"finish","days":null}`])
      assert.deepStrictEqual(said.join("\n").split("\n"), [
        `client-config and client add hand out ${key(1)}`,
        `${key(2)} is forgotten`,
        "all of 2 clients have the first one"
      ])
      assert.deepStrictEqual((yield* run("--cancel")).asked, [`POST /v1/key/rotate {"step":"cancel","days":null}`])
    })
  )

  it.effect("in a site says how the other gateways get the key, and when", () =>
    Effect.gen(function* () {
      const { said } = yield* run("", Effect.succeed({ ...begun, inSite: true }))
      assert.include(
        said.join("\n"),
        "the other gateways of the site need it, before any client has a new file: sallyport backup FILE here; there stop the gateway, sallyport restore FILE, start it"
      )
    })
  )

  it.effect("changes nothing where no gateway runs, and says so; a wrong word is told in a line", () =>
    Effect.gen(function* () {
      const none = new ControlError({ message: "no gateway is running — start it", notRunning: true })
      assert.strictEqual(
        (yield* run("", Effect.fail(none))).error,
        "nothing was changed, as the key is rotated by the running gateway: no gateway is running — start it"
      )
      for (const line of [
        "--finish --cancel",
        "--days 3 --finish",
        "--days 0",
        "--days 367",
        "--days soon",
        "--force"
      ]) {
        const { asked, error } = yield* run(line)
        assert.isNotNull(error, line)
        assert.deepStrictEqual(asked, [], line)
      }
    })
  )
})
