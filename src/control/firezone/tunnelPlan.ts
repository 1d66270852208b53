import { defaultRanges } from "../../model/defaultRanges.ts"
import type { TunnelPlan } from "../../host/Tunnel.ts"
import { packetPolicy } from "./packetPolicy.ts"

/** What of it this host's operator decides. */
export type PortalTunnelChoices = Pick<TunnelPlan, "firewall" | "masquerade" | "keepPorts" | "trackUdp">

/** What a gateway at a portal wants of the tunnel, with the addresses that the portal gives it. */
export const tunnelPlanOf = (
  { firewall, keepPorts, masquerade, trackUdp }: PortalTunnelChoices,
  gateway4: string,
  gateway6: string
): TunnelPlan => ({
  gateway4,
  gateway6,
  firewall,
  masquerade,
  keepPorts,
  // The portal's.
  fixedRanges: true,
  trackUdp,
  ranges: defaultRanges,
  packets: packetPolicy,
  hostCandidates: true
})
