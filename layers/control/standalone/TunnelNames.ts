/** `TunnelNames` over the configuration, the state store and the acceptor. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Random from "effect/Random"
import * as Result from "effect/Result"
import * as Semaphore from "effect/Semaphore"
import { Authorizations } from "../../../src/access/Authorizations.ts"
import { Clients } from "../../../src/access/Clients.ts"
import { ConnectionAcceptor } from "../../../src/access/ConnectionAcceptor.ts"
import type { GatewayConfig } from "../../../src/config/GatewayConfig.ts"
import { grantsOf } from "../../../src/config/GatewayConfig.ts"
import { chooseGrant, type DnsGrant, dnsGrants, isPrivateName } from "../../../src/control/standalone/chooseResource.ts"
import { type NameEntry, NameTable } from "../../../src/control/standalone/nameTable.ts"
import { firstSlot, proxyIpsOf, slotCapacity, slotOf } from "../../../src/control/standalone/proxyPool.ts"
import { proxyTtl, tunnelAnswerOf } from "../../../src/control/standalone/tunnelAnswerOf.ts"
import { TunnelNames } from "../../../src/control/standalone/TunnelNames.ts"
import { recordType } from "../../../src/dns/registry.ts"
import type { TunnelAnswer, TunnelQuestion } from "../../../src/dns/tunnelAnswer.ts"
import { filterAddresses } from "../../../src/dns/tunnelServer.ts"
import type { Upstream } from "../../../src/dns/Upstream.ts"
import { StateStore } from "../../../src/host/StateStore.ts"
import type { Client } from "../../../src/model/Client.ts"
import { matches } from "../../../src/model/DomainPattern.ts"
import { RateLimits } from "../../../src/nat/rateLimits.ts"
import { parseNetwork } from "../../../src/packet/address.ts"
import { Resolutions } from "../../../src/resolution/Resolutions.ts"
import { makeDnsForwarder, questionLimit } from "../../dns/dnsForwarder.ts"

export interface TunnelNamesOptions {
  readonly config: GatewayConfig
  /** Addresses that an answer about an outside name must not contain. */
  readonly refusesOutside: (address: string) => boolean
}

/** How long another server may take for a question. */
const forwardMs = 4_000
/** Slots reserved at a time, at most: one durable write per this many new names of a client. */
const reserveCount = 64
/** Slots reserved for every client at the start, all in one go: its first names need not wait for the disk. */
const reserveAtStart = 8
/** The same trouble is logged again after this long. */
const tellAgainMs = 60_000
/** A name's use is written down again after this long. */
const touchMs = 3_600_000
/** Names seen in use that are written down in one go. */
const touchesAtOnce = 32
/** Slots of released names come back after this long, when the client has had all others. */
const restMs = 86_400_000

interface ClientNames {
  readonly client: Client
  readonly index: number
  readonly grants: ReadonlyArray<DnsGrant>
  readonly names: NameTable
  /** Questions that wait for other servers. */
  forwards: number
  nextSlot: number
  reservedUntil: number
  /** Where slots come from while none can be reserved; counts up, so that none of them comes twice. */
  volatileSlot: number | null
  readonly volatile: Set<number>
  /** When each name's use was last written down. */
  readonly storedAt: Map<NameEntry, number>
  /** Two questions about one new name must not get two slots. */
  readonly turn: Semaphore.Semaphore
}

export const layer = (
  options: TunnelNamesOptions
): Layer.Layer<
  TunnelNames,
  never,
  Authorizations | Clients | ConnectionAcceptor | Resolutions | StateStore | Upstream
