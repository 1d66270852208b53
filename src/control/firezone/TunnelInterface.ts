import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type { HostError } from "../../host/HostNetwork.ts"
import type { DnsSocketError } from "../../host/DnsSockets.ts"
import type { DataPlaneError } from "../../dataplane/DataPlaneError.ts"

/** The gateway's end of the tunnel on its host: the portal says which addresses it has. */
export class TunnelInterface extends Context.Service<
  TunnelInterface,
  {
    /** Takes these addresses from now on; never waits. The same ones again change nothing. */
    readonly configure: (tunnel4: string, tunnel6: string) => Effect.Effect<void>
    /** The address that the portal is reached from: clients may reach the gateway there too. */
    readonly reachedFrom: (localAddress: string | null) => Effect.Effect<void>
    /** Waits until that address is none of the host's any more: nothing comes through that connection then. */
    readonly moved: Effect.Effect<void>
    /** Whether it has been set up. */
    readonly ready: () => boolean
    /** Waits, and fails when the host cannot be set up. */
    readonly failure: Effect.Effect<never, HostError | DnsSocketError | DataPlaneError>
  }
>()("sallyport/control/firezone/TunnelInterface") {}
