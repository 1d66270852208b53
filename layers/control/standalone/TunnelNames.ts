/** `TunnelNames` over the configuration, the state store and the acceptor. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Semaphore from "effect/Semaphore"
import * as Stream from "effect/Stream"
import { Authorizations } from "../../../src/access/Authorizations.ts"
import { Clients } from "../../../src/access/Clients.ts"
import type { ConnectionAcceptor } from "../../../src/access/ConnectionAcceptor.ts"
import { Destinations } from "../../../src/access/Destinations.ts"
import type { GatewayConfig } from "../../../src/config/GatewayConfig.ts"
import { grantsOf } from "../../../src/config/GatewayConfig.ts"
import { aliasOfResource, endIn } from "../../../src/control/standalone/aliasOfResource.ts"
import { coveringGrants, type DnsGrant } from "../../../src/control/standalone/chooseResource.ts"
import { type NameRights, type NameRoute, NameRoutes, rightsOf } from "../../../src/control/standalone/nameRoutes.ts"
import { isInMemoryOnly, Slots } from "../../../src/control/standalone/Slots.ts"
import { type FilteredAddress, FilteredAddresses, refusalOf } from "../../../src/control/standalone/tellable.ts"
import { proxyTtl } from "../../../src/control/standalone/tunnelAnswerOf.ts"
import { TunnelNames } from "../../../src/control/standalone/TunnelNames.ts"
import { extendedErrorCode } from "../../../src/dns/extendedError.ts"
import { recordType } from "../../../src/dns/registry.ts"
import type { TunnelAnswer, TunnelQuestion } from "../../../src/dns/tunnelAnswer.ts"
import type { Upstream } from "../../../src/dns/Upstream.ts"
import { IpFamilies } from "../../../src/host/IpFamilies.ts"
import { StateStore } from "../../../src/host/StateStore.ts"
import { makeOutlive } from "../../../src/loops/outlive.ts"
import { monotonicMillis } from "../../../src/loops/monotonic.ts"
import { matches } from "../../../src/model/DomainPattern.ts"
import type { MappingId } from "../../../src/model/Mapping.ts"
import { parseNetwork } from "../../../src/packet/address.ts"
import { Resolutions } from "../../../src/resolution/Resolutions.ts"
import { type Asker, makeAdmission, makeAsker } from "../../dns/askers.ts"
import { makeDnsForwarder } from "../../dns/dnsForwarder.ts"
import { makeResourceNames, type NamesOfClient } from "./resourceNames.ts"
import { makeStoredSlots } from "./storedSlots.ts"

/** How long another server may take for a question. */
const forwardMs = 4_000

interface ClientNames extends NamesOfClient, Asker {
  readonly rights: NameRights
  /** All that it sends anywhere comes through the tunnel. */
  readonly internet: boolean
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
      const authorizations = yield* Authorizations
      const clients = yield* Clients
      const destinations = yield* Destinations
      const families = yield* IpFamilies
      const resolutions = yield* Resolutions
      const forwarder = yield* makeDnsForwarder
      const stored = yield* makeStoredSlots
      const resourceNames = yield* makeResourceNames(stored)
      const admission = makeAdmission()
      const routes = new NameRoutes(config)
      const filtered = new FilteredAddresses()
      const counters = { questions: 0, unknown_source: 0 }
      const ranges = {
        proxy4: parseNetwork(config.network.proxy4)!,
        proxy6: parseNetwork(config.network.proxy6)!
      }
      const byAddress = new Map<string, ClientNames>()
      const byClient = new Map<string, ClientNames>()
      for (const client of config.clients) {
        const names: ClientNames = {
          ...makeAsker(client.id),
          client,
          rights: rightsOf(client.id, grantsOf(config, client.id)),
          internet: grantsOf(config, client.id).some(({ resource }) => resource.kind === "internet"),
          slots: new Slots(client.id, ranges),
          held: 0,
          turn: Semaphore.makeUnsafe(1)
        }
        byClient.set(client.id, names)
        byAddress.set(client.tunnel4, names)
        byAddress.set(client.tunnel6, names)
      }

      /** What a resolver set says, with the addresses that the client can reach. */
      const forward = Effect.fnUntraced(function* (
        of: ClientNames,
        { as, resolver }: Extract<NameRoute, { _tag: "Forward" }>,
        question: TunnelQuestion,
        now: number
      ): Effect.fn.Return<TunnelAnswer> {
        const { domain, type } = question
        // Their hints are for names outside: in a private zone they would lead clients past the proxy IPs.
        if (as !== "outside" && (type === recordType.HTTPS || type === recordType.SVCB))
          return { _tag: "NoData", ttl: 60 }
        const left: Array<{ readonly address: string; readonly why: string }> = []
        const rule = { isPublicTold: as !== "networks", policy: destinations }
        const answer = yield* forwarder.forward(of, resolver, question, forwardMs, (address) => {
          const why = refusalOf(of.rights, domain, address, now, rule)
          if (why !== undefined) left.push({ address, why })
          // What comes through the tunnel anyhow has no other way out than ours.
          return why === undefined && (!of.internet || !address.includes(":") || families.leadsTo(address))
        })
        const alias =
          answer._tag === "Forwarded" && leadsToAddresses(question)
            ? aliasOfResource(domain, answer.message, (name) => coveringGrants(of.rights.names, name, now).length > 0)
            : undefined
        if (alias !== undefined) {
          const { target } = alias
          const end = yield* resourceName(
            of,
            coveringGrants(of.rights.names, target, now),
            { ...question, domain: target },
            now
          )
          return endIn(alias, type, end)
        }
        const [first] = left
        if (first !== undefined) yield* tellFiltered({ ...first, client: of.client.id, name: domain })
        if (as === "networks") return leadsSomewhere(answer) ? answer : { _tag: "NameError", ttl: 5 }
        if (first === undefined || answer._tag !== "Forwarded") return answer
        return {
          ...answer,
          error: { code: extendedErrorCode.Filtered, text: "an address that this client cannot reach" }
        }
      })

