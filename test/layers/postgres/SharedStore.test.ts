import { assert, describe, it } from "@effect/vitest"
import { Effect, type Layer, Queue } from "effect"
import * as Memory from "../../../layers/memory/SharedStoreMemory.ts"
import { maxWritten, type SharedStore } from "../../../src/shared/SharedStore.ts"
import { ofFile } from "../../support/ofFile.ts"
import { startPostgres } from "../../support/postgres.ts"
import {
  addressOf,
  live,
  openStore,
  put,
  readOn,
  released,
  signIn,
  type Store,
  tenBlocks,
  until
} from "../../support/sharedStore.ts"

const postgres = ofFile(startPostgres())

/** One site: as many gateways as are asked for, and what may become of it. */
interface Site {
  readonly layer: Layer.Layer<SharedStore>
  /** What it has now is put back later. */
  readonly backup: Effect.Effect<Effect.Effect<void>>
  /** Nobody has signed in since. */
  readonly restart: Effect.Effect<void>
  /** All was so many hours earlier. */
  readonly age: (hours: number) => Effect.Effect<void>
}

const inPostgres: Effect.Effect<Site> = Effect.gen(function* () {
  const database = yield* postgres.database
  const sql = (text: string) => Effect.asVoid(Effect.orDie(postgres.sql(text, database)))
  const tables = ["revision", "directory", "mapping", "lease", "gateway"]
  return {
    layer: live(addressOf(database, postgres)),
    backup: Effect.gen(function* () {
      yield* sql("CREATE SCHEMA IF NOT EXISTS backup")
      yield* sql(tables.map((table) => `CREATE TABLE backup.${table} AS TABLE sallyport.${table}`).join("; "))
      return Effect.andThen(
        sql(`
          ${tables.map((table) => `DELETE FROM sallyport.${table}`).join("; ")};
          ${tables
            .toReversed()
            .map((table) => `INSERT INTO sallyport.${table} OVERRIDING SYSTEM VALUE TABLE backup.${table}`)
            .join("; ")}`),
        sql("SELECT setval(pg_get_serial_sequence('sallyport.revision', 'rev'), max(rev)) FROM backup.revision")
      )
    }),
    restart: sql("UPDATE sallyport.gateway SET incarnation = 'an earlier one'"),
    age: (hours: number) => sql(`UPDATE sallyport.revision SET at = at - interval '${hours} hours'`)
  }
}).pipe(Effect.orDie)

const inMemory: Effect.Effect<Site> = Effect.sync(() => {
  const site = new Memory.SiteMemory()
  return {
    layer: Memory.layer(site),
    backup: Effect.sync(() => Effect.sync(site.backup())),
    restart: Effect.sync(() => site.restart()),
    age: (hours) => Effect.sync(() => site.age(hours * 3_600_000))
  }
})

