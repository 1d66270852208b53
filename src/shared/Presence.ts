import * as Context from "effect/Context"
import * as Data from "effect/Data"
import type * as Effect from "effect/Effect"
import type { SiteReport } from "./Ownership.ts"
import type { VirtualAddress } from "./VirtualAddress.ts"

/** Its clients are not given away; why, and what to do, in one line. */
export class DrainRefused extends Data.TaggedError("DrainRefused")<{ readonly message: string }> {}

export interface DrainStanding {
  /** Monotonic milliseconds. */
  readonly since: number
  /** The others know, so that the address may move. */
  readonly mayMove: boolean
  /** With a session here and none that is newer elsewhere. */
  readonly clients: number
}

/**
 * Tells the other gateways of a site which clients are here, and the packet engine which are there; and has those called
 * whose gateway is gone. `null`: the gateway is alone.
 */
export const Presence = Context.Reference<{
  readonly address: VirtualAddress["Service"]
  /** As far as it is known; times by the monotonic clock. */
  readonly report: Effect.Effect<SiteReport>
  readonly drain: {
    /** `null`: it does not give its clients away. */
    readonly standing: () => DrainStanding | null
    /** Ends once all others that live know of it; what that means, in words. `force`: with none who does, too. */
    readonly begin: (force: boolean) => Effect.Effect<string, DrainRefused>
    /** What that means, in words. */
    readonly end: Effect.Effect<string>
  }
} | null>("sallyport/shared/Presence", { defaultValue: () => null })