      const tellFiltered = Effect.fnUntraced(function* (what: Omit<FilteredAddress, "at">) {
        if (!filtered.note({ ...what, at: yield* monotonicMillis })) return
        yield* Effect.logInfo(
          "left an address out of a DNS answer: no network resource of the client leads there (told once a minute)"
        ).pipe(Effect.annotateLogs({ ...what, all: filtered.count }))
      })

      /** Of a name that `grants`, one at least, cover. */
      const resourceName = (
        of: ClientNames,
        grants: ReadonlyArray<DnsGrant>,
        question: TunnelQuestion,
        now: number
      ): Effect.Effect<TunnelAnswer> => {
        const { domain, family, type } = question
        // Their hints would lead clients past the proxy IPs.
        if (type === recordType.HTTPS || type === recordType.SVCB) return Effect.succeed({ _tag: "NoData", ttl: 60 })
        return family === null
          ? forwarder.forward(of, grants[0]!.resource.resolver, question, forwardMs)
          : resourceNames.answer(of, grants, { domain, family }, now)
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
        const shed = yield* admission.admit(of)
        if (shed !== null) return shed
        const now = yield* Clock.currentTimeMillis
        const route = routes.route(of.rights, question, now)
        const resource = route._tag === "Resource" ? route.grants[0]!.resource.id : null
        yield* Effect.annotateCurrentSpan({ route: route._tag, resource })
        switch (route._tag) {
          case "Here":
            return route.answer
          case "Proxy":
            return reverse(of, route.slot)
          case "Resource":
            return yield* resourceName(of, route.grants, question, now)
          case "Forward":
            return yield* forward(of, route, question, now)
        }
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
        counters: Effect.sync(() => ({
          ...counters,
          ...admission.counters(),
          ...forwarder.counters(),
          addresses_filtered: filtered.count
        })),
        filtered: Effect.sync(() => ({ count: filtered.count, last: filtered.last })),
        restore: Effect.gen(function* () {
          const named = config.resources.flatMap((resource) => (resource.kind === "dns" ? [resource.resolver] : []))
          for (const resolver of new Set(named)) yield* resolutions.meet(resolver)
          const expired = new Set<DnsGrant>()
          // In the order of use, so that the first to make room is the least recently used one.
          for (const row of (yield* store.mappings).toSorted((a, b) => a.lastUsedAt - b.lastUsedAt)) {
            const of = byClient.get(row.client)
            const named = of?.slots.restore(row)
            if (of === undefined || named === undefined) continue
            const now = yield* Clock.currentTimeMillis
            if (named.released !== undefined) yield* stored.release(of, named.released, now)
            const grants = of.rights.names.filter(({ resource }) => matches(resource.pattern, row.domain))
            const [first] = grants
            if (first === undefined) continue
            yield* clients.upsert(of.client)
            for (const grant of grants) {
              if (grant.expiresAt !== null && grant.expiresAt <= now) expired.add(grant)
              yield* authorizations.record(grant)
            }
            yield* resolutions.subscribe({
              client: of.client.id,
              resource: first.resource,
              domain: row.domain,
              proxyIps: named.entry.proxyIps,
              cause: "Restarted"
            })
          }
          // Cut like those that expire while the gateway runs: packets to their names are told so.
          for (const { client, resource } of expired) yield* authorizations.revoke(client.id, resource.id)
          const askers = [...byClient.values()].filter((of) => of.rights.names.length > 0)
          yield* Effect.forEach(askers, stored.reserveFirst, { concurrency: "unbounded", discard: true })
        }),
        inUse: Effect.fnUntraced(function* (client, mappings) {
          const of = byClient.get(client)
          if (of === undefined) return
          const now = yield* Clock.currentTimeMillis
          for (const entry of of.slots.inUse(mappings, now)) yield* resourceNames.keep(of, entry, now)
        }),
        met,
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

const leadsSomewhere = (answer: TunnelAnswer): boolean =>
  answer._tag === "Forwarded" && answer.message.answers.some(({ data }) => data._tag === "Address")

const leadsToAddresses = ({ family, type }: TunnelQuestion): boolean =>
  family !== null || type === recordType.HTTPS || type === recordType.SVCB
