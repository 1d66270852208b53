/** Gateways of a site whose PostgreSQL fails over, is put back, or gets other tables: what they tell clients meanwhile, and afterwards. */
import { assert, describe, it } from "@effect/vitest"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { Context, Effect, Layer } from "effect"
import { connect } from "../../../layers/postgres/connect.ts"
import { migrate } from "../../../layers/postgres/migrate.ts"
import { SharedStore } from "../../../src/shared/SharedStore.ts"
import { dnsResource } from "../../support/access.ts"
import { disk, ownerOf, restoreNames, servicesAt } from "../../support/memorySite.ts"
import { type Postgres, startPostgres } from "../../support/postgres.ts"
import { addressOf, live, until } from "../../support/sharedStore.ts"
import { askRaw, configOf } from "../../support/standalone.ts"

const config = configOf([dnsResource("git.corp"), dnsResource("**.corp")])

/** What a client may wait for an answer: nothing of it is PostgreSQL's. */
const mostMs = 2_000

const start = Effect.fnUntraced(function* (database: string, ...servers: ReadonlyArray<Postgres>) {
  const store = yield* Layer.build(Layer.fresh(live(addressOf(database, ...servers))))
  const services = yield* servicesAt(Layer.succeedContext(store), yield* disk, config)
  yield* Effect.provide(restoreNames, services)
  const told = Effect.fnUntraced(function* (domain: string) {
    const from = performance.now()
    const given = yield* Effect.provide(askRaw(domain), services)
    assert.isBelow(performance.now() - from, mostMs)
    const [proxy] = given._tag === "Addresses" ? given.addresses : []
    return proxy
  })
  const owner = (proxy: string) => Effect.provide(ownerOf(proxy), services)
  return {
    told,
    owner,
    /** The tables are a newer version's. */
    isKeptOut: until(
      Effect.map(Context.get(store, SharedStore).status, (now) => now._tag === "Away" && now.error.reason === "Newer")
    ),
    /** It has been at PostgreSQL, and has addresses to give. */
    isReady: until(Effect.map(told("first.corp"), (proxy) => proxy !== undefined)),
    knows: (proxy: string | undefined, domain: string) => until(Effect.map(owner(proxy!), (name) => name === domain))
  }
})

type Gateway = Effect.Success<ReturnType<typeof start>>

/** All that they tell of these names, by the name; no address stands for two of them. */
const allTold = Effect.fnUntraced(function* (gateways: ReadonlyArray<Gateway>, names: ReadonlyArray<string>) {
  const nameOf = new Map<string, string>()
  for (const name of names) {
    for (const { told } of gateways) {
      const proxy = yield* told(name)
      assert.isDefined(proxy)
      assert.strictEqual(nameOf.get(proxy) ?? name, name)
      nameOf.set(proxy, name)
    }
  }
  return nameOf
})

const all = (of: string) => Array.from({ length: 20 }, (_, n) => `${of}${n}.corp`)

/** Two gateways, each of which knows what the other one has told. */
const twoGateways = Effect.fnUntraced(function* (database: string, ...servers: ReadonlyArray<Postgres>) {
  const a = yield* start(database, ...servers)
  yield* a.isReady
  const b = yield* start(database, ...servers)
  yield* b.isReady
  return {
    a,
    b,
    know: (told: ReadonlyMap<string, string>) =>
      Effect.forEach(told, ([proxy, name]) => Effect.andThen(a.knows(proxy, name), b.knows(proxy, name)))
  }
})

/** Names with their addresses that PostgreSQL has. */
const kept = (server: Postgres, database: string) =>
  Effect.map(
    server.sql("SELECT domain FROM sallyport.mapping WHERE NOT gone", database),
    (rows) => new Set(rows.split("\n"))
  )

const hasAll = (server: Postgres, database: string, told: ReadonlyMap<string, string>) =>
  until(Effect.map(kept(server, database), (names) => [...told.values()].every((name) => names.has(name))))

