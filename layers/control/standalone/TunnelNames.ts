/** `TunnelNames` over the configuration, the state store and the acceptor. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Semaphore from "effect/Semaphore"
import { Authorizations } from "../../../src/access/Authorizations.ts"
import { Clients } from "../../../src/access/Clients.ts"
import { type AccessReply, ConnectionAcceptor } from "../../../src/access/ConnectionAcceptor.ts"
import { Destinations } from "../../../src/access/Destinations.ts"
import type { GatewayConfig } from "../../../src/config/GatewayConfig.ts"
import { grantsOf } from "../../../src/config/GatewayConfig.ts"
import {
  coveringGrants,
  type DnsGrant,
  dnsGrants,
  isPrivateName
} from "../../../src/control/standalone/chooseResource.ts"
import { slotOf } from "../../../src/control/standalone/proxyPool.ts"
import { Slots } from "../../../src/control/standalone/Slots.ts"
import { proxyTtl, tunnelAnswerOf } from "../../../src/control/standalone/tunnelAnswerOf.ts"
import { TunnelNames } from "../../../src/control/standalone/TunnelNames.ts"
import { extendedErrorCode } from "../../../src/dns/extendedError.ts"
import { recordType } from "../../../src/dns/registry.ts"
import type { TunnelAnswer, TunnelQuestion } from "../../../src/dns/tunnelAnswer.ts"
import type { Upstream } from "../../../src/dns/Upstream.ts"
import { IpFamilies, leadsOut6 } from "../../../src/host/IpFamilies.ts"
import { StateStore } from "../../../src/host/StateStore.ts"
import type { Client } from "../../../src/model/Client.ts"
import { monotonicMillis } from "../../../src/loops/monotonic.ts"
import { matches } from "../../../src/model/DomainPattern.ts"
import { RateLimits } from "../../../src/nat/rateLimits.ts"
import { parseAddress, parseNetwork } from "../../../src/packet/address.ts"
import { Resolutions } from "../../../src/resolution/Resolutions.ts"
import { makeDnsForwarder, questionLimit } from "../../dns/dnsForwarder.ts"
import { makeStoredSlots } from "./storedSlots.ts"

/**
 * A question for IPv6 addresses of a name of which nothing is known yet waits this long for its lookup, so that it is answered
 * within 150 ms: most clients prefer IPv6, and what they send without a connection to a name with IPv4 only would be lost.
 */
const familyMs = 140
/**
 * Such questions at a time, and of one client; others are answered at once. Together with those that wait for other servers
 * they leave places at the DNS server free.
 */
const maxHeld = { all: 32, client: 8 }

/** How long another server may take for a question. */
const forwardMs = 4_000

interface ClientNames {
  readonly client: Client
  readonly index: number
  readonly grants: ReadonlyArray<DnsGrant>
  /** All that it sends anywhere comes through the tunnel. */
  readonly internet: boolean
  readonly slots: Slots
  /** Questions that wait for other servers. */
  forwards: number
  /** Questions that wait for their name's lookup. */
  held: number
  /** Two questions about one new name must not get two slots. */
  readonly turn: Semaphore.Semaphore
}

export const layer = (
  config: GatewayConfig
): Layer.Layer<
  TunnelNames,
  never,
  Authorizations | Clients | ConnectionAcceptor | Destinations | IpFamilies | Resolutions | StateStore | Upstream
