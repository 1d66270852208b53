/** What a client is told of a name that its resources cover: proxy IPs at once, or what is known of the name. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as Semaphore from "effect/Semaphore"
import { type AccessReply, ConnectionAcceptor } from "../../../src/access/ConnectionAcceptor.ts"
import type { DnsRight } from "../../../src/control/standalone/chooseResource.ts"
import type { NameEntry } from "../../../src/control/standalone/nameTable.ts"
import { isDue, isInMemoryOnly, type Slots } from "../../../src/control/standalone/Slots.ts"
import { proxyTtl, tunnelAnswerOf } from "../../../src/control/standalone/tunnelAnswerOf.ts"
import type { TunnelAnswer } from "../../../src/dns/tunnelAnswer.ts"
import { IpFamilies, leadsOut6 } from "../../../src/host/IpFamilies.ts"
import { monotonicMillis, monotonicMillisUnsafe } from "../../../src/loops/monotonic.ts"
import type { AccessRefused, AccessRequest } from "../../../src/model/AccessRequest.ts"
import type { Client } from "../../../src/model/Client.ts"
import { isExact } from "../../../src/model/DomainPattern.ts"
import type { MappingId } from "../../../src/model/Mapping.ts"
import type { DnsResource } from "../../../src/model/Resource.ts"
import { inOneTurn } from "../../../src/resolution/inOneTurn.ts"
import { isNegative, type NameState } from "../../../src/resolution/NameState.ts"
import { mappingId } from "../../../src/resolution/mappingTable.ts"
import { Resolutions } from "../../../src/resolution/Resolutions.ts"
import type { StoredSlots } from "./storedSlots.ts"

/**
 * A question about a name of which nothing is known yet waits for its first lookup until this long after that began, so
 * that it is answered within 150 ms: where the name is below a wildcard, since it may not exist; where it is for IPv6
 * addresses, since what clients send there without a connection to a name with IPv4 only would be lost.
 */
const firstLookupMs = 140
/** While others of its resolver set are answered, a question waits so long for its name's turn to be looked up. */
const turnMs = 1_000
/** Who asks for hundreds at once knows why it waits; who asks for these few is not to wait behind somebody else's hundreds. */
const fewHeld = 8
/** Such questions at a time, of one client no more than are left free beside it; others are answered at once. */
const maxHeld = 2_560

/** One client's names. */
export interface NamesOfClient {
  readonly client: Client
  /** What it may reach by now; nothing once it is no client any more. */
  readonly rights: { readonly names: ReadonlyArray<DnsRight> }
  readonly slots: Slots
  /** Questions that wait for their name's lookup. */
  held: number
  /** Two questions about one new name must not get two slots. */
  readonly turn: Semaphore.Semaphore
}

