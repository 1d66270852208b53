import type * as Layer from "effect/Layer"
import type { Authorizations } from "../src/access/Authorizations.ts"
import type { Clients } from "../src/access/Clients.ts"
import type { ConnectionAcceptor } from "../src/access/ConnectionAcceptor.ts"
import type { ProxyRanges } from "../src/access/ProxyRanges.ts"
import type { DataPlane } from "../src/dataplane/DataPlane.ts"
import type { DataPlaneError } from "../src/dataplane/DataPlaneError.ts"
import type { Upstream } from "../src/dns/Upstream.ts"
import type { DnsSockets } from "../src/host/DnsSockets.ts"
import type { ForeignNetworks } from "../src/host/ForeignNetworks.ts"
import type { HostNetwork } from "../src/host/HostNetwork.ts"
import type { IpFamilies } from "../src/host/IpFamilies.ts"
import type { Resolutions } from "../src/resolution/Resolutions.ts"
import type { Resolver } from "../src/resolution/Resolver.ts"

/** The layers that another composition may swap or stand in front of. The last three are all that touches the system. */
export interface GatewayParts {
  readonly acceptor: Layer.Layer<ConnectionAcceptor, never, Authorizations | Clients | ProxyRanges | Resolutions>
  readonly resolver: Layer.Layer<Resolver, never, Upstream>
  readonly dataPlane: Layer.Layer<DataPlane, DataPlaneError, IpFamilies>
  readonly dnsSockets: Layer.Layer<DnsSockets, never, IpFamilies>
  readonly host: Layer.Layer<HostNetwork, never, ForeignNetworks | IpFamilies>
}
