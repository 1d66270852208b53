/** What clients tell the portal, in the words of their generation (docs/portal-protocol.md, "The client's side"). */
import type { Push } from "../../control/firezone/pushes.ts"
import type { ResourceId } from "../../model/Resource.ts"
import type { GatewayId } from "./portalMessages.ts"

export interface ClientPushes {
  /** Said after each join. */
  readonly joined: ReadonlyArray<Push>
  /** Asks for a gateway, one of those that are connected if possible. */
  readonly wanted: (resource: ResourceId, connected: ReadonlyArray<GatewayId>) => Push
  readonly candidate: (gateway: GatewayId, candidate: string) => Push
  readonly invalidated: (gateway: GatewayId, candidate: string) => Push
}

/** Up to 1.5.6; what generation A asks for instead of `wanted` is in `ConnectionRequests`. */
export const oldPushes: ClientPushes = {
  joined: [],
  wanted: (resource, connected) => ({
    event: "create_flow",
    payload: { resource_id: resource, connected_gateway_ids: connected }
  }),
  candidate: (gateway, candidate) => ({
    event: "broadcast_ice_candidates",
    payload: { gateway_ids: [gateway], candidates: [candidate] }
  }),
  invalidated: (gateway, candidate) => ({
    event: "broadcast_invalidated_ice_candidates",
    payload: { gateway_ids: [gateway], candidates: [candidate] }
  })
}

/** Generation C; the candidates as of 1.5.7. We cannot do without ICE. */
export const newPushes: ClientPushes = {
  joined: [{ event: "set_snownet_capabilities", payload: { iceless: false } }],
  wanted: (resource, connected) => ({
    event: "request_authorization",
    payload: { resource_id: resource, connected_gateway_ids: connected }
  }),
  candidate: (gateway, candidate) => ({
    event: "new_gateway_ice_candidates",
    payload: { gateway_id: gateway, candidates: [candidate] }
  }),
  invalidated: (gateway, candidate) => ({
    event: "invalidate_gateway_ice_candidates",
    payload: { gateway_id: gateway, candidates: [candidate] }
  })
}
