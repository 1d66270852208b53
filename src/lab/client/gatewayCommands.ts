/** What the data plane is told about gateways: they are its clients, and what is behind them their resources. */
import type { Command } from "../../dataplane/commands.ts"
import { ResourceId } from "../../model/Resource.ts"
import type { Gateway, GatewayId } from "./portalMessages.ts"

/** The connection to the gateway, with this side controlling. */
export const connectGateway = ({ id, local, remote, ...peer }: Gateway): Command => ({
  _tag: "UpsertClient",
  client: id,
  ...peer,
  endpoint: null,
  lastTai64n: null,
  keepalive: 0,
  initiate: true,
  ice: { local, remote, role: "controlling" }
})

/** What goes to `network` goes to the gateway, and may come from there; `null`: what no gateway has a network for. */
export const route = (gateway: GatewayId, network: string | null, id: string): Command => ({
  _tag: "SetResource",
  client: gateway,
  resource: ResourceId.make(id),
  kind: network === null ? "internet" : "cidr",
  network,
  filters: [],
  allow: []
})

/** Undoes `route`. */
export const unroute = (gateway: GatewayId, id: string): Command => ({
  _tag: "RevokeResource",
  client: gateway,
  resource: ResourceId.make(id)
})
