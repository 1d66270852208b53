import type { GatewayConfig } from "../../config/GatewayConfig.ts"
import type { PacketPolicy } from "../../dataplane/packetPolicy.ts"

/** Stock WireGuard clients: they know ICMP, and nothing of us. */
export const packetPolicy: PacketPolicy = {
  end: "gateway",
  dnsPort: 53,
  controlMessages: false,
  unmapped: "unreachable",
  untranslatable: "prohibited",
  unknownFlows: "dropped",
  revokedMappings: "suspended"
}

/**
 * What a file wants for packets. In a site of several gateways what another one has told a client may be on its way. A
 * masqueraded flow's port tells nothing of the client's own.
 */
export const packetPolicyOf = ({ masquerade, state }: Pick<GatewayConfig, "masquerade" | "state">): PacketPolicy => ({
  ...packetPolicy,
  unmapped: state === null ? packetPolicy.unmapped : "awaited",
  unknownFlows: masquerade ? "dropped" : "probed"
})
