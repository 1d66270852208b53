/** `TunnelNames` over the configuration, the state store and the acceptor. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Semaphore from "effect/Semaphore"
import * as Stream from "effect/Stream"
import { Authorizations } from "../../../src/access/Authorizations.ts"
import { Clients } from "../../../src/access/Clients.ts"
import type { ConnectionAcceptor } from "../../../src/access/ConnectionAcceptor.ts"
import type { Destinations } from "../../../src/access/Destinations.ts"
import type { ConfiguredClient, GatewayConfig } from "../../../src/config/GatewayConfig.ts"
import { chainToResource, endIn } from "../../../src/control/standalone/chainToResource.ts"
import type { DnsGrant } from "../../../src/control/standalone/chooseResource.ts"
import { DecidedNames } from "../../../src/control/standalone/decidedNames.ts"
import {
  maxAliases,
  type NameRights,
  type NameRoute,
  NameRoutes,
  rightsOf,
  rightsOfEach
} from "../../../src/control/standalone/nameRoutes.ts"
import type { NameEntry } from "../../../src/control/standalone/nameTable.ts"
import { newClients } from "../../../src/control/standalone/policyDifference.ts"
import { isInMemoryOnly, Slots } from "../../../src/control/standalone/Slots.ts"
import { proxyTtl } from "../../../src/control/standalone/tunnelAnswerOf.ts"
import { TunnelNames } from "../../../src/control/standalone/TunnelNames.ts"
import { extendedErrorCode } from "../../../src/dns/extendedError.ts"
import type { Message } from "../../../src/dns/message.ts"
import { canonicalName } from "../../../src/dns/name.ts"
import { mayHaveHints, noHints } from "../../../src/dns/serviceHints.ts"
import { questionSpan } from "../../../src/dns/questionSpan.ts"
import type { TunnelAnswer, TunnelQuestion } from "../../../src/dns/tunnelAnswer.ts"
import type { Upstream } from "../../../src/dns/Upstream.ts"
import type { IpFamilies } from "../../../src/host/IpFamilies.ts"
import { EventLog } from "../../../src/events/EventLog.ts"
import { NameFiles } from "../../../src/host/NameFiles.ts"
import { StateStore } from "../../../src/host/StateStore.ts"
import { monotonicMillisUnsafe } from "../../../src/loops/monotonic.ts"
import { makeOutlive } from "../../../src/loops/outlive.ts"
import { matches, PatternIndex } from "../../../src/model/DomainPattern.ts"
import { type Authorization, isOpen } from "../../../src/model/Authorization.ts"
import type { MappingId } from "../../../src/model/Mapping.ts"
import { parseNetwork } from "../../../src/packet/address.ts"
import { Resolutions } from "../../../src/resolution/Resolutions.ts"
import { type Asker, makeAdmission, makeAsker } from "../../dns/askers.ts"
import { makeDnsForwarder } from "../../dns/dnsForwarder.ts"
import { forwardMs, makeForeignAnswers } from "./foreignAnswers.ts"
import { makeResourceNames, type NamesOfClient } from "./resourceNames.ts"
import { makeStoredSlots } from "./storedSlots.ts"

/** Seconds for what a short name stands for. */
const searchTtl = 30

interface ClientNames extends NamesOfClient, Asker {
  client: ConfiguredClient
  rights: NameRights
  readonly decided: DecidedNames
  /** All that it sends anywhere comes through the tunnel. */
  internet: boolean
}

export const layer = (
  config: GatewayConfig
): Layer.Layer<
  TunnelNames,
  never,
  | Authorizations
  | Clients
  | ConnectionAcceptor
  | Destinations
  | IpFamilies
  | NameFiles
  | Resolutions
  | StateStore
  | Upstream
