import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Layer, Logger } from "effect"
import * as Memory from "../../../layers/memory/PresenceStoreMemory.ts"
import * as Live from "../../../layers/postgres/PresenceStore.ts"
import { type Hello, maxRead, maxTold, type Sighting } from "../../../src/shared/meeting.ts"
import { PresenceStore } from "../../../src/shared/PresenceStore.ts"
import { tickOf } from "../../../src/wireguard/tai64n.ts"
import { ofFile } from "../../support/ofFile.ts"
import { startPostgres } from "../../support/postgres.ts"
import { addressOf, isConnected, live, openStore, signIn, until } from "../../support/sharedStore.ts"

const postgres = ofFile(startPostgres())

const make = (layer: Layer.Layer<PresenceStore>) =>
  Effect.map(Layer.build(Layer.fresh(layer)), (built) => Context.get(built, PresenceStore)).pipe(
    Effect.tap(isConnected)
  )

/** With three gateways that have signed in. */
const inPostgres = Effect.gen(function* () {
  const database = yield* postgres.database
  const address = addressOf(database, postgres)
  const shared = yield* openStore(live(address))
  for (const id of ["berlin", "paris", "rome"]) yield* shared.signIn(signIn(id))
  const layer = Live.layer(address).pipe(Layer.provide(NodeServices.layer))
  const age = (ms: number) => Effect.orDie(postgres.sql(`UPDATE sallyport.heartbeat SET at = at - ${ms}`, database))
  return { database, store: make(layer), age }
}).pipe(Effect.orDie)

const inMemory = Effect.sync(() => {
  const memory = new Memory.PresenceMemory()
  return { store: make(Memory.layer(memory)), age: (ms: number) => Effect.sync(() => memory.age(ms)) }
})

const hello = (gateway: number, more: Partial<Hello> = {}): Hello => ({
  gateway,
  epoch: null,
  clients: 0,
  master: "no",
  address: null,
  port: 51_820,
  draining: false,
  about: null,
  sightings: [],
  known: new Map(),
  ...more
})

const sighting = (n: number, more: Partial<Sighting> = {}): Sighting => ({
  publicKey: `${n.toString().padStart(42, "A")}A=`,
  gateway: 0,
  epoch: 0,
  endpoint: { address: "2001:db8::7", port: 51_820 },
  local: "2001:db8::1",
  lastTai64n: "40000000654321000000000a",
  sentTick: tickOf(1_700_000_000_000),
  handshakeAt: 1_700_000_000_000.25,
  ...more
})

