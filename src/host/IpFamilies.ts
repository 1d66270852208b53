import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type * as Stream from "effect/Stream"
import type { Network } from "../packet/address.ts"

/** Where IPv6 can be missing: UDP sockets of the family, addresses on the tunnel's device, a route that leads out of the host. */
export type Ipv6Part = "sockets" | "device" | "wayOut"

interface Absence {
  /** One line for the operator: what is missing, why, and the fix. */
  readonly why: string
  /** Monotonic milliseconds. */
  readonly since: number
}

/** `null`: it is there, or nobody has found otherwise. */
export type Ipv6 = Readonly<Record<Ipv6Part, Absence | null>>

/**
 * What this host has of IPv6, as found out so far. Who finds something out tells it here; who depends on it reads it and
 * follows. IPv4 is needed in any case and no matter of this service.
 */
export class IpFamilies extends Context.Service<
  IpFamilies,
  {
    readonly ipv6: () => Ipv6
    /** `null`: it is there. What is news is logged, once. */
    readonly found: (part: Ipv6Part, why: string | null) => Effect.Effect<void>
    /** Where the routes that lead out of the host go; `null`: everywhere, and so it is until somebody says otherwise. */
    readonly setWays: (networks: ReadonlyArray<Network> | null) => void
    /** Whether the host can send to an IPv6 address outside of the tunnel, as far as is known. */
    readonly leadsTo: (address: string) => boolean
    /** What is, then each change. */
    readonly changes: Stream.Stream<Ipv6>
  }
>()("sallyport/host/IpFamilies") {}

/** Whether packets to IPv6 addresses outside of the tunnel can get there. */
export const leadsOut6 = ({ device, wayOut }: Ipv6): boolean => device === null && wayOut === null