> =>
  Layer.effect(
    TunnelNames,
    Effect.gen(function* () {
      const clock = yield* Clock.Clock
      const store = yield* StateStore
      const authorizations = yield* Authorizations
      const clients = yield* Clients
      const resolutions = yield* Resolutions
      const forwarder = yield* makeDnsForwarder
      const stored = yield* makeStoredSlots
      const resourceNames = yield* makeResourceNames(stored)
      const admission = makeAdmission()
      let routes = new NameRoutes(config)
      let { logDns } = config
      const files = yield* NameFiles
      const events = yield* EventLog
      const foreign = yield* makeForeignAnswers(forwarder)
      const counters = { questions: 0, unknown_source: 0, blocked: 0 }
      const ranges = {
        proxy4: parseNetwork(config.network.proxy4)!,
        proxy6: parseNetwork(config.network.proxy6)!
      }
      const byAddress = new Map<string, ClientNames>()
      const byClient = new Map<string, ClientNames>()

      /** Takes the clients as they are now, and what those of `rights` may reach. */
      const take = (policy: GatewayConfig, rights: ReadonlySet<string>) => {
        const isWanted = ({ client: { id } }: Authorization) => rights.has(id) || !byClient.has(id)
        const newRights = rightsOfEach(policy.grants.filter(isWanted))
        const gone = new Set(byClient.keys())
        byAddress.clear()
        for (const client of policy.clients) {
          gone.delete(client.id)
          let names = byClient.get(client.id)
          if (names === undefined || rights.has(client.id)) {
            const of = newRights.get(client.id) ?? rightsOf(client.id, [])
            const now = { client, rights: of, internet: of.internet }
            names = Object.assign(names ?? newNames(client), now)
            byClient.set(client.id, names)
          }
          byAddress.set(client.tunnel4, names)
          byAddress.set(client.tunnel6, names)
        }
        for (const client of gone) {
          // For questions of its that wait just now.
          const names = byClient.get(client)!
          names.rights = rightsOf(names.client.id, [])
          byClient.delete(client)
        }
      }
      const newNames = (client: ConfiguredClient): ClientNames => ({
        ...makeAsker(client.id),
        client,
        rights: rightsOf(client.id, []),
        internet: false,
        slots: new Slots(client.id, ranges),
        decided: new DecidedNames(),
        held: 0,
        turn: Semaphore.makeUnsafe(1)
      })
      take(config, new Set())

      /** Those of the client's names that `rights` cover are its again. Yields the rights by which any is. */
      const recordNames = Effect.fnUntraced(function* (
        of: ClientNames,
        names: ReadonlyArray<NameEntry>,
        rights: ReadonlyArray<DnsGrant>
      ) {
        const index = new PatternIndex(rights, ({ resource }) => resource.pattern)
        const used = new Set(names.flatMap(({ domain }) => index.covering(domain)))
        if (used.size === 0) return used
        yield* clients.upsert(of.client)
        for (const grant of used) yield* authorizations.record(grant)
        for (const { domain, proxyIps } of names) {
          const [first] = index.covering(domain)
          if (first === undefined) continue
          const resource = first.resource
          yield* resolutions.subscribe({ client: of.client.id, resource, domain, proxyIps, cause: "Restarted" })
        }
        return used
      })

      /** Brings the stored names of these clients back. */
      const restore = Effect.fnUntraced(function* (wanted: (client: string) => boolean) {
        // In the order of use, so that the first to make room is the least recently used one.
        for (const row of (yield* store.mappings).toSorted((a, b) => a.lastUsedAt - b.lastUsedAt)) {
          const of = wanted(row.client) ? byClient.get(row.client) : undefined
          const named = of?.slots.restore(row)
          if (of === undefined || named?.released === undefined) continue
          yield* stored.release(of, named.released, yield* Clock.currentTimeMillis)
        }
        const askers = [...byClient.values()].filter((of) => wanted(of.client.id) && of.rights.names.length > 0)
        for (const of of askers) {
          const used = yield* recordNames(of, of.slots.named(), of.rights.names)
          const now = yield* Clock.currentTimeMillis
          // Cut like those that expire while the gateway runs: packets to their names are told so.
          for (const grant of used) {
            if (!isOpen(grant, now)) yield* authorizations.revoke(of.client.id, grant.resource.id)
          }
        }
        yield* Effect.forEach(askers, stored.reserveFirst, { concurrency: "unbounded", discard: true })
      })

      const meetSets = Effect.fnUntraced(function* (resources: GatewayConfig["resources"]) {
        const named = resources.flatMap((resource) => (resource.kind === "dns" ? [resource.resolver] : []))
        for (const resolver of new Set(named)) yield* resolutions.meet(resolver)
      })

      /** The answer of another server whose aliases lead to a name of a resource ends in the client's proxy IPs. */
      const ofAlias = (
        of: ClientNames,
        question: TunnelQuestion,
        message: Message,
        now: number
      ): Effect.Effect<TunnelAnswer> | undefined => {
        const chain = chainOf(of, question, message, now)
        if (chain === undefined) return undefined
        const domain = canonicalName(chain.at(-1)!.target)
        const grants = routes.grants(of.rights, domain, now)
        return Effect.map(resourceName(of, grants, { ...question, domain }, now), (end) => endIn(chain, end))
      }
      const chainOf = (of: ClientNames, question: TunnelQuestion, message: Message, now: number) =>
        leadsToAddresses(question)
          ? chainToResource(question.domain, message, (name) => routes.grants(of.rights, name, now).length > 0)
          : undefined

      /** Of a name that `grants`, one at least, cover. */
      const resourceName = Effect.fnUntraced(function* (
        of: ClientNames,
        grants: ReadonlyArray<DnsGrant>,
        question: TunnelQuestion,
        now: number
      ): Effect.fn.Return<TunnelAnswer> {
        const { domain, family, type } = question
        const { resource } = grants[0]!
        if (mayHaveHints(type)) return noHints
        if (family === null) return yield* forwarder.forward(of, resource.resolver, question, forwardMs)
        if ((yield* resolutions.find(of.client.id, resource.id, domain)) === undefined) {
          const shed = yield* admission.admit(of, "newNames")
          if (shed !== null) return shed
        }
        const tell = (grants: ReadonlyArray<DnsGrant>, now: number) =>
          resourceNames.answer(of, grants, { domain, family }, now)
        return yield* tell(grants, now).pipe(
          // A reload came in between: by what the client may reach since, if that is the name.
          Effect.catch(() => {
            const later = clock.currentTimeMillisUnsafe()
            const left = routes.grants(of.rights, domain, later)
            return left.length === 0 ? Effect.fail("outdated") : tell(left, later)
          }),
          Effect.orElseSucceed((): TunnelAnswer => ({ _tag: "ServerFailure" }))
        )
      })

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
        const shed = yield* admission.admit(of)
        if (shed !== null) return shed
        return yield* decide(of, question, 0)
      })

      const known = (of: ClientNames, question: TunnelQuestion): TunnelAnswer | undefined => {
        const { domain, family, type } = question
        const now = clock.currentTimeMillisUnsafe()
        const grants = of.decided.find(domain, routes, of.rights, now)
        if (grants === undefined) return knownElsewhere(of, question, now)
        if (mayHaveHints(type)) return noHints
        return family === null ? undefined : resourceNames.again(of, grants, { domain, family }, now)
      }

      const knownElsewhere = (of: ClientNames, question: TunnelQuestion, now: number): TunnelAnswer | undefined => {
        const route = routes.route(of.rights, question, now, files)
        if (route._tag === "Here") return route.answer
        if (route._tag !== "Forward") return undefined
        const isOurs = (message: Message) => chainOf(of, question, message, now) !== undefined
        return foreign.cached(of, route, question, now, monotonicMillisUnsafe(clock), isOurs)
      }

      const decide = Effect.fnUntraced(function* (
        of: ClientNames,
        question: TunnelQuestion,
        aliases: number
      ): Effect.fn.Return<TunnelAnswer> {
        const now = yield* Clock.currentTimeMillis
        const route = routes.route(of.rights, question, now, files)
        const resource = route._tag === "Resource" ? route.grants[0]!.resource.id : null
        yield* Effect.annotateCurrentSpan({ route: route._tag, resource })
        if (route._tag === "Resource") of.decided.note(question.domain, routes, of.rights, now, route.grants)
        return yield* follow(of, route, question, now, aliases)
      })

      const follow = (
        of: ClientNames,
        route: NameRoute,
        question: TunnelQuestion,
        now: number,
        aliases: number
      ): Effect.Effect<TunnelAnswer> => {
        switch (route._tag) {
          case "Here":
            return Effect.succeed(route.answer)
          case "Proxy":
            return Effect.succeed(reverse(of, route.slot))
          case "Blocked":
            counters.blocked++
            return Effect.succeed({
              _tag: "NameError",
              ttl: 60,
              error: { code: extendedErrorCode.Blocked, text: "on a block list of the gateway" }
            })
          case "Alias":
            return alias(of, route, question, aliases)
          case "Search":
            return search(of, route, question, now, aliases)
          case "Resource":
            return resourceName(of, route.grants, question, now)
          case "Hosts":
            return foreign.fromHosts(of, route.addresses, question, now)
          case "Forward":
            return foreign.forward(of, route, question, now, (message) => ofAlias(of, question, message, now))
        }
      }

      const alias = (
        of: ClientNames,
        { target, ttl }: { readonly target: string; readonly ttl: number },
        question: TunnelQuestion,
        aliases: number
      ): Effect.Effect<TunnelAnswer> =>
        aliases >= maxAliases
          ? Effect.succeed({ _tag: "ServerFailure" })
          : decide(of, { ...question, domain: target, reverse: null }, aliases + 1).pipe(
              // Where the client has no right to the target, it does not learn that there is one.
              Effect.map((answer) =>
                answer._tag === "Dropped" || answer._tag === "NameError"
                  ? answer
                  : { _tag: "Alias", target, ttl, answer }
              )
            )

      /** As a resolver tries its search list: the first name that exists, then the short name as it is. */
      const search = Effect.fnUntraced(function* (
        of: ClientNames,
        { names, otherwise }: Extract<NameRoute, { _tag: "Search" }>,
        question: TunnelQuestion,
        now: number,
        aliases: number
      ) {
        for (const target of names) {
          const answer = yield* alias(of, { target, ttl: searchTtl }, question, aliases)
          if (!isNegative(answer)) return answer
        }
        return yield* follow(of, otherwise, question, now, aliases)
      })

      /** What clients were told before an address was known is written down once it is, or once they use it. */
      const met = Effect.fnUntraced(function* (mapping: MappingId) {
        const client = (yield* resolutions.mappingOf(mapping))?.client
        const of = client === undefined ? undefined : byClient.get(client)
        const entry = of?.slots.ofMapping(mapping)
        if (of === undefined || entry === undefined || !isInMemoryOnly(entry)) return
        yield* resourceNames.keep(of, entry, yield* Clock.currentTimeMillis)
      })
      const outlive = makeOutlive("TunnelNames")
      yield* Effect.forkScoped(Stream.runForEach(resolutions.found, (mapping) => outlive(met(mapping))))

      return TunnelNames.of({
        counters: Effect.map(files.counters, (ofFiles) => ({
          ...counters,
          ...ofFiles,
          ...admission.counters(),
          ...forwarder.counters(),
          addresses_filtered: foreign.filtered.count
        })),
        filtered: Effect.sync(() => ({ count: foreign.filtered.count, last: foreign.filtered.last })),
        restore: Effect.andThen(
          meetSets(config.resources),
          restore(() => true)
        ),
        retake: ({ after: { config: policy }, difference }) =>
          Effect.sync(() => {
            routes = new NameRoutes(policy)
            logDns = policy.logDns
            files.setLists(policy.block)
            take(policy, difference.rights)
          }),
        recover: Effect.fnUntraced(function* ({ after: { config: policy }, difference }) {
          yield* meetSets(policy.resources)
          const isNew = newClients(difference)
          for (const [client, granted] of Map.groupBy(difference.granted, (grant) => grant.client.id)) {
            const of = isNew.has(client) ? undefined : byClient.get(client)
            if (of === undefined) continue
            const now = yield* Clock.currentTimeMillis
            const ids = new Set(granted.map(({ resource }) => resource.id))
            const news = of.rights.names.filter(({ resource }) => ids.has(resource.id))
            if (news.length === 0) continue
            const open = of.rights.names.filter((grant) => isOpen(grant, now))
            const isNewly = ({ domain }: NameEntry) => news.some(({ resource }) => matches(resource.pattern, domain))
            yield* recordNames(of, of.slots.named().filter(isNewly), open)
            // Those that were asked for meanwhile, too.
            const names = of.slots.named()
            for (const grant of news) {
              const { id, pattern } = grant.resource
              const isUsed = isOpen(grant, now) && names.some(({ domain }) => matches(pattern, domain))
              // What covers no name of the client (any more) is granted with the first one that it asks for.
              if (!isUsed) yield* authorizations.revoke(client, id)
            }
            yield* Effect.yieldNow
          }
        }),
        readAgain: ({ difference }) => {
          const isNew = newClients(difference)
          if (isNew.size === 0) return Effect.void
          return Effect.catch(
            restore((client) => isNew.has(client)),
            (error) => Effect.logError(`names of new clients are not brought back: ${error.message}`)
          )
        },
        isOfClient: (source) => {
          const known = byAddress.has(source)
          if (!known) counters.unknown_source++
          return known
        },
        mayComplain: (source) => {
          const of = byAddress.get(source)
          return of !== undefined && admission.mayComplain(of, monotonicMillisUnsafe(clock))
        },
        known: (source, question) => {
          const of = byAddress.get(source)
          // What is told takes the longer way.
          if (of === undefined || logDns) return undefined
          const answer = known(of, question) ?? admission.refuse(of, monotonicMillisUnsafe(clock))
          if (answer !== undefined) counters.questions++
          return answer
        },
        inUse: Effect.fnUntraced(function* (client, mappings) {
          const of = byClient.get(client)
          if (of === undefined) return
          const now = yield* Clock.currentTimeMillis
          for (const entry of of.slots.inUse(mappings, now)) yield* resourceNames.keep(of, entry, now)
        }),
        met,
        answer: Effect.fnUntraced(function* (source, question) {
          yield* Effect.annotateCurrentSpan({ domain: question.domain, type: question.type })
          counters.questions++
          const answer = yield* answerTo(source, question)
          yield* Effect.annotateCurrentSpan({ outcome: answer._tag })
          if (logDns) {
            const { domain, type } = question
            const client = byAddress.get(source)?.client.id ?? null
            yield* events.record({ _tag: "Question", client, domain, type, outcome: answer._tag })
          }
          return answer
        }, questionSpan)
      })
    })
  )

const leadsToAddresses = ({ family, type }: TunnelQuestion): boolean => family !== null || mayHaveHints(type)

/** What makes a resolver go on to the next name of its search list. */
const isNegative = (answer: TunnelAnswer): boolean => {
  switch (answer._tag) {
    case "Alias":
      return isNegative(answer.answer)
    case "NameError":
    case "NoData":
      return true
    case "Forwarded":
      return answer.message.answers.length === 0
    default:
      return false
  }
}
