/** The floors that both gateways stand on, from the packets up to the acceptor; what nobody above needs stays hidden. */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { LastAuthorizationEnded } from "../src/access/Authorizations.ts"
import type { Clients } from "../src/access/Clients.ts"
import { ControlPlane } from "../src/control/ControlPlane.ts"
import { DataPlane } from "../src/dataplane/DataPlane.ts"
import type { Ranges } from "../src/model/defaultRanges.ts"
import type { Resolutions } from "../src/resolution/Resolutions.ts"
import * as AuthorizationsLive from "./access/Authorizations.ts"
import * as ClientsLive from "./access/Clients.ts"
import * as ConnectionAcceptorLive from "./access/ConnectionAcceptor.ts"
import { answerPolicy, destinations, proxyRanges } from "./access/destinationRules.ts"
import { tellingFirst } from "./cli/stopping.ts"
import * as DataPlaneLive from "./dataplane/DataPlane.ts"
import { sessionLimit } from "./dataplane/sessionLimit.ts"
import * as ResolverLive from "./dns/Resolver.ts"
import { layer as setProbe } from "./dns/setProbe.ts"
import * as UpstreamLive from "./dns/Upstream.ts"
import * as EventLogLive from "./events/EventLog.ts"
import * as JournalEvents from "./events/journalEvents.ts"
import type { GatewayParts } from "./GatewayParts.ts"
import * as DnsSocketsLive from "./host/DnsSockets.ts"
import * as ForeignNetworksLive from "./host/ForeignNetworks.ts"
import * as HostNetworkLive from "./host/HostNetwork.ts"
import * as IpFamiliesLive from "./host/IpFamilies.ts"
import * as StrandedClients from "./host/strandedClients.ts"
import * as TunnelLive from "./host/Tunnel.ts"
import * as RefreshLive from "./resolution/Refresh.ts"
import * as ResolutionsLive from "./resolution/Resolutions.ts"

/** In what the two gateways differ below their control planes. */
export interface GatewayFloors extends Pick<UpstreamLive.UpstreamOptions, "sets"> {
  readonly packets: Omit<DataPlaneLive.DataPlaneOptions, "maxSessions">
  /** Where names belong that aliases of resources lead to. */
  readonly setOf?: (domain: string) => string | null
  readonly masquerade: boolean
  readonly ranges: Ranges
  readonly lastAuthorizationEnded: Layer.Layer<LastAuthorizationEnded, never, Clients | DataPlane | Resolutions>
  /** Sets `ExpiryClock`, where that is not the host's. */
  readonly dates?: Layer.Layer<never>
}

export const gatewayServices = (
  { dates = Layer.empty, lastAuthorizationEnded, masquerade, packets, ranges, sets, setOf = () => null }: GatewayFloors,
  swap: (live: GatewayParts) => GatewayParts = (live) => live
) => {
  const { device, mtu } = packets
  const parts = swap({
    acceptor: ConnectionAcceptorLive.layer,
    // The probe asks the sets' servers: with a Resolver of another's own there is nobody to ask.
    resolver: Layer.merge(ResolverLive.layer({ sets, setOf }), setProbe),
    dataPlane: DataPlaneLive.layer({ ...packets, maxSessions: sessionLimit(masquerade) }),
    dnsSockets: DnsSocketsLive.layer(),
    host: HostNetworkLive.layer
  })
  const tunnel = TunnelLive.layer({ device, mtu, bindToDevice: true })
  return Layer.mergeAll(tunnel, parts.acceptor, StrandedClients.layer, JournalEvents.layer).pipe(
    Layer.provide(RefreshLive.layer),
    Layer.provideMerge(AuthorizationsLive.layer),
    Layer.provide(lastAuthorizationEnded),
    Layer.provideMerge(ClientsLive.layer),
    Layer.provideMerge(ResolutionsLive.layer),
    Layer.provide([answerPolicy, proxyRanges(ranges)]),
    Layer.provideMerge(parts.resolver),
    Layer.provideMerge([UpstreamLive.layer({ sets }), destinations(ranges)]),
    Layer.provideMerge([parts.dnsSockets, parts.dataPlane]),
    Layer.provideMerge(parts.host),
    Layer.provideMerge([ForeignNetworksLive.layer, IpFamiliesLive.layer, EventLogLive.layer, dates])
  )
}

/** Waits, and fails when the gateway cannot go on: the log says why in one line. */
export const gatewayFailure = Effect.gen(function* () {
  return yield* tellingFirst(Effect.raceAllFirst([(yield* DataPlane).failure, (yield* ControlPlane).failure]))
})