> =>
  Layer.effect(
    TunnelNames,
    Effect.gen(function* () {
      const store = yield* StateStore
      const acceptor = yield* ConnectionAcceptor
      const authorizations = yield* Authorizations
      const clients = yield* Clients
      const destinations = yield* Destinations
      const families = yield* IpFamilies
      const resolutions = yield* Resolutions
      const forwarder = yield* makeDnsForwarder
      const stored = yield* makeStoredSlots
      const limits = new RateLimits(questionLimit)
      const ways = { some: () => leadsOut6(families.ipv6()), leadsTo: families.leadsTo }
      let held = 0
      const counters = { questions: 0, unknown_source: 0, rate_limited: 0 }
      const ranges = {
        proxy4: parseNetwork(config.network.proxy4)!,
        proxy6: parseNetwork(config.network.proxy6)!
      }
      const byAddress = new Map<string, ClientNames>()
      const byClient = new Map<string, ClientNames>()
      for (const [index, client] of config.clients.entries()) {
        const names: ClientNames = {
          client,
          index,
          grants: dnsGrants(grantsOf(config, client.id)),
          internet: grantsOf(config, client.id).some(({ resource }) => resource.kind === "internet"),
          slots: new Slots(client.id, ranges),
          forwards: 0,
          held: 0,
          turn: Semaphore.makeUnsafe(1)
        }
        byClient.set(client.id, names)
        byAddress.set(client.tunnel4, names)
        byAddress.set(client.tunnel6, names)
      }

      /** Names outside of all resources must not lead to where only a resource may. */
      const mayLeadOutside = (text: string): boolean => {
        const address = parseAddress(text)
        return address !== undefined && destinations.judgeForInternet(address, 0) === undefined
      }

      const outside = (of: ClientNames, question: TunnelQuestion): Effect.Effect<TunnelAnswer> =>
        config.otherNames === "refuse"
          ? Effect.succeed({
              _tag: "Refused",
              error: { code: extendedErrorCode.Prohibited, text: "other names are refused" }
            })
          : forwarder.forward(
              of,
              "system",
              question,
              forwardMs,
              // What comes through the tunnel anyhow has no other way out than ours.
              (text) => mayLeadOutside(text) && (!of.internet || !text.includes(":") || families.leadsTo(text))
            )

      /** Of a name that `grants`, one at least, cover. */
      const resourceName = Effect.fnUntraced(function* (
        of: ClientNames,
        grants: ReadonlyArray<DnsGrant>,
        question: TunnelQuestion,
        now: number
      ): Effect.fn.Return<TunnelAnswer> {
        const { family, domain, type } = question
        const { client, resource, expiresAt } = grants[0]!
        // Their hints would lead clients past the proxy IPs.
        if (type === recordType.HTTPS || type === recordType.SVCB) return { _tag: "NoData", ttl: 60 }
        if (family === null) return yield* forwarder.forward(of, resource.resolver, question, forwardMs)
        const entry = yield* of.turn.withPermit(stored.entryOf(of, resource.id, domain, now))
        if (entry === undefined) return { _tag: "ServerFailure" }
        const monotonic = yield* monotonicMillis
        const { proxyIps } = entry
        return yield* acceptor
          .accept({ client, resource, expiresAt, name: { domain, proxyIps }, credentials: null })
          .pipe(
            Effect.flatMap(({ mapping }) => (mapping === null ? Effect.undefined : familyKnown(of, family, mapping))),
            Effect.match({
              onSuccess: (state): TunnelAnswer =>
                state === undefined
                  ? { _tag: "ServerFailure" }
                  : tunnelAnswerOf(state, family, proxyIps, monotonic, { ...ways, some: ways.some() }),
              onFailure: (): TunnelAnswer => ({ _tag: "NameError", ttl: 5 })
            })
          )
      })

      /** The state of a name, a little later where that may tell that it has no IPv6. */
      const familyKnown = (of: ClientNames, family: 4 | 6, { mapping, state }: NonNullable<AccessReply["mapping"]>) => {
        const matters = family === 6 && state._tag === "Resolving" && ways.some()
        if (!matters || held >= maxHeld.all || of.held >= maxHeld.client) return Effect.succeed(state)
        return Effect.acquireUseRelease(
          Effect.sync(() => {
            held++
            of.held++
          }),
          () =>
            resolutions.settled(mapping.id).pipe(
              Effect.timeoutOption(familyMs),
              Effect.andThen(resolutions.find(mapping.client, mapping.resource, mapping.name.domain)),
              Effect.map((known) => known?.state ?? state)
            ),
          () =>
            Effect.sync(() => {
              held--
              of.held--
            })
        )
      }

      const reverse = (of: ClientNames, slot: number): TunnelAnswer => {
        const entry = of.slots.ofSlot(slot)
        return entry === undefined
          ? { _tag: "NameError", ttl: 5 }
          : { _tag: "Reverse", name: entry.domain, ttl: proxyTtl }
      }

      const answerTo = Effect.fnUntraced(function* (
        source: string,
        question: TunnelQuestion
      ): Effect.fn.Return<TunnelAnswer> {
        const of = byAddress.get(source)
        if (of === undefined) {
          counters.unknown_source++
          return { _tag: "Dropped" }
        }
        yield* Effect.annotateCurrentSpan({ client: of.client.id })
        const now = yield* Clock.currentTimeMillis
        if (!limits.take(of.index, yield* monotonicMillis)) {
          counters.rate_limited++
          return { _tag: "Dropped" }
        }
        const grants = coveringGrants(of.grants, question.domain, now)
        yield* Effect.annotateCurrentSpan({ resource: grants[0]?.resource.id ?? null })
        if (question.type === recordType.PTR && question.reverse !== null) {
          const slot = slotOf(question.reverse, ranges)
          return slot >= 0 ? reverse(of, slot) : yield* outside(of, question)
        }
        if (grants.length > 0) return yield* resourceName(of, grants, question, now)
        if (isPrivateName(config.resources, question.domain)) return { _tag: "NameError", ttl: 5 }
        return yield* outside(of, question)
      })

      return TunnelNames.of({
        counters: Effect.sync(() => ({ ...counters, forwards_refused: forwarder.refused() })),
        restore: Effect.gen(function* () {
          const expired = new Set<DnsGrant>()
          // In the order of use, so that the first to make room is the least recently used one.
          for (const row of (yield* store.mappings).toSorted((a, b) => a.lastUsedAt - b.lastUsedAt)) {
            const of = byClient.get(row.client)
            const named = of?.slots.restore(row)
            if (of === undefined || named === undefined) continue
            const now = yield* Clock.currentTimeMillis
            if (named.released !== undefined) yield* stored.release(of, named.released, now)
            const grant = of.grants.find((g) => g.resource.id === row.resource)
            if (grant === undefined || !matches(grant.resource.pattern, row.domain)) continue
            if (grant.expiresAt !== null && grant.expiresAt <= now) expired.add(grant)
            yield* clients.upsert(of.client)
            yield* authorizations.record(grant)
            yield* resolutions.subscribe({
              client: of.client.id,
              resource: grant.resource.id,
              resolver: grant.resource.resolver,
              domain: row.domain,
              proxyIps: named.entry.proxyIps,
              cause: "Restarted",
              allow: grant.resource.allow
            })
          }
          // Cut like those that expire while the gateway runs: packets to their names are told so.
          for (const { client, resource } of expired) yield* authorizations.revoke(client.id, resource.id)
          const askers = [...byClient.values()].filter((of) => of.grants.length > 0)
          yield* Effect.forEach(askers, stored.reserveFirst, { concurrency: "unbounded", discard: true })
        }),
        inUse: Effect.fnUntraced(function* (client, mappings) {
          const of = byClient.get(client)
          if (of === undefined) return
          const now = yield* Clock.currentTimeMillis
          for (const entry of of.slots.inUse(mappings, now)) yield* stored.persist(of, entry, now)
        }),
        answer: Effect.fn("ControlPlane.question")(function* (source, question) {
          yield* Effect.annotateCurrentSpan({ domain: question.domain, type: question.type })
          counters.questions++
          const answer = yield* answerTo(source, question)
          yield* Effect.annotateCurrentSpan({ outcome: answer._tag })
          return answer
        })
      })
    })
  )
