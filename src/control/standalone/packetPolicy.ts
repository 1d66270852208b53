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
