/**
 * The names and mappings of the gateway and everything decided about them, as a state machine without
 * IO: time, timers, lookups and commands are asked of `Outside`. One owner, the `Resolutions` layer; every method runs
 * to its end in one turn, so no two of them can interleave.
 */
import type { Command } from "../dataplane/commands.ts"
import type { ClientId } from "../model/Client.ts"
import { type Mapping, type MappingId, type Name, nameKey } from "../model/Mapping.ts"
import type { DnsResource, Resource, ResourceId } from "../model/Resource.ts"
import { matches } from "../model/DomainPattern.ts"
import { stoodFor } from "../model/standIn.ts"
import type { Cause } from "./Cause.ts"
import { type Cover, coverOf, coversAlike, nameOf, optInsOf } from "./cover.ts"
import { type LookupResult, nextState, outlived, type Step } from "./lookupResult.ts"
import { KeptMappings } from "./keptMappings.ts"
import { type Budget, isOwn, type LookupLimits, LookupQueue } from "./lookupQueue.ts"
import { mappingId, MappingTable } from "./mappingTable.ts"
import {
  addressesCommand,
  isFirstLookup,
  type Lookup,
  makeName,
  type MappingEntry,
  type NameEntry,
  type RefusedAddresses,
  type ResolverSet,
  saysTheSame,
  toldOf,
  untilTraffic,
  viewOf
} from "./nameEntry.ts"
import { isNegative, type NameState } from "./NameState.ts"
import * as Policy from "./refreshPolicy.ts"
import { Prospects } from "./prospects.ts"
import type { MappingStatus, Subscription } from "./Resolutions.ts"
import { type ResolutionReason, Throttled } from "./Resolver.ts"
import { SetBreaker } from "./setBreaker.ts"
import { SetPulse, shortHoldMs } from "./setPulse.ts"

export interface Outside {
  /** Monotonic milliseconds. */
  readonly now: () => number
  readonly send: (command: Command) => void
  /** Starts the lookup in a later turn; its end is told by `NameBook.ended`. */
  readonly start: (lookup: Lookup) => void
  /** Nobody wants the lookup any more. */
  readonly stop: (lookup: Lookup) => void
  /** Calls back in a later turn, `delay` milliseconds from now. */
  readonly wake: (delay: number, run: () => void) => void
  /** See `AnswerPolicy`. */
  readonly refused: RefusedAddresses
  /** Asks the set something harmless; its end is told by `NameBook.pinged`. */
  readonly ping: (resolver: string) => void
  /** A resolver set stopped (`null`: began again) to answer. */
  readonly setChanged: (resolver: string, failing: ResolutionReason | null) => void
}

/** Queued lookups that an open breaker sends to those who wait, in one turn: thousands would hold up every answer. */
const heldPerTurn = 50

export class NameBook {
  private readonly outside: Outside
  private readonly names = new Map<string, NameEntry>()
  private readonly mappings = new MappingTable<MappingEntry>()
  private readonly sets = new Map<string, ResolverSet>()
  private readonly queue: LookupQueue<Lookup>
  private readonly counts = new Map<string, number>()
  /** The DNS resources that each client may use. */
  private readonly rights = new Map<ClientId, Map<ResourceId, DnsResource>>()
  private readonly kept: KeptMappings
  private readonly prospects = new Prospects()
  private sequence = 0
  private queueWakeAt = Number.POSITIVE_INFINITY

  constructor(outside: Outside, limits?: LookupLimits) {
    this.outside = outside
    this.queue = new LookupQueue(limits)
    this.kept = new KeptMappings({ now: outside.now, wake: outside.wake, lapse: (entry) => this.lapse(entry) })
  }

