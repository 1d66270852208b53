import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as ControlClientLive from "../../../layers/cli/ControlClient.ts"
import * as ControlSocket from "../../../layers/cli/ControlSocket.ts"
import { reloadRoute } from "../../../layers/cli/reloadRoute.ts"
import { askReload } from "../../../src/cli/askReload.ts"
import type { ReloadReport } from "../../../src/control/Registry.ts"

const names = { added: [], changed: [], removed: [], untouched: 0 }
const report: ReloadReport = {
  version: 2,
  clients: names,
  resources: names,
  grants: { added: 0, changed: 0, removed: 0, named: [] },
  resolvers: [],
  settings: [],
  sessions: { cut: 0, untouched: 0 },
  warnings: [],
  tookMs: 1
}

describe("POST /v1/reload", () => {
  it.live("says which file was read, behind all links, as who has changed one knows it by", () =>
    Effect.gen(function* () {
      const directory = yield* Effect.acquireRelease(
        Effect.sync(() => Fs.realpathSync(Fs.mkdtempSync(Path.join(Os.tmpdir(), "reload-")))),
        (path) => Effect.sync(() => Fs.rmSync(path, { recursive: true, force: true }))
      )
      const [socket, file, link] = [Path.join(directory, "s"), Path.join(directory, "a"), Path.join(directory, "link")]
      Fs.writeFileSync(file, "")
      Fs.symlinkSync(file, link)
      const told = (path?: string) =>
        Effect.gen(function* () {
          yield* ControlSocket.serve(socket, [yield* reloadRoute(Effect.succeed(report), path)])
          return (yield* askReload(socket)).file
        }).pipe(Effect.scoped)

      assert.strictEqual(yield* told(link), file)
      assert.isNull(yield* told())
      assert.strictEqual(yield* told("/nowhere/a"), "/nowhere/a")
    }).pipe(Effect.scoped, Effect.provide(ControlClientLive.layer))
  )
})