> =>
  Layer.effect(
    TunnelNames,
    Effect.gen(function* () {
      const { config } = options
      const store = yield* StateStore
      const acceptor = yield* ConnectionAcceptor
      const authorizations = yield* Authorizations
      const clients = yield* Clients
      const resolutions = yield* Resolutions
      const forwarder = yield* makeDnsForwarder
      const limits = new RateLimits(questionLimit)
      const counters = { questions: 0, unknown_source: 0, rate_limited: 0 }
      const ranges = {
        proxy4: parseNetwork(config.network.proxy4)!,
        proxy6: parseNetwork(config.network.proxy6)!
      }
      const capacity = slotCapacity(ranges)
      const byAddress = new Map<string, ClientNames>()
      const byClient = new Map<string, ClientNames>()
      for (const [index, client] of config.clients.entries()) {
        const names: ClientNames = {
          client,
          index,
          grants: dnsGrants(grantsOf(config, client.id)),
          names: new NameTable(client.id),
          forwards: 0,
          nextSlot: 0,
          reservedUntil: 0,
          volatileSlot: null,
          volatile: new Set(),
          storedAt: new Map(),
          turn: Semaphore.makeUnsafe(1)
        }
        byClient.set(client.id, names)
        byAddress.set(client.tunnel4, names)
        byAddress.set(client.tunnel6, names)
      }

      const toldAt = new Map<string, number>()
      /** Clients ask a hundred times a second: each trouble is told once a minute. */
      const loudly = Effect.fnUntraced(function* (trouble: string, message: string) {
        const now = yield* Clock.currentTimeMillis
        if (now - (toldAt.get(trouble) ?? Number.NEGATIVE_INFINITY) < tellAgainMs) return
        toldAt.set(trouble, now)
        yield* Effect.logError(message)
      })

      /** The store failing must not stop anybody: the name then lives in memory only, loudly, until its next use. */
      const persist = (of: ClientNames, entry: NameEntry, now: number) =>
        store.putMapping({ ...entry, client: of.client.id }).pipe(
          Effect.andThen(Effect.sync(() => void of.storedAt.set(entry, now))),
          Effect.catch((error) =>
            loudly("persist", `names are kept in memory only and will not survive a restart: ${error.message}`)
          )
        )

      const isFree = (of: ClientNames, slot: number): boolean =>
        slot >= firstSlot &&
        !of.volatile.has(slot) &&
        of.names.ofSlot(slot) === undefined &&
        proxyIpsOf(slot, ranges) !== undefined

      /** A slot of the last quarter, which reservations reach last, from a random place on. */
      const volatileSlot = Effect.fnUntraced(function* (of: ClientNames) {
        const first = Math.floor(capacity * 0.75)
        of.volatileSlot ??= yield* Random.nextIntBetween(first, capacity)
        for (let tried = first; tried < capacity; tried++) {
          const slot: number = of.volatileSlot
          of.volatileSlot = slot + 1 < capacity ? slot + 1 : first
          if (!isFree(of, slot)) continue
          of.volatile.add(slot)
          return slot
        }
        return undefined
      })

      /** Small ranges are given out in small pieces, since what is left of one at a restart is lost. */
      const reserve = (of: ClientNames, atMost: number) => {
        const count = Math.max(1, Math.min(atMost, capacity >>> 8))
        return Effect.map(store.reserveSlots(of.client.id, count), (first) => {
          of.nextSlot = first
          of.reservedUntil = first + count
        })
      }

      /** A slot that this client has never had, else one that rested; `undefined` when its ranges are used up. */
      const takeSlot = Effect.fnUntraced(function* (of: ClientNames, now: number) {
        while (of.nextSlot < capacity) {
          if (of.nextSlot >= of.reservedUntil) {
            const reserved = yield* Effect.result(reserve(of, reserveCount))
            if (Result.isFailure(reserved)) {
              yield* loudly("reserve", `names live in memory only: ${reserved.failure.message}`)
              return yield* volatileSlot(of)
            }
          }
          const slot = of.nextSlot++
          if (slot < capacity && isFree(of, slot)) return slot
        }
        for (;;) {
          const rested = yield* Effect.result(store.takeRested(of.client.id, now - restMs))
          if (Result.isFailure(rested)) {
            yield* loudly("reserve", `names live in memory only: ${rested.failure.message}`)
            return yield* volatileSlot(of)
          }
          if (rested.success === null) break
          if (isFree(of, rested.success)) return rested.success
        }
        yield* loudly(
          `slots of ${of.client.id}`,
          `${of.client.id} has used up its proxy addresses: give the gateway larger proxy ranges (network: in sallyport.yaml)`
        )
        return undefined
      })

      const entryFor = Effect.fnUntraced(function* (of: ClientNames, grant: DnsGrant, domain: string, now: number) {
        const known = of.names.find(grant.resource.id, domain)
        if (known !== undefined) {
          of.names.touch(known, now)
          if (now - (of.storedAt.get(known) ?? Number.NEGATIVE_INFINITY) >= touchMs) yield* persist(of, known, now)
          return known
        }
        const slot = yield* takeSlot(of, now)
        if (slot === undefined) return undefined
        const entry: NameEntry = { resource: grant.resource.id, domain, slot, lastUsedAt: now }
        const released = of.names.add(entry)
        if (released !== undefined) yield* release(of, released, now)
        yield* persist(of, entry, now)
        return entry
      })

      const release = Effect.fnUntraced(function* (of: ClientNames, entry: NameEntry, now: number) {
        yield* resolutions.release(of.names.idOf(entry))
        of.storedAt.delete(entry)
        yield* Effect.catch(store.removeMapping({ ...entry, client: of.client.id }, now), (error) =>
          loudly("release", `released names stay in the state: ${error.message}`)
        )
      })

      const outside = Effect.fnUntraced(function* (
        of: ClientNames,
        question: TunnelQuestion
      ): Effect.fn.Return<TunnelAnswer> {
        if (config.otherNames === "refuse") return { _tag: "Refused" }
        const answer = yield* forwarder.forward(of, "system", question, forwardMs)
        if (answer._tag !== "Forwarded") return answer
        return { ...answer, message: filterAddresses(answer.message, (address) => !options.refusesOutside(address)) }
      })

      const resourceName = Effect.fnUntraced(function* (
        of: ClientNames,
        grant: DnsGrant,
        question: TunnelQuestion,
        now: number
      ): Effect.fn.Return<TunnelAnswer> {
        const { family, domain } = question
        if (family === null) {
          const answer = yield* forwarder.forward(of, grant.resource.resolver, question, forwardMs)
          // Addresses beside the answer are real ones; a client gets its proxy IPs when it asks for them.
          return answer._tag === "Forwarded"
            ? { ...answer, message: filterAddresses(answer.message, () => false) }
            : answer
        }
        const entry = yield* of.turn.withPermit(entryFor(of, grant, domain, now))
        const proxyIps = entry === undefined ? undefined : proxyIpsOf(entry.slot, ranges)
        if (proxyIps === undefined) return { _tag: "ServerFailure" }
        const { client, resource, expiresAt } = grant
        return yield* acceptor
          .accept({ client, resource, expiresAt, name: { domain, proxyIps }, credentials: null })
          .pipe(
            Effect.match({
              onSuccess: (reply): TunnelAnswer =>
                reply.mapping === null
                  ? { _tag: "ServerFailure" }
                  : tunnelAnswerOf(reply.mapping.state, family, proxyIps, now),
              onFailure: (): TunnelAnswer => ({ _tag: "NameError", ttl: 5 })
            })
          )
      })

      const reverse = (of: ClientNames, address: string): TunnelAnswer => {
        const entry = of.names.ofSlot(slotOf(address, ranges))
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
        if (!limits.take(of.index, now)) {
          counters.rate_limited++
          return { _tag: "Dropped" }
        }
        const grant = chooseGrant(of.grants, question.domain, now)
        yield* Effect.annotateCurrentSpan({ resource: grant?.resource.id ?? null })
        if (question.type === recordType.PTR && question.reverse !== null) {
          if (slotOf(question.reverse, ranges) >= 0) return reverse(of, question.reverse)
          return yield* outside(of, question)
        }
        if (grant !== undefined) return yield* resourceName(of, grant, question, now)
        if (isPrivateName(config.resources, question.domain)) return { _tag: "NameError", ttl: 5 }
        return yield* outside(of, question)
      })

      return TunnelNames.of({
        counters: Effect.sync(() => ({ ...counters, forwards_refused: forwarder.refused() })),
        restore: Effect.gen(function* () {
          const expired = new Set<DnsGrant>()
          // In the order of use, so that the first to make room is the least recently used one.
          for (const stored of (yield* store.mappings).toSorted((a, b) => a.lastUsedAt - b.lastUsedAt)) {
            const of = byClient.get(stored.client)
            const proxyIps = proxyIpsOf(stored.slot, ranges)
            if (of === undefined || proxyIps === undefined) continue
            const entry: NameEntry = { ...stored }
            const now = yield* Clock.currentTimeMillis
            const released = of.names.add(entry)
            if (released !== undefined) yield* release(of, released, now)
            of.storedAt.set(entry, stored.lastUsedAt)
            const grant = of.grants.find((g) => g.resource.id === stored.resource)
            if (grant === undefined || !matches(grant.resource.pattern, stored.domain)) continue
            if (grant.expiresAt !== null && grant.expiresAt <= now) expired.add(grant)
            yield* clients.upsert(of.client)
            yield* authorizations.record(grant)
            yield* resolutions.subscribe({
              client: of.client.id,
              resource: grant.resource.id,
              resolver: grant.resource.resolver,
              domain: stored.domain,
              proxyIps,
              cause: "Restarted",
              allow: grant.resource.allow
            })
          }
          // Cut like those that expire while the gateway runs: packets to their names are told so.
          for (const { client, resource } of expired) yield* authorizations.revoke(client.id, resource.id)
          // Where it fails, the first question tries again and tells.
          yield* Effect.forEach(
            [...byClient.values()].filter((of) => of.grants.length > 0),
            (of) => Effect.ignore(reserve(of, reserveAtStart)),
            { concurrency: "unbounded", discard: true }
          )
        }),
        inUse: Effect.fnUntraced(function* (client, mappings) {
          const of = byClient.get(client)
          if (of === undefined) return
          const now = yield* Clock.currentTimeMillis
          let written = 0
          for (const id of mappings) {
            const entry = of.names.ofMapping(id)
            if (entry === undefined) continue
            of.names.touch(entry, now)
            if (written === touchesAtOnce || now - (of.storedAt.get(entry) ?? 0) < touchMs) continue
            written++
            yield* persist(of, entry, now)
          }
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
