import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type { AccessRefused, AccessReply, AccessRequest } from "../model/AccessRequest.ts"

/**
 * Accepts a connection request at once: client upserted, authorization recorded, mapping made, lookup started,
 * reply returned, all in one turn. Never waits for DNS, never fails because of DNS.
 */
export class ConnectionAcceptor extends Context.Service<
  ConnectionAcceptor,
  { readonly accept: (request: AccessRequest) => Effect.Effect<AccessReply, AccessRefused> }
>()("sallyport/access/ConnectionAcceptor") {}
