import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as TestClock from "effect/testing/TestClock"
import * as fs from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { DatabaseSync } from "node:sqlite"
import { publicKeyOf } from "../../../layers/host/keyText.ts"
import { backupState, restoreState } from "../../../layers/host/stateBackup.ts"
import type { StateStore, StoredMapping } from "../../../src/host/StateStore.ts"
import { stateLifeIn as life } from "../../support/stateLife.ts"

const room = Effect.acquireRelease(
  Effect.sync(() => fs.mkdtempSync(join(tmpdir(), "sallyport-backup-"))),
  (path) => Effect.sync(() => fs.rmSync(path, { recursive: true }))
)

const mapping = (slot: number): StoredMapping => ({
  client: "alice",
  resource: "gitlab",
  domain: `n${slot}.example`,
  slot,
  lastUsedAt: 1_700_000_000_000
})

const publicKeyIn = (directory: string) =>
  life(directory, (store) => Effect.map(store.keys, ({ privateKey }) => publicKeyOf(privateKey)))
const restore = (directory: string, file: string) => Effect.scoped(restoreState(directory, file))
const once = { overwrite: false }

describe("backup", () => {
  it.effect("of a gateway of a site makes another one of it elsewhere, and the same one in its own place", () =>
    Effect.gen(function* () {
      const path = yield* room
      const [own, other, file] = [join(path, "own"), join(path, "other"), join(path, "copy")]
      const site = { id: "first", spans: [{ from: 8, to: 16 }] }
      yield* life(own, (store) => Effect.all([store.putSite(site), store.reserveSlots("alice", 5)]))
      yield* backupState(own, file, once)
      const later = { ...site, spans: [...site.spans, { from: 32, to: 64 }] }
      yield* life(own, (store) => Effect.all([store.putSite(later), store.reserveSlots("alice", 5)]))

      for (const copy of ["site.db", "site.db-wal"]) fs.writeFileSync(join(own, copy), "of the state before")

      for (const directory of [own, other]) yield* restore(directory, file)

      const found = (store: StateStore["Service"]) => Effect.all([store.site, store.reserveSlots("alice", 1)])
      assert.deepStrictEqual(yield* life(own, found), [later, 10])
      assert.deepStrictEqual(yield* life(other, found), [null, 0])
      assert.notMatch(fs.readdirSync(own).join(" "), /site/)
    })
  )

  it.effect("of a running gateway has the row of a moment ago, and is readable by its owner only", () =>
    Effect.gen(function* () {
      const path = yield* room
      const file = join(path, "copy")
      const summary = yield* life(join(path, "a"), (store) =>
        Effect.gen(function* () {
          yield* store.putMapping(mapping(3))
          const made = yield* backupState(join(path, "a"), file, once)
          assert.strictEqual(made.publicKey, publicKeyOf((yield* store.keys).privateKey))
          // It goes on as if nothing had been.
          yield* store.putMapping(mapping(4))
          return made
        })
      )
      assert.strictEqual(summary.names, 1)
      assert.strictEqual(fs.statSync(file).mode & 0o777, 0o600)
      assert.deepStrictEqual(fs.readdirSync(path).toSorted(), ["a", "copy"])

      yield* restore(join(path, "b"), file)
      assert.strictEqual(yield* publicKeyIn(join(path, "b")), summary.publicKey)
      assert.deepStrictEqual(yield* life(join(path, "b"), (store) => store.mappings), [mapping(3)])
      assert.isFalse((yield* restore(join(path, "c"), file)).slotsLost)
    })
  )

  it.effect("carries both keys while one is being replaced, and the date; so does restore", () =>
    Effect.gen(function* () {
      const path = yield* room
      const [a, b, file] = [join(path, "a"), join(path, "b"), join(path, "copy")]
      const { privateKey } = yield* life(a, (store) => store.keys)
      const next = Buffer.alloc(32, 7).toString("base64")
      const keys = { privateKey: next, ending: { privateKey, endsAt: 1_900_000_000_000, leftMs: 5 } }
      const summary = yield* life(a, (store) => Effect.andThen(store.putKeys(keys), backupState(a, file, once)))

      const restored = yield* restore(b, file)

      const expected = { publicKey: publicKeyOf(next), endingKey: publicKeyOf(privateKey) }
      assert.deepInclude(summary, expected)
      assert.deepInclude(restored, expected)
      assert.deepStrictEqual(yield* life(b, (store) => store.keys), keys)
    })
  )

  it.effect("leaves a file that is there alone, unless it is told to replace it", () =>
    Effect.gen(function* () {
      const path = yield* room
      const file = join(path, "copy")
      const publicKey = yield* publicKeyIn(join(path, "a"))
      fs.writeFileSync(file, "precious")
      const { message } = yield* Effect.flip(backupState(join(path, "a"), file, once))
      assert.match(message, /copy is there already and stays as it is: name another file, or say --overwrite$/)
      assert.strictEqual(fs.readFileSync(file, "utf8"), "precious")
      assert.strictEqual((yield* backupState(join(path, "a"), file, { overwrite: true })).publicKey, publicKey)
      assert.strictEqual(fs.statSync(file).mode & 0o777, 0o600)
    })
  )

  it.effect("says in one line what it cannot do, and leaves nothing behind", () =>
    Effect.gen(function* () {
      const path = yield* room
      assert.match(
        (yield* Effect.flip(backupState(join(path, "none"), join(path, "copy"), once))).message,
        /^there is no state in \S+none: name the configuration/
      )
      yield* publicKeyIn(join(path, "a"))
      assert.match(
        (yield* Effect.flip(backupState(join(path, "a"), join(path, "no", "copy"), once))).message,
        /^there is no directory \S+no: make it, or name another file$/
      )
      fs.writeFileSync(join(path, "a", "state.db"), "x".repeat(8_192))
      assert.match((yield* Effect.flip(backupState(join(path, "a"), join(path, "copy"), once))).message, /is damaged/)
      assert.deepStrictEqual(fs.readdirSync(path), ["a"])
    })
  )
})

