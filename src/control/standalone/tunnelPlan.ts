import type { GatewayConfig } from "../../config/GatewayConfig.ts"
import type { TunnelPlan } from "../../host/Tunnel.ts"
import { packetPolicy } from "./packetPolicy.ts"

/** What a file wants of the tunnel. */
export const tunnelPlanOf = ({
  firewall,
  gateway4,
  gateway6,
  keepPorts,
  masquerade,
  network: ranges,
  resources,
  trackUdp
}: GatewayConfig): TunnelPlan => ({
  gateway4,
  gateway6,
  firewall,
  masquerade,
  keepPorts,
  trackUdp,
  allowGatewayHost: resources.some((resource) => resource.allow.includes("gateway_host")),
  ranges,
  fixedRanges: false,
  packets: packetPolicy,
  hostCandidates: false
})
