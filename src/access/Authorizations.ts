import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type { Authorization } from "../model/Authorization.ts"
import type { ClientId } from "../model/Client.ts"
import type { ResourceId } from "../model/Resource.ts"

/**
 * Who may reach what until when. Its layer checks expiry once a second and cuts (flows included) within that second.
 */
export class Authorizations extends Context.Service<
  Authorizations,
  {
    /** Adds or replaces: expiry and filters of an existing one are replaced. */
    readonly record: (authorization: Authorization) => Effect.Effect<void>
    /** Takes one resource (or, with `null`, all) from a client: its mappings and flows go. The client stays known. */
    readonly revoke: (client: ClientId, resource: ResourceId | null) => Effect.Effect<void>
    readonly find: (client: ClientId, resource: ResourceId) => Effect.Effect<Authorization | undefined>
    readonly list: Effect.Effect<ReadonlyArray<Authorization>>
  }
>()("sallyport/access/Authorizations") {}
