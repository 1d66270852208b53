import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import * as ControlClientLive from "../../../layers/cli/ControlClient.ts"
import * as ControlSocket from "../../../layers/cli/ControlSocket.ts"
import { forgetRoute } from "../../../layers/cli/forgetRoute.ts"
import { askGateway } from "../../../src/cli/ControlClient.ts"
import { SharedStoreError } from "../../../src/shared/SharedStore.ts"

describe("POST /v1/site/forget", () => {
  it.live("says what has become of it, or why the site waits on", () =>
    Effect.gen(function* () {
      const directory = yield* Effect.acquireRelease(
        Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "forget-"))),
        (path) => Effect.sync(() => Fs.rmSync(path, { recursive: true, force: true }))
      )
      const path = Path.join(directory, "s")
      const away = new SharedStoreError({ reason: "Unreachable", message: "PostgreSQL db1:5432: away — start it" })
      const forget = (gateway: number) =>
        gateway === 3 ? Effect.fail(away) : Effect.succeed((["Forgotten", "Present", "Unknown"] as const)[gateway]!)
      yield* ControlSocket.serve(path, [yield* forgetRoute(forget)])
      const ask = (body: string) =>
        askGateway(path, { method: "POST", path: "/v1/site/forget", body }, Schema.String).pipe(
          Effect.catch(({ message }) => Effect.succeed(message))
        )

      const answers = yield* Effect.forEach([0, 1, 2, 3], (gateway) => ask(JSON.stringify({ gateway })))

      assert.match(answers[0]!, /^the site waits no more for gateway 0;/)
      assert.match(answers[1]!, /^gateway 1 is connected .* — stop it first$/)
      assert.match(answers[2]!, /^the site has had no gateway 2 — /)
      assert.strictEqual(answers[3], away.message)
      assert.match(yield* ask("{}"), /of another version/)
      for (const gateway of [-1, 256, 40_000]) {
        assert.strictEqual(
          yield* ask(JSON.stringify({ gateway })),
          `${gateway} is no gateway's number — they go from 0 to 255, and sallyport status has them`
        )
      }
    }).pipe(Effect.scoped, Effect.provide(ControlClientLive.layer))
  )
})
