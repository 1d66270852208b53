/** What the data plane is told about gateways: they are its clients, and what is behind them their resources. */
import type { Command } from "../../dataplane/commands.ts"
import { ResourceId } from "../../model/Resource.ts"
import type { Gateway, GatewayId } from "./portalMessages.ts"

/** The connection to the gateway, with this side controlling. */
export const connectGateway = (gateway: Gateway): Command => ({
  _tag: "UpsertClient",
  client: gateway.id,
  publicKey: gateway.publicKey,
  presharedKey: gateway.presharedKey,
  tunnel4: gateway.tunnel4,
  tunnel6: gateway.tunnel6,
  endpoint: null,
  lastTai64n: null,
  keepalive: 0,
  initiate: true,
  ice: { local: gateway.local, remote: gateway.remote, role: "controlling" }
})

/** What goes to `network` goes to the gateway, and may come from there. */
export const route = (gateway: GatewayId, network: string, id: string = network): Command => ({
  _tag: "SetResource",
  client: gateway,
  resource: ResourceId.make(id),
  kind: "cidr",
  network,
  filters: [],
  allow: []
})

/** What no gateway has a network for goes to this one. */
export const routeInternet = (gateway: GatewayId, id: ResourceId): Command => ({
  _tag: "SetResource",
  client: gateway,
  resource: id,
  kind: "internet",
  network: null,
  filters: [],
  allow: []
})

/** Undoes `route` and `routeInternet`. */
export const unroute = (gateway: GatewayId, id: string): Command => ({
  _tag: "RevokeResource",
  client: gateway,
  resource: ResourceId.make(id)
})
