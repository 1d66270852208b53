/** A name, its mappings and its resolver set as `NameBook` keeps them, and how a mapping looks from outside. */
import type { SetAddresses } from "../dataplane/commands.ts"
import type { ClientId } from "../model/Client.ts"
import { type Mapping, type MappingId, type Name, nameKey } from "../model/Mapping.ts"
import type { DestinationOptIn } from "../model/Resource.ts"
import type { Cause } from "./Cause.ts"
import type { Job } from "./lookupQueue.ts"
import { isNegative, type NameState } from "./NameState.ts"
import { type NamePolicy, newName } from "./refreshPolicy.ts"
import { DestinationRefused, type ResolutionReason, Throttled } from "./Resolver.ts"
import type { SetBreaker } from "./setBreaker.ts"
import { type SetPulse, shortHoldMs } from "./setPulse.ts"

/** One numbered attempt for a name. */
export interface Lookup extends Job {
  readonly name: Name
  readonly cause: Cause
  readonly client: ClientId
  /** When somebody wanted it. */
  readonly since: number
  /** Grows with every lookup of the gateway; 0 while queued. */
  number: number
  /** When it began; infinitely late while queued. */
  startedAt: number
  /** Packets are parked for so long from its beginning. */
  holdMs: number
  /** Packets are parked already while it is queued, since its client has not used up a budget of its own. */
  parks: boolean
}

export interface MappingEntry {
  mapping: Mapping
  name: NameEntry
  /** The opt-ins of the resources that cover it. */
  allow: ReadonlyArray<DestinationOptIn>
  /** What the data plane is told of its addresses goes by this number at least: that of when it began to follow the name. */
  since: number
  /**
   * A lookup of the name has ended since the mapping exists, or since its client came back to the name after a while:
   * its packets are no longer parked.
   */
  looked: boolean
  /** Monotonic milliseconds until which it is kept for a resource that was withdrawn; `null`: its client may use it. */
  keptUntil: number | null
}

export interface NameEntry {
  readonly key: string
  readonly name: Name
  readonly set: ResolverSet
  /** Those that clients may use. */
  readonly mappings: Map<MappingId, MappingEntry>
  /** How many more there are of resources that were withdrawn. */
  kept: number
  policy: NamePolicy
  state: NameState
  /** The number that `state` goes by at the data plane; 0: nothing was told yet. */
  applied: number
  /** Queued or in flight. */
  lookup: Lookup | null
  lookups: number
  /** Ended lookups in a row without an address. */
  attempts: number
  /** For whom a remembered cause is. */
  lastClient: ClientId
  /** The timer that counts, of those that were set. */
  wakeAt: number
}

export interface ResolverSet {
  readonly breaker: SetBreaker
  readonly pulse: SetPulse<Lookup>
}

/** Names of before a restart, or a withdrawal, wait for traffic before they are looked up: the first packet is parked. */
export const untilTraffic: ResolutionReason = new Throttled({ budget: "traffic" })

export const makeName = (name: Name, set: ResolverSet, client: ClientId, since: number): NameEntry => ({
  key: nameKey(name),
  name,
  set,
  mappings: new Map(),
  kept: 0,
  policy: newName,
  state: { _tag: "Resolving", since, attempts: 0, silent: false },
  applied: 0,
  lookup: null,
  lookups: 0,
  attempts: 0,
  lastClient: client,
  wakeAt: Number.NEGATIVE_INFINITY
})

/** Whether somebody waits for it. Costs as much as the name has mappings. */
export const isFirstLookup = (entry: NameEntry): boolean => {
  if (entry.state._tag === "Resolved") return false
  for (const mapping of entry.mappings.values()) if (!mapping.looked) return true
  return false
}

export type RefusedAddresses = (
  addresses: ReadonlyArray<string>,
  allow: ReadonlyArray<DestinationOptIn>
) => ReadonlyArray<string>

/**
 * The name's state as one mapping's packets see it: without the addresses that policy refuses for its resource, so that none of
 * its proxy IPs leads to them while others would do; its own first lookup parks packets.
 */
export const viewOf = (entry: MappingEntry, refusedAddresses: RefusedAddresses): NameState => {
  const { state, policy, lookup, attempts } = entry.name
  if (state._tag !== "Resolved") {
    const parks = !entry.looked && (policy.inFlight || lookup?.parks === true)
    const { breaker, pulse } = entry.name.set
    const silent = breaker.state.open || pulse.silent
    return parks ? { _tag: "Resolving", since: lookup?.since ?? state.since, attempts, silent } : state
  }
  const refused = refusedAddresses(state.addresses, entry.allow)
  if (refused.length === 0) return state
  if (refused.length < state.addresses.length) {
    return { ...state, addresses: state.addresses.filter((address) => !refused.includes(address)) }
  }
  const reason = new DestinationRefused({ addresses: [...refused] })
  return { _tag: "Unresolved", reason, attempts: 0, since: state.since, negativeUntil: state.since }
}

/** What a client that asks is told: a name that does not exist does not come to be by being looked up again. */
export const toldOf = (entry: MappingEntry, refusedAddresses: RefusedAddresses): NameState =>
  isNegative(entry.name.state) ? entry.name.state : viewOf(entry, refusedAddresses)

export const addressesCommand = (entry: MappingEntry, view: NameState): SetAddresses => ({
  _tag: "SetAddresses",
  mapping: entry.mapping.id,
  lookup: Math.max(entry.since, entry.name.applied, view._tag === "Resolving" ? (entry.name.lookup?.number ?? 0) : 0),
  // What is not asked for yet, be it that it waits for a budget, is asked for by the first packet, which is parked.
  state: view._tag === "Unresolved" && view.reason._tag === "Throttled" ? "Unasked" : view._tag,
  addresses: view._tag === "Resolved" ? view.addresses : [],
  staleAt: view._tag === "Resolved" ? view.staleAt : 0,
  ...(view._tag === "Resolving" && { holdMs: entry.name.lookup?.holdMs ?? shortHoldMs })
})

/** Whether packets are none the wiser by the later state: the same addresses, as long as before, or still none. */
export const saysTheSame = (before: NameState, after: NameState): boolean =>
  before._tag === "Resolved"
    ? after._tag === "Resolved" && after.addresses === before.addresses && after.staleAt === before.staleAt
    : after._tag === before._tag
