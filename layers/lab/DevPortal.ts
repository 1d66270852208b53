/** `sallyport dev-portal`. */
import * as Effect from "effect/Effect"
import type { PortalConfig } from "../../src/lab/devPortal/PortalConfig.ts"
import { serve } from "./devPortalServer.ts"

/** Runs the portal until interrupted. */
export const runDevPortal = (config: PortalConfig) =>
  Effect.gen(function* () {
    const { url } = yield* serve(config)
    yield* Effect.logInfo("ready").pipe(Effect.annotateLogs({ url, admin: config.adminSocket ?? "none" }))
    return yield* Effect.never
  }).pipe(Effect.scoped)
