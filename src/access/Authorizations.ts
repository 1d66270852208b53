import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type { Authorization } from "../model/Authorization.ts"
import type { ClientId } from "../model/Client.ts"
import type { Resource, ResourceId } from "../model/Resource.ts"

/** `expiresAt` in epoch milliseconds, `null` never. */
export interface ListedAuthorization {
  readonly client: ClientId
  readonly resource: ResourceId
  readonly expiresAt: number | null
}

/** What becomes of a client whose last authorization has ended. */
export class LastAuthorizationEnded extends Context.Service<
  LastAuthorizationEnded,
  (client: ClientId) => Effect.Effect<void>
>()("sallyport/access/LastAuthorizationEnded") {}

/**
 * Who may reach what until when. Its layer checks expiry once a second and cuts (flows included) within that second.
 */
export class Authorizations extends Context.Service<
  Authorizations,
  {
    /** Adds or replaces: expiry and filters of an existing one are replaced. */
    readonly record: (authorization: Authorization) => Effect.Effect<void>
    /**
     * Takes one resource (or, with `null`, all) from a client: nothing passes any more. Mappings and their flows are kept
     * for some minutes, and go on if the same resource is granted again. The client stays known.
     */
    readonly revoke: (client: ClientId, resource: ResourceId | null) => Effect.Effect<void>
    /**
     * Makes a change to what clients may reach, one step after the other, without ending a flow that its client may have
     * before and after: where it is by another resource then, `later` lets it through meanwhile. They are what holds after
     * the change, or part of it; `change` records them by itself.
     */
    readonly bridge: <A, E, R>(
      later: ReadonlyArray<Authorization>,
      change: Effect.Effect<A, E, R>
    ) => Effect.Effect<A, E, R>
    /** The resource has changed for everybody who may reach it. */
    readonly update: (resource: Resource) => Effect.Effect<void>
    /** Only the listed pairs stay, with the listed expiry; pairs that nobody has are ignored. */
    readonly reconcile: (listed: ReadonlyArray<ListedAuthorization>) => Effect.Effect<void>
    readonly find: (client: ClientId, resource: ResourceId) => Effect.Effect<Authorization | undefined>
    readonly list: Effect.Effect<ReadonlyArray<Authorization>>
    readonly count: Effect.Effect<number>
  }
>()("sallyport/access/Authorizations") {}
