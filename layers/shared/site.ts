/** A gateway as a member of a site of several: its slots, its copy of the site, and what it asks the site for. */
import { randomUUID } from "node:crypto"
import { join } from "node:path"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import type { GatewayConfig } from "../../src/config/GatewayConfig.ts"
import { proxyIpsOf, proxyNetworks, slotCapacity } from "../../src/control/standalone/proxyPool.ts"
import { type StateError, StateStore, type StoredMapping } from "../../src/host/StateStore.ts"
import { monotonicMillis } from "../../src/loops/monotonic.ts"
import { isExact } from "../../src/model/DomainPattern.ts"
import { extendDirectory, placeName } from "../../src/shared/directory.ts"
import { SharedState } from "../../src/shared/SharedState.ts"
import { SharedStore, type SignIn } from "../../src/shared/SharedStore.ts"
import { Site } from "../../src/shared/Site.ts"
import { SiteCopy } from "../../src/shared/SiteCopy.ts"
import { deadlineMs, SiteSource } from "../../src/shared/SiteSource.ts"
import {
  blockOf,
  lengthOf,
  maxSites,
  type SlotSpan,
  type SlotZones,
  slotZones,
  spansOfFirst
} from "../../src/shared/slotZones.ts"
import * as SharedStateLive from "./SharedState.ts"
import * as SiteCopyLive from "./SiteCopy.ts"

/**
 * `Site`, and the `StateStore` that tells the site what is put into it, over the gateway's own one.
 * @param directory where the copy is kept; `null`: in memory
 * @param policy the current one, whose exact names get places in the directory
 */
export const layer = (
  directory: string | null,
  policy: () => GatewayConfig
): Layer.Layer<StateStore, StateError, StateStore | SharedStore> =>
  Layer.unwrap(
    Effect.gen(function* () {
      const { network, sites } = policy()
      const ranges = proxyNetworks(network)
      const count = sites === null ? 1 : maxSites
      const zones = Result.getOrThrow(slotZones(slotCapacity(ranges), count))
      const source = new SiteSource(zones, sites?.own.number)
      const path = directory === null ? ":memory:" : join(directory, "site.db")
      // One that is left over is another gateway's: its number and blocks are not this one's.
      if (directory !== null && (yield* (yield* StateStore).site) === null) SiteCopyLive.remove(path)
      const isUsable = (slot: number) => proxyIpsOf(slot, ranges) !== undefined
      const numbers = Array.from({ length: count }, (_, number) => number)
      return member({ source, zones, numbers, isUsable, policy }).pipe(Layer.provide(SiteCopyLive.layer(path, zones)))
    })
  )

/** PostgreSQL gives a connection up that it has not heard of for 5 s. */
const takenMs = 30_000

/**
 * Blocks that a gateway has of another site's slice, at most: names there get addresses whether they exist or not, and what one
 * gateway has leased no other one ever gets.
 */
const mostForeign = 16

interface Parts {
  readonly source: SiteSource
  readonly zones: SlotZones
  /** Of all sites that there can be. */
  readonly numbers: ReadonlyArray<number>
  readonly isUsable: (slot: number) => boolean
  readonly policy: () => GatewayConfig
}