for (const [name, makeSite] of [
  ["in PostgreSQL", inPostgres],
  ["in memory", inMemory]
] as const) {
  describe(`SharedStore ${name}`, { timeout: 60_000 }, () => {
    const twoGateways = Effect.gen(function* () {
      const site = yield* makeSite
      return { a: yield* openStore(site.layer), b: yield* openStore(site.layer), ...site }
    })

    it.live("tells each gateway once what another one has written, and that there is something", () =>
      Effect.gen(function* () {
        const { a, b } = yield* twoGateways
        const { cursor } = yield* readOn(b, null)
        yield* Queue.clear(b.news)

        assert.deepStrictEqual(yield* a.write([put(1), put(2), put(1, "one.example", "bob")]), [])

        yield* Queue.take(b.news)
        const after = yield* readOn(b, cursor)
        assert.sameDeepMembers(after.changes, [put(1), put(2), put(1, "one.example", "bob")])
        assert.isFalse(after.anew)
        assert.deepStrictEqual((yield* readOn(b, after.cursor)).changes, [])
      })
    )

    it.live("takes the same twice, and keeps the later use", () =>
      Effect.gen(function* () {
        const { a, b } = yield* twoGateways
        yield* a.write([put(1)])

        yield* b.write([put(1)])
        yield* b.write([{ _tag: "Put", mapping: { ...put(1).mapping, lastUsedAt: 5 } }])

        assert.deepStrictEqual((yield* readOn(a, null)).changes, [put(1)])
      })
    )

    it.live("gives a slot in use to no other name, and says whose it is", () =>
      Effect.gen(function* () {
        const { a, b } = yield* twoGateways
        yield* a.write([put(1, "first.example")])

        const conflicts = yield* b.write([put(1, "second.example"), put(2), put(1, "second.example", "bob")])

        assert.deepStrictEqual(conflicts, [
          { client: "alice", slot: 1, domain: "second.example", holder: "first.example" }
        ])
        assert.sameDeepMembers((yield* readOn(a, null)).changes, [
          put(1, "first.example"),
          put(2),
          put(1, "second.example", "bob")
        ])
      })
    )

    it.live("tells of a released slot, which another name may have from then on", () =>
      Effect.gen(function* () {
        const { a, b } = yield* twoGateways
        yield* a.write([put(1, "first.example"), put(2)])
        const { cursor } = yield* readOn(b, null)

        yield* a.write([released(1, "first.example")])

        const after = yield* readOn(b, cursor)
        assert.deepStrictEqual(after.changes, [released(1, "first.example")])
        assert.deepStrictEqual(
          yield* b.write([{ _tag: "Put", mapping: { ...put(1, "next.example").mapping, lastUsedAt: 1 } }]),
          []
        )
        const last = yield* readOn(a, after.cursor)
        assert.deepStrictEqual(
          last.changes.map(({ mapping }) => mapping),
          [{ ...put(1, "next.example").mapping, lastUsedAt: 1 }]
        )
      })
    )

    it.live("lets its gateway release a slot, whatever it stands for by what the site has", () =>
      Effect.gen(function* () {
        const { a } = yield* twoGateways
        yield* a.write([put(1, "long.ago.example")])

        assert.deepStrictEqual(yield* a.write([released(1, "since.example")]), [])

        assert.deepStrictEqual((yield* readOn(a, null)).changes, [released(1, "since.example")])
      })
    )

    it.live("takes the last of several changes of one slot", () =>
      Effect.gen(function* () {
        const { a } = yield* twoGateways

        yield* a.write([put(1), put(2), released(1)])

        assert.sameDeepMembers((yield* readOn(a, null)).changes, [released(1), put(2)])
      })
    )

    it.live("is read in pages, in the order of the writes, none of them torn", () =>
      Effect.gen(function* () {
        const { a, b } = yield* twoGateways
        // No page ends with one of them.
        const size = maxWritten - 300
        for (let write = 0; write < 16; write++) {
          yield* a.write(Array.from({ length: size }, (_, i) => put(1 + write * size + i)))
        }

        const { changes, pages } = yield* readOn(b, null)

        assert.isAbove(pages, 1)
        assert.strictEqual(changes.length, 16 * size)
        assert.strictEqual(new Set(changes.map(({ mapping }) => mapping.slot)).size, 16 * size)
        const writes = changes.map(({ mapping }) => Math.floor((mapping.slot - 1) / size))
        assert.deepStrictEqual(
          writes,
          writes.toSorted((x, y) => x - y)
        )
      })
    )

    it.live("begins anew for who has read what it has lost", () =>
      Effect.gen(function* () {
        const { a, b, backup } = yield* twoGateways
        yield* a.write([put(1)])
        const restore = yield* backup
        yield* a.write([put(2)])
        const { cursor } = yield* readOn(b, null)

        yield* restore
        // As many writes as were lost, and then more.
        yield* a.write([put(3)])
        yield* a.write([put(4)])

        const after = yield* readOn(b, cursor)
        assert.isTrue(after.anew)
        assert.deepStrictEqual(after.changes, [put(1), put(3), put(4)])
        assert.isFalse((yield* readOn(b, after.cursor)).anew)
      })
    )

    it.live("gives a gateway its number for ever", () =>
      Effect.gen(function* () {
        const { a, b, restart } = yield* twoGateways
        const first = [yield* a.signIn(signIn("berlin")), yield* b.signIn(signIn("paris"))]
        yield* restart

        const again = [
          yield* b.signIn(signIn("oslo")),
          yield* b.signIn(signIn("paris", { gateway: 1 })),
          yield* a.signIn(signIn("berlin"))
        ]

        assert.deepStrictEqual(
          [...first, ...again].map(({ gateway }) => gateway),
          [0, 1, 2, 1, 0]
        )
      })
    )

    it.live("gives a number to nobody else that one gateway says it has, and says so to who comes too late", () =>
      Effect.gen(function* () {
        const { a, b } = yield* twoGateways
        assert.include(yield* a.signIn(signIn("oslo", { gateway: 5 })), { gateway: 5 })
        assert.include(yield* b.signIn(signIn("paris")), { gateway: 6 })

        const late = yield* Effect.flip(b.signIn(signIn("berlin", { gateway: 6 })))
        yield* until(Effect.map(b.status, ({ _tag }) => _tag === "Connected"))
        const other = yield* Effect.flip(a.signIn(signIn("oslo", { gateway: 4 })))

        assert.deepStrictEqual([late.reason, other.reason], ["Failed", "Failed"])
      })
    )

    it.live("leases no block twice, however many ask at once, until there is none left", () =>
      Effect.gen(function* () {
        const { a, b } = yield* twoGateways
        yield* a.signIn(signIn("berlin"))
        yield* b.signIn(signIn("paris"))
        const ask = ([store, gateway]: readonly [Store, number]) => store.lease(gateway, tenBlocks)

        const blocks = yield* Effect.forEach(
          Array.from({ length: 10 }, (_, i) => (i % 2 === 0 ? ([a, 0] as const) : ([b, 1] as const))),
          ask,
          { concurrency: "unbounded" }
        )

        assert.deepStrictEqual(
          blocks.map(Number).toSorted((x, y) => x - y),
          Array.from({ length: 10 }, (_, i) => i)
        )
        assert.isNull(yield* b.lease(1, tenBlocks))
        const held = [yield* readOn(a, null, 0), yield* readOn(b, null, 1)].map(({ blocks }) => blocks)
        assert.sameMembers(held[0]!.concat(held[1]!), blocks.map(Number))
        assert.deepStrictEqual(
          held.map(({ length }) => length),
          [5, 5]
        )
      })
    )

    /** The next free slots, in the order of the names. */
    const extend = (domains: ReadonlyArray<string>) => (known: ReadonlyMap<string, number>) =>
      domains.filter((domain) => !known.has(domain)).map((domain, i) => ({ domain, slot: known.size + i + 1 }))

    it.live("has one directory, whoever extends it at the same time", () =>
      Effect.gen(function* () {
        const { a, b } = yield* twoGateways
        yield* a.signIn(signIn("berlin"))

        yield* Effect.all([a.extendDirectory(extend(["x", "y"])), b.extendDirectory(extend(["y", "z", "x"]))], {
          concurrency: "unbounded"
        })

        const { cursor, directory } = yield* readOn(a, null)
        assert.sameMembers(
          directory.map(({ domain }) => domain),
          ["x", "y", "z"]
        )
        assert.deepStrictEqual(
          directory.map(({ slot }) => slot).toSorted((x, y) => x - y),
          [1, 2, 3]
        )
        yield* b.extendDirectory(extend(["w"]))
        assert.deepStrictEqual((yield* readOn(a, cursor)).directory, [{ domain: "w", slot: 4 }])
      })
    )

    it.live("gives nothing for ever after a start before all have signed in", () =>
      Effect.gen(function* () {
        const { a, b, restart } = yield* twoGateways
        yield* a.signIn(signIn("berlin"))
        yield* b.signIn(signIn("paris"))
        const { cursor } = yield* readOn(a, null)
        const grow = Effect.gen(function* () {
          const block = yield* a.lease(0, tenBlocks)
          yield* a.extendDirectory(extend([`n${String(block)}`]))
          return [block, (yield* readOn(a, null)).directory.length]
        })

        yield* restart
        yield* a.signIn(signIn("berlin", { gateway: 0, cursor }))
        const alone = yield* grow
        yield* b.signIn(signIn("paris", { gateway: 1, cursor }))

        assert.deepStrictEqual(
          [alone, yield* grow],
          [
            [null, 0],
            [0, 1]
          ]
        )
      })
    )

    it.live("waits for none that it is to forget, unless that one is there, and takes it back where it comes", () =>
      Effect.gen(function* () {
        const { a, layer, restart } = yield* twoGateways
        yield* a.signIn(signIn("berlin"))
        const { cursor } = yield* readOn(a, null)
        yield* Effect.scoped(
          Effect.gen(function* () {
            const b = yield* openStore(layer)
            yield* b.signIn(signIn("paris"))
            assert.deepStrictEqual([yield* a.forget(1), yield* a.forget(7)], ["Present", "Unknown"])
          })
        )
        yield* restart
        yield* a.signIn(signIn("berlin", { gateway: 0, cursor }))
        assert.isNull(yield* a.lease(0, tenBlocks))

        yield* until(Effect.map(a.forget(1), (is) => is === "Forgotten"))

        assert.strictEqual(yield* a.lease(0, tenBlocks), 0)
        const back = yield* openStore(layer)
        assert.strictEqual((yield* back.signIn(signIn("paris", { gateway: 1 }))).gateway, 1)
      })
    )

    it.live("gets back with a sign-in what it has lost, and tells the gateway that it has", () =>
      Effect.gen(function* () {
        const { a, b, backup, restart } = yield* twoGateways
        yield* a.signIn(signIn("berlin"))
        const restore = yield* backup
        yield* b.signIn(signIn("paris"))
        yield* b.lease(1, tenBlocks)
        yield* b.extendDirectory(extend(["x", "y"]))
        const had = yield* readOn(b, null, 1)

        yield* restore
        yield* restart
        const { blocks, cursor, directory } = had
        const signedIn = yield* b.signIn(signIn("paris", { gateway: 1, blocks, cursor, directory }))
        yield* a.signIn(signIn("berlin", { gateway: 0 }))

        assert.deepStrictEqual(signedIn, { gateway: 1, lost: true })
        const has = yield* readOn(b, cursor, 1)
        assert.deepStrictEqual([has.anew, has.blocks], [true, [0]])
        assert.sameDeepMembers(has.directory, directory)
        assert.strictEqual(yield* a.lease(0, tenBlocks), 1)
        yield* restart
        assert.isFalse((yield* b.signIn(signIn("paris", { gateway: 1, cursor: has.cursor }))).lost)
      })
    )

    it.live("gets back what it has lost under way, too, from who has signed in before", () =>
      Effect.gen(function* () {
        const { a, backup } = yield* twoGateways
        yield* a.signIn(signIn("berlin"))
        const restore = yield* backup
        yield* a.lease(0, tenBlocks)
        yield* a.extendDirectory(extend(["x"]))
        const { blocks, cursor, directory } = yield* readOn(a, null)

        yield* restore
        const again = yield* a.signIn(signIn("berlin", { gateway: 0, blocks, cursor, directory }))

        assert.deepStrictEqual(again, { gateway: 0, lost: true })
        const has = yield* readOn(a, null)
        assert.deepStrictEqual([has.blocks, has.directory], [blocks, directory])
      })
    )

    it.live("has no names any more where nobody has written for a day, once everybody was gone", () =>
      Effect.gen(function* () {
        const { a, b, age, restart } = yield* twoGateways
        yield* a.signIn(signIn("berlin"))
        yield* a.write([put(1)])
        const { cursor } = yield* readOn(a, null)

        yield* restart
        yield* b.signIn(signIn("paris"))
        assert.deepStrictEqual((yield* readOn(b, cursor)).changes, [])
        yield* age(25)
        assert.isFalse((yield* a.signIn(signIn("berlin", { gateway: 0, cursor }))).lost)
        yield* age(25)
        yield* restart
        const signedIn = yield* a.signIn(signIn("berlin", { gateway: 0, cursor }))

        assert.isTrue(signedIn.lost)
        const after = yield* readOn(b, cursor)
        assert.deepStrictEqual([after.anew, after.changes], [true, []])
      })
    )
  })
}