  subscribe(request: Subscription): { readonly mapping: Mapping; readonly state: NameState } {
    const { client, domain, ownNumbers, proxyIps, resource } = request
    const id = mappingId(client, ownNumbers === true ? resource.id : null, domain)
    // A client that asks for a name under one resource and then another may mean the same proxies.
    const owner = proxyIps.length > 0 ? this.mappings.ownerOf(client, proxyIps[0]!) : undefined
    const known = owner?.mapping.name.domain === domain ? owner : this.mappings.get(id)
    if (!coversAlike(this.rights.get(client)?.get(resource.id), resource)) this.granted(client, resource)
    const entry = known ?? this.addMapping(id, request)
    if (proxyIps.length === 0) {
      if (entry.mapping.proxyIps.length === 0) this.askedAbout(entry)
    } else if (known === undefined) {
      this.announce(entry)
    } else if (!sameTexts(known.mapping.proxyIps, proxyIps)) {
      this.prospects.forget(entry)
      this.mappings.disown(entry.mapping)
      const { mapping } = entry
      entry.mapping = { ...mapping, proxyIps: request.proxyIps, generation: mapping.generation + 1 }
      this.announce(entry)
    }
    const cause = request.cause === "Restarted" ? "Restarted" : known === undefined ? "First" : "ClientAsked"
    this.ask(entry, cause)
    return { mapping: entry.mapping, state: toldOf(entry, this.outside.refused) }
  }

  /**
   * A client asks for what it has: what it is told, where that is all there is to do. `undefined`: not this, ask by
   * `subscribe`.
   */
  askAgain(
    id: MappingId,
    resources: ReadonlyArray<ResourceId>,
    proxyIps: ReadonlyArray<string>
  ): NameState | undefined {
    const entry = this.usable(id)
    if (entry === undefined) return undefined
    const { mapping, name } = entry
    const now = this.outside.now()
    const isSame = sameTexts(mapping.proxyIps, proxyIps) && sameMembers(mapping.resources, resources)
    if (!isSame || !Policy.inDemand(name.policy, now) || outlived(name.state, now) !== null) return undefined
    const isQueued = name.lookup?.number === 0
    // Another client's lookup may be taken over.
    if (isQueued && name.lookup!.client !== mapping.client) return undefined
    const decision = this.decide(entry, "ClientAsked", now)
    if (!isQueued && decision._tag !== "Ignore") return undefined
    this.demand(entry, now)
    if (proxyIps.length === 0) this.askedAbout(entry)
    if (isQueued || decision._tag !== "Ignore") this.count("brake.queued")
    else this.ignore(name, decision.brake)
    return toldOf(entry, this.outside.refused)
  }

  /** The decision, in words for a span. */
  refresh(id: MappingId, cause: Cause): string {
    const entry = this.usable(id)
    if (entry === undefined) return this.count("unknown_mapping")
    return this.ask(entry, cause)
  }

  answered(id: MappingId): void {
    const entry = this.usable(id)?.name
    if (entry !== undefined) entry.policy = Policy.answered(entry.policy, this.outside.now())
  }

  release(id: MappingId): void {
    this.outside.send({ _tag: "RemoveMapping", mapping: id })
    this.drop(this.mappings.get(id))
  }

  /**
   * A mapping is not a right: those that nothing covers any more are kept for a while, since their client goes on using
   * their proxies. Nothing is looked up for them. The packet path has been told by `RevokeResource`.
   */
  revoked(client: ClientId, resource: ResourceId): void {
    const rights = this.rights.get(client)
    rights?.delete(resource)
    if (rights?.size === 0) this.rights.delete(client)
    for (const entry of this.mappings.of(client)) {
      if (entry.keptUntil !== null || !entry.mapping.resources.includes(resource)) continue
      const cover = coverOf(rights?.values() ?? [], entry.mapping.name.domain)
      if (cover !== undefined) this.coverBy(entry, cover)
      // The packet path, and the client, know of no proxies that would have to be kept.
      else if (entry.mapping.proxyIps.length === 0) this.drop(entry)
      else this.keep(entry)
    }
    this.kept.trim(client)
  }