const member = ({ isUsable, numbers, policy, source, zones }: Parts) =>
  Layer.unwrap(
    Effect.gen(function* () {
      const own = yield* StateStore
      const store = yield* SharedStore
      const copy = yield* SiteCopy
      const stored = yield* own.site
      const { id } = stored ?? { id: randomUUID() }
      let spans = stored?.spans ?? []
      // Before anybody hears of it: who has had a number comes back with it.
      if (stored === null) yield* own.putSite({ id, spans })
      const counted = numbers.length > 1 ? spans : spansOfFirst(spans, slotCapacity(proxyNetworks(policy().network)))
      for (const span of counted) source.hold(span)
      source.read(copy.directory, (yield* copy.standing).readAt?.store ?? Number.NEGATIVE_INFINITY)
      // It was alone for a while, or its state was put back, or it ended before it had withdrawn them.
      const strangers = spans.length === 0 ? [] : (yield* own.mappings).filter(({ slot }) => source.isOthers(slot))
      for (const row of strangers) yield* own.removeMapping(row, yield* Clock.currentTimeMillis)
      if (strangers.length > 0) {
        yield* Effect.logWarning(
          `${strangers.length} names of its state have addresses that other gateways give: the site says what those are for`
        )
      }

      /** How far reservations go in the slice of each site, of the client with the most. */
      const next = new Map<number, number>([[source.site, 0]])
      // What a gateway alone gives is where the slice of site 0 is.
      const imported = spans.length > 0 || source.site > 0 ? [] : blocksUnder(yield* own.mappings, zones)
      /** The policy whose exact names all have places, or get none. */
      let placed: GatewayConfig | null = null
      /** Whether no name of before it was here is left at a slot of others; a disk may keep some for a while. */
      let areWithdrawn = spans.length > 0

      /** The own zone is one of the spans. */
      const mayLease = (at: number) =>
        at === source.site || spans.filter(({ from }) => zones.siteOf(from) === at).length <= mostForeign

      const ask = Effect.fnUntraced(function* (gateway: number) {
        for (const [at, count] of next) {
          if (source.wantsMore(count, at) && mayLease(at)) yield* store.lease(gateway, zones.blocks(at))
        }
        const current = policy()
        const names = exactNames(current, source.site)
        if (placed === current || names.every(([name, at]) => source.exact(name, at) !== undefined)) return
        const places = Map.groupBy(names, ([, at]) => at)
        yield* store.extendDirectory((known) => {
          const added = [...places].flatMap(([at, some]) => {
            const domains = some.map(([name]) => placeName(name, at))
            return extendDirectory(known, domains, zones.exact(at), isUsable)
          })
          if (added.length === 0) placed = current
          return added
        })
      })

      const read = Effect.gen(function* () {
        const { blocks, gateway, readAt } = yield* copy.standing
        const isFirst = spans.length === 0
        const theirs = isFirst && imported.every((no) => blocks.includes(no)) ? imported : []
        const all = [
          ...theirs.map(zones.block),
          ...numbers.map((at) => zones.own(gateway!, at)),
          ...blocks.filter((no) => !theirs.includes(no)).map(zones.block)
        ]
        const added = all.filter(({ from }) => !spans.some((span) => span.from === from))
        if (added.length > 0) {
          yield* own.putSite({ id, spans: [...spans, ...added] })
          spans = [...spans, ...added]
          for (const span of added) source.hold(span)
        }
        source.read(copy.directory, readAt!.store)
        if (areWithdrawn) return added.length === 0 ? null : []
        const known = new Set((yield* copy.mappings).map(keyOf))
        const lost: Array<StoredMapping> = []
        for (const row of yield* own.mappings) {
          const place = placeName(row.domain, zones.siteOf(row.slot))
          if (source.owns(row.slot) || copy.directory.get(place) === row.slot) continue
          if (!known.has(keyOf(row))) lost.push(row)
          // From now on the copy has it, and lets it go with all that others gave.
          else yield* own.removeMapping(row, readAt!.own)
        }
        if (lost.length > 0) {
          yield* Effect.logWarning(
            `${lost.length} names of clients get other proxy addresses: the site has those that its state has for others`
          )
        }
        areWithdrawn = lost.length === 0
        return areWithdrawn && added.length === 0 ? null : lost
      })

      /** When another process was first this gateway; `null`: none is. */
      let takenAt: number | null = null
      let hasBeenThere = false
      const signIn: SharedStore["Service"]["signIn"] = (as) =>
        Effect.tapError(
          Effect.tap(store.signIn({ ...as, sites: sitesOf(policy()) }), () =>
            Effect.sync(() => {
              hasBeenThere = true
              takenAt = null
              source.take(false)
            })
          ),
          Effect.fnUntraced(function* ({ reason }) {
            if (reason !== "Taken") return
            const now = yield* monotonicMillis
            takenAt ??= now
            // One's own connection of before may not have been given up yet.
            if (!hasBeenThere || now - takenAt >= takenMs) source.take(true)
          })
        )
      const held = Effect.sync(() => (spans.length === 0 ? { gateway: null, blocks: imported } : heldBy(spans, zones)))
      const standing = Effect.gen(function* () {
        const { gateway, readAt } = yield* copy.standing
        const { sites } = policy()
        return {
          ...(sites === null ? {} : { name: sites.own.name }),
          gateway: heldBy(spans, zones).gateway ?? gateway,
          store: yield* store.status,
          readAt: readAt?.own ?? null,
          reliedUntil: readAt === null ? null : readAt.own + deadlineMs,
          untold: yield* copy.untold,
          slots: { own: source.size(), used: Math.min(next.get(source.site)!, source.size()) }
        }
      })
      const { forget, lookAtPolicy, policyNews } = store
      const isOthers = (slot: number) => source.isOthers(slot)
      const told = SharedStateLive.layer({ id, held, isOthers, ask, read })
      const joined = Layer.effectContext(
        Effect.gen(function* () {
          const state = yield* StateStore
          const shared = yield* SharedState
          return Context.make(
            StateStore,
            StateStore.of({
              ...state,
              reserveSlots: (client, count, at = 0) =>
                Effect.tap(state.reserveSlots(client, count, at), (first) => {
                  const most = Math.max(next.get(at) ?? 0, first + count)
                  next.set(at, most)
                  return source.wantsMore(most, at) ? shared.again : Effect.void
                })
            })
          ).pipe(Context.add(Site, { source, shared, forget, policyNews, lookAtPolicy, standing }))
        })
      )
      return joined.pipe(Layer.provide(told), Layer.provide(Layer.succeed(SharedStore, { ...store, signIn })))
    })
  )

