import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import { readBounded } from "../config/readConfig.ts"
import { parsePortalConfig } from "../lab/devPortal/configFile.ts"
import { Programs } from "./Programs.ts"

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
    yield* programs.devPortal(yield* Effect.fromResult(parsePortalConfig(yield* readBounded(config), config)))
  })
).pipe(Command.withDescription("Run a small Firezone-compatible portal for tests and development; not for production"))
