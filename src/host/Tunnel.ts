import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type { PacketPolicy } from "../dataplane/packetPolicy.ts"
import type { Ranges } from "../model/defaultRanges.ts"
import type { DnsHandler, DnsSocketError } from "./DnsSockets.ts"
import type { HostKept } from "./HostKept.ts"
import type { FirewallReport } from "./FirewallReport.ts"
import type { HostError, HostPlan } from "./HostNetwork.ts"

/** What a control plane wants of the tunnel. */
export interface TunnelPlan extends Pick<
  HostPlan,
  | "gateway4"
  | "gateway6"
  | "fixedRanges"
  | "firewall"
  | "masquerade"
  | "keepPorts"
  | "trackUdp"
  | "allowGatewayHost"
  | "sharesClients"
> {
  readonly ranges: Ranges
  readonly packets: PacketPolicy
  /** Clients find their paths by ICE: the packet path is told where others may reach this host. */
  readonly hostCandidates: boolean
}

/**
 * The gateway's end of the tunnel on its host, as one thing: addresses, routes and firewall of the device, the packet
 * path's policy, the sockets of the DNS service. Follows the host's own addresses for as long as it lives, and tells them
 * to whoever judges destinations.
 */
export class Tunnel extends Context.Service<
  Tunnel,
  {
    /**
     * Sets the host up, then tells the packet path. With another plan than before, what was set up is undone first, the
     * DNS service included; where only `allowGatewayHost` is another, nothing but the firewall changes. Waits while
     * the host is being put right. Yields whether anything has changed; `false`, at once: the plan is in force already.
     */
    readonly configure: (plan: TunnelPlan) => Effect.Effect<boolean, HostError>
    /** Serves DNS at the configured addresses until they change. */
    readonly serve: (handler: DnsHandler) => Effect.Effect<void, DnsSocketError>
    /** What of it was changed by others while it was in force; it is put right within a second. */
    readonly kept: Effect.Effect<HostKept>
    /** Whether it has been configured, and has served DNS since. */
    readonly ready: () => boolean
    /** How the host treats the gateway's own traffic. */
    readonly firewall: Effect.Effect<FirewallReport>
    /** The address that a control plane is reached from: clients may reach the gateway there too. */
    readonly reachedFrom: (localAddress: string | null) => Effect.Effect<void>
    /** Waits until that address is none of the host's any more: nothing comes through that connection then. */
    readonly moved: Effect.Effect<void>
  }
>()("sallyport/host/Tunnel") {}

/** The whole plan, with what the packet path has of it. */
export const hostPlanOf = (
  { hostCandidates, packets, ranges, ...plan }: TunnelPlan,
  own: Pick<HostPlan, "device" | "mtu" | "listenPort">
): HostPlan => ({
  ...plan,
  ...own,
  tunnelNetworks: [ranges.tunnel4, ranges.tunnel6],
  proxyNetworks: [ranges.proxy4, ranges.proxy6],
  clientsCallFirst: !hostCandidates,
  dnsPort: packets.dnsPort
})