const keyOf = ({ client, domain, slot }: StoredMapping): string => `${slot} ${client} ${domain}`

/** The gateway's number and its blocks, which the spans are of. */
const heldBy = (spans: ReadonlyArray<SlotSpan>, zones: SlotZones) => {
  const blocks = spans.flatMap(({ from }) => blockOf(zones, from) ?? [])
  const own = spans.find(({ from }) => blockOf(zones, from) === undefined)
  if (own === undefined) return { gateway: null, blocks }
  const first = zones.own(0, zones.siteOf(own.from))
  return { gateway: (own.from - first.from) / lengthOf(first), blocks }
}

/** The blocks from the first one up to that of the last slot that was given. */
const blocksUnder = (mappings: ReadonlyArray<{ readonly slot: number }>, zones: SlotZones): ReadonlyArray<number> => {
  const { from, to } = zones.blocks(0)
  const given = mappings.map(({ slot }) => blockOf(zones, slot) ?? -1).filter((no) => no < to)
  const last = given.reduce((a, b) => Math.max(a, b), -1)
  return Array.from({ length: last + 1 - from }, (_, i) => from + i)
}

/** With the number of the site that each is of. */
const exactNames = ({ resources, sites }: GatewayConfig, own: number): ReadonlyArray<readonly [string, number]> =>
  [
    ...resources.map((resource) => ({ resource, number: own })),
    ...(sites?.elsewhere ?? []).map(({ resource, site: { number } }) => ({ resource, number }))
  ].flatMap(({ number, resource }) =>
    resource.kind === "dns" && isExact(resource.pattern) ? [[resource.pattern, number] as const] : []
  )

const sitesOf = ({ sites }: GatewayConfig): NonNullable<SignIn["sites"]> | null =>
  sites === null ? null : { own: sites.own.number, all: sites.all.map(({ name, number }) => ({ name, number })) }
