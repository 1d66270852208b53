import { assert, it } from "@effect/vitest"
import { Effect, Result } from "effect"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { layer } from "../../../layers/cli/StateFiles.ts"
import { keep } from "../../../layers/shared/keptPolicy.ts"
import { StateFiles } from "../../../src/cli/StateFiles.ts"
import { parseConfig } from "../../../src/config/parseConfig.ts"

it.effect("import takes nothing over where it cannot read who the site's clients are", () =>
  Effect.gen(function* () {
    const directory = yield* Effect.acquireRelease(
      Effect.sync(() => mkdtempSync(join(tmpdir(), "sallyport-import-"))),
      (path) => Effect.sync(() => rmSync(path, { recursive: true }))
    )
    const text = `endpoint: vpn.example.com:51820\nstate_dir: ${directory}\nstate: postgres://sallyport@10.0.0.9/site\n`
    const config = Result.getOrThrow(parseConfig(text, "sallyport.yaml"))
    const token = "00000000-0000-4000-8000-000000000000"
    yield* keep(directory, { version: 7, token, text: "of_a_later_version: 1\n", by: "alice@gw1", at: 0 })
    const files = yield* StateFiles

    const { message } = yield* Effect.flip(files.importNames(config, config, "copy", { dryRun: false }))

    assert.match(message, /^nothing is taken over: policy 7 of the site:1:1: [^\n]*of_a_later_version[^\n]*$/)
  }).pipe(Effect.provide(layer))
)
