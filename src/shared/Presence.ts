import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type { SiteReport } from "./Ownership.ts"
import type { VirtualAddress } from "./VirtualAddress.ts"

/**
 * Tells the other gateways of a site which clients are here, and the packet engine which are there; and has those called
 * whose gateway is gone. `null`: the gateway is alone.
 */
export const Presence = Context.Reference<{
  readonly address: VirtualAddress["Service"]
  /** As far as it is known; times by the monotonic clock. */
  readonly report: Effect.Effect<SiteReport>
} | null>("sallyport/shared/Presence", { defaultValue: () => null })
