/** `Slots` over the state store: asks it what the slots want to know, writes down what they say, and is loud when it fails. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import type { NameEntry } from "../../../src/control/standalone/nameTable.ts"
import { isDue, isInMemoryOnly, type Named, type Slots } from "../../../src/control/standalone/Slots.ts"
import { StateStore } from "../../../src/host/StateStore.ts"
import { monotonicMillis } from "../../../src/loops/monotonic.ts"
import { makeOddities } from "../../../src/loops/oddities.ts"
import type { ClientId } from "../../../src/model/Client.ts"
import type { ResourceId } from "../../../src/model/Resource.ts"
import { Resolutions } from "../../../src/resolution/Resolutions.ts"
import { Site } from "../../../src/shared/Site.ts"

/** One client's. */
interface Owned {
  readonly client: { readonly id: ClientId }
  readonly slots: Slots
}

export interface StoredSlots {
  /** Writes the row down, if it is due. */
  readonly keep: (of: Owned, entry: NameEntry, now: number) => Effect.Effect<void>
  readonly release: (of: Owned, entry: NameEntry, now: number) => Effect.Effect<void>
  /** The client's first names then need not wait for the disk; where it fails, the first question tries again and tells. */
  readonly reserveFirst: (of: Owned) => Effect.Effect<void>
  /**
   * The name with its slot, one of the site that serves it, which is not written down yet; `undefined` when the client's ranges
   * are used up.
   */
  readonly entryOf: (
    of: Owned,
    resource: ResourceId,
    domain: string,
    now: number,
    site?: number
  ) => Effect.Effect<NameEntry | undefined>
}

export const makeStoredSlots = Effect.gen(function* (): Effect.fn.Return<StoredSlots, never, StateStore | Resolutions> {
  const store = yield* StateStore
  const resolutions = yield* Resolutions
  const site = yield* Site
  const own = site?.source.site ?? 0
  const began = { date: yield* Clock.currentTimeMillis, at: yield* monotonicMillis }

  /** Clients ask a hundred times a second. */
  const loudly = makeOddities(Effect.logError)

  /** The store failing must not stop anybody: the name then lives in memory only, loudly, until its next use. */
  const persist = ({ slots }: Owned, entry: NameEntry, now: number) =>
    Effect.forEach(slots.rowsOf(entry), store.putMapping, { discard: true }).pipe(
      Effect.andThen(Effect.sync(() => void (entry.storedAt = now))),
      Effect.catch((error) =>
        loudly("persist", `names are kept in memory only and will not survive a restart: ${error.message}`)
      )
    )

  const keep = (of: Owned, entry: NameEntry, now: number) =>
    Effect.suspend(() => (isDue(entry, now) ? persist(of, entry, now) : Effect.void))

  const release = Effect.fnUntraced(function* ({ slots }: Owned, entry: NameEntry, now: number) {
    yield* resolutions.release(entry.id)
    if (isInMemoryOnly(entry)) return
    yield* Effect.forEach(slots.rowsOf(entry), (row) => store.removeMapping(row, now), { discard: true }).pipe(
      Effect.catch((error) => loudly("release", `released names stay in the state: ${error.message}`))
    )
  })

  const reserve = ({ client, slots }: Owned, count: number, at: number) =>
    Effect.map(store.reserveSlots(client.id, count, at), (first) => slots.reserved(first, count, at))

  const assign = Effect.fnUntraced(function* (
    of: Owned,
    resource: ResourceId,
    domain: string,
    now: number,
    at: number
  ) {
    for (;;) {
      const step = of.slots.assign(resource, domain, now, at)
      if (step._tag === "Named") return step
      if (step._tag === "Reserve") {
        yield* reserve(of, step.count, at)
        continue
      }
      if (of.slots.givesNone) {
        yield* loudly(
          "site",
          "new names get no proxy addresses, since this gateway has none to give in its site: sallyport status says why"
        )
        return undefined
      }
      // A clock that jumped ahead lets nothing rest shorter.
      const lived = began.date + (yield* monotonicMillis) - began.at
      const rested = yield* store.takeRested(of.client.id, step.before - Math.max(0, now - lived), at)
      if (rested === null) {
        yield* loudly(
          `slots of ${of.client.id}`,
          site === null
            ? `${of.client.id} has used up its proxy addresses: give the gateway larger proxy ranges (network: in sallyport.yaml)`
            : `${of.client.id} has used up the proxy addresses that this gateway has, and gets no further ones: the site gives some once all its gateways have been at PostgreSQL since its start — sallyport forget-gateway for one that is gone, or larger proxy ranges`
        )
        return undefined
      }
      of.slots.rested(rested)
    }
  })

  return {
    keep,
    release,
    reserveFirst: (of: Owned) => Effect.ignore(reserve(of, of.slots.firstReservation, own)),
    entryOf: Effect.fnUntraced(function* (of: Owned, resource: ResourceId, domain: string, now: number, at = own) {
      const named = yield* Effect.catch(
        assign(of, resource, domain, now, at),
        Effect.fnUntraced(function* (error): Effect.fn.Return<Named | undefined> {
          yield* loudly("reserve", `names live in memory only: ${error.message}`)
          return of.slots.assignVolatile(resource, domain, now, yield* Random.next, at)
        })
      )
      if (named === undefined) return undefined
      if (named.released !== undefined) yield* release(of, named.released, now)
      return named.entry
    })
  }
})
