/** `TunnelNames` over the configuration, the state store and the acceptor. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as References from "effect/References"
import * as Stream from "effect/Stream"
import type { Authorizations } from "../../../src/access/Authorizations.ts"
import type { Clients } from "../../../src/access/Clients.ts"
import type { ConnectionAcceptor } from "../../../src/access/ConnectionAcceptor.ts"
import type { Destinations } from "../../../src/access/Destinations.ts"
import type { GatewayConfig } from "../../../src/config/GatewayConfig.ts"
import { chainToResource, endIn } from "../../../src/control/standalone/chainToResource.ts"
import type { DnsRight } from "../../../src/control/standalone/chooseResource.ts"
import { maxAliases, type NameRoute, NameRoutes } from "../../../src/control/standalone/nameRoutes.ts"
import { isInMemoryOnly } from "../../../src/control/standalone/Slots.ts"
import { proxyNetworks } from "../../../src/control/standalone/proxyPool.ts"
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
import type { StateError, StateStore } from "../../../src/host/StateStore.ts"
import { awaitLater, type Later, mapLater, type Told } from "../../../src/loops/later.ts"
import { monotonicMillisUnsafe } from "../../../src/loops/monotonic.ts"
import { makeOutlive } from "../../../src/loops/outlive.ts"
import { matches } from "../../../src/model/DomainPattern.ts"
import type { MappingId } from "../../../src/model/Mapping.ts"
import { Resolutions } from "../../../src/resolution/Resolutions.ts"
import { Site } from "../../../src/shared/Site.ts"
import { makeAdmission } from "../../dns/askers.ts"
import { makeDnsForwarder } from "../../dns/dnsForwarder.ts"
import { makeAwaitedNames } from "./awaitedNames.ts"
import { type ClientNames, makeClientNames } from "./clientNames.ts"
import { forwardMs, makeForeignAnswers } from "./foreignAnswers.ts"
import { makeResourceNames } from "./resourceNames.ts"
import { makeStoredSlots } from "./storedSlots.ts"

/** Seconds for what a short name stands for. */
const searchTtl = 30