  /** The client may use the resource (again), or it is another: what it covers goes on, what nothing covers any more ends. */
  granted(client: ClientId, resource: Resource): void {
    const rights = this.rights.get(client) ?? new Map<ResourceId, DnsResource>()
    if (resource.kind === "dns") this.rights.set(client, rights.set(resource.id, resource))
    else rights.delete(resource.id)
    for (const entry of this.mappings.of(client)) {
      const { domain } = entry.mapping.name
      const had = entry.mapping.resources.includes(resource.id)
      if (!had && (resource.kind !== "dns" || !matches(resource.pattern, domain))) continue
      const cover = coverOf(rights.values(), domain)
      if (cover !== undefined) this.coverBy(entry, cover)
      else if (entry.mapping.resources.length === 1) this.release(entry.mapping.id)
      else entry.mapping = { ...entry.mapping, resources: entry.mapping.resources.filter((id) => id !== resource.id) }
    }
  }

  releaseWhere(client: ClientId, resource: ResourceId | null): void {
    for (const entry of this.mappings.of(client)) {
      if (resource === null || entry.mapping.resources.includes(resource)) this.release(entry.mapping.id)
    }
  }

  find(client: ClientId, resource: ResourceId, domain: string): MappingStatus | undefined {
    const entry = this.mappings
      .named(client, domain)
      .find(({ keptUntil, mapping }) => keptUntil === null && mapping.resources.includes(resource))
    return entry === undefined ? undefined : this.status(entry)
  }

  mapping(id: MappingId): Mapping | undefined {
    const entry = this.usable(id)
    return entry === undefined ? undefined : asTold(entry.mapping)
  }

  /** The mapping may be one that is kept for a withdrawn resource: to its client the proxy stands for that name. */
  ownerOf(client: ClientId, proxyIp: string): Mapping | undefined {
    return this.mappings.ownerOf(client, proxyIp)?.mapping
  }

  /** Whether the mapping exists and its first lookup has not ended yet. */
  isResolving(id: MappingId): boolean {
    const entry = this.usable(id)
    return entry !== undefined && this.view(entry)._tag === "Resolving"
  }

  /** See `Resolutions`. */
  firstLookupAt(id: MappingId): number | undefined {
    const entry = this.usable(id)
    const lookup = entry?.name.lookup
    if (entry === undefined || lookup == null) return undefined
    const view = this.view(entry)
    if (view._tag !== "Resolving" || view.silent || entry.name.set.pulse.isVain(entry.mapping.client)) return undefined
    if (lookup.number > 0) return lookup.startedAt
    return entry.name.set.pulse.hasAnsweredSince(lookup.since) ? Number.POSITIVE_INFINITY : lookup.since
  }

  /** See `Resolutions`. */
  answersNobody(resolver: string, client: ClientId): boolean {
    return this.sets.get(resolver)?.pulse.isVain(client) === true
  }

  hasMappings(client: ClientId, resource: ResourceId): boolean {
    return this.mappings
      .of(client)
      .some(({ keptUntil, mapping }) => keptUntil === null && mapping.resources.includes(resource))
  }

  mappingsOf(client: ClientId): number {
    const { kept, mappings, prospects } = this
    return mappings.countOf(client) - kept.countOf(client) - prospects.countOf(client)
  }

  list(): ReadonlyArray<MappingStatus> {
    return Array.from(this.mappings.all())
      .filter(({ keptUntil, mapping }) => keptUntil === null && mapping.proxyIps.length > 0)
      .map((entry) => this.status(entry))
  }

  counters(): Readonly<Record<string, number>> {
    return { ...Object.fromEntries(this.counts), queued: this.queue.queued }
  }

  /** A lookup came to its end, in whatever way. A late one, of a name forgotten meanwhile, changes nothing. */
  ended(lookup: Lookup, result: LookupResult, random: number): void {
    const entry = this.names.get(nameKey(lookup.name))
    if (entry === undefined || entry.lookup !== lookup) {
      this.count("late_answers")
      return
    }
    const now = this.outside.now()
    const step = nextState(entry.state, result, { now, attempts: entry.attempts + 1 })
    entry.lookup = null
    this.queue.finish(lookup, now, step.outcome._tag === "Answered")
    entry.set.pulse.ended(lookup, step.failure === null || step.failure._tag === "ServerFailure")
    this.countOutcome(result, step)
    const reopened = this.judgeSet(entry, step)
    entry.policy = Policy.ended(entry.policy, step.outcome, entry.set.breaker.state, now, random)
    entry.attempts = step.state._tag === "Unresolved" ? entry.attempts + 1 : 0
    const same = saysTheSame(entry.state, step.state)
    entry.state = step.state
    entry.applied = lookup.number
    for (const mapping of entry.mappings.values()) {
      // A name may have thousands of mappings.
      if (same && mapping.looked) continue
      mapping.looked = true
      this.sendAddresses(mapping)
    }
    if (step.outcome._tag === "Failed" && Policy.inDemand(entry.policy, now)) this.again(entry, now)
    if (reopened) this.releaseWaiting(entry.set, now)
    this.pump()
  }

