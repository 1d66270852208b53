import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import { Effect, FileSystem, Logger } from "effect"
import { warnOfOpenSecrets, warnOfPlainPortal } from "../../src/cli/secretFiles.ts"

/** Lines that are logged. */
const logged = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    const lines: Array<string> = []
    yield* Effect.provide(effect, Logger.layer([Logger.make(({ message }) => void lines.push(String(message)))]))
    return lines
  })

describe("secrets that others may read", () => {
  it.effect("are told with the command that ends it, and only those", () =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const directory = yield* fs.makeTempDirectoryScoped()
      const [open, own, state] = [`${directory}/open`, `${directory}/own`, `${directory}/state`] as const
      yield* fs.writeFileString(open, "")
      yield* fs.chmod(open, 0o644)
      yield* fs.writeFileString(own, "")
      yield* fs.chmod(own, 0o640)
      yield* fs.makeDirectory(state)
      yield* fs.chmod(state, 0o777)
      const lines = yield* logged(warnOfOpenSecrets([open, own, state, directory, `${directory}/none`]))
      assert.deepStrictEqual(lines, [
        `everybody on this host may read ${open}, which holds secrets: run "chmod 600 ${open}"`,
        `everybody on this host may replace what is in ${state}, which holds secrets: run "chmod 700 ${state}"`
      ])
    }).pipe(Effect.scoped, Effect.provide(NodeServices.layer))
  )

  it.effect("are a portal's token without encryption, but for a portal on this host", () =>
    Effect.gen(function* () {
      const plain = yield* logged(warnOfPlainPortal("ws://portal.example/"))
      assert.match(
        plain.join(),
        /ws:\/\/, without encryption: whoever is on the way to portal\.example reads the token/
      )
      for (const url of ["wss://portal.example/", "ws://127.0.0.1:8081/", "ws://[::1]/", "ws://localhost:80/"]) {
        assert.deepStrictEqual(yield* logged(warnOfPlainPortal(url)), [])
      }
    })
  )
})
