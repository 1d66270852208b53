import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type { AccessRefused, AccessRequest, IceCredentials } from "../model/AccessRequest.ts"
import type { Mapping } from "../model/Mapping.ts"
import type { NameState } from "../resolution/NameState.ts"

/** The answer to every valid request, given in the same turn: no lookup has to end for it. */
export interface AccessReply {
  /** Our side of the connection. */
  readonly credentials: IceCredentials
  readonly mapping: { readonly mapping: Mapping; readonly state: NameState } | null
  /** The client had started again (`ownNumbers`): its other names were released. */
  readonly restarted: boolean
}

/**
 * Accepts a connection request at once: client upserted, authorization recorded, mapping made, lookup started,
 * reply returned, all in one turn. Never waits for DNS, never fails because of DNS.
 */
export class ConnectionAcceptor extends Context.Service<
  ConnectionAcceptor,
  { readonly accept: (request: AccessRequest) => Effect.Effect<AccessReply, AccessRefused> }
>()("sallyport/access/ConnectionAcceptor") {}