  /** Other servers stand behind the set: addresses that the former ones said are served until these have answered. */
  renew(resolver: string): void {
    const set = this.sets.get(resolver)
    if (set === undefined) return
    const now = this.outside.now()
    set.pulse.renew()
    if (set.breaker.renew()) {
      this.count("breaker.closed")
      this.outside.setChanged(resolver, null)
    }
    for (const entry of this.names.values()) {
      if (entry.set !== set) continue
      this.stopLookup(entry)
      entry.policy = Policy.renewed(entry.policy, now)
      if (isNegative(entry.state)) this.doubt(entry)
      if (this.wanted(entry, now)) this.enqueue(entry, entry.lastClient, "Stale")
      else this.age(entry, now)
    }
    this.pump()
  }

  /** Whoever comes next for the name has it looked up. */
  private age(entry: NameEntry, now: number): void {
    if (entry.state._tag !== "Resolved") return
    entry.state = { ...entry.state, staleAt: Math.min(entry.state.staleAt, now) }
    entry.applied = ++this.sequence
    for (const mapping of entry.mappings.values()) this.sendAddresses(mapping)
  }

  /** These may know it: nobody is told any more that there is none. */
  private doubt(entry: NameEntry): void {
    for (const mapping of entry.mappings.values()) mapping.looked = false
    this.awaitTraffic(entry)
  }

  /** Sees whether the set lives, before the first client asks. */
  meet(resolver: string): void {
    this.setOf(resolver).pulse.ping()
  }

  /** A harmless question that was asked at `since` came to its end; `null`: it was none. */
  pinged(resolver: string, since: number, answered: boolean | null): void {
    this.setOf(resolver).pulse.pinged(since, answered)
  }

  /** A mapping that its client may use. */
  private usable(id: MappingId): MappingEntry | undefined {
    const entry = this.mappings.get(id)
    return entry?.keptUntil === null ? entry : undefined
  }

  private drop(entry: MappingEntry | undefined): void {
    if (entry === undefined) return
    const { name } = entry
    this.prospects.forget(entry)
    this.mappings.remove(entry)
    if (entry.keptUntil === null) name.mappings.delete(entry.mapping.id)
    else this.unkeep(entry)
    this.forgetUnused(name)
  }

  private askedAbout(entry: MappingEntry): void {
    const oldest = this.prospects.asked(entry)
    if (oldest !== undefined) this.release(oldest.mapping.id)
  }

  private keep(entry: MappingEntry): void {
    const { name } = entry
    this.kept.keep(entry)
    name.kept++
    name.mappings.delete(entry.mapping.id)
    if (name.mappings.size === 0) this.rest(name)
  }

  private unkeep(entry: MappingEntry): void {
    this.kept.take(entry)
    entry.name.kept--
  }

  /** The mapping, with the proxies that it has, is covered by these from now on. */
  private coverBy(entry: MappingEntry, cover: Cover): void {
    const { mapping } = entry
    const name = nameOf(cover, mapping.name.domain)
    const resources = cover.map(({ id }) => id)
    const others = !sameTexts(mapping.resources, resources)
    if (others) entry.mapping = { ...mapping, resources }
    const allow = optInsOf(cover)
    const refusesOthers = !sameTexts(entry.allow, allow)
    entry.allow = allow
    const elsewhere = entry.name.key !== nameKey(name)
    if (elsewhere) this.lookElsewhere(entry, name)
    if (entry.keptUntil !== null) this.resume(entry)
    else if (others) this.announce(entry)
    else if (elsewhere || (refusesOthers && entry.name.applied > 0)) this.sendAddresses(entry)
  }

