/** What `doctor` finds of a gateway, its file and its host before anything is judged. */
import type { HostPort } from "../config/GatewayConfig.ts"
import type { PostgresAddress } from "../config/postgresAddress.ts"
import type { ConnectionTable } from "../host/connectionTable.ts"
import type { HostPlan } from "../host/HostNetwork.ts"
import type { Overlaps } from "../host/overlap.ts"
import type { Blame } from "../host/pathTrouble.ts"
import type { ResolverSet } from "../model/ResolverSet.ts"
import type { RoutedNetwork } from "./endpointInside.ts"
import type { StatusReport } from "./statusReport.ts"

/** What a gateway wants of its surroundings. */
export interface Examined {
  readonly plan: HostPlan
  readonly stateDir: string
  readonly listenHttp: HostPort | null
  /** Besides the host's own. */
  readonly resolvers: ReadonlyMap<string, ResolverSet>
  /** What clients dial, or where the portal is. */
  readonly endpoint: HostPort
  /** Networks that lead into the tunnel. */
  readonly routed: ReadonlyArray<RoutedNetwork>
  readonly kind: "file" | "portal"
  /** The PostgreSQL of its site; `null`: it is alone. */
  readonly site: PostgresAddress | null
  /** Where others of the site reach it, by its file. */
  readonly advertise: string | null
}

/** A look at something: what is there, or why it could not be looked at, in words. */
export type Look<A> = { readonly found: A } | { readonly unseen: string }

export interface ToolFact {
  readonly name: string
  /** Its own words. */
  readonly version: string | null
  /** Why it is of no use, and the fix; `null`: it works. */
  readonly problem: string | null
}

export interface ServerFact {
  readonly set: string
  /** See `formatServer`; `null`: the set has none, as `detail` says. */
  readonly server: string | null
  /** Until it answered, whatever it said, in milliseconds; `null`: it did not. */
  readonly latencyMs: number | null
  /** What it said besides an answer, or why it said nothing. */
  readonly detail: string | null
}

/** One host of a site's PostgreSQL, asked from here. */
export interface SiteHostFact {
  readonly at: string
  readonly tookMs: number
  /** `null`: it can be written to. One line, with the fix. */
  readonly problem: string | null
  /** It follows another one, as it is meant to. */
  readonly isStandby: boolean
}

/** Texts with cause and fix are `null` where all is right. */
export interface HostFacts {
  readonly tools: ReadonlyArray<ToolFact>
  /** Why /dev/net/tun is of no use. */
  readonly tun: Look<string | null>
  /** Why nobody else can have the UDP port, and the TUN device: somebody has it. */
  readonly portTaken: Look<string | null>
  /** Why the DNS service could not have its port: somebody has it at every address. */
  readonly dnsTaken: Look<string | null>
  readonly deviceTaken: Look<string | null>
  /** Somebody listens where the HTTP listener is to be. */
  readonly httpTaken: Look<boolean>
  /** `synchronized`: by the kernel's own account. `aheadMs`: how far in the future the state was written last. */
  readonly clock: Look<{ readonly synchronized: boolean; readonly aheadMs: number }>
  /** Sysctls of forwarding by family: why it cannot be switched on. */
  readonly forwarding: Look<Readonly<Record<4 | 6, string | null>>>
  /** `null`: connection tracking is not loaded. */
  readonly conntrack: Look<ConnectionTable | null>
  readonly overlaps: Look<Overlaps>
  /** Who takes packets of the gateway away, and which. */
  readonly firewall: Look<ReadonlyArray<{ readonly what: ReadonlyArray<string>; readonly blame: Blame }>>
  /** Devices of the default routes. */
  readonly uplinks: Look<ReadonlyArray<{ readonly device: string; readonly mtu: number }>>
  readonly ownAddresses: Look<ReadonlyArray<string>>
  /** Where the state is or will be: why it cannot be written, and the free bytes of that file system. */
  readonly disk: Look<{ readonly problem: string | null; readonly free: number }>
}

/** The gateway at the control socket. */
export type GatewayFact =
  | { readonly _tag: "Runs"; readonly report: StatusReport }
  /** Certainly none. */
  | { readonly _tag: "Absent"; readonly why: string }
  | { readonly _tag: "Silent"; readonly why: string }

export interface DoctorFacts {
  /** Where the gateway is asked. */
  readonly socket: string
  /** The configuration in a few words, and what is odd in it; or why there is none. */
  readonly file:
    | {
        readonly what: string
        readonly warnings: ReadonlyArray<string>
        /** Its own tests that do not hold. */
        readonly broken: ReadonlyArray<string>
      }
    | { readonly problems: ReadonlyArray<string> }
  readonly gateway: GatewayFact
  /** `null`: it is not known what to look for. */
  readonly wanted: Examined | null
  readonly host: HostFacts | null
  readonly servers: ReadonlyArray<ServerFact>
  readonly siteHosts: ReadonlyArray<SiteHostFact>
  /** What the host lacks of it; `null`: nothing. */
  readonly ipv6: string | null
  /** Of the endpoint's host; none: it does not resolve. */
  readonly endpoint: ReadonlyArray<string>
}