describe("gateways of a site", { timeout: 120_000 }, () => {
  it.live("go on while their primary is dead, find the standby that is promoted, and have lost nothing", () =>
    Effect.gen(function* () {
      const primary = yield* startPostgres()
      const database = yield* primary.database
      const standby = yield* startPostgres({ standbyOf: primary })
      yield* primary.sql("ALTER SYSTEM SET synchronous_standby_names = '*'")
      yield* primary.sql("SELECT pg_reload_conf()")
      const { a, b, know } = yield* twoGateways(database, primary, standby)
      const before = yield* allTold([a], all("before"))
      yield* know(before)

      yield* primary.kill
      const meanwhile = yield* allTold([a, b], all("meanwhile"))
      assert.deepStrictEqual(yield* allTold([a, b], all("before")), before)
      yield* standby.promote

      yield* know(meanwhile)
      yield* hasAll(standby, database, new Map([...before, ...meanwhile]))
      const after = yield* allTold([a, b], all("after"))
      assert.lengthOf(
        new Set([...before.keys(), ...meanwhile.keys(), ...after.keys()]),
        before.size + meanwhile.size + after.size
      )
      assert.deepStrictEqual(yield* allTold([b], all("before")), before)
    })
  )

  it.live("tell a standby again what it had not got yet when it was promoted", () =>
    Effect.gen(function* () {
      const primary = yield* startPostgres()
      const database = yield* primary.database
      const standby = yield* startPostgres({ standbyOf: primary })
      const { a, b, know } = yield* twoGateways(database, primary, standby)
      yield* standby.kill
      const lost = new Map([
        ...(yield* allTold([a], all("a"))),
        ...(yield* allTold([b], all("b"))),
        ...(yield* allTold([b], ["git.corp"]))
      ])
      yield* know(lost)

      yield* primary.kill
      yield* standby.start
      yield* standby.promote

      yield* hasAll(standby, database, lost)
      const after = yield* allTold([a, b], [...all("after"), ...lost.values()])
      for (const [proxy, name] of lost) {
        assert.strictEqual(after.get(proxy), name)
        for (const { owner } of [a, b]) assert.strictEqual(yield* owner(proxy), name)
      }
    })
  )

  it.live("tell a PostgreSQL that is put back to an earlier day what it has lost; no address is for two names", () =>
    Effect.gen(function* () {
      const server = yield* startPostgres()
      const database = yield* server.database
      const { a, b, know } = yield* twoGateways(database, server)
      const early = yield* allTold([a, b], all("early"))
      yield* know(early)
      yield* server.kill
      const putBack = yield* server.backUp
      yield* server.start
      const c = yield* start(database, server)
      yield* c.isReady
      const late = yield* allTold([a, b, c], [...all("late"), "git.corp"])
      yield* know(late)

      yield* server.kill
      yield* putBack
      yield* server.start

      yield* hasAll(server, database, new Map([...early, ...late]))
      const told = yield* allTold([a, b, c], [...all("next"), ...early.values(), ...late.values()])
      yield* know(told)
      for (const [proxy, name] of [...early, ...late]) for (const { knows } of [a, b, c]) yield* knows(proxy, name)
    })
  )

  it.live(
    "go on while a newer one adds to the tables; one that is still the older is kept out after its connection",
    () =>
      Effect.gen(function* () {
        const server = yield* startPostgres()
        const database = yield* server.database
        const { a, b, know } = yield* twoGateways(database, server)
        const later = [["CREATE TABLE sallyport.later (n integer)", "INSERT INTO sallyport.later VALUES (1)"]]

        const newer = yield* Effect.provide(connect(addressOf(database, server)), NodeServices.layer)
        yield* newer.run(migrate(newer.at, later))

        const during = yield* allTold([a, b], all("during"))
        yield* know(during)
        yield* server.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'sallyport'")
        yield* Effect.forEach([a, b], ({ isKeptOut }) => isKeptOut)
        const alone = yield* allTold([a, b], all("alone"))
        for (const [proxy, name] of during) {
          for (const { owner } of [a, b]) assert.strictEqual(yield* owner(proxy), name)
        }
        assert.isAbove(alone.size, 20)
        assert.strictEqual(yield* server.sql("SELECT n FROM sallyport.later", database), "1")
      })
  )
})