  /** Another resolver set says where the mapping leads, or is asked for another family. */
  private lookElsewhere(entry: MappingEntry, wanted: Name): void {
    const { client, id } = entry.mapping
    const { name: before } = entry
    const kept = entry.keptUntil !== null
    if (kept) before.kept--
    else before.mappings.delete(id)
    this.forgetUnused(before)
    const name = this.nameOf(wanted, client, true)
    entry.name = name
    entry.mapping = { ...entry.mapping, name: name.name }
    entry.since = ++this.sequence
    entry.looked = false
    if (kept) name.kept++
    else this.join(entry)
  }

  private resume(entry: MappingEntry): void {
    this.unkeep(entry)
    this.join(entry)
    this.announce(entry)
  }

  /** The last good answer is served on. Without one the next packet asks, and is parked. */
  private join(entry: MappingEntry): void {
    const { name } = entry
    this.expire(name)
    if (name.state._tag !== "Resolved") {
      entry.looked = false
      if (name.mappings.size === 0) this.awaitTraffic(name)
    }
    name.mappings.set(entry.mapping.id, entry)
  }

  /** Nobody may use it, and nobody may get it back. */
  private forgetUnused(name: NameEntry): void {
    if (name.mappings.size > 0) return
    this.rest(name)
    if (name.kept === 0) this.names.delete(name.key)
  }

  private lapse(entry: MappingEntry): void {
    this.outside.send({ _tag: "LapseMapping", mapping: entry.mapping.id })
    this.drop(entry)
  }

  private ask(mapping: MappingEntry, cause: Cause): string {
    const now = this.outside.now()
    const { name: entry } = mapping
    const { client } = mapping.mapping
    if (cause !== "Restarted") {
      // What the last lookup said, a while ago, is not for who comes now.
      if (mapping.looked && !Policy.inDemand(entry.policy, now)) {
        mapping.looked = false
        this.sendAddresses(mapping)
      }
      this.demand(mapping, now)
    }
    this.expire(entry)
    if (entry.lookup !== null && entry.lookup.number === 0) {
      this.takeOver(entry.lookup, entry, client, now)
      if (entry.lookup.number === 0 && isOfPacket(cause)) {
        this.queue.promote(entry.lookup)
        this.parkInQueue(entry, entry.lookup)
      }
      return entry.policy.inFlight ? "lookup" : this.count("brake.queued")
    }
    const { breaker } = entry.set
    const decision = this.decide(mapping, cause, now)
    switch (decision._tag) {
      case "Lookup":
        // Whose turn the next probe is, the probe decides.
        if (!asksFirst(mapping) && breaker.state.open && breaker.holdsSome) {
          breaker.hold(entry)
          return this.count("brake.resolver_failing")
        }
        this.enqueue(entry, client, cause)
        this.pump()
        if (entry.policy.inFlight) return "lookup"
        return entry.lookup === null ? "resolver_failing" : this.overBudget(entry, now)
      case "At":
        this.remember(entry, decision.time, now)
        return this.count("brake.remembered")
      case "Ignore":
        return this.ignore(entry, decision.brake)
    }
  }

  private decide(mapping: MappingEntry, cause: Cause, now: number): Policy.Decision {
    const { policy, set } = mapping.name
    return Policy.decide(policy, set.breaker.state, cause, now, asksFirst(mapping))
  }

  private demand({ mapping, name }: MappingEntry, now: number): void {
    name.policy = Policy.demanded(name.policy, now)
    name.lastClient = mapping.client
  }

  private ignore(entry: NameEntry, brake: Policy.Brake): string {
    if (brake === "resolver_failing") entry.set.breaker.hold(entry)
    return this.count(`brake.${brake}`)
  }

