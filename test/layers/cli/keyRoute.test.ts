import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as ControlClientLive from "../../../layers/cli/ControlClient.ts"
import * as ControlSocket from "../../../layers/cli/ControlSocket.ts"
import { keyRoute } from "../../../layers/cli/keyRoute.ts"
import { askGateway } from "../../../src/cli/ControlClient.ts"
import { KeyRefused, KeyReport, type KeyRequest } from "../../../src/control/standalone/KeyRotation.ts"

const report: KeyReport = { publicKey: "new", ending: null, forgotten: "old", left: ["alice"], moved: 0, inSite: false }

describe("POST /v1/key/rotate", () => {
  it.live("hands a request on and its answer back, and none that is malformed or of another version", () =>
    Effect.gen(function* () {
      const directory = yield* Effect.acquireRelease(
        Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "key-"))),
        (path) => Effect.sync(() => Fs.rmSync(path, { recursive: true, force: true }))
      )
      const path = Path.join(directory, "s")
      const seen: Array<KeyRequest> = []
      const change = (request: KeyRequest) => {
        seen.push(request)
        return request.step === "cancel"
          ? Effect.fail(new KeyRefused({ message: "there is only one key" }))
          : Effect.succeed(report)
      }
      yield* ControlSocket.serve(path, [yield* keyRoute(change)])
      const ask = (body: string) => askGateway(path, { method: "POST", path: "/v1/key/rotate", body }, KeyReport)
      const refusal = (body: string) => Effect.map(Effect.flip(ask(body)), ({ message }) => message)

      assert.deepStrictEqual(yield* ask(`{"step":"finish","days":null}`), report)
      assert.strictEqual(yield* refusal(`{"step":"cancel","days":null}`), "there is only one key")
      for (const body of [
        "",
        "{",
        `{"step":"rotate"}`,
        `{"step":"forget","days":null}`,
        ...["0", "367", "1.5", "1e999", `"30"`].map((days) => `{"step":"rotate","days":${days}}`)
      ]) {
        assert.match(yield* refusal(body), /of another version — use the sallyport that the gateway runs/, body)
      }
      assert.deepStrictEqual(
        seen.map(({ step }) => step),
        ["finish", "cancel"]
      )
    }).pipe(Effect.scoped, Effect.provide(ControlClientLive.layer))
  )
})
