import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import { Effect, FileSystem, Option, PlatformError, Stream } from "effect"
import { ControlClient } from "../../src/cli/ControlClient.ts"
import { controlSocketOf } from "../../src/cli/controlSocketFlags.ts"
import { defaultConfigPath, defaultControlSocket } from "../../src/config/defaultPaths.ts"

/** Root may read everything, so the file itself cannot be made so. */
const forbidden = PlatformError.systemError({ _tag: "PermissionDenied", module: "FileSystem", method: "access" })

const elsewhere = "endpoint: 192.0.2.1:51820\ncontrol_socket: /run/gw/s.sock\n"

/** The socket that is asked on a host with that file, or none, at its default path. `listens`: somebody at the default socket. */
const asked = (
  host: { readonly config?: string; readonly isReadable?: boolean; readonly listens?: boolean },
  flags: { readonly config?: string; readonly socket?: string } = {}
) =>
  Effect.gen(function* () {
    const fs = yield* FileSystem.FileSystem
    const directory = yield* fs.makeTempDirectoryScoped()
    const at = (path: string): string => (path === defaultConfigPath ? `${directory}/sallyport.yaml` : path)
    if (host.config !== undefined) yield* fs.writeFileString(at(defaultConfigPath), host.config)
    const there = FileSystem.make({
      ...fs,
      access: (path, options) => (host.isReadable === false ? Effect.fail(forbidden) : fs.access(at(path), options)),
      stat: (path) => fs.stat(at(path)),
      open: (path, options) => fs.open(at(path), options)
    })
    return yield* controlSocketOf({
      config: Option.fromUndefinedOr(flags.config),
      socket: Option.fromUndefinedOr(flags.socket)
    }).pipe(
      Effect.provideService(FileSystem.FileSystem, there),
      Effect.provideService(ControlClient, {
        isListening: () => Effect.succeed(host.listens === true),
        request: () => Effect.die("nothing is asked yet"),
        lines: () => Stream.die("nothing is asked yet")
      })
    )
  }).pipe(Effect.scoped, Effect.provide(NodeServices.layer))

describe("the control socket that commands ask", () => {
  it.effect("is what a flag says, else what the default file says, else the default", () =>
    Effect.gen(function* () {
      assert.strictEqual(yield* asked({ config: elsewhere }, { socket: "/s" }), "/s")
      assert.strictEqual(yield* asked({ config: elsewhere }), "/run/gw/s.sock")
      assert.strictEqual(yield* asked({}), defaultControlSocket)
    })
  )

  it.effect(
    "is the default one without a look into the file where somebody listens there, or the file is not for us",
    () =>
      Effect.gen(function* () {
        assert.strictEqual(yield* asked({ config: "wrong: [", listens: true }), defaultControlSocket)
        assert.strictEqual(yield* asked({ config: elsewhere, isReadable: false }), defaultControlSocket)
      })
  )

  it.effect("is not guessed where the file is wrong: that is said", () =>
    Effect.gen(function* () {
      const { message } = yield* Effect.flip(asked({ config: "endpoint: 192.0.2.1:51820\nclinets: {}\n" }))
      assert.match(message, /sallyport\.yaml:2:1: unknown key "clinets"/)
    })
  )
})
