import { equal, isIpv4, type Words } from "../packet/address.ts"
import { spreadBy } from "./spread.ts"
import { WordsIndex } from "./wordsIndex.ts"

/**
 * What is known of a mapping's real addresses. `Resolving` is the first lookup only; `Unasked`: there was none yet, and
 * the first packet asks for it.
 */
export const MappingState = { Unresolved: 0, Resolving: 1, Resolved: 2, Unasked: 3 } as const
export type MappingState = (typeof MappingState)[keyof typeof MappingState]

/** Real addresses of one family beyond these are not used. */
const maxAddresses = 32

/**
 * Proxy addresses of every client and what they stand for. A name space per client: the same proxy address at two
 * clients is normal. Mappings, clients and resources are small numbers that the caller gives out; a mapping's number
 * may be used again after `remove`.
 */
export class Translations {
  private readonly byProxy = new WordsIndex()
  private readonly entries: Array<Entry | undefined> = []

  /**
   * Says what the mapping has; the addresses of one that is there already stay. No other mapping of the client has any of
   * the proxies: who takes one away is decided elsewhere, and told before. `version` tells one such saying from another; see
   * `spreadBy` for `spread`.
   */
  place(
    mapping: number,
    client: number,
    resources: ReadonlyArray<number>,
    proxies: ReadonlyArray<Readonly<Words>>,
    version: number,
    spread: number
  ): void {
    const old = this.entries[mapping]
    if (old !== undefined) this.release(old)
    for (const proxy of proxies) this.byProxy.set(client, proxy, mapping)
    this.entries[mapping] = {
      client,
      resources,
      version,
      spread,
      proxies4: proxies.filter(isIpv4),
      proxies6: proxies.filter((p) => !isIpv4(p)),
      lookup: old?.lookup ?? -1,
      state: old?.state ?? MappingState.Unresolved,
      addresses4: old?.addresses4 ?? none,
      addresses6: old?.addresses6 ?? none,
      staleAt: old?.staleAt ?? 0
    }
  }

  /** The mapping has these proxies, all that it had and more of them. False, and nothing changed: that is not so. */
  extend(mapping: number, client: number, proxies: ReadonlyArray<Readonly<Words>>, version: number): boolean {
    const entry = this.entries[mapping]
    if (entry?.client !== client) return false
    const before = [...entry.proxies4, ...entry.proxies6]
    const isAmong = (proxy: Readonly<Words>) => proxies.some((other) => equal(other, proxy))
    if (before.length >= proxies.length || !before.every(isAmong)) return false
    for (const proxy of proxies) this.byProxy.set(client, proxy, mapping)
    entry.proxies4 = proxies.filter(isIpv4)
    entry.proxies6 = proxies.filter((proxy) => !isIpv4(proxy))
    entry.version = version
    return true
  }

  /**
   * The outcome of a lookup. False, and nothing changed: the mapping is unknown
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
    entry.addresses4 = spreadBy(entry.spread, addresses4).slice(0, maxAddresses)
    entry.addresses6 = spreadBy(entry.spread, addresses6).slice(0, maxAddresses)
    entry.staleAt = staleAt
    return true
  }

  /** Other resources cover it from now on. */
  cover(mapping: number, resources: ReadonlyArray<number>): void {
    const entry = this.entries[mapping]
    if (entry !== undefined) entry.resources = resources
  }

  /** The proxies stay the mapping's; what was looked up is forgotten, and the next lookup is its first. */
  suspend(mapping: number): void {
    const entry = this.entries[mapping]
    if (entry === undefined) return
    entry.lookup = -1
    entry.state = MappingState.Unresolved
    entry.addresses4 = none
    entry.addresses6 = none
    entry.staleAt = 0
  }

  remove(mapping: number): void {
    const entry = this.entries[mapping]
    if (entry === undefined) return
    this.release(entry)
    this.entries[mapping] = undefined
  }

  /** The mapping that owns the proxy at this client, or −1. Allocates nothing. */
  find(client: number, proxy: Readonly<Words>): number {
    return this.byProxy.get(client, proxy)
  }

  state(mapping: number): MappingState {
    return this.entries[mapping]?.state ?? MappingState.Unresolved
  }

  /** −1 for an unknown mapping. */
  version(mapping: number): number {
    return this.entries[mapping]?.version ?? -1
  }

  /** −1 for an unknown mapping. */
  clientOf(mapping: number): number {
    return this.entries[mapping]?.client ?? -1
  }

  /** Those that cover it. */
  resourcesOf(mapping: number): ReadonlyArray<number> {
    return this.entries[mapping]?.resources ?? noResources
  }

  /** Whether the addresses are past their time at `clock.now`; a clock, not a time, which would be boxed. */
  isStale(mapping: number, clock: { readonly now: number }): boolean {
    const entry = this.entries[mapping]
    return entry === undefined || clock.now >= entry.staleAt
  }

  /** Real addresses in the family of `like`, in the mapping's own order. */
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

  private release({ client, proxies4, proxies6 }: Entry): void {
    for (const proxies of [proxies4, proxies6]) for (const proxy of proxies) this.byProxy.delete(client, proxy)
  }
}

interface Entry {
  readonly client: number
  resources: ReadonlyArray<number>
  version: number
  readonly spread: number
  proxies4: ReadonlyArray<Readonly<Words>>
  proxies6: ReadonlyArray<Readonly<Words>>
  lookup: number
  state: MappingState
  addresses4: ReadonlyArray<Readonly<Words>>
  addresses6: ReadonlyArray<Readonly<Words>>
  staleAt: number
}

const none: ReadonlyArray<Readonly<Words>> = []
const noResources: ReadonlyArray<number> = []
