/**
 * What control planes want differently for packets, as data: the packet path does not know which of them there is, and a
 * new one touches nothing under `engine/`.
 */
export interface PacketPolicy {
  /** Which end of its tunnels this is. A client's peers are gateways, and a CIDR resource is one of their allowed networks. */
  readonly end: "gateway" | "client"
  /** The one service that a client may use at the gateway's own tunnel address besides ping: UDP and TCP port of DNS. */
  readonly dnsPort: number
  /** Whether clients and gateway send each other control messages in the tunnel. */
  readonly controlMessages: boolean
  /**
   * The answer to a packet for a proxy IP that stands for nothing at its client. `awaited`: what it stands for may be on its
   * way here; the packet is parked for a moment and main is asked, and then it is unreachable.
   */
  readonly unmapped: "unreachable" | "prohibited" | "awaited"
  /** The answer to a packet for a proxy IP by a protocol that has nothing to translate by: not TCP, UDP or echo. */
  readonly untranslatable: "prohibited" | "none"
  /**
   * What a TCP segment from outside of a flow that is not known comes to while its client has not been here for long. `probed`:
   * the client is asked whether it has that connection; only where flows keep their ports on the host.
   */
  readonly unknownFlows: "dropped" | "probed"
  /**
   * What becomes of the mappings of a resource that was revoked and has not come back in time: their proxy IPs stay taken,
   * so that who still uses them is told "prohibited" and not "unmapped", or they go.
   */
  readonly revokedMappings: "suspended" | "removed"
}

/** The client's end of a tunnel. Nothing is translated there. */
export const clientEnd: PacketPolicy = {
  end: "client",
  dnsPort: 53,
  controlMessages: true,
  unmapped: "unreachable",
  untranslatable: "none",
  unknownFlows: "dropped",
  revokedMappings: "removed"
}
