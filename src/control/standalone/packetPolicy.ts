import type { GatewayConfig } from "../../config/GatewayConfig.ts"
import type { PacketPolicy } from "../../dataplane/packetPolicy.ts"

/** Stock WireGuard clients: they know ICMP, and nothing of us. */
export const packetPolicy: PacketPolicy = {
  end: "gateway",
  dnsPort: 53,
  controlMessages: false,
  unmapped: "unreachable",
  untranslatable: "prohibited",
  revokedMappings: "suspended"
}

/** In a site of several gateways: what another one has told a client may be on its way. */
const sitePacketPolicy: PacketPolicy = { ...packetPolicy, unmapped: "awaited" }

/** What a file wants for packets. */
export const packetPolicyOf = ({ state }: Pick<GatewayConfig, "state">): PacketPolicy =>
  state === null ? packetPolicy : sitePacketPolicy