for (const [name, makeSite] of [
  ["in PostgreSQL", inPostgres],
  ["in memory", inMemory]
] as const) {
  describe(`PresenceStore ${name}`, { timeout: 60_000 }, () => {
    const twoGateways = Effect.gen(function* () {
      const { store } = yield* makeSite
      return { a: yield* store, b: yield* store }
    })

    it.live("tells each gateway of the others' lives, each of which has a later number than the one before", () =>
      Effect.gen(function* () {
        const { a, b } = yield* twoGateways
        const about = { version: "1.2.3", host: "gw-a", policy: 4, readAt: 1_700_000_000_000.5 }
        const first = yield* a.meet(hello(0, { clients: 7, draining: true }))
        assert.deepStrictEqual([first.before, first.sightings, first.last], [null, [], true])

        const again = yield* a.meet(hello(0, { epoch: first.epoch, clients: 8, draining: true, about }))
        const { heartbeats } = yield* b.meet(hello(1))
        const later = yield* a.meet(hello(0))

        assert.strictEqual(again.epoch, first.epoch)
        assert.deepInclude(again.before, { epoch: first.epoch, clients: 7, at: first.dateMs })
        const theirs = heartbeats.find(({ gateway }) => gateway === 0)
        const at = again.dateMs
        assert.deepStrictEqual(theirs, {
          gateway: 0,
          epoch: first.epoch,
          at,
          clients: 8,
          masterSince: null,
          heir: null,
          // None of this host's own is told.
          address: name === "in memory" ? "192.0.2.100" : null,
          port: 51_820,
          draining: true,
          about
        })
        assert.isAbove(later.epoch, first.epoch)
        assert.isAtLeast(later.dateMs, again.dateMs)
      })
    )

    it.live("tells where a gateway is reached, as it says itself", () =>
      Effect.gen(function* () {
        const { a, b } = yield* twoGateways
        const addressOf = Effect.map(
          b.meet(hello(1)),
          ({ heartbeats }) => heartbeats.find((one) => one.gateway === 0)?.address
        )
        yield* a.meet(hello(0, { address: "2001:db8::5" }))
        assert.strictEqual(yield* addressOf, "2001:db8::5")
        yield* a.meet(hello(0))
        assert.strictEqual(yield* addressOf, name === "in memory" ? "192.0.2.100" : null)
      })
    )

    it.live("tells each of them once what another one has seen, and again when it is something else", () =>
      Effect.gen(function* () {
        const { a, b } = yield* twoGateways
        const { epoch } = yield* a.meet(hello(0))
        const local = sighting(2, { local: null, lastTai64n: null, endpoint: { address: "192.0.2.1", port: 1 } })
        yield* a.meet(hello(0, { epoch, sightings: [sighting(1), local] }))

        const all = yield* b.meet(hello(1))
        assert.deepStrictEqual(all.sightings, [
          { ...sighting(1), epoch },
          { ...local, epoch }
        ])
        const none = yield* b.meet(hello(1, { epoch: all.epoch, known: all.read }))
        assert.deepStrictEqual([none.sightings, none.last], [[], true])

        const moved = sighting(1, { sentTick: 9 })
        yield* a.meet(hello(0, { epoch, sightings: [moved, local] }))
        const { sightings } = yield* b.meet(hello(1, { known: all.read }))
        assert.deepInclude(sightings, { ...moved, epoch })
        assert.isTrue((yield* a.meet(hello(0))).sightings.every(({ gateway }) => gateway === 0))
      })
    )

    it.live("reads many of them in pages", () =>
      Effect.gen(function* () {
        const { a, b } = yield* twoGateways
        const { epoch } = yield* a.meet(hello(0))
        for (const from of [0, maxTold]) {
          const sightings = Array.from({ length: maxTold }, (_, n) => sighting(from + n))
          yield* a.meet(hello(0, { epoch, sightings }))
        }
        yield* a.meet(hello(0, { epoch, sightings: [sighting(2 * maxTold)] }))
        const first = yield* b.meet(hello(1))
        const second = yield* b.meet(hello(1, { epoch: first.epoch, known: first.read }))
        const third = yield* b.meet(hello(1, { epoch: first.epoch, known: second.read }))
        assert.deepStrictEqual([first.last, second.last, third.last], [false, false, true])
        const keys = [first, second, third].flatMap(({ sightings }) => sightings.map(({ publicKey }) => publicKey))
        assert.strictEqual(new Set(keys).size, 2 * maxRead + 1)
        assert.lengthOf(keys, 2 * maxRead + 1)
      })
    )

    it.live("knows since when each one has the virtual address", () =>
      Effect.gen(function* () {
        const { a } = yield* twoGateways
        const since = Effect.fnUntraced(function* (master: Hello["master"]) {
          const { dateMs, heartbeats } = yield* a.meet(hello(0, { master }))
          return [heartbeats[0]!.masterSince, dateMs] as const
        })
        const [kept, first] = yield* since("keep")
        assert.strictEqual(kept, first)
        yield* Effect.sleep(5)
        assert.strictEqual((yield* since("keep"))[0], kept)
        const [claimed, second] = yield* since("claim")
        assert.strictEqual(claimed, second)
        assert.isAbove(claimed!, kept!)
        assert.isNull((yield* since("no"))[0])
      })
    )

    it.live("takes a gateway for silent that was heard of before the clock was set back", () =>
      Effect.gen(function* () {
        const { age, store } = yield* makeSite
        const [a, b] = [yield* store, yield* store]
        yield* a.meet(hello(0))
        yield* age(-60_000)
        yield* b.meet(hello(1))
        assert.deepStrictEqual(yield* b.inherit(1, [0]), [0])
      })
    )

    it.live("makes one of those that ask the heir of a gateway that is silent, until it is heard of", () =>
      Effect.gen(function* () {
        const { age, store } = yield* makeSite
        const [a, b, c] = [yield* store, yield* store, yield* store]
        yield* a.meet(hello(0))
        assert.deepStrictEqual(yield* b.inherit(1, [0]), [])
        yield* age(3_001)
        yield* b.meet(hello(1))
        yield* c.meet(hello(2))

        const heirs = yield* Effect.all([b.inherit(1, [0, 1]), c.inherit(2, [0, 1])], { concurrency: 2 })

        assert.sameDeepMembers(heirs, [[0], []])
        const heir = heirs[0].length > 0 ? 1 : 2
        assert.deepStrictEqual(yield* (heir === 1 ? b : c).inherit(heir, [0]), [0])
        const { before, heartbeats } = yield* a.meet(hello(0))
        assert.deepStrictEqual([before!.heir, heartbeats.find(({ gateway }) => gateway === 0)!.heir], [heir, null])
        assert.deepStrictEqual(yield* (heir === 1 ? c : b).inherit(3 - heir, [0]), [])
      })
    )
  })
}

