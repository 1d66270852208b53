import type { PacketPolicy } from "../../dataplane/packetPolicy.ts"

/**
 * The portal's clients take "prohibited" for a lost authorization and ask for it again: that is right where a mapping is
 * missing, and wrong where a protocol cannot be translated.
 */
export const packetPolicy: PacketPolicy = {
  end: "gateway",
  dnsPort: 53_535,
  controlMessages: true,
  unmapped: "prohibited",
  untranslatable: "none",
  unknownFlows: "dropped",
  revokedMappings: "removed"
}
