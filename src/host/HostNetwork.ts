import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { Firewall } from "../model/firewall.ts"
import type * as Scope from "effect/Scope"
import type { PathCount } from "./pathCounters.ts"
import type { Path } from "./pathLoss.ts"
import type { Blame } from "./pathTrouble.ts"

/** The host could not be set up. `message` is one line: what failed, why, and the fix. */
export class HostError extends Schema.TaggedError<HostError>()("HostError", { message: Schema.String }) {}

export interface HostPlan {
  /** The TUN device (already opened by the data plane's layer). */
  readonly device: string
  readonly mtu: number
  readonly gateway4: string
  readonly gateway6: string
  /** Tunnel networks are routed into the device; traffic from them may leave, traffic to them from elsewhere is dropped. */
  readonly tunnelNetworks: ReadonlyArray<string>
  readonly proxyNetworks: ReadonlyArray<string>
  /** The ranges are given: parts of them that the host uses for something else are left to it (`ForeignNetworks`). */
  readonly fixedRanges: boolean
  readonly listenPort: number
  /** Services of the gateway's own tunnel address that clients may reach. */
  readonly dnsPort: number
  readonly firewall: Firewall
  readonly masquerade: boolean
  /** Masqueraded flows keep their source port where it is free; otherwise each leaves from a random one. */
  readonly keepPorts: boolean
  /** `false`: the host does not track the gateway's own UDP packets. Only without a stateful firewall on the host. */
  readonly trackUdp: boolean
  /** Clients come unasked: the port must be open to everybody. `false`: the gateway opens each path (ICE). */
  readonly clientsCallFirst: boolean
  /** Some resource opts in to the gateway's own host: the firewall then leaves its addresses to the packet path. */
  readonly allowGatewayHost?: boolean | undefined
  /** Other gateways have the same clients: a reply may come here of a flow that began there. */
  readonly sharesClients?: boolean | undefined
}

/** What a look at the host has led to. Each text is one clause or line for the operator. */
export interface HostRepair {
  /** What was wrong and is right again: "route 100.64.0.0/11 was gone". */
  readonly repaired: ReadonlyArray<string>
  /** What is wrong and stays so: what, why, and the fix. */
  readonly refused: ReadonlyArray<string>
  /** The device is another one than before: sockets that were bound to it hear nothing. */
  readonly remade: boolean
}

/** Addresses, routes, nft table and sysctls. Undone when the scope closes; leftovers of a crash are cleaned first. */
export class HostNetwork extends Context.Service<
  HostNetwork,
  {
    /**
     * Fails naming both sides when a tunnel or proxy range overlaps a route of the host that it cannot be beside. Yields
     * warnings to print.
     */
    readonly configure: (plan: HostPlan) => Effect.Effect<ReadonlyArray<string>, HostError, Scope.Scope>
    /** Looks again at what the host uses of the ranges in force, and leaves it to the host. Cheap enough for each change. */
    readonly lookAtRanges: Effect.Effect<void, HostError>
    /**
     * The firewall of the plan in force from now on, in one step; all else, and every connection, stays. Where it fails
     * `repair` does it.
     */
    readonly refilter: (allowGatewayHost: HostPlan["allowGatewayHost"]) => Effect.Effect<void, HostError>
    /**
     * Compares the host with the plan in force, and puts right what has been changed. `remakeDevice` makes the TUN device
     * again when it is gone.
     */
    readonly repair: (remakeDevice: Effect.Effect<void, { readonly message: string }>) => Effect.Effect<HostRepair>
    /** Completes when anything of the host's network may have changed since the last completion, every 5 s at least. */
    readonly stirred: Effect.Effect<void>
    /** With `firewall: integrate`: adds accepting rules that are missing in chains of others; yields those chains. */
    readonly integrate: (plan: HostPlan) => Effect.Effect<ReadonlySet<string>, HostError>
    /** Grows with every change of a firewall rule, whoever made it; `null`: not known. */
    readonly rulesGeneration: Effect.Effect<number | null>
    /** Has the host count the gateway's own traffic from now on, beginning at nothing, or stop to. */
    readonly countPaths: (plan: HostPlan, on: boolean) => Effect.Effect<void, HostError>
    /** The gateway's own traffic as counted so far; fails when nothing counts it. */
    readonly pathCounts: (plan: HostPlan) => Effect.Effect<ReadonlyArray<PathCount>, HostError>
    /** Who is likely to take the packets of a way. */
    readonly blame: (plan: HostPlan, path: Path) => Effect.Effect<Blame, HostError>
    /** All addresses of the host's interfaces, canonical text. */
    readonly ownAddresses: Effect.Effect<ReadonlyArray<string>, HostError>
    /** Directed broadcast addresses of the networks that the host is in. */
    readonly broadcasts: Effect.Effect<ReadonlyArray<string>, HostError>
    /**
     * Addresses of this host that others may reach it at, canonical text, best first: `reachedFrom` (where a far host is
     * reached from) and those of the default routes; never of tunnels.
     */
    readonly uplinkAddresses: (reachedFrom: string | null) => Effect.Effect<ReadonlyArray<string>, HostError>
    /** Completes whenever addresses or default routes have changed since the last completion. */
    readonly changed: Effect.Effect<void>
  }
>()("sallyport/host/HostNetwork") {}
