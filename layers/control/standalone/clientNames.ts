/** Whose names there are: the clients with their rights and proxies, as the policy and the state have them. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import * as Semaphore from "effect/Semaphore"
import { Authorizations } from "../../../src/access/Authorizations.ts"
import { Clients } from "../../../src/access/Clients.ts"
import type { ConfiguredClient, GatewayConfig } from "../../../src/config/GatewayConfig.ts"
import type { PolicyChange } from "../../../src/control/Registry.ts"
import type { DnsRight } from "../../../src/control/standalone/chooseResource.ts"
import { DecidedNames } from "../../../src/control/standalone/decidedNames.ts"
import { type NameRights, rightsOf, rightsOfEach } from "../../../src/control/standalone/nameRoutes.ts"
import { newClients } from "../../../src/control/standalone/policyDifference.ts"
import { type ProxyNetworks, proxyNetworks, slotCapacity } from "../../../src/control/standalone/proxyPool.ts"
import { maxNames, type NameEntry } from "../../../src/control/standalone/nameTable.ts"
import { Slots } from "../../../src/control/standalone/Slots.ts"
import { ownSpans, wholeRanges } from "../../../src/control/standalone/slotSource.ts"
import { StateStore, type StoredMapping } from "../../../src/host/StateStore.ts"
import { superviseForever } from "../../../src/loops/superviseForever.ts"
import { isOpen } from "../../../src/model/Authorization.ts"
import { PatternIndex } from "../../../src/model/DomainPattern.ts"
import type { MappingId } from "../../../src/model/Mapping.ts"
import { inOneTurn } from "../../../src/resolution/inOneTurn.ts"
import { Resolutions } from "../../../src/resolution/Resolutions.ts"
import { Site, type SiteMember } from "../../../src/shared/Site.ts"
import { spansOfFirst } from "../../../src/shared/slotZones.ts"
import { type Asker, makeAsker } from "../../dns/askers.ts"
import type { NamesOfClient } from "./resourceNames.ts"
import { makeSiteNames } from "./siteNames.ts"
import type { StoredSlots } from "./storedSlots.ts"

export interface ClientNames extends NamesOfClient, Asker {
  client: ConfiguredClient
  rights: NameRights
  readonly decided: DecidedNames
  /** All that it sends anywhere comes through the tunnel. */
  internet: boolean
}

/** Names of a client that the site tells, which are taken up in one turn. */
const namesAtOnce = 100

