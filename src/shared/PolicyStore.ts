import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { PostgresAddress } from "../config/postgresAddress.ts"
import type { SharedStoreError } from "./SharedStore.ts"
import type { PolicyVersion, SitePolicy } from "./SitePolicy.ts"

/** Versions that a site keeps, the newest one included. */
export const keptPolicies = 20

/** The newest policy of a site. */
export interface NewestPolicy {
  /** `null`: none was applied yet. */
  readonly policy: SitePolicy | null
  /** A gateway goes by one that comes after it, or by another one of its number: the store has lost that. */
  readonly isOutrun: boolean
}

/** A gateway that lives, and what it goes by; `null`: by its own file. */
export interface PolicyHolder {
  readonly gateway: number
  readonly inForce: PolicyVersion | null
}

/** The policies of one site, for somebody who is none of its gateways. */
export interface PolicyStore {
  readonly newest: Effect.Effect<NewestPolicy, SharedStoreError>
  /**
   * Makes it the newest one, with a number above all that the site or a gateway has; `null`: the newest one is not the
   * `compared` one (its token) any more.
   */
  readonly apply: (policy: {
    readonly text: string
    readonly by: string
    readonly compared: string | null
  }) => Effect.Effect<PolicyVersion | null, SharedStoreError>
  readonly holders: Effect.Effect<ReadonlyArray<PolicyHolder>, SharedStoreError>
}

/** Connects to a site's store, for as long as the scope is open. */
export class PolicyStores extends Context.Service<
  PolicyStores,
  {
    readonly open: (address: PostgresAddress) => Effect.Effect<PolicyStore, SharedStoreError, Scope.Scope>
    /** Who is at work here, in a word: `alice@gw1`. */
    readonly author: Effect.Effect<string>
  }
>()("sallyport/shared/PolicyStores") {}
