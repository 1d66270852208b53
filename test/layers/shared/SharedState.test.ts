import { assert, describe, it } from "@effect/vitest"
import { Clock, Context, Effect, Layer, Queue, type Scope } from "effect"
import { TestClock } from "effect/testing"
import * as SharedStoreMemory from "../../../layers/memory/SharedStoreMemory.ts"
import * as StateStoreMemory from "../../../layers/memory/StateStoreMemory.ts"
import * as Live from "../../../layers/shared/SharedState.ts"
import * as SiteCopyLive from "../../../layers/shared/SiteCopy.ts"
import { StateError, StateStore } from "../../../src/host/StateStore.ts"
import { SharedState, type SiteNews } from "../../../src/shared/SharedState.ts"
import { SharedStore } from "../../../src/shared/SharedStore.ts"
import { SiteCopy } from "../../../src/shared/SiteCopy.ts"
import type { SlotZones } from "../../../src/shared/slotZones.ts"
import { makeSteppedClock } from "../../support/steppedClock.ts"
import { onlySite, put, readOn, released, signIn, tenBlocks } from "../../support/sharedStore.ts"

interface Gateway {
  readonly state: StateStore["Service"]
  readonly shared: SharedState["Service"]
}

/** The slots up to 9,999 are a's own, up to 19,999 b's, further ones are blocks of 100. */
const zonesOf = (id: string): SlotZones =>
  onlySite(
    { from: 0, to: 0 },
    () => (id === "a" ? { from: 0, to: 10_000 } : { from: 10_000, to: 20_000 }),
    (no) => ({ from: 20_000 + 100 * no, to: 20_100 + 100 * no }),
    10
  )

const memoryCopy = (id: string) => Layer.fresh(SiteCopyLive.layer(":memory:", zonesOf(id)))

/** A gateway of the site. */
const gateway = (
  site: SharedStoreMemory.SiteMemory,
  id: "a" | "b",
  given: {
    readonly state?: Layer.Layer<StateStore>
    readonly copy?: Layer.Layer<SiteCopy, StateError>
  } = {}
): Effect.Effect<Gateway, StateError, Scope.Scope> => {
  const { copy = memoryCopy(id), state = Layer.fresh(StateStoreMemory.layer) } = given
  const parts = Layer.mergeAll(state, copy, SharedStoreMemory.layer(site))
  const member = Layer.unwrap(
    Effect.map(SiteCopy, ({ standing }) => {
      const isOthers = (slot: number) => slot < 20_000 && slot >= 10_000 === (id === "a")
      return Live.layer({ id, held: standing, isOthers, ask: () => Effect.void, read: Effect.succeed(null) })
    })
  )
  return Effect.map(Layer.build(Layer.fresh(member.pipe(Layer.provide(parts)))), (built) => ({
    state: Context.get(built, StateStore),
    shared: Context.get(built, SharedState)
  }))
}

/** Built for more than one life. */
const kept = <A, E>(layer: Layer.Layer<A, E>) =>
  Effect.map(Layer.build(layer), (built): Layer.Layer<A> => Layer.succeedContext(built))

/** All that the site has, as who comes new to it reads it. */
const inSite = (site: SharedStoreMemory.SiteMemory) =>
  Effect.flatMap(SharedStore, (store) => readOn(store, null)).pipe(
    Effect.map(({ changes }) => changes),
    Effect.provide(SharedStoreMemory.layer(site), { local: true })
  )

/** What has come so far. */
const arrived = ({ shared }: Gateway) =>
  Effect.map(Queue.clear(shared.news), (all): SiteNews => ({
    changes: all.flatMap(({ changes }) => changes),
    conflicts: all.flatMap(({ conflicts }) => conflicts)
  }))

/** Long enough for a batch and its way back, with turns for all that happens. */
const aMoment = Effect.repeat(TestClock.adjust("10 millis"), { times: 100 })

const mine = (slot: number) => put(slot).mapping
const theirs = (slot: number) => put(10_000 + slot)

/** Without news, on a name of the other gateway. */
const reliesForADay = Effect.fnUntraced(function* (a: Gateway) {
  yield* TestClock.adjust("23 hours")
  const before = yield* a.shared.mappings
  yield* TestClock.adjust("2 hours")
  assert.deepStrictEqual(before, [theirs(1).mapping])
  assert.deepStrictEqual((yield* arrived(a)).changes, [released(10_001)])
})

