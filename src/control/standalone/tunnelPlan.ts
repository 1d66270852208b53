import type { GatewayConfig } from "../../config/GatewayConfig.ts"
import type { TunnelPlan } from "../../host/Tunnel.ts"
import { packetPolicyOf } from "./packetPolicy.ts"

/** What a file wants of the tunnel. */
export const tunnelPlanOf = ({
  firewall,
  gateway4,
  gateway6,
  keepPorts,
  masquerade,
  network: ranges,
  resources,
  state,
  trackUdp
}: GatewayConfig): TunnelPlan => ({
  gateway4,
  gateway6,
  firewall,
  masquerade,
  keepPorts,
  trackUdp,
  allowGatewayHost: resources.some((resource) => resource.allow.includes("gateway_host")),
  ...(state === null ? {} : { sharesClients: true }),
  ranges,
  fixedRanges: false,
  packets: packetPolicyOf({ masquerade, state }),
  hostCandidates: false
})
