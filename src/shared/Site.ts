import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type { StateError } from "../host/StateStore.ts"
import type { SharedState } from "./SharedState.ts"
import type { SharedStore, SharedStoreStatus } from "./SharedStore.ts"
import type { SitePolicy } from "./SitePolicy.ts"
import type { SiteSource } from "./SiteSource.ts"

/** What a gateway of a site has beside its own state. */
export interface SiteMember {
  /** Where its slots come from; it changes with what is read of the site. */
  readonly source: SiteSource
  readonly shared: SharedState["Service"]
  /** See `SharedStore`. */
  readonly forget: SharedStore["Service"]["forget"]
  readonly policyNews: SharedStore["Service"]["policyNews"]
  readonly lookAtPolicy: SharedStore["Service"]["lookAtPolicy"]
  readonly standing: Effect.Effect<SiteStanding, StateError>
}

/** What there is to say of a gateway in its site. */
export interface SiteStanding {
  /** What the site is called, where there are several. */
  readonly name?: string
  /** `null`: it has no number yet. */
  readonly gateway: number | null
  readonly store: SharedStoreStatus
  /** When all that the others told was read last, in epoch milliseconds; `null`: never yet. */
  readonly readAt: number | null
  /** Until when that is relied on. */
  readonly reliedUntil: number | null
  /** Changes that the site has not been told. */
  readonly untold: number
  /** Of a client: those that are this gateway's to give, and those set aside for the client with the most names. */
  readonly slots: { readonly own: number; readonly used: number }
}

/** What there is to say of the site's policy. */
export interface PolicyStanding {
  /** `null`: the gateway goes by its own file. */
  readonly inForce: Omit<SitePolicy, "text" | "token"> | null
  /** Why the site's newest one does not count here, with the fix, and since when by the monotonic clock. */
  readonly refused: { readonly why: string; readonly since: number } | null
}

/** `null`: the gateway is alone. */
export const Site = Context.Reference<SiteMember | null>("sallyport/shared/Site", { defaultValue: () => null })