describe("SharedState", () => {
  it.effect("brings a name from one gateway to the other, and takes it back", () =>
    Effect.gen(function* () {
      const site = new SharedStoreMemory.SiteMemory()
      const [a, b] = [yield* gateway(site, "a"), yield* gateway(site, "b")]

      yield* a.state.putMapping(mine(1))
      yield* aMoment
      const first = yield* arrived(b)
      const known = yield* b.shared.mappings
      yield* a.state.removeMapping(mine(1), 0)
      yield* aMoment

      assert.deepStrictEqual(first.changes, [put(1)])
      assert.deepStrictEqual(known, [mine(1)])
      assert.deepStrictEqual((yield* arrived(b)).changes, [released(1)])
      assert.deepStrictEqual(yield* b.shared.mappings, [])
      // Each has its own state for itself.
      assert.deepStrictEqual(yield* b.state.mappings, [])
    })
  )

  it.effect("tells that it uses a name that another gateway gave", () =>
    Effect.gen(function* () {
      const site = new SharedStoreMemory.SiteMemory()
      const [a, b] = [yield* gateway(site, "a"), yield* gateway(site, "b")]
      yield* b.state.putMapping(theirs(1).mapping)
      yield* aMoment
      yield* arrived(b)

      const later = { ...theirs(1).mapping, lastUsedAt: 2e12 }
      yield* a.state.putMapping(later)
      yield* aMoment

      assert.deepStrictEqual((yield* arrived(b)).changes, [{ _tag: "Put", mapping: later }])
      assert.deepStrictEqual(yield* inSite(site), [{ _tag: "Put", mapping: later }])
    })
  )

  it.effect("tells nothing of slots that are neither its own nor known: those who gave them do", () =>
    Effect.gen(function* () {
      const site = new SharedStoreMemory.SiteMemory()
      const a = yield* gateway(site, "a")

      yield* a.state.putMapping(theirs(1).mapping)
      yield* a.state.removeMapping(theirs(1).mapping, 0)
      yield* aMoment

      assert.deepStrictEqual(yield* inSite(site), [])
    })
  )

  it.effect("tells in one go what comes within 100 ms", () =>
    Effect.gen(function* () {
      const site = new SharedStoreMemory.SiteMemory()
      const a = yield* gateway(site, "a")
      yield* aMoment
      const before = site.revision

      for (const slot of [1, 2, 3, 4, 5]) {
        yield* a.state.putMapping(mine(slot))
        yield* TestClock.adjust("15 millis")
      }
      yield* aMoment

      assert.strictEqual(site.revision, before + 1)
      assert.lengthOf(yield* inSite(site), 5)
    })
  )

  it.effect("keeps what it cannot tell, for as long as it takes, and tells it then; new names never wait", () =>
    Effect.gen(function* () {
      const site = new SharedStoreMemory.SiteMemory()
      const [a, b] = [yield* gateway(site, "a"), yield* gateway(site, "b")]
      yield* a.state.putMapping(mine(1))
      yield* b.state.putMapping(theirs(1).mapping)
      yield* aMoment
      yield* arrived(a)
      yield* arrived(b)

      yield* site.leave
      for (let slot = 2; slot <= 1_202; slot++) yield* a.state.putMapping(mine(slot))
      yield* a.state.removeMapping(mine(1), 0)
      yield* b.state.putMapping(theirs(2).mapping)
      yield* TestClock.adjust("23 hours")
      assert.deepStrictEqual((yield* arrived(b)).changes, [])
      assert.strictEqual((yield* a.shared.store)._tag, "Away")
      assert.deepStrictEqual(yield* a.shared.mappings, [theirs(1).mapping])

      yield* site.comeBack
      yield* aMoment

      const { changes } = yield* arrived(b)
      assert.sameDeepMembers(
        changes.filter(({ mapping }) => mapping.slot < 10_000),
        [released(1), ...Array.from({ length: 1_201 }, (_, i) => put(i + 2))]
      )
      assert.deepInclude((yield* arrived(a)).changes, theirs(2))
    })
  )

  it.effect("relies on what others have told for a day after it has read all, and not longer", () =>
    Effect.gen(function* () {
      const site = new SharedStoreMemory.SiteMemory()
      const [a, b] = [yield* gateway(site, "a"), yield* gateway(site, "b")]
      yield* b.state.putMapping(theirs(1).mapping)
      yield* aMoment
      yield* arrived(a)

      yield* site.leave
      yield* TestClock.adjust("25 hours")
      yield* aMoment

      assert.deepStrictEqual((yield* arrived(a)).changes, [released(10_001)])
      assert.deepStrictEqual(yield* a.shared.mappings, [])
      assert.isNull((yield* a.shared.standing).cursor)

      yield* site.comeBack
      yield* aMoment
      assert.deepStrictEqual((yield* arrived(a)).changes, [theirs(1)])
      assert.deepStrictEqual(yield* a.shared.mappings, [theirs(1).mapping])
      assert.deepStrictEqual((yield* arrived(b)).conflicts, [])
    })
  )

  it.effect("begins with nothing of others where all of it is too old, however much it was", () =>
    Effect.gen(function* () {
      const site = new SharedStoreMemory.SiteMemory()
      const copy = yield* kept(memoryCopy("a"))
      const b = yield* gateway(site, "b")
      for (let slot = 1; slot <= 4_000; slot++) yield* b.state.putMapping(theirs(slot).mapping)
      yield* aMoment
      yield* Effect.scoped(Effect.andThen(gateway(site, "a", { copy }), aMoment))

      yield* TestClock.adjust("25 hours")
      yield* site.leave
      const again = yield* gateway(site, "a", { copy })

      assert.deepStrictEqual(yield* again.shared.mappings, [])
      yield* aMoment
      assert.deepStrictEqual((yield* arrived(again)).changes, [])
    })
  )

  it.effect("relies for no longer on what it has never read to its end", () =>
    Effect.gen(function* () {
      const site = new SharedStoreMemory.SiteMemory()
      const copy = yield* kept(memoryCopy("a"))
      yield* Effect.provide(
        Effect.flatMap(SiteCopy, ({ take }) => {
          const cursor = { revision: 1, head: 2, token: "lost on the way" }
          const page = { directory: [], cursor, last: false, anew: true, blocks: [], dateMs: 0 }
          return take({ ...page, changes: [theirs(1)] }, 0)
        }),
        copy
      )
      yield* site.leave
      const a = yield* gateway(site, "a", { copy })

      yield* reliesForADay(a)
    })
  )

  it.effect("lets nothing go when the clock is set back by a little, but after a day without news all the same", () =>
    Effect.gen(function* () {
      const stepped = yield* makeSteppedClock
      const site = new SharedStoreMemory.SiteMemory()
      const b = yield* gateway(site, "b")
      yield* b.state.putMapping(theirs(1).mapping)
      yield* TestClock.adjust("1 hour")
      const a = yield* Effect.provideService(gateway(site, "a"), Clock.Clock, stepped)
      yield* aMoment
      yield* arrived(a)

      yield* site.leave
      stepped.aheadMs = -600_000

      yield* reliesForADay(a)
    })
  )

  it.effect("does not rely on what it read at a date that is still to come", () =>
    Effect.gen(function* () {
      const stepped = yield* makeSteppedClock
      stepped.aheadMs = 600_000
      const site = new SharedStoreMemory.SiteMemory()
      const copy = yield* kept(memoryCopy("a"))
      const b = yield* gateway(site, "b")
      yield* b.state.putMapping(theirs(1).mapping)
      yield* Effect.scoped(
        Effect.andThen(Effect.provideService(gateway(site, "a", { copy }), Clock.Clock, stepped), aMoment)
      )

      yield* site.leave
      const again = yield* gateway(site, "a", { copy })

      assert.deepStrictEqual(yield* again.shared.mappings, [])
    })
  )

  it.effect("has in its next life what the others told in this one, and what it has not told yet", () =>
    Effect.gen(function* () {
      const site = new SharedStoreMemory.SiteMemory()
      const copy = yield* kept(memoryCopy("a"))
      const b = yield* gateway(site, "b")
      yield* b.state.putMapping(theirs(1).mapping)
      yield* aMoment
      yield* Effect.scoped(
        Effect.gen(function* () {
          const a = yield* gateway(site, "a", { copy })
          yield* aMoment
          yield* site.leave
          yield* a.state.putMapping(mine(1))
        })
      )

      const again = yield* gateway(site, "a", { copy })
      assert.deepStrictEqual(yield* again.shared.mappings, [theirs(1).mapping])
      yield* site.comeBack
      yield* aMoment

      assert.sameDeepMembers(yield* inSite(site), [put(1), theirs(1)])
    })
  )

  it.effect("tells again what the site has released because everybody was gone for a day", () =>
    Effect.gen(function* () {
      const site = new SharedStoreMemory.SiteMemory()
      const a = yield* gateway(site, "a")
      yield* a.state.putMapping(mine(1))
      yield* aMoment

      yield* site.leave
      yield* TestClock.adjust("25 hours")
      site.restart()
      yield* site.comeBack
      yield* aMoment

      assert.deepStrictEqual([...site.signedIn.keys()], [0])
      assert.deepStrictEqual(yield* inSite(site), [put(1)])
    })
  )

  it.effect("tells again what somebody else has released: its own slots are its own", () =>
    Effect.gen(function* () {
      const site = new SharedStoreMemory.SiteMemory()
      const a = yield* gateway(site, "a")
      yield* a.state.putMapping(mine(1))
      yield* aMoment

      yield* Effect.flatMap(SharedStore, (store) => store.write([released(1)])).pipe(
        Effect.provide(SharedStoreMemory.layer(site), { local: true })
      )
      yield* aMoment

      assert.deepStrictEqual(yield* inSite(site), [put(1)])
    })
  )

  it.effect("gives an own slot back when its release has come back from the site, by the site's clock", () =>
    Effect.gen(function* () {
      const site = new SharedStoreMemory.SiteMemory()
      const a = yield* gateway(site, "a")
      yield* a.state.putMapping(mine(1))
      yield* aMoment

      yield* site.leave
      yield* a.state.removeMapping(mine(1), 0)
      yield* TestClock.adjust("1 hour")
      const untold = yield* a.state.takeRested("alice", Infinity)
      yield* site.comeBack
      yield* aMoment
      const { readAt } = yield* a.shared.standing

      assert.isNull(untold)
      assert.isNull(yield* a.state.takeRested("alice", 3_600_000))
      assert.strictEqual(yield* a.state.takeRested("alice", readAt!.store), 1)
      assert.isNull(yield* a.state.takeRested("alice", Infinity))
    })
  )

  it.effect("says which own name has come too late for its slot, and goes on with the others", () =>
    Effect.gen(function* () {
      const site = new SharedStoreMemory.SiteMemory()
      // Two that believe to have the same slots: somebody has copied a state directory.
      const copy = memoryCopy("a")
      const [a, b] = [yield* gateway(site, "a", { copy }), yield* gateway(site, "b", { copy })]
      yield* a.state.putMapping(put(1, "first.example").mapping)
      yield* aMoment
      const restore = site.backup()

      yield* b.state.putMapping(put(1, "second.example").mapping)
      yield* b.state.putMapping(mine(2))
      yield* aMoment

      assert.deepStrictEqual((yield* arrived(b)).conflicts, [
        { client: "alice", slot: 1, domain: "second.example", holder: "first.example" }
      ])
      assert.deepStrictEqual((yield* arrived(a)).conflicts, [])
      assert.sameDeepMembers(yield* inSite(site), [put(1, "first.example"), put(2)])
      // Once is enough, whatever the site loses.
      restore()
      yield* aMoment
      assert.deepStrictEqual((yield* arrived(b)).conflicts, [])
      assert.sameDeepMembers(yield* inSite(site), [put(1, "first.example"), put(2)])
    })
  )

  for (const [how, restart] of [
    ["with a new start", true],
    ["under way", false]
  ] as const) {
    it.effect(
      `gives a site that was put back to an earlier day ${how} what it has lost, and lets others' names go`,
      () =>
        Effect.gen(function* () {
          const site = new SharedStoreMemory.SiteMemory()
          const a = yield* gateway(site, "a")
          yield* a.state.putMapping(mine(1))
          yield* a.state.putMapping(mine(3))
          yield* aMoment
          const restore = site.backup()
          yield* a.state.putMapping(mine(2))
          yield* a.state.removeMapping(mine(3), 0)
          yield* Effect.scoped(
            Effect.gen(function* () {
              const b = yield* gateway(site, "b")
              yield* b.state.putMapping(theirs(1).mapping)
              yield* aMoment
            })
          )
          assert.deepStrictEqual(yield* a.shared.mappings, [theirs(1).mapping])
          yield* arrived(a)

          if (restart) yield* site.leave
          restore()
          if (restart) yield* site.comeBack
          yield* aMoment

          assert.sameDeepMembers(yield* inSite(site), [put(1), put(2), released(3)])
          assert.deepStrictEqual(yield* a.shared.mappings, [])
          assert.deepInclude((yield* arrived(a)).changes, released(10_001))
          assert.strictEqual((yield* a.shared.standing).gateway, 0)
        })
    )
  }

  it.effect("tells the site what the gateway had before it was one of a site", () =>
    Effect.gen(function* () {
      const site = new SharedStoreMemory.SiteMemory()
      const state = yield* kept(StateStoreMemory.layer)
      yield* Effect.provide(
        Effect.flatMap(StateStore, (store) => store.putMapping(mine(1))),
        state
      )

      yield* gateway(site, "a", { state })
      yield* aMoment

      assert.deepStrictEqual(yield* inSite(site), [put(1)])
    })
  )

  it.effect("tells what its state has in blocks that it has forgotten and the site has not", () =>
    Effect.gen(function* () {
      const site = new SharedStoreMemory.SiteMemory()
      yield* Effect.gen(function* () {
        const store = yield* SharedStore
        yield* store.signIn(signIn("a"))
        yield* store.lease(0, tenBlocks)
        yield* store.write([put(20_001)])
      }).pipe(Effect.provide(SharedStoreMemory.layer(site), { local: true }))
      const state = yield* kept(StateStoreMemory.layer)
      yield* Effect.provide(
        Effect.flatMap(StateStore, (store) => store.putMapping(put(20_002).mapping)),
        state
      )

      const a = yield* gateway(site, "a", { state })
      yield* aMoment

      assert.sameDeepMembers(yield* inSite(site), [put(20_001), put(20_002)])
      assert.deepStrictEqual(yield* a.shared.mappings, [])
    })
  )

  it.effect("brings all that was read, whatever of it its own state does not take", () =>
    Effect.gen(function* () {
      const site = new SharedStoreMemory.SiteMemory()
      const all = [put(20_150), theirs(1), put(20_151)]
      yield* Effect.flatMap(SharedStore, (store) => store.write(all)).pipe(
        Effect.provide(SharedStoreMemory.layer(site), { local: true })
      )
      const real = Context.get(yield* Layer.build(Layer.fresh(StateStoreMemory.layer)), StateStore)
      const state = Layer.succeed(StateStore, {
        ...real,
        putMapping: (mapping) =>
          mapping.slot === 20_150 ? Effect.fail(new StateError({ message: "taken" })) : real.putMapping(mapping)
      })

      const a = yield* gateway(site, "a", { state })
      yield* aMoment

      assert.sameDeepMembers([...(yield* arrived(a)).changes], all)
      assert.deepStrictEqual(yield* real.mappings, [put(20_151).mapping])
    })
  )

  it.effect("lets names be put while its own copy cannot be written, and tells them when it can", () =>
    Effect.gen(function* () {
      const site = new SharedStoreMemory.SiteMemory()
      const real = Context.get(yield* Layer.build(memoryCopy("a")), SiteCopy)
      let full = false
      const unless = <A>(work: Effect.Effect<A, StateError>) =>
        Effect.suspend(() => (full ? Effect.fail(new StateError({ message: "the disk is full" })) : work))
      const copy = Layer.succeed(SiteCopy, {
        ...real,
        take: (page, now) => unless(real.take(page, now)),
        put: (mapping) => unless(real.put(mapping)),
        putMissing: (mappings) => unless(real.putMissing(mappings)),
        sent: (changes) => unless(real.sent(changes))
      })
      const a = yield* gateway(site, "a", { copy })
      const b = yield* gateway(site, "b")
      yield* aMoment

      full = true
      yield* a.state.putMapping(mine(1))
      yield* b.state.putMapping(theirs(1).mapping)
      yield* TestClock.adjust("1 minute")
      full = false
      yield* TestClock.adjust("5 seconds")
      yield* aMoment

      assert.sameDeepMembers(yield* inSite(site), [put(1), theirs(1)])
      assert.deepStrictEqual(yield* a.shared.mappings, [theirs(1).mapping])
    })
  )
})
