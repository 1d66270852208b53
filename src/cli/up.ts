import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import { readConfig } from "../config/readConfig.ts"
import { configFlag } from "./configFlag.ts"
import { withConfiguredLogLevel } from "./logLevel.ts"
import { Programs } from "./Programs.ts"

/** `sallyport up`: runs the gateway until it is told to stop. */
export const up = Command.make(
  "up",
  {
    config: configFlag,
    devTools: Flag.Boolean("dev-tools").pipe(
      Flag.withDescription(
        "Send spans to the Effect dev tools (at SALLYPORT_DEV_TOOLS_URL, else ws://localhost:34437)"
      ),
      Flag.withDefault(false)
    ),
    newKey: Flag.Boolean("new-key").pipe(
      Flag.withDescription("Make a new key although clients know the old, lost one; their files have to change"),
      Flag.withDefault(false)
    )
  },
  Effect.fnUntraced(function* ({ config: file, devTools, newKey }) {
    const config = yield* readConfig(file)
    const programs = yield* Programs
    yield* withConfiguredLogLevel(programs.up(config, { devTools, newKey }), config.logLevel)
  })
).pipe(
  Command.withDescription("Run the gateway until it is told to stop (SIGTERM, Ctrl-C); needs root or CAP_NET_ADMIN")
)
