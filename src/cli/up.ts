import * as Command from "effect/cli/Command"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import { configFlag } from "./configFlag.ts"
import { load } from "./load.ts"
import { hasLogLevelFlag, withConfiguredLogLevel } from "./logLevel.ts"
import { portalToken } from "./portalToken.ts"
import { Programs } from "./Programs.ts"
import { secretsOf, warnOfOpenSecrets, warnOfPlainPortal } from "./secretFiles.ts"
import { switchFlag } from "./switchFlag.ts"

/** `sallyport up`: runs the gateway until it is told to stop. */
export const up = Command.make(
  "up",
  {
    config: configFlag,
    devTools: switchFlag(
      "dev-tools",
      "Send spans to the Effect dev tools (at SALLYPORT_DEV_TOOLS_URL, else ws://localhost:34437)"
    ),
    newKey: switchFlag("new-key", "Make a new key although clients know the old, lost one; their files have to change")
  },
  Effect.fnUntraced(function* ({ config: file, devTools, newKey }) {
    const programs = yield* Programs
    const { credentialFile, readFirezoneConfig } = yield* load(() => import("../config/firezoneConfig.ts"))
    const token = yield* portalToken(file)
    if (token !== null) {
      const config = yield* readFirezoneConfig(token)
      const run = warnOfPlainPortal(config.apiUrl).pipe(
        Effect.andThen(warnOfOpenSecrets([...(yield* credentialFile), config.stateDir])),
        Effect.andThen(programs.upFirezone(config, { devTools }))
      )
      return yield* withConfiguredLogLevel(run, config.logLevel)
    }
    const { readConfigAgain } = yield* load(() => import("../config/readConfig.ts"))
    const { followFile } = yield* load(() => import("../config/fileChanges.ts"))
    const followed = yield* followFile(file)
    const readConfig = readConfigAgain(file)
    const config = yield* readConfig
    const { holdTests, holdTestsAtStart } = yield* load(() => import("./testConfig.ts"))
    const context = yield* Effect.context<FileSystem.FileSystem>()
    const read = Effect.flatMap(Effect.provide(readConfig, context), holdTests)
    const options = {
      devTools,
      newKey,
      file: followed,
      read,
      mayStart: holdTestsAtStart(config),
      levelOfFile: !(yield* hasLogLevelFlag)
    }
    const run = Effect.andThen(warnOfOpenSecrets(secretsOf(config, file)), programs.up(config, options))
    yield* withConfiguredLogLevel(run, config.logLevel)
  })
).pipe(
  Command.withDescription("Run the gateway until it is told to stop (SIGTERM, Ctrl-C); needs root or CAP_NET_ADMIN")
)