export const makeResourceNames = Effect.fnUntraced(function* (stored: StoredSlots) {
  const acceptor = yield* ConnectionAcceptor
  const families = yield* IpFamilies
  const resolutions = yield* Resolutions
  const clock = yield* Clock.Clock
  const ways = { some: () => leadsOut6(families.ipv6()), leadsTo: families.leadsTo }
  let held = 0

  /** Whether a question waits for a name's first lookup. */
  const waits = ({ pattern, family: only }: DnsResource, family: 4 | 6): boolean =>
    !isExact(pattern) || (family === 6 && only !== 4 && ways.some())

  const tell = (state: NameState, family: 4 | 6, proxyIps: ReadonlyArray<string>, only: 4 | 6 | undefined) =>
    tunnelAnswerOf(state, family, proxyIps, monotonicMillisUnsafe(clock), { ...ways, some: ways.some() }, only)

  /** For how long to wait for a mapping's first lookup before it is looked at again, in milliseconds. */
  const leftOf = (mapping: MappingId, lastAt: number): number => {
    const now = monotonicMillisUnsafe(clock)
    const beganAt = Math.min(resolutions.firstLookupAt(mapping) ?? Number.NEGATIVE_INFINITY, now)
    return Math.min(beganAt + firstLookupMs, lastAt) - now
  }

  /** The state of a name, a little later where its first lookup has begun just now. */
  const known = Effect.fnUntraced(function* (
    of: NamesOfClient,
    wait: boolean,
    { mapping, state }: NonNullable<AccessReply["mapping"]>
  ) {
    if (!wait || of.held >= maxHeld - held) return state
    const lastAt = (yield* monotonicMillis) + (of.held < fewHeld ? firstLookupMs : turnMs)
    let left = leftOf(mapping.id, lastAt)
    if (left <= 0) return state
    held++
    of.held++
    yield* Effect.gen(function* () {
      for (; left > 0; left = leftOf(mapping.id, lastAt)) {
        yield* Effect.timeoutOption(resolutions.settled(mapping.id), left)
      }
    }).pipe(
      Effect.ensuring(
        Effect.sync(() => {
          held--
          of.held--
        })
      )
    )
    return (yield* resolutions.find(mapping.client, mapping.resources[0]!, mapping.name.domain))?.state ?? state
  })

  /** As far as it is in memory only. */
  const keep = (of: NamesOfClient, entry: NameEntry, now: number) => of.turn.withPermit(stored.keep(of, entry, now))

  /** @param grants at least one, those that cover the name, the most specific first */
  const answer = Effect.fnUntraced(function* (
    of: NamesOfClient,
    grants: ReadonlyArray<DnsRight>,
    { domain, family }: { readonly domain: string; readonly family: 4 | 6 },
    now: number
  ): Effect.fn.Return<TunnelAnswer, AccessRefused | "outdated"> {
    /** A question that has waited speaks for what its client may reach by now, not for what it might when it came. */
    const ifStillHeld = <A, E>(effect: Effect.Effect<A, E>): Effect.Effect<A, E | "outdated"> =>
      Effect.suspend((): Effect.Effect<A, E | "outdated"> =>
        grants.every((grant) => of.rights.names.includes(grant)) ? effect : Effect.fail("outdated")
      )
    const request = (what: AccessRequest) => inOneTurn(ifStillHeld(acceptor.accept(what)))
    const { client } = of
    const [{ resource, expiresAt }, ...others] = grants as readonly [DnsRight, ...ReadonlyArray<DnsRight>]
    const mayNotExist = !isExact(resource.pattern)
    const wait = waits(resource, family)
    const accept = Effect.fnUntraced(function* (proxyIps: ReadonlyArray<string> | null) {
      const { mapping } = yield* request({
        client,
        resource,
        expiresAt,
        name: { domain, proxyIps },
        credentials: null
      })
      const state = yield* known(of, wait, mapping!)
      return yield* ifStillHeld(Effect.succeed(state))
    })
    // Before the name is the client's, so that it is told once by what it is covered.
    for (const other of others) yield* Effect.ignore(request({ ...other, client, name: null, credentials: null }))
    if (
      mayNotExist &&
      of.slots.find(domain) === undefined &&
      !resolutions.answersNobody(resource.resolver, client.id)
    ) {
      const state = yield* accept(null)
      if (isNegative(state)) return tell(state, family, [], resource.family)
    }
    const entry = yield* of.turn.withPermit(stored.entryOf(of, resource.id, domain, now))
    if (entry === undefined) return { _tag: "ServerFailure" }
    const state = yield* accept(entry.translated)
    if (isKept(entry, resource, state)) yield* keep(of, entry, now)
    return tell(state, family, entry.proxyIps, resource.family)
  })

  /** `answer` where nothing is to be looked up, waited for, recorded or written down; `undefined` where something is. */
  const again = (
    of: NamesOfClient,
    grants: ReadonlyArray<DnsRight>,
    { domain, family }: { readonly domain: string; readonly family: 4 | 6 },
    now: number
  ): TunnelAnswer | undefined => {
    const { resource } = grants[0]!
    const id = mappingId(of.client.id, null, domain)
    const entry = of.slots.ofMapping(id)
    const resources = grants.map((grant) => grant.resource.id)
    if (entry !== undefined && of.slots.isOutdated(entry)) return undefined
    const state = resolutions.askAgain(id, resources, entry?.translated ?? [])
    if (state === undefined || (state._tag === "Resolving" && waits(resource, family))) return undefined
    if (entry === undefined) return isNegative(state) ? tell(state, family, [], resource.family) : undefined
    if (isKept(entry, resource, state) && isDue(entry, now)) return undefined
    of.slots.touch(entry, now)
    return tell(state, family, entry.proxyIps, resource.family)
  }

  /** Of a name that another site serves: what it is told there, whatever becomes of it. */
  const elsewhere = Effect.fnUntraced(function* (
    of: NamesOfClient,
    { family: only, id }: DnsResource,
    site: number,
    { domain, family }: { readonly domain: string; readonly family: 4 | 6 },
    now: number
  ): Effect.fn.Return<TunnelAnswer> {
    if (only !== undefined && family !== only) return { _tag: "NoData", ttl: proxyTtl }
    const assigned = Effect.tap(stored.entryOf(of, id, domain, now, site), (entry) =>
      entry === undefined ? Effect.void : stored.keep(of, entry, now)
    )
    const entry = yield* of.turn.withPermit(assigned)
    if (entry === undefined) return { _tag: "ServerFailure" }
    const addresses = entry.proxyIps.filter((ip) => ip.includes(":") === (family === 6))
    return { _tag: "Addresses", addresses, ttl: proxyTtl }
  })

  return {
    again,
    elsewhere,
    /**
     * The proxy IPs of a name that was not found to be missing are in memory only until an address of it is known. Fails where
     * the grants are not the client's any more.
     */
    answer: (...question: Parameters<typeof answer>): Effect.Effect<TunnelAnswer, "outdated"> =>
      Effect.catchTag(answer(...question), "AccessRefused", () =>
        Effect.succeed<TunnelAnswer>({ _tag: "NameError", ttl: 5 })
      ),
    keep
  }
})

/** Whether a name is written down: not before an address is known, unless it exists for sure. */
const isKept = (entry: NameEntry, { pattern }: DnsResource, state: NameState): boolean =>
  isExact(pattern) || state._tag === "Resolved" || !isInMemoryOnly(entry)