  /** A queued lookup is charged to a client that asks and has the budget for it: it does not wait behind the other's names. */
  private takeOver(queued: Lookup, entry: NameEntry, client: ClientId, now: number): void {
    const stopped = this.queue.stopped(client, queued.resolver, now)
    if (queued.client === client || (stopped !== null && isOwn(stopped))) return
    this.queue.cancel(queued)
    this.enqueue(entry, client, queued.cause)
    this.pump()
    if (!entry.policy.inFlight && entry.lookup !== null) this.parkInQueue(entry, entry.lookup)
  }

  private enqueue(entry: NameEntry, client: ClientId, cause: Cause): void {
    const { name } = entry
    const first = isFirstLookup(entry)
    const since = this.outside.now()
    const lookup: Lookup = {
      name,
      resolver: name.resolver,
      client,
      cause,
      first,
      since,
      number: 0,
      startedAt: Number.POSITIVE_INFINITY,
      holdMs: shortHoldMs,
      parks: false
    }
    entry.lookup = lookup
    this.queue.offer(lookup, this.isWaitedFor(entry))
  }

  private overBudget(entry: NameEntry, now: number): string {
    const lookup = entry.lookup!
    const budget = this.queue.stopped(lookup.client, lookup.resolver, now)
    if (budget === null || !isOwn(budget) || this.isWaitedFor(entry)) this.parkInQueue(entry, lookup)
    else if (entry.applied === 0) this.unresolve(entry, overBudget(budget))
    return this.count(`brake.${budget ?? "queued"}`)
  }

  /** A question waits for the name to be found, or not: it has no proxies yet. */
  private isWaitedFor(entry: NameEntry): boolean {
    for (const { mapping } of entry.mappings.values()) if (mapping.proxyIps.length === 0) return true
    return false
  }

  private parkInQueue(entry: NameEntry, lookup: Lookup): void {
    lookup.parks = true
    this.park(entry)
  }

  /** Who waits for the name's first lookup is not told anything yet. */
  private park(entry: NameEntry): void {
    for (const mapping of entry.mappings.values()) if (!mapping.looked) this.sendAddresses(mapping)
  }

  /** Starts what the budgets let through, then sleeps until they let through more. */
  private pump(): void {
    const now = this.outside.now()
    let held = 0
    while (held < heldPerTurn) {
      const lookup = this.queue.next(now)
      if (lookup === undefined) break
      const entry = this.names.get(nameKey(lookup.name))!
      const { breaker } = entry.set
      if (breaker.stops(now) && !lookup.first) {
        this.queue.finish(lookup, now, false)
        entry.lookup = null
        this.count("brake.resolver_failing")
        breaker.hold(entry)
        held++
      } else {
        this.start(entry, lookup, now)
      }
    }
    const at = held === heldPerTurn ? now : this.queue.nextAt(now)
    if (at === null || at >= this.queueWakeAt) return
    this.queueWakeAt = at
    this.outside.wake(at - now, () => {
      if (this.queueWakeAt === at) this.queueWakeAt = Number.POSITIVE_INFINITY
      this.pump()
    })
  }

  private start(entry: NameEntry, lookup: Lookup, now: number): void {
    const { breaker, pulse } = entry.set
    if (breaker.state.open && !lookup.first) {
      breaker.probed(entry)
      this.count("breaker.probes")
    }
    lookup.number = ++this.sequence
    lookup.startedAt = now
    pulse.began(lookup)
    entry.lookups++
    entry.policy = Policy.started(entry.policy)
    this.count("lookups.started")
    this.count(`cause.${lookup.cause}`)
    this.outside.start(lookup)
    this.park(entry)
  }

  /** After a failure the name is tried again without a new cause, as long as it is in demand. */
  private again(entry: NameEntry, now: number): void {
    const { breaker } = entry.set
    if (breaker.state.open) breaker.hold(entry)
    else this.remember(entry, entry.policy.notBefore, now)
  }

  private remember(entry: NameEntry, at: number, now: number): void {
    entry.policy = Policy.remembered(entry.policy)
    entry.wakeAt = at
    this.wakeName(entry, at, now)
  }