describe("restore", () => {
  it.effect("keeps what was there beside it, and no slot that was handed out since is handed out again", () =>
    Effect.gen(function* () {
      const path = yield* room
      const [a, file] = [join(path, "a"), join(path, "copy")]
      yield* life(a, (store) => store.reserveSlots("alice", 64))
      const { publicKey } = yield* backupState(a, file, once)
      yield* life(a, (store) => Effect.andThen(store.putMapping(mapping(70)), store.reserveSlots("alice", 64)))

      const restored = yield* restore(a, file)
      assert.deepInclude(restored, { publicKey, before: publicKey, names: 0, slotsLost: false })
      assert.strictEqual(yield* life(a, (store) => store.reserveSlots("alice", 1)), 128)
      const kept = new DatabaseSync(restored.kept!, { readOnly: true })
      assert.deepInclude(kept.prepare("SELECT slot FROM mapping").get(), { slot: 70 })
      kept.close()
    })
  )

  it.effect("refuses while a gateway runs, which notices nothing", () =>
    Effect.gen(function* () {
      const path = yield* room
      const [a, file] = [join(path, "a"), join(path, "copy")]
      yield* publicKeyIn(a)
      yield* backupState(a, file, once)
      yield* life(a, (store) =>
        Effect.gen(function* () {
          const waiting = yield* Effect.forkChild(Effect.flip(restore(a, file)))
          yield* TestClock.adjust("3 seconds")
          const { message } = yield* Fiber.join(waiting)
          assert.match(message, /^nothing is restored while a gateway runs: .*pid \d+\): stop it/)
          yield* store.putMapping(mapping(1))
          assert.isNull(yield* store.trouble)
        })
      )
      assert.lengthOf(yield* life(a, (store) => store.mappings), 1)
    })
  )

  it.effect("takes nothing that is no whole backup, and leaves the state as it is", () =>
    Effect.gen(function* () {
      const path = yield* room
      const [a, file] = [join(path, "a"), join(path, "copy")]
      const publicKey = yield* publicKeyIn(a)
      yield* backupState(a, file, once)
      const refusedWhen = (name: string, change: (database: DatabaseSync) => void) => {
        const copy = join(path, name)
        fs.copyFileSync(file, copy)
        const database = new DatabaseSync(copy)
        change(database)
        database.close()
        return Effect.map(Effect.flip(restore(a, copy)), ({ message }) => message)
      }
      assert.match(
        yield* refusedWhen("newer", (db) => db.exec("PRAGMA user_version = 99")),
        /newer was written by a newer/
      )
      assert.match(
        yield* refusedWhen("other", (db) => db.exec("PRAGMA application_id = 1")),
        /other is an SQLite file of/
      )
      assert.match(yield* refusedWhen("keyless", (db) => db.exec("DELETE FROM meta")), /keyless has no key in it/)
      fs.truncateSync(file, 5_000)
      assert.match((yield* Effect.flip(restore(a, file))).message, /copy is damaged/)
      assert.match((yield* Effect.flip(restore(a, join(path, "no")))).message, /no does not exist: check the path/)
      assert.strictEqual(yield* publicKeyIn(a), publicKey)
      assert.deepStrictEqual(fs.readdirSync(a).toSorted(), ["lock", "state.db"])
    })
  )

  it.effect("goes on from a state that was damaged, with the log of the damaged one out of the way", () =>
    Effect.gen(function* () {
      const path = yield* room
      const [a, file] = [join(path, "a"), join(path, "copy")]
      const publicKey = yield* publicKeyIn(a)
      yield* backupState(a, file, once)
      fs.writeFileSync(join(a, "state.db"), "x".repeat(8_192))
      fs.writeFileSync(join(a, "state.db-wal"), "y".repeat(8_192))
      const { before, kept, slotsLost } = yield* restore(a, file)
      assert.isNull(before)
      assert.isTrue(slotsLost)
      assert.strictEqual(fs.readFileSync(`${kept}-wal`, "utf8")[0], "y")
      assert.strictEqual(yield* publicKeyIn(a), publicKey)
    })
  )
})
