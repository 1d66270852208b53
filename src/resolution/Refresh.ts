import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type { Traffic } from "../dataplane/notices.ts"

/** Turns traffic notices of the data plane into causes for `Resolutions`. Its layer also runs the loop over the notices. */
export class Refresh extends Context.Service<Refresh, { readonly traffic: (notice: Traffic) => Effect.Effect<void> }>()(
  "sallyport/resolution/Refresh"
) {}