  private wakeName(entry: NameEntry, at: number, now: number): void {
    this.outside.wake(at - now, () => {
      if (entry.wakeAt !== at || !entry.policy.remembered || entry.lookup !== null) return
      if (this.names.get(entry.key) !== entry) return
      const then = this.outside.now()
      if (then < at) return this.wakeName(entry, at, then)
      entry.policy = { ...entry.policy, remembered: false }
      const first = isFirstLookup(entry)
      const { breaker } = entry.set
      if (Policy.decide(entry.policy, breaker.state, "Unmapped", then, first)._tag !== "Lookup")
        return breaker.hold(entry)
      this.lookUp(entry)
    })
  }

  private lookUp(entry: NameEntry): void {
    this.enqueue(entry, entry.lastClient, "Unmapped")
    this.pump()
  }

  private releaseWaiting(set: ResolverSet, now: number): void {
    for (const entry of set.breaker.release()) {
      if (!this.wanted(entry, now) || entry.lookup !== null) continue
      entry.policy = Policy.released(entry.policy, now)
      this.enqueue(entry, entry.lastClient, "Unmapped")
    }
  }

  /** Tells the breaker; `true` when this answer closed it. */
  private judgeSet(entry: NameEntry, step: Step): boolean {
    const { breaker } = entry.set
    const { resolver } = entry.name
    if (step.outcome._tag === "Failed") {
      if (breaker.failed(entry)) {
        this.count("breaker.opened")
        this.outside.setChanged(resolver, step.failure)
      }
      return false
    }
    if (!breaker.answered(entry)) return false
    this.count("breaker.closed")
    this.outside.setChanged(resolver, null)
    return true
  }

  private wanted(entry: NameEntry, now: number): boolean {
    return this.names.get(entry.key) === entry && Policy.inDemand(entry.policy, now)
  }

  /** The last good answer is served for a while although refreshes fail, not for ever. */
  private expire(entry: NameEntry): void {
    const reason = outlived(entry.state, this.outside.now())
    if (reason !== null) this.unresolve(entry, reason)
  }

  private awaitTraffic(entry: NameEntry): void {
    entry.applied = ++this.sequence
    this.unresolve(entry, untilTraffic)
  }

  private unresolve(entry: NameEntry, reason: ResolutionReason): void {
    const since = this.outside.now()
    entry.state = { _tag: "Unresolved", reason, attempts: entry.attempts, since, negativeUntil: since }
    if (entry.applied === 0) entry.applied = ++this.sequence
    for (const mapping of entry.mappings.values()) this.sendAddresses(mapping)
  }

  private addMapping(id: MappingId, request: Subscription): MappingEntry {
    const { cause, client, domain, proxyIps, resource } = request
    const cover = coverOf(this.rights.get(client)!.values(), domain) ?? [resource]
    const name = this.nameOf(nameOf(cover, domain), client, cause === "Restarted")
    const resources = cover.map((each) => each.id)
    const mapping: Mapping = { id, client, resources, name: name.name, proxyIps, generation: 1 }
    const entry: MappingEntry = { mapping, name, allow: optInsOf(cover), since: 0, looked: false, keptUntil: null }
    this.mappings.add(entry)
    name.mappings.set(id, entry)
    return entry
  }

  /** `waits`: a new one is looked up when packets come. */
  private nameOf(name: Name, client: ClientId, waits: boolean): NameEntry {
    const known = this.names.get(nameKey(name))
    if (known !== undefined) return known
    const entry = makeName(name, this.setOf(name.resolver), client, this.outside.now())
    this.names.set(entry.key, entry)
    if (waits) this.awaitTraffic(entry)
    return entry
  }

  private setOf(resolver: string): ResolverSet {
    let set = this.sets.get(resolver)
    if (set === undefined) {
      set = this.makeSet(resolver)
      this.sets.set(resolver, set)
    }
    return set
  }

  private makeSet(resolver: string): ResolverSet {
    const { now, wake } = this.outside
    const breaker = new SetBreaker({
      now,
      wake,
      wanted: (entry, at) => this.wanted(entry, at),
      lookUp: (entry) => this.lookUp(entry)
    })
    const pulse = new SetPulse<Lookup>({
      now,
      wake,
      ping: () => this.outside.ping(resolver),
      holdLonger: ({ name }) => this.park(this.names.get(nameKey(name))!)
    })
    return { breaker, pulse }
  }

