import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type * as Stream from "effect/Stream"
import type { ClientId } from "../model/Client.ts"
import type { Mapping, MappingId } from "../model/Mapping.ts"
import type { DnsResource, Resource, ResourceId } from "../model/Resource.ts"
import type { Cause } from "./Cause.ts"
import type { NameState } from "./NameState.ts"

/** One row of `sallyport status`. Times are monotonic milliseconds. */
export interface MappingStatus {
  readonly mapping: Mapping
  readonly state: NameState
  /** When the next lookup is due, if one is remembered or in flight. */
  readonly nextTryAt: number | null
  readonly lookups: number
}

/** What a mapping is made of. */
export interface Subscription {
  readonly client: ClientId
  /** One that covers the domain; others of the client that do, it has already, or they are told by `granted`. */
  readonly resource: DnsResource
  /** Lower case, no trailing dot. */
  readonly domain: string
  /** Canonical address texts. None: the name is looked up, and has a mapping for the packet path once it has some. */
  readonly proxyIps: ReadonlyArray<string>
  /**
   * `ClientAsked` looks up what is not known or no longer fresh; `Restarted` (a persisted mapping) waits for traffic, whose
   * first packets are parked.
   */
  readonly cause: "ClientAsked" | "Restarted"
  /** The client numbers its names by itself, and may have proxies of its own for the name under each resource. */
  readonly ownNumbers?: boolean
}

/**
 * Owns names and mappings; one fiber per name looks it up. Every lookup passes `refreshPolicy.decide`.
 * Any typed error, time-out or defect of the resolver ends as an empty address list with its reason.
 */
export class Resolutions extends Context.Service<
  Resolutions,
  {
    /**
     * Makes (or finds again) the mapping of (client, domain) with these proxies and starts its first lookup when nothing is
     * known. Returns in the same turn. Other proxies than before mean a new generation.
     */
    readonly subscribe: (
      request: Subscription
    ) => Effect.Effect<{ readonly mapping: Mapping; readonly state: NameState }>
    /**
     * What `subscribe` would come to for a mapping with exactly these resources and proxy IPs, where it would change nothing
     * but when it was asked for last; `undefined` otherwise, and then nothing has changed.
     */
    readonly askAgain: (
      mapping: MappingId,
      resources: ReadonlyArray<ResourceId>,
      proxyIps: ReadonlyArray<string>
    ) => NameState | undefined
    /** Finds out whether a resolver set lives, before the first client asks. */
    readonly meet: (resolver: string) => Effect.Effect<void>
    /** Other servers stand behind the set: its names are looked up anew, and what is known is served meanwhile. */
    readonly renew: (resolver: string) => Effect.Effect<void>
    /** Traffic or a client gives a reason to look again. Unknown mappings are ignored. */
    readonly refresh: (mapping: MappingId, cause: Cause) => Effect.Effect<void>
    /** A reply came from the mapping's real host: back-off is reset. */
    readonly answered: (mapping: MappingId) => Effect.Effect<void>
    /** The packet path is told in any case: it may remember a mapping of a revoked resource that is not known here. */
    readonly release: (mapping: MappingId) => Effect.Effect<void>
    readonly releaseWhere: (client: ClientId, resource: ResourceId | null) => Effect.Effect<void>
    /** The client may use the resource (again): mappings that it covers go on, those that nothing covers any more are released. */
    readonly granted: (client: ClientId, resource: Resource) => Effect.Effect<void>
    /**
     * After `RevokeResource`: mappings that no other resource covers are kept for some minutes, not shown and not looked up,
     * in case one is granted that does.
     */
    readonly revoked: (client: ClientId, resource: ResourceId) => Effect.Effect<void>
    readonly find: (client: ClientId, resource: ResourceId, domain: string) => Effect.Effect<MappingStatus | undefined>
    /**
     * When the mapping's first lookup began, or was wanted; infinitely late while it waits for its turn and others of its
     * resolver set are answered. `undefined`: it has ended, or the set answers nobody. Monotonic milliseconds.
     */
    readonly firstLookupAt: (mapping: MappingId) => number | undefined
    /** Whether questions to the resolver set have gone unanswered of late, so that one of the client's is not worth waiting for. */
    readonly answersNobody: (resolver: string, client: ClientId) => boolean
    /** Waits until the mapping's first lookup has ended, in whatever way, or the mapping is gone. */
    readonly settled: (mapping: MappingId) => Effect.Effect<void>
    readonly mappingOf: (mapping: MappingId) => Effect.Effect<Mapping | undefined>
    /** The mapping that a client's proxy IP (canonical text) stands for, be its resource withdrawn for now. */
    readonly ownerOf: (client: ClientId, proxyIp: string) => Effect.Effect<Mapping | undefined>
    /** How many mappings with proxies a client has. */
    readonly count: (client: ClientId) => Effect.Effect<number>
    /** Whether the client has mappings of the resource. */
    readonly hasMappings: (client: ClientId, resource: ResourceId) => Effect.Effect<boolean>
    /** Those with proxies. */
    readonly list: Effect.Effect<ReadonlyArray<MappingStatus>>
    /** Mappings as they get addresses. */
    readonly found: Stream.Stream<MappingId>
    /** One counter per brake and outcome, by name. */
    readonly counters: Effect.Effect<Readonly<Record<string, number>>>
  }
>()("sallyport/resolution/Resolutions") {}
