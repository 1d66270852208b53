import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type { StateError } from "../host/StateStore.ts"
import type { SharedState } from "./SharedState.ts"
import type { SharedStore, SharedStoreStatus } from "./SharedStore.ts"
import type { SiteSource } from "./SiteSource.ts"

/** What a gateway of a site has beside its own state. */
export interface SiteMember {
  /** Where its slots come from; it changes with what is read of the site. */
  readonly source: SiteSource
  readonly shared: SharedState["Service"]
  /** See `SharedStore`. */
  readonly forget: SharedStore["Service"]["forget"]
  readonly standing: Effect.Effect<SiteStanding, StateError>
}

/** What there is to say of a gateway in its site. */
export interface SiteStanding {
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

/** `null`: the gateway is alone. */
export const Site = Context.Reference<SiteMember | null>("sallyport/shared/Site", { defaultValue: () => null })
