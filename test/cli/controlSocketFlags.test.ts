import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import { Effect, FileSystem, Option } from "effect"
import { controlSocketOf } from "../../src/cli/controlSocketFlags.ts"
import { defaultConfigPath, defaultControlSocket } from "../../src/config/GatewayConfig.ts"

const elsewhere = "endpoint: 192.0.2.1:51820\ncontrol_socket: /run/gw/s.sock\n"

/** The socket that is asked on a host with those files at their default paths; `undefined`: there is none. */
const asked = (
  files: { readonly config?: string; readonly mode?: number; readonly socket?: boolean },
  flags: { readonly config?: string; readonly socket?: string } = {}
) =>
  Effect.gen(function* () {
    const fs = yield* FileSystem.FileSystem
    const directory = yield* fs.makeTempDirectoryScoped()
    const paths = new Map([
      [defaultConfigPath, `${directory}/sallyport.yaml`],
      [defaultControlSocket, `${directory}/sallyport.sock`]
    ])
    const at = (path: string): string => paths.get(path) ?? path
    if (files.config !== undefined) yield* fs.writeFileString(at(defaultConfigPath), files.config)
    if (files.socket === true) yield* fs.writeFileString(at(defaultControlSocket), "")
    const there = FileSystem.make({
      ...fs,
      access: (path, options) => fs.access(at(path), options),
      stat: (path) => fs.stat(at(path)),
      open: (path, options) => fs.open(at(path), options)
    })
    return yield* controlSocketOf({
      config: Option.fromUndefinedOr(flags.config),
      socket: Option.fromUndefinedOr(flags.socket)
    }).pipe(Effect.provideService(FileSystem.FileSystem, there))
  }).pipe(Effect.scoped, Effect.provide(NodeServices.layer))

describe("the control socket that commands ask", () => {
  it.effect("is what a flag says, else what the default file says, else the default", () =>
    Effect.gen(function* () {
      assert.strictEqual(yield* asked({ config: elsewhere }, { socket: "/s" }), "/s")
      assert.strictEqual(yield* asked({ config: elsewhere }), "/run/gw/s.sock")
      assert.strictEqual(yield* asked({}), defaultControlSocket)
    })
  )

  it.effect("is the default one without a look into the file where that is there", () =>
    Effect.gen(function* () {
      assert.strictEqual(yield* asked({ config: "wrong: [", socket: true }), defaultControlSocket)
    })
  )

  it.effect("is not guessed where the file is wrong: that is said", () =>
    Effect.gen(function* () {
      const { message } = yield* Effect.flip(asked({ config: "endpoint: 192.0.2.1:51820\nclinets: {}\n" }))
      assert.match(message, /sallyport\.yaml:2:1: unknown key "clinets"/)
    })
  )
})
