import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type { TunnelAnswer, TunnelQuestion } from "../../dns/tunnelAnswer.ts"
import type { Later, Told } from "../../loops/later.ts"
import type { ClientId } from "../../model/Client.ts"
import type { MappingId } from "../../model/Mapping.ts"
import type { StateError } from "../../host/StateStore.ts"
import type { PolicyChange } from "../Registry.ts"
import type { FilteredAddresses } from "./tellable.ts"

/** The names of standalone clients: which proxy IPs stand for which name, and what a client is told when it asks. */
export class TunnelNames extends Context.Service<
  TunnelNames,
  {
    /** Brings back what was stored: mappings of resources that a client may still reach, waiting for traffic. */
    readonly restore: Effect.Effect<void, StateError>
    /** Questions are answered by the new policy from now on, by other block lists once they are read. */
    readonly retake: (change: PolicyChange) => Effect.Effect<void>
    /** After what it takes away: names of clients that were there before go on under what covers them now. */
    readonly recover: (change: PolicyChange) => Effect.Effect<void>
    /** Names of new clients are brought back, as the state has them. May take a while. */
    readonly readAgain: (change: PolicyChange) => Effect.Effect<void>
    /**
     * Answers a question that came from a tunnel address. Waits for no lookup of a resource's name, but 140 ms for the first
     * one of a name below a wildcard, or for IPv6 addresses; while others are answered also for its turn.
     */
    readonly answer: (source: string, question: TunnelQuestion) => Effect.Effect<TunnelAnswer>
    /**
     * What `answer` comes to, where that is known by now and nothing has to be done for it, where other servers are asked
     * about it at once, or where it is one question too many; `undefined`: none of them, and the question does not count yet.
     */
    readonly known: (source: string, question: TunnelQuestion) => TunnelAnswer | Later<Told<TunnelAnswer>> | undefined
    /** Whether a client has asked for a name that the pattern covers, as far as it has proxy IPs of it. */
    readonly isUsed: (client: ClientId, pattern: string) => boolean
    /** Whether a client has the address; what comes from others counts, and gets no answer. */
    readonly isOfClient: (source: string) => boolean
    /** Whether one more query from there that is none is told so. It counts. */
    readonly mayComplain: (source: string) => boolean
    /** The packet path tells which names of a client have sessions: they are not the ones to make room. */
    readonly inUse: (client: ClientId, mappings: ReadonlyArray<MappingId>) => Effect.Effect<void>
    /**
     * A packet went to a proxy IP that stands for nothing at its client. Whether it may in a moment, since another gateway of
     * the site may have given it; it does already when that is yielded, where it can be known here.
     */
    readonly awaited: (client: ClientId, proxyIp: string) => Effect.Effect<boolean>
    /** A packet went to the name's proxies: where it is known in memory only, it is written down. */
    readonly met: (mapping: MappingId) => Effect.Effect<void>
    /** What was left out of answers since the start, and the last of it. */
    readonly filtered: Effect.Effect<Pick<FilteredAddresses, "count" | "last">>
    /** By name: `questions`, `unknown_source` (no client's address), `addresses_filtered`, what was shed (`askers.ts`) and forwarded (`dnsForwarder.ts`). */
    readonly counters: Effect.Effect<Readonly<Record<string, number>>>
  }
>()("sallyport/control/standalone/TunnelNames") {}
