/** What this gateway says to the portal, as Phoenix pushes. */
import type { IceCredentials } from "../../model/AccessRequest.ts"
import type { ClientId } from "../../model/Client.ts"

export interface Push {
  readonly event: string
  readonly payload: unknown
}

/** `domain`: the question of a client up to 1.0, answered with an empty list; `null` otherwise. */
export const connectionAccepted = (ref: string, ice: IceCredentials, domain: string | null): Push => ({
  event: "connection_ready",
  payload: {
    ref,
    gateway_payload: {
      ConnectionAccepted: {
        ice_parameters: { username: ice.username, password: ice.password },
        domain_response: domain === null ? null : { domain, address: [] }
      }
    }
  }
})

/** The answer to a question in `allow_access`: an empty list, at once. */
export const resourceAccepted = (ref: string, domain: string): Push => ({
  event: "connection_ready",
  payload: { ref, gateway_payload: { ResourceAccepted: { domain_response: { domain, address: [] } } } }
})

export const flowAuthorized = (ref: string): Push => ({ event: "flow_authorized", payload: { ref } })

export const authorizationCreated = (ref: string): Push => ({ event: "authorization_created", payload: { ref } })

export const broadcastCandidates = (client: ClientId, candidates: ReadonlyArray<string>): Push => ({
  event: "broadcast_ice_candidates",
  payload: { client_ids: [client], candidates }
})

export const broadcastInvalidated = (client: ClientId, candidates: ReadonlyArray<string>): Push => ({
  event: "broadcast_invalidated_ice_candidates",
  payload: { client_ids: [client], candidates }
})

export const noRelays: Push = { event: "no_relays", payload: {} }