export const layer = (
  config: GatewayConfig
): Layer.Layer<
  TunnelNames,
  StateError,
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
      const isTraced = yield* References.TracerEnabled
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
      const clients = yield* makeClientNames(config, stored)
      const site = yield* Site
      const awaitedName =
        site === null
          ? null
          : makeAwaitedNames<ClientNames>({
              site,
              ranges: proxyNetworks(config.network),
              nameOfSite: (number) => routes.nameOfSite(number),
              grants: (of, domain) => {
                const granted = routes.granted(of.rights, domain, clock.currentTimeMillisUnsafe())
                return granted?._tag === "Resource" ? granted.grants : []
              },
              give: (of, grants, domain) =>
                Effect.ignore(resourceNames.answer(of, grants, { domain, family: 4 }, clock.currentTimeMillisUnsafe()))
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
        const granted = routes.granted(of.rights, domain, now)
        if (granted === undefined) return undefined
        return Effect.map(follow(of, granted, { ...question, domain }, now, 0), (end) => endIn(chain, end))
      }
      const chainOf = (of: ClientNames, question: TunnelQuestion, message: Message, now: number) =>
        leadsToAddresses(question)
          ? chainToResource(question.domain, message, (name) => routes.granted(of.rights, name, now) !== undefined)
          : undefined

      /** Of a name that `grants`, one at least, cover. */
      const resourceName = Effect.fnUntraced(function* (
        of: ClientNames,
        grants: ReadonlyArray<DnsRight>,
        question: TunnelQuestion,
        now: number
      ): Effect.fn.Return<TunnelAnswer> {
        const { domain, family, type } = question
        const { resource } = grants[0]!
        if (mayHaveHints(type)) return noHints
        if (family === null) return yield* awaitLater(forwarder.forward(of, resource.resolver, question, forwardMs))
        if ((yield* resolutions.find(of.client.id, resource.id, domain)) === undefined) {
          const shed = yield* admission.admit(of, "newNames")
          if (shed !== null) return shed
        }
        return yield* resourceNames.answer(of, grants, { domain, family }, now).pipe(
          // `answerTo` has it decided anew.
          Effect.orElseSucceed((): TunnelAnswer => ({ _tag: "ServerFailure" }))
        )
      })

      /** Its address leads to the site that serves it, and all else about it is known there. */
      const elsewhere = Effect.fnUntraced(function* (
        of: ClientNames,
        { grant, site: there }: Extract<NameRoute, { _tag: "Elsewhere" }>,
        { domain, family, type }: TunnelQuestion,
        now: number
      ): Effect.fn.Return<TunnelAnswer> {
        if (mayHaveHints(type)) return noHints
        if (family === null || !matches(grant.resource.pattern, domain)) {
          const text = `ask the gateway of site ${there.name}`
          return { _tag: "ServerFailure", error: { code: extendedErrorCode.NotSupported, text } }
        }
        if (of.slots.find(domain) === undefined) {
          const shed = yield* admission.admit(of, "newNames")
          if (shed !== null) return shed
        }
        return yield* resourceNames.elsewhere(of, grant.resource, there.number, { domain, family }, now)
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
        const of = clients.at(source)
        if (of === undefined) {
          counters.unknown_source++
          return { _tag: "Dropped" }
        }
        yield* Effect.annotateCurrentSpan({ client: of.client.id })
        const shed = yield* admission.admit(of)
        return shed ?? (yield* decideInForce(of, source, question))
      })

      /** An answer that was waited for speaks for what the client may know by now: once anew where a reload came in between. */
      const decideInForce = Effect.fnUntraced(function* (
        of: ClientNames,
        source: string,
        question: TunnelQuestion
      ): Effect.fn.Return<TunnelAnswer> {
        for (let times = 0; times < 2 && clients.at(source) === of; times++) {
          const { rights } = of
          const by = routes
          const answer = yield* decide(of, question, 0)
          if (of.rights === rights && routes === by) return answer
        }
        return { _tag: "ServerFailure" }
      })

      const known = (
        of: ClientNames,
        source: string,
        question: TunnelQuestion
      ): ReturnType<TunnelNames["Service"]["known"]> => {
        const { domain, family, type } = question
        const now = clock.currentTimeMillisUnsafe()
        const monotonic = monotonicMillisUnsafe(clock)
        const grants = of.decided.find(domain, routes, of.rights, now)
        if (grants !== undefined) {
          const again = family === null ? undefined : resourceNames.again(of, grants, { domain, family }, now)
          return mayHaveHints(type) ? noHints : (again ?? admission.refuse(of, monotonic))
        }
        const route = routeOf(of, question, now)
        if (route._tag === "Here") return route.answer
        if (route._tag !== "Forward") return admission.refuse(of, monotonic)
        const isOurs = (message: Message) => chainOf(of, question, message, now) !== undefined
        const cached = foreign.cached(of, route, question, now, monotonic, isOurs) ?? admission.refuse(of, monotonic)
        if (cached !== undefined || isTraced || !admission.admitAtOnce(of, monotonic)) return cached
        return forwardInForce(of, source, route, question, now)
      }

      /** What other servers say, without a fiber that waits for it; decided anew where a reload came in between. */
      const forwardInForce = (
        of: ClientNames,
        source: string,
        route: Extract<NameRoute, { _tag: "Forward" }>,
        question: TunnelQuestion,
        now: number
      ): Later<Told<TunnelAnswer>> => {
        const { rights } = of
        const by = routes
        const forwarded = foreign.forward(of, route, question, now, (message) => ofAlias(of, question, message, now))
        return mapLater(forwarded, (answer) =>
          of.rights === rights && routes === by && clients.at(source) === of
            ? answer
            : decideInForce(of, source, question)
        )
      }

      const routeOf = (of: ClientNames, question: TunnelQuestion, now: number): NameRoute => {
        const route = routes.route(of.rights, question, now, files)
        if (route._tag === "Resource") of.decided.note(question.domain, routes, of.rights, now, route.grants)
        return route
      }

      const decide = Effect.fnUntraced(function* (
        of: ClientNames,
        question: TunnelQuestion,
        aliases: number
      ): Effect.fn.Return<TunnelAnswer> {
        const now = yield* Clock.currentTimeMillis
        // Backwards a proxy IP is asked for by a name that a resource may cover, too.
        const grants = question.reverse === null ? of.decided.find(question.domain, routes, of.rights, now) : undefined
        const route: NameRoute = grants === undefined ? routeOf(of, question, now) : { _tag: "Resource", grants }
        const resource = route._tag === "Resource" ? route.grants[0]!.resource.id : null
        yield* Effect.annotateCurrentSpan({ route: route._tag, resource })
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
          case "Elsewhere":
            return elsewhere(of, route, question, now)
          case "Hosts":
            return foreign.fromHosts(of, route.addresses, question, now)
          case "Forward":
            return awaitLater(
              foreign.forward(of, route, question, now, (message) => ofAlias(of, question, message, now))
            )
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
        const of = client === undefined ? undefined : clients.of(client)
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
        restore: clients.restore,
        retake: ({ after: { config: policy }, difference }) =>
          Effect.sync(() => {
            routes = new NameRoutes(policy)
            logDns = policy.logDns
            files.setLists(policy.block)
            clients.take(policy, difference.rights)
          }).pipe(Effect.andThen(site?.shared.again ?? Effect.void)),
        recover: clients.recover,
        readAgain: clients.readAgain,
        isUsed: (client, pattern) =>
          clients
            .of(client)
            ?.slots.named()
            .some(({ domain }) => matches(pattern, domain)) === true,
        isOfClient: (source) => {
          const known = clients.at(source) !== undefined
          if (!known) counters.unknown_source++
          return known
        },
        mayComplain: (source) => {
          const of = clients.at(source)
          return of !== undefined && admission.mayComplain(of, monotonicMillisUnsafe(clock))
        },
        known: (source, question) => {
          const of = clients.at(source)
          // What is told takes the longer way.
          if (of === undefined || logDns) return undefined
          const answer = known(of, source, question)
          if (answer !== undefined) counters.questions++
          return answer
        },
        inUse: Effect.fnUntraced(function* (client, mappings) {
          const of = clients.of(client)
          if (of === undefined) return
          const now = yield* Clock.currentTimeMillis
          for (const entry of of.slots.inUse(mappings, now)) yield* resourceNames.keep(of, entry, now)
        }),
        awaited: (client, proxyIp) => {
          const of = clients.of(client)
          return of === undefined || awaitedName === null ? Effect.succeed(false) : awaitedName(of, proxyIp)
        },
        met,
        answer: Effect.fnUntraced(function* (source, question) {
          yield* Effect.annotateCurrentSpan({ domain: question.domain, type: question.type })
          counters.questions++
          const answer = yield* answerTo(source, question)
          yield* Effect.annotateCurrentSpan({ outcome: answer._tag })
          if (logDns) {
            const { domain, type } = question
            const client = clients.at(source)?.client.id ?? null
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