  /** Nobody may use the name for now. */
  private rest(entry: NameEntry): void {
    entry.set.breaker.forget(entry)
    entry.policy = Policy.rested(entry.policy)
    if (this.stopLookup(entry)) this.pump()
  }

  /** Returns whether one was under way. */
  private stopLookup(entry: NameEntry): boolean {
    const { lookup } = entry
    if (lookup === null) return false
    entry.lookup = null
    if (lookup.number === 0) {
      this.queue.cancel(lookup)
      return false
    }
    this.queue.finish(lookup, this.outside.now(), false)
    entry.set.pulse.stopped(lookup)
    this.outside.stop(lookup)
    return true
  }

  /** Takes the proxies from other mappings of the client, which must have renumbered, and tells the data plane. */
  private announce(entry: MappingEntry): void {
    if (entry.mapping.proxyIps.length === 0) return
    for (const robbed of this.mappings.own(entry.mapping)) {
      this.count("renumbered")
      this.release(robbed)
    }
    const { id, client, resources, proxyIps, generation } = entry.mapping
    this.outside.send({ _tag: "SetMapping", mapping: id, client, resources, proxyIps, generation })
    const { applied, lookup, policy } = entry.name
    if (entry.since > 0 || applied > 0 || policy.inFlight || lookup?.parks === true) this.sendAddresses(entry)
  }

  private sendAddresses(entry: MappingEntry): void {
    this.outside.send(addressesCommand(entry, this.view(entry)))
  }

  private view(entry: MappingEntry): NameState {
    return viewOf(entry, this.outside.refused)
  }

  private status(entry: MappingEntry): MappingStatus {
    return {
      mapping: asTold(entry.mapping),
      state: toldOf(entry, this.outside.refused),
      nextTryAt: this.nextTryAt(entry.name),
      lookups: entry.name.lookups
    }
  }

  private nextTryAt(entry: NameEntry): number | null {
    const now = this.outside.now()
    if (entry.lookup !== null) return now
    const { breaker } = entry.set
    if (breaker.holds(entry)) return Math.max(now, breaker.state.probeAt)
    return entry.policy.remembered ? Math.max(now, entry.policy.notBefore) : null
  }

  private countOutcome(result: LookupResult, step: Step): void {
    this.count(result._tag === "Answer" ? "lookups.answered" : `lookups.${result.reason._tag}`)
    if (step.outcome._tag === "Answered" && !step.outcome.changed) this.count("lookups.unchanged")
  }

  /** Returns the counter's last part, which is what it counts. */
  private count(name: string): string {
    this.counts.set(name, (this.counts.get(name) ?? 0) + 1)
    return name.slice(name.indexOf(".") + 1)
  }
}

/** A reason carries no name: it is made once for each budget, since an error takes long to make and holds its stack. */
const overBudget = (budget: Budget): ResolutionReason => {
  let reason = throttled.get(budget)
  if (reason === undefined) throttled.set(budget, (reason = new Throttled({ budget })))
  return reason
}

const throttled = new Map<Budget, ResolutionReason>()

/** Nobody has been told of the name through this mapping. Its own, not anybody's: thousands may ask for one dead name each second. */
const asksFirst = ({ looked, name }: MappingEntry): boolean => name.state._tag !== "Resolved" && !looked

/** Under a resource and under what stands in for it is under one. */
const asTold = (mapping: Mapping): Mapping => {
  const resources = mapping.resources.map(stoodFor)
  return sameTexts(resources, mapping.resources) ? mapping : { ...mapping, resources: Array.from(new Set(resources)) }
}

const isOfPacket = (cause: Cause): boolean => cause !== "First" && cause !== "ClientAsked" && cause !== "Restarted"

const sameMembers = (a: ReadonlyArray<string>, b: ReadonlyArray<string>): boolean =>
  a.length === b.length && a.every((text) => b.includes(text))

const sameTexts = (a: ReadonlyArray<string>, b: ReadonlyArray<string>): boolean =>
  a.length === b.length && a.every((text, i) => text === b[i])
