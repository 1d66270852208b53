import { equal, isIpv4, type Words } from "../packet/address.ts"
import { WordsIndex } from "./wordsIndex.ts"

/** What is known of a mapping's real addresses; `Resolving` is the first lookup only. */
export const MappingState = { Unresolved: 0, Resolving: 1, Resolved: 2 } as const
export type MappingState = (typeof MappingState)[keyof typeof MappingState]

/** Real addresses of one family beyond these are not used. */
const maxAddresses = 32

/**
 * Proxy addresses of every client and what they stand for. A name space per client: the same proxy address at two
 * clients is normal. Mappings, clients and resources are small numbers that the caller gives out; a mapping's number
 * may be used again after `removeMapping`.
 */
export class Translations {
  private readonly byProxy = new WordsIndex()
  private readonly entries: Array<Entry | undefined> = []

  /**
   * Sets who owns the proxies; the addresses of a mapping that is there already stay. A proxy that another mapping of
   * the client holds changes hands. Returns the mappings whose sessions and evidence must go, since a proxy of theirs
   * now means something else: those that lost one, and this one when its generation, client, resource or proxies
   * changed. A generation older than the last one is ignored.
   */
  setMapping(
    mapping: number,
    client: number,
    resource: number,
    proxies: ReadonlyArray<Readonly<Words>>,
    generation: number
  ): ReadonlyArray<number> {
    const old = this.entries[mapping]
    if (old !== undefined) {
      if (generation < old.generation) return []
      if (generation === old.generation && same(old, client, resource, proxies)) return []
      this.release(mapping, old)
    }
    const changed = new Set<number>()
    if (old !== undefined) changed.add(mapping)
    for (const proxy of proxies) {
      const holder = this.byProxy.get(client, proxy)
      if (holder >= 0 && holder !== mapping) changed.add(holder)
      this.byProxy.set(client, proxy, mapping)
    }
    this.entries[mapping] = {
      client,
      resource,
      generation,
      proxies4: proxies.filter(isIpv4),
      proxies6: proxies.filter((p) => !isIpv4(p)),
      lookup: old?.lookup ?? -1,
      state: old?.state ?? MappingState.Unresolved,
      addresses4: old?.addresses4 ?? [],
      addresses6: old?.addresses6 ?? [],
      staleAt: old?.staleAt ?? 0
    }
    return [...changed]
  }

  /**
   * The outcome of a lookup; addresses sorted, as main sends them. False, and nothing changed: the mapping is unknown
   * or a later lookup has been applied. `staleAt` is kept as given.
   */
  setAddresses(
    mapping: number,
    lookup: number,
    state: MappingState,
    addresses4: ReadonlyArray<Readonly<Words>>,
    addresses6: ReadonlyArray<Readonly<Words>>,
    staleAt: number
  ): boolean {
    const entry = this.entries[mapping]
    if (entry === undefined || lookup < entry.lookup) return false
    entry.lookup = lookup
    entry.state = state
    entry.addresses4 = addresses4.slice(0, maxAddresses)
    entry.addresses6 = addresses6.slice(0, maxAddresses)
    entry.staleAt = staleAt
    return true
  }

  /** The proxies stay the mapping's; everything else is forgotten, so that whatever comes later for it is new. */
  suspendMapping(mapping: number): void {
    const entry = this.entries[mapping]
    if (entry === undefined) return
    const { client, resource, proxies4, proxies6 } = entry
    const nothing = { generation: 0, lookup: -1, state: MappingState.Unresolved, staleAt: 0 }
    this.entries[mapping] = { client, resource, proxies4, proxies6, addresses4: none, addresses6: none, ...nothing }
  }

  removeMapping(mapping: number): void {
    const entry = this.entries[mapping]
    if (entry === undefined) return
    this.release(mapping, entry)
    this.entries[mapping] = undefined
  }

  /** The mapping that owns the proxy at this client, or −1. Allocates nothing. */
  find(client: number, proxy: Readonly<Words>): number {
    return this.byProxy.get(client, proxy)
  }

  has(mapping: number): boolean {
    return this.entries[mapping] !== undefined
  }

  state(mapping: number): MappingState {
    return this.entries[mapping]?.state ?? MappingState.Unresolved
  }

  /** −1 for an unknown mapping. */
  clientOf(mapping: number): number {
    return this.entries[mapping]?.client ?? -1
  }

  /** −1 for an unknown mapping. */
  resourceOf(mapping: number): number {
    return this.entries[mapping]?.resource ?? -1
  }

  /** Whether the addresses are past their time at `clock.wall`; a clock, not a time, which would be boxed. */
  isStale(mapping: number, clock: { readonly wall: number }): boolean {
    const entry = this.entries[mapping]
    return entry === undefined || clock.wall >= entry.staleAt
  }

  /** Real addresses in the family of `like`. */
  addresses(mapping: number, like: Readonly<Words>): ReadonlyArray<Readonly<Words>> {
    const entry = this.entries[mapping]
    if (entry === undefined) return none
    return isIpv4(like) ? entry.addresses4 : entry.addresses6
  }

  /** Proxies in the family of `like`, in the order given. */
  proxies(mapping: number, like: Readonly<Words>): ReadonlyArray<Readonly<Words>> {
    const entry = this.entries[mapping]
    if (entry === undefined) return none
    return isIpv4(like) ? entry.proxies4 : entry.proxies6
  }

  private release(mapping: number, entry: Entry): void {
    for (const proxies of [entry.proxies4, entry.proxies6]) {
      for (const proxy of proxies) {
        if (this.byProxy.get(entry.client, proxy) === mapping) this.byProxy.delete(entry.client, proxy)
      }
    }
  }
}

interface Entry {
  readonly client: number
  readonly resource: number
  readonly generation: number
  readonly proxies4: ReadonlyArray<Readonly<Words>>
  readonly proxies6: ReadonlyArray<Readonly<Words>>
  lookup: number
  state: MappingState
  addresses4: ReadonlyArray<Readonly<Words>>
  addresses6: ReadonlyArray<Readonly<Words>>
  staleAt: number
}

const none: ReadonlyArray<Readonly<Words>> = []

const same = (e: Entry, client: number, resource: number, proxies: ReadonlyArray<Readonly<Words>>): boolean =>
  e.client === client &&
  e.resource === resource &&
  sameList(e.proxies4, proxies.filter(isIpv4)) &&
  sameList(
    e.proxies6,
    proxies.filter((p) => !isIpv4(p))
  )

const sameList = (a: ReadonlyArray<Readonly<Words>>, b: ReadonlyArray<Readonly<Words>>): boolean =>
  a.length === b.length && a.every((x, i) => equal(x, b[i]!))