/** `restore`, `recover` and `readAgain` are those of `TunnelNames`. */
export const makeClientNames = Effect.fnUntraced(function* (config: GatewayConfig, stored: StoredSlots) {
  const store = yield* StateStore
  const authorizations = yield* Authorizations
  const clients = yield* Clients
  const resolutions = yield* Resolutions
  const ranges = proxyNetworks(config.network)
  const site = yield* Site
  const source = site?.source ?? (yield* sourceAlone(ranges))
  const learning = makeSiteNames(stored)
  const scope = yield* Effect.scope
  const byAddress = new Map<string, ClientNames>()
  const byClient = new Map<string, ClientNames>()

  const take = (policy: GatewayConfig, rights: ReadonlySet<string>) => {
    const wanted = new Set(policy.clients.flatMap(({ id }) => (rights.has(id) || !byClient.has(id) ? [id] : [])))
    const newRights = rightsOfEach(policy.grants, wanted)
    const elsewhere = elsewhereOf(policy)
    const gone = new Set(byClient.keys())
    byAddress.clear()
    for (const client of policy.clients) {
      gone.delete(client.id)
      let names = byClient.get(client.id)
      if (names === undefined || wanted.has(client.id)) {
        const of = newRights.get(client.id) ?? rightsOf(client.id, [])
        const now = { client, rights: of, internet: of.internet }
        names = Object.assign(names ?? newNames(client), now)
        byClient.set(client.id, names)
      }
      const theirs = elsewhere?.get(client.id)?.names
      if (theirs !== undefined) names.rights = { ...names.rights, elsewhere: theirs }
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
    slots: new Slots(client.id, ranges, maxNames, source),
    decided: new DecidedNames(),
    held: 0,
    turn: Semaphore.makeUnsafe(1)
  })
  take(config, new Set())

  /** Those of the client's names that `rights` cover, and that this site serves, are its again. Yields the rights by which any is. */
  const recordNames = Effect.fnUntraced(function* (
    of: ClientNames,
    all: ReadonlyArray<NameEntry>,
    rights: ReadonlyArray<DnsRight>
  ) {
    const names = all.filter(isServedHere)
    if (names.length === 0) return new Set<DnsRight>()
    const index = new PatternIndex(rights, ({ resource }) => resource.pattern)
    const used = new Set(names.flatMap(({ domain }) => index.covering(domain)))
    if (used.size === 0) return used
    yield* clients.upsert(of.client)
    for (const right of used) yield* authorizations.record({ ...right, client: of.client })
    for (const { domain, translated } of names) {
      const [first] = index.covering(domain)
      if (first === undefined) continue
      const resource = first.resource
      yield* resolutions.subscribe({
        client: of.client.id,
        resource,
        domain,
        proxyIps: translated,
        cause: "Restarted"
      })
    }
    return used
  })

  const allRows = Effect.gen(function* () {
    return [...(yield* store.mappings), ...(site === null ? [] : yield* site.shared.mappings)]
  })
  const rowsOf = Effect.fnUntraced(function* (client: string) {
    return [...(yield* store.mappingsOf(client)), ...(site === null ? [] : yield* site.shared.mappingsOf(client))]
  })

  const restoreOf = Effect.fnUntraced(function* (
    owners: ReadonlyArray<ClientNames>,
    rows: ReadonlyArray<StoredMapping>
  ) {
    // In the order of use, so that the first to make room is the least recently used one.
    for (const row of rows.toSorted((a, b) => a.lastUsedAt - b.lastUsedAt)) {
      const of = byClient.get(row.client)
      if (of === undefined) continue
      if (site !== null) yield* learning.learn(of, row)
      else {
        const named = of.slots.restore(row)
        if (named?.released !== undefined) yield* stored.release(of, named.released, yield* Clock.currentTimeMillis)
      }
    }
    const askers = owners.filter((of) => of.rights.names.length > 0)
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

  /** In one turn: nothing comes back with it that a reload takes away meanwhile. */
  const takeUp = Effect.fnUntraced(function* (of: ClientNames, mappings: ReadonlyArray<MappingId>) {
    const now = yield* Clock.currentTimeMillis
    const names = mappings.flatMap((mapping) => of.slots.ofMapping(mapping) ?? [])
    const served = new Set(names.filter(isServedHere).map(({ id }) => id))
    for (const mapping of mappings) if (!served.has(mapping)) yield* resolutions.release(mapping)
    const open = of.rights.names.filter((right) => isOpen(right, now))
    yield* recordNames(of, names, open)
  }, inOneTurn)

  /** What other gateways of the site do. */
  const followSite = Effect.fnUntraced(function* (site: SiteMember) {
    const news = yield* Queue.take(site.shared.news)
    for (const [of, touched] of yield* learning.take(news, (client) => byClient.get(client))) {
      const mappings = [...touched]
      for (let at = 0; at < mappings.length; at += namesAtOnce) {
        yield* takeUp(of, mappings.slice(at, at + namesAtOnce))
        // Questions and packets go on meanwhile.
        yield* Effect.yieldNow
      }
    }
  })

  return {
    /** Whose tunnel address it is. */
    at: (address: string) => byAddress.get(address),
    of: (client: string) => byClient.get(client),
    /** Takes the clients as they are now, and what those of `rights` may reach. */
    take,
    restore: Effect.andThen(
      Effect.forEach(setsOf(config), resolutions.meet, { discard: true }),
      Effect.suspend(() => Effect.flatMap(allRows, (rows) => restoreOf([...byClient.values()], rows)))
    ).pipe(
      Effect.andThen(
        site === null ? Effect.void : Effect.forkIn(superviseForever("TunnelNames.site", followSite(site)), scope)
      )
    ),
    recover: Effect.fnUntraced(function* ({ after, before, difference }: PolicyChange) {
      const met = setsOf(before.config)
      for (const resolver of setsOf(after.config)) {
        if (!met.has(resolver) || difference.resolvers.includes(resolver)) yield* resolutions.meet(resolver)
      }
      const isNew = newClients(difference)
      for (const [client, granted] of Map.groupBy(difference.granted, (grant) => grant.client.id)) {
        const of = isNew.has(client) ? undefined : byClient.get(client)
        if (of === undefined) continue
        const now = yield* Clock.currentTimeMillis
        const ids = new Set(granted.map(({ resource }) => resource.id))
        const news = of.rights.names.filter(({ resource }) => ids.has(resource.id))
        if (news.length === 0) continue
        const open = of.rights.names.filter((grant) => isOpen(grant, now))
        const index = new PatternIndex(news, ({ resource }) => resource.pattern)
        const isNewly = ({ domain }: NameEntry) => index.covering(domain).length > 0
        yield* recordNames(of, of.slots.named().filter(isNewly), open)
        // Those that were asked for meanwhile, too.
        const served = of.slots.named().filter(isServedHere)
        const used = new Set(served.flatMap(({ domain }) => index.covering(domain)))
        for (const grant of news) {
          // What covers no name of the client (any more) is granted with the first one that it asks for.
          if (!isOpen(grant, now) || !used.has(grant)) yield* authorizations.revoke(client, grant.resource.id)
        }
        yield* Effect.yieldNow
      }
    }),
    readAgain: ({ difference }: PolicyChange) => {
      const isNew = newClients(difference)
      if (isNew.size === 0) return Effect.void
      return Effect.forEach(
        [...isNew].flatMap((client) => byClient.get(client) ?? []),
        // Questions and packets go on in between.
        (of) => Effect.flatMap(rowsOf(of.client.id), (rows) => restoreOf([of], rows)).pipe(Effect.tap(Effect.yieldNow)),
        { discard: true }
      ).pipe(Effect.catch((error) => Effect.logError(`names of new clients are not brought back: ${error.message}`)))
    }
  }
})

/** One that has been in a site goes on with what was its own there. */
const sourceAlone = Effect.fnUntraced(function* (ranges: ProxyNetworks) {
  const { spans } = (yield* (yield* StateStore).site) ?? { spans: [] }
  if (spans.length === 0) return wholeRanges(ranges)
  const source = ownSpans(spansOfFirst(spans, slotCapacity(ranges)))
  yield* Effect.logWarning(
    `the file names no site (state:), in which this gateway was before: of each client's addresses it gives the ${source.size(source.site)} that were its own there`
  )
  return source
})

/** What clients may reach by name at other sites; `null`: there is only one. */
const elsewhereOf = ({ clients, sites }: GatewayConfig) =>
  sites === null ? null : rightsOfEach(sites.elsewhere, new Set(clients.map(({ id }) => id)))

/** Packets to any of its addresses come to this site. */
const isServedHere = ({ translated }: NameEntry): boolean => translated.length > 0

/** The resolver sets that names of resources are looked up by. */
const setsOf = ({ resources }: GatewayConfig): ReadonlySet<string> =>
  new Set(resources.flatMap((resource) => (resource.kind === "dns" ? [resource.resolver] : [])))