describe("PresenceStore in PostgreSQL", { timeout: 60_000 }, () => {
  it.live("says nothing of a gateway any more that was taken out of the site", () =>
    Effect.gen(function* () {
      const address = addressOf(yield* postgres.database, postgres)
      const shared = yield* openStore(live(address))
      yield* shared.signIn(signIn("berlin"))
      yield* Effect.scoped(Effect.flatMap(openStore(live(address)), (paris) => paris.signIn(signIn("paris"))))
      const store = yield* make(Live.layer(address).pipe(Layer.provide(NodeServices.layer)))
      yield* store.meet(hello(1))

      yield* until(Effect.map(shared.forget(1), (is) => is === "Forgotten"))

      const { heartbeats } = yield* store.meet(hello(0))
      assert.deepStrictEqual(
        heartbeats.map(({ gateway }) => gateway),
        [0]
      )
    }).pipe(Effect.orDie)
  )

  it.live("leaves out rows that make no sense, says so once, and reads on behind them", () =>
    Effect.gen(function* () {
      const { database, store } = yield* inPostgres
      const [a, b] = [yield* store, yield* store]
      const { epoch } = yield* a.meet(hello(0))
      const sightings = Array.from({ length: 8 }, (_, n) => sighting(n))
      yield* a.meet(hello(0, { epoch, sightings }))
      const spoil = (n: number, what: string) =>
        postgres.sql(`UPDATE sallyport.presence SET ${what} WHERE public_key = '${sighting(n).publicKey}'`, database)
      yield* spoil(0, "address = 'example.com'")
      yield* spoil(1, "port = 0")
      yield* spoil(2, "local = repeat('1', 10000000)")
      yield* spoil(3, "tai64n = 'ff'")
      yield* spoil(4, "sent_tick = -1")
      // Whoever is called with such a stamp takes no earlier one from anybody.
      yield* spoil(5, `sent_tick = ${tickOf(Date.now() + 2 * 86_400_000)}`)
      yield* spoil(6, `public_key = repeat('x', 100)`)
      const said: Array<string> = []
      const logger = Logger.make(({ message }) => void said.push(String(message)))

      const { last, read, sightings: sane } = yield* b.meet(hello(1)).pipe(Effect.provide(Logger.layer([logger])))

      assert.deepStrictEqual(
        sane.map(({ publicKey }) => publicKey),
        [sighting(7).publicKey]
      )
      assert.isTrue(last)
      assert.deepStrictEqual((yield* b.meet(hello(1, { known: read }))).sightings, [])
      assert.lengthOf(said, 1)
      assert.match(said[0]!, /^PostgreSQL .*: a row is left out: .{1,320}$/)
    }).pipe(Effect.orDie)
  )

  it.live("takes nothing of a statement that comes after a later one", () =>
    Effect.gen(function* () {
      const { database, store } = yield* inPostgres
      const a = yield* store
      const { epoch } = yield* a.meet(hello(0))
      yield* a.meet(hello(0, { epoch, sightings: [sighting(1)] }))
      yield* postgres.sql("UPDATE sallyport.presence SET rev = 1000000", database)
      yield* a.meet(hello(0, { epoch, sightings: [sighting(1, { sentTick: 9 })] }))
      assert.deepStrictEqual((yield* a.meet(hello(0))).sightings, [{ ...sighting(1), epoch }])
    }).pipe(Effect.orDie)
  )

  it.live(
    "goes on after a crash, which it may lose everything with, and tells another connection from the one before",
    () =>
      Effect.gen(function* () {
        const own = yield* startPostgres()
        const address = addressOf(yield* own.database, own)
        yield* (yield* openStore(live(address))).signIn(signIn("berlin"))
        const store = yield* make(Live.layer(address).pipe(Layer.provide(NodeServices.layer)))
        const { epoch } = yield* store.meet(hello(0))
        yield* store.meet(hello(0, { epoch, sightings: [sighting(1)] }))
        const before = yield* store.status

        yield* own.kill
        yield* until(Effect.map(store.status, ({ _tag }) => _tag === "Away"))
        assert.strictEqual((yield* Effect.flip(store.meet(hello(0)))).reason, "Unreachable")
        yield* own.start
        yield* until(Effect.map(store.status, ({ _tag }) => _tag === "Connected"))

        assert.notStrictEqual((yield* store.status).sinceMs, before.sinceMs)
        const after = yield* store.meet(hello(0, { epoch }))
        assert.deepStrictEqual([after.epoch, after.before, after.sightings], [epoch, null, []])
      }).pipe(Effect.orDie)
  )
})
