import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import { load } from "./load.ts"
import { Programs } from "./Programs.ts"
import { warnOfOpenSecrets } from "./secretFiles.ts"

/** `sallyport dev-portal`: a portal for tests and development. */
export const devPortal = Command.make(
  "dev-portal",
  {
    config: Flag.String("config").pipe(
      Flag.withAlias("c"),
      Flag.withMetavar("<file>"),
      Flag.withDescription("The portal's file: listen, tokens of gateways and clients, resources, relays")
    )
  },
  Effect.fnUntraced(function* ({ config }) {
    const programs = yield* Programs
    const { readBounded } = yield* load(() => import("../config/readConfig.ts"))
    const { parsePortalConfig } = yield* load(() => import("../lab/devPortal/configFile.ts"))
    yield* warnOfOpenSecrets([config])
    yield* programs.devPortal(yield* Effect.fromResult(parsePortalConfig(yield* readBounded(config), config)))
  })
).pipe(Command.withDescription("Run a small Firezone-compatible portal for tests and development; not for production"))
