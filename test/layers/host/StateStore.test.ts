import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as TestClock from "effect/testing/TestClock"
import * as fs from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { DatabaseSync } from "node:sqlite"
import * as Sqlite from "../../../layers/host/StateStore.ts"
import { publicKeyOf } from "../../../layers/host/keyText.ts"
import { openStateFile } from "../../../layers/host/stateFile.ts"
import { lockStateDirectory } from "../../../layers/host/stateLock.ts"
import * as Memory from "../../../layers/memory/StateStoreMemory.ts"
import { StateStore } from "../../../src/host/StateStore.ts"
import { stateLife as during } from "../../support/stateLife.ts"
import { mapping, messageOf, stateStoreContract, use } from "../../support/stateStoreContract.ts"

const directory = Effect.acquireRelease(
  Effect.sync(() => fs.mkdtempSync(join(tmpdir(), "sallyport-state-"))),
  (path) => Effect.sync(() => fs.rmSync(path, { recursive: true }))
)

const newFile = Effect.map(directory, (path) => join(path, "new", "state.db"))

/** One life of the gateway: opens the file, works, closes it. */
const life = <A, E>(path: string, work: Effect.Effect<A, E, StateStore>) =>
  work.pipe(Effect.provide(Sqlite.layer(path), { local: true }))

/** Of a client that never came. */
const nowhere = { publicKey: null, endpoint: null, local: null, lastTai64n: null, sentTick: 0, gatewayKey: null }

const realTurn = Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))

/** What another gateway with this file is told, which has waited for a moment. */
const refused = Effect.fnUntraced(function* (path: string) {
  const second = yield* Effect.forkChild(messageOf(life(path, Effect.void)))
  yield* TestClock.adjust("3 seconds")
  return yield* Fiber.join(second)
})

describe("StateStore on disk", () => {
  it.effect("remembers key, clients and mappings across lives", () =>
    Effect.gen(function* () {
      const path = yield* newFile
      const alice = {
        client: "alice",
        publicKey: "YWxpY2U=",
        endpoint: { address: "2001:db8::1", port: 51820 },
        local: "192.0.2.1",
        lastTai64n: "400000006543210000000000",
        sentTick: 107_000_000_000,
        gatewayKey: "c29tZSBrZXk=",
        lastSeenAt: 1_700_000_000_000
      }
      const bob = { ...nowhere, client: "bob", lastSeenAt: 0 }
      const [first] = yield* during(path, (store) =>
        Effect.all([
          store.keys,
          store.putClients([alice]),
          store.putClients([{ ...bob, lastSeenAt: 5 }]),
          store.putClients([bob]),
          store.putMapping(mapping(1)),
          store.putMapping(mapping(2)),
          store.putMapping({ ...mapping(1), lastUsedAt: 2 }),
          store.removeMapping(mapping(2), 0)
        ])
      )

      const [key, clients, mappings] = yield* during(path, (store) =>
        Effect.all([store.keys, store.clients, store.mappings])
      )

      assert.deepStrictEqual(key, first)
      assert.deepStrictEqual(clients, [alice, bob])
      assert.deepStrictEqual(mappings, [{ ...mapping(1), lastUsedAt: 2 }])
    })
  )

  it.effect("moves what was written from the log into the file in a quiet second, and not before", () =>
    Effect.gen(function* () {
      const path = yield* newFile
      const copy = join(yield* directory, "copy.db")
      /** What somebody finds who has the file without its log. */
      const inFile = () => {
        fs.copyFileSync(path, copy)
        const database = new DatabaseSync(copy)
        try {
          return database.prepare("SELECT count(*) AS n FROM mapping").get()?.["n"]
        } catch {
          return 0
        } finally {
          database.close()
        }
      }
      const put = (store: StateStore["Service"], from: number) =>
        Effect.forEach(
          Array.from({ length: 100 }, (_, i) => mapping(from + i)),
          store.putMapping,
          { discard: true }
        )
      yield* life(
        path,
        Effect.gen(function* () {
          const store = yield* StateStore
          yield* put(store, 1)
          yield* TestClock.adjust("1 second")
          yield* put(store, 101)
          yield* TestClock.adjust("1 second")
          assert.strictEqual(inFile(), 0)

          yield* TestClock.adjust("1 second")
          // The sync of the log takes real time, in a thread.
          for (let turn = 0; turn < 1_000 && inFile() !== 200; turn++) {
            yield* realTurn
          }

          assert.strictEqual(inFile(), 200)
        })
      )
    })
  )

  it.effect("takes all of a batch of clients or none, and goes on after a refused one", () =>
    Effect.gen(function* () {
      const path = yield* newFile
      const carol = { ...nowhere, client: "carol", lastSeenAt: 1 }
      const wrong = { ...carol, client: "dave", lastSeenAt: "never" as unknown as number }

      const clients = yield* during(path, (store) =>
        Effect.gen(function* () {
          yield* messageOf(store.putClients([carol, wrong]))
          const none = yield* store.clients
          yield* store.putClients([carol, { ...carol, client: "erin" }])
          return [none, yield* store.clients]
        })
      )

      assert.deepStrictEqual(clients, [[], [carol, { ...carol, client: "erin" }]])
    })
  )

  it.effect("goes on with the file of the version before, and remembers released slots in it across lives", () =>
    Effect.gen(function* () {
      const path = yield* newFile
      yield* during(path, (store) => store.putMapping(mapping(3)))
      execute(
        path,
        `DROP TABLE rested; ALTER TABLE client DROP local; ALTER TABLE client DROP sent_tick;
         ALTER TABLE client DROP gateway_key; ALTER TABLE client DROP public_key; PRAGMA user_version = 1`
      )
      yield* during(path, (store) => store.removeMapping(mapping(3), 5))
      const slots = yield* during(path, (store) =>
        Effect.all([store.takeRested("alice", 5), store.takeRested("alice", 5)])
      )
      assert.deepStrictEqual(slots, [3, null])
    })
  )

  it.effect("knows of each client in a file from before keys were rotated that it has the one key", () =>
    Effect.gen(function* () {
      const path = yield* newFile
      const key = yield* during(path, (store) =>
        Effect.andThen(store.putClients([{ ...nowhere, client: "alice", lastSeenAt: 1 }]), store.keys)
      )
      execute(path, "ALTER TABLE client DROP gateway_key; ALTER TABLE client DROP public_key; PRAGMA user_version = 3")

      const clients = yield* during(path, (store) => store.clients)

      assert.deepStrictEqual(clients, [
        { ...nowhere, client: "alice", lastSeenAt: 1, gatewayKey: publicKeyOf(key.privateKey) }
      ])
    })
  )

  it.effect(
    "does not know of which device the rows are in a file from before that was written down, and keeps them",
    () =>
      Effect.gen(function* () {
        const path = yield* newFile
        const alice = { ...nowhere, client: "alice", gatewayKey: "c29tZSBrZXk=", lastSeenAt: 1 }
        yield* during(path, (store) => store.putClients([{ ...alice, publicKey: "YWxpY2U=" }]))
        execute(path, "ALTER TABLE client DROP public_key; PRAGMA user_version = 4")

        assert.deepStrictEqual(yield* during(path, (store) => store.clients), [alice])
      })
  )

  it.effect("has a new key and the old one in the file itself at once, and the old one nowhere when it has ended", () =>
    Effect.gen(function* () {
      const path = yield* newFile
      const copy = join(yield* directory, "state.db")
      const copied = Effect.suspend(() => {
        fs.copyFileSync(path, copy)
        return during(copy, (store) => store.keys)
      })
      const traces = (text: string) =>
        fs.readdirSync(join(path, "..")).filter((name) => fs.readFileSync(join(path, "..", name)).includes(text))
      const { privateKey } = yield* during(path, (store) => store.keys)
      const both = { privateKey: key(9), ending: { privateKey, endsAt: 1_900_000_000_000, leftMs: 86_400_000.5 } }
      const one = { privateKey: key(9), ending: null }

      yield* during(path, (store) =>
        Effect.gen(function* () {
          yield* store.putMapping(mapping(1))
          yield* store.putKeys(both)
          assert.deepStrictEqual(yield* copied, both)
          assert.deepStrictEqual(yield* store.keys, both)
          yield* store.putKeys(one)
          assert.deepStrictEqual(yield* copied, one)
          assert.deepStrictEqual(traces(privateKey), [])
          assert.notDeepEqual(traces(key(9)), [])
        })
      )
      assert.deepStrictEqual(yield* during(path, (store) => store.keys), one)
    })
  )

  for (const [when, meanwhile] of [
    ["was replaced", false],
    ["is replaced meanwhile", true]
  ] as const) {
    it.effect(`refuses keys where the file ${when}: the next start would not find them`, () =>
      Effect.gen(function* () {
        const path = yield* newFile
        const backup = `${path}.backup`
        const old = yield* during(backup, (store) => store.keys)
        yield* during(path, (store) =>
          Effect.gen(function* () {
            const own = yield* store.keys
            const put = Effect.forkChild(messageOf(store.putKeys({ privateKey: key(9), ending: null })), {
              startImmediately: true
            })
            // It has written, and waits for the disk.
            const begun = meanwhile ? yield* put : null
            fs.renameSync(backup, path)
            const message = yield* Fiber.join(begun ?? (yield* put))
            assert.match(message, /state\.db was replaced while the gateway runs: nothing new is kept in it until/)
            assert.deepStrictEqual(yield* store.keys, own)
          })
        )
        assert.deepStrictEqual(yield* during(path, (store) => store.keys), old)
      })
    )
  }

  it.effect(
    "has keys refused, or late, while somebody reads the file, as what is forgotten would stay in its log; no other write",
    () =>
      Effect.gen(function* () {
        const path = yield* newFile
        const reader = Effect.acquireRelease(
          Effect.sync(() => {
            const database = new DatabaseSync(path)
            database.exec("BEGIN; SELECT * FROM meta")
            return database
          }),
          (database) => Effect.sync(() => database.close())
        )
        const soon = Effect.andThen(TestClock.adjust("100 millis"), realTurn)
        const both = (privateKey: string, leftMs = 1) => ({
          privateKey: key(9),
          ending: { privateKey, endsAt: 1, leftMs }
        })
        const one = { privateKey: key(9), ending: null }
        yield* during(path, (store) =>
          Effect.gen(function* () {
            const { privateKey } = yield* store.keys
            yield* store.putKeys(both(privateKey))

            const refused = yield* Effect.scoped(
              Effect.gen(function* () {
                yield* reader
                const put = yield* Effect.forkChild(messageOf(store.putKeys(one)))
                for (let turn = 0; turn < 1_000 && put.pollUnsafe() === undefined; turn++) yield* soon
                const why = yield* Fiber.join(put)
                yield* store.putKeyLeft(0.5)
                return why
              })
            )
            assert.match(
              refused,
              /state\.db: another process reads it, .*; wait for that one .* or end it, and try again$/
            )
            assert.deepStrictEqual(yield* store.keys, both(privateKey, 0.5))

            const late = yield* Effect.scoped(
              Effect.gen(function* () {
                yield* reader
                const put = yield* Effect.forkDetach(store.putKeys(one))
                for (let turn = 0; turn < 10; turn++) yield* soon
                assert.isUndefined(put.pollUnsafe())
                return put
              })
            )
            for (let turn = 0; turn < 1_000 && late.pollUnsafe() === undefined; turn++) yield* soon
            yield* Fiber.join(late)
            const files = fs.readdirSync(join(path, "..")).map((name) => fs.readFileSync(join(path, "..", name)))
            assert.isFalse(files.some((bytes) => bytes.includes(privateKey)))
          })
        )
      })
  )

  it.effect("writes a deleted file again before it takes other keys", () =>
    Effect.gen(function* () {
      const path = yield* newFile
      const keys = { privateKey: key(9), ending: null }
      yield* during(path, (store) =>
        Effect.gen(function* () {
          // Between two looks of its own.
          yield* TestClock.adjust("500 millis")
          fs.rmSync(join(path, ".."), { recursive: true })
          yield* store.putKeys(keys)
          assert.isTrue(fs.existsSync(path))
        })
      )
      assert.deepStrictEqual(yield* during(path, (store) => store.keys), keys)
    })
  )

  it.effect("starts with a key of its own and nothing else, and has the same one in its next life", () =>
    Effect.gen(function* () {
      const path = yield* newFile
      const all = use((store) => Effect.all([store.keys, store.clients, store.mappings]))
      const [key, ...others] = yield* life(path, all)
      assert.lengthOf(Buffer.from(key.privateKey, "base64"), 32)
      assert.isNull(key.ending)
      assert.deepStrictEqual(others, [[], []])
      assert.deepStrictEqual(yield* life(path, all), [key, [], []])
    })
  )

  it.effect("has its key, and what was written 12 seconds ago, in the file itself: a plain copy has it", () =>
    Effect.gen(function* () {
      const path = yield* newFile
      const copy = `${path}.copy/state.db`
      fs.mkdirSync(`${path}.copy`, { recursive: true })
      const copied = Effect.suspend(() => {
        fs.copyFileSync(path, copy)
        return during(copy, (store) => Effect.all([store.keys, store.mappings]))
      })
      yield* during(path, (store) =>
        Effect.gen(function* () {
          const key = yield* store.keys
          assert.deepStrictEqual(yield* copied, [key, []])
          yield* store.putMapping(mapping(1))
          yield* TestClock.adjust("12 seconds")
          // The sync of the log takes real time, in a thread.
          for (let turn = 0; turn < 200 && (yield* copied)[1].length === 0; turn++) yield* realTurn
          assert.deepStrictEqual(yield* copied, [key, [mapping(1)]])
        })
      )
    })
  )

  for (const [what, make] of [
    ["has no bytes", (path: string) => fs.writeFileSync(path, "")],
    ["is a copy of a file whose log had everything", (path: string) => execute(path, "PRAGMA journal_mode = WAL")],
    ["is gone, with its log left", (path: string) => fs.writeFileSync(`${path}-wal`, "log")],
    [
      "has tables and no key",
      (path: string) => {
        const { database, log } = openStateFile(path, false)
        database.exec("DELETE FROM meta")
        log.close()
        database.close()
      }
    ]
  ] as const) {
    it.effect(`makes no new key, unless it is told to, where the state ${what}`, () =>
      Effect.gen(function* () {
        const path = join(yield* directory, "state.db")
        make(path)
        const message = yield* messageOf(life(path, Effect.void))
        assert.match(message, /state\.db .*private key is gone.*: restore the state directory, or .*--new-key/)
        assert.notInclude(message, "\n")
        const key = yield* Effect.provide(
          use((store) => store.keys),
          Sqlite.layer(path, { newKey: true }),
          { local: true }
        )
        assert.lengthOf(Buffer.from(key.privateKey, "base64"), 32)
      })
    )
  }

  it.effect("takes what it dated while the clock was ahead for of now: names in order of use, slots that rest", () =>
    Effect.gen(function* () {
      const path = yield* newFile
      const ahead = Date.now() + 31_536_000_000
      yield* during(path, (store) =>
        Effect.all([
          store.putMapping({ ...mapping(1), lastUsedAt: ahead }),
          store.putMapping(mapping(2)),
          store.removeMapping(mapping(2), ahead)
        ])
      )
      const [[row], rested] = yield* during(path, (store) =>
        Effect.all([store.mappings, store.takeRested("alice", Date.now())])
      )
      assert.approximately(row!.lastUsedAt, Date.now(), 60_000)
      assert.strictEqual(rested, 2)
    })
  )

  it.effect("is one gateway's at a time: another one is told whose it is", () =>
    Effect.gen(function* () {
      const path = yield* newFile
      yield* life(
        path,
        Effect.gen(function* () {
          const message = yield* refused(path)
          assert.match(message, new RegExp(`/new is in use by another gateway \\(pid ${process.pid}\\): stop it, or`))
          assert.notInclude(message, "\n")
        })
      )
      yield* life(path, Effect.void)
    })
  )

  it.effect("stays one gateway's when somebody deletes the lock, and says so when another one was quicker", () =>
    Effect.gen(function* () {
      const path = yield* newFile
      const lock = join(path, "../lock")
      yield* during(path, (store) =>
        Effect.gen(function* () {
          fs.rmSync(lock)
          yield* TestClock.adjust("1 second")
          assert.match(yield* refused(path), /in use by another gateway/)
          fs.rmSync(lock)
          const other = yield* lockStateDirectory(join(path, ".."))
          yield* TestClock.adjust("4 seconds")
          assert.match((yield* store.trouble) ?? "", /in use by another gateway/)
          other.release()
          yield* TestClock.adjust("4 seconds")
          assert.isNull(yield* store.trouble)
          assert.match(yield* refused(path), /in use by another gateway/)
        })
      )
    })
  )

  it.effect("waits a moment for one that is just ending", () =>
    Effect.gen(function* () {
      const path = yield* newFile
      const first = yield* Effect.forkChild(life(path, Effect.sleep("1 second")))
      yield* Effect.yieldNow
      const second = yield* Effect.forkChild(during(path, (store) => store.keys))
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(first)
      yield* TestClock.adjust("1 second")
      assert.isNotNull(yield* Fiber.join(second))
    })
  )

  it.effect("is written again when its directory is deleted under it, and is nobody else's then, either", () =>
    Effect.gen(function* () {
      const path = yield* newFile
      const key = yield* during(path, (store) =>
        Effect.gen(function* () {
          yield* store.putMapping(mapping(1))
          fs.rmSync(join(path, ".."), { recursive: true })
          yield* TestClock.adjust("1 second")
          assert.isNull(yield* store.trouble)
          assert.isTrue(fs.existsSync(path))
          yield* store.putMapping(mapping(2))
          assert.match(yield* refused(path), /in use by another gateway/)
          return yield* store.keys
        })
      )
      const [kept, mappings] = yield* during(path, (store) => Effect.all([store.keys, store.mappings]))
      assert.deepStrictEqual(kept, key)
      assert.deepStrictEqual(mappings, [mapping(1), mapping(2)])
    })
  )

  it.effect("says so when it cannot be written again, until it can", () =>
    Effect.gen(function* () {
      const path = yield* newFile
      yield* during(path, (store) =>
        Effect.gen(function* () {
          fs.rmSync(join(path, ".."), { recursive: true })
          fs.writeFileSync(join(path, ".."), "in the way")
          yield* TestClock.adjust("1 second")
          assert.match((yield* store.trouble) ?? "", /was deleted while the gateway runs, and cannot be written again/)
          fs.rmSync(join(path, ".."))
          yield* TestClock.adjust("1 second")
          assert.isNull(yield* store.trouble)
        })
      )
      assert.isTrue(fs.existsSync(path))
    })
  )

  it.effect("leaves a file that was put in its place alone, and says that it is not the gateway's", () =>
    Effect.gen(function* () {
      const path = yield* newFile
      const backup = `${path}.backup`
      const key = yield* during(backup, (store) => store.keys)
      yield* during(path, (store) =>
        Effect.gen(function* () {
          fs.renameSync(backup, path)
          fs.writeFileSync(`${path}-wal`, "")
          yield* TestClock.adjust("1 second")
          // Into the file that is open, which has no name any more.
          yield* store.putMapping(mapping(1))
          assert.match((yield* store.trouble) ?? "", /was replaced while the gateway runs.*restarted/)
        })
      )
      const found = yield* during(path, (store) => Effect.all([store.keys, store.mappings]))
      assert.deepStrictEqual(found, [key, []])
    })
  )

  it.effect("keeps the file and its companions from other users", () =>
    Effect.gen(function* () {
      const path = yield* newFile
      yield* during(path, (store) =>
        Effect.gen(function* () {
          yield* store.putMapping(mapping(1))
          for (const file of fs.readdirSync(join(path, ".."))) {
            assert.strictEqual(fs.statSync(join(path, "..", file)).mode & 0o777, 0o600, file)
          }
          assert.isAtLeast(fs.readdirSync(join(path, "..")).length, 2)
        })
      )
      assert.strictEqual(fs.statSync(join(path, "..")).mode & 0o777, 0o700)

      fs.chmodSync(path, 0o644)
      yield* life(path, Effect.void)
      assert.strictEqual(fs.statSync(path).mode & 0o777, 0o600)
    })
  )

  it.effect("has what it acknowledged even when the process dies without closing", () =>
    Effect.gen(function* () {
      const path = yield* newFile
      const copy = `${path}.crashed`
      yield* during(path, (store) =>
        Effect.gen(function* () {
          yield* store.reserveSlots("alice", 16)
          yield* store.putMapping(mapping(3))
          for (const suffix of ["", "-wal"]) fs.copyFileSync(path + suffix, copy + suffix)
        })
      )

      const [mappings, first] = yield* during(copy, (store) =>
        Effect.all([store.mappings, store.reserveSlots("alice", 1)])
      )

      assert.deepStrictEqual(mappings, [mapping(3)])
      assert.strictEqual(first, 16)
    })
  )

  for (const [what, make, expected] of [
    [
      "is not SQLite",
      (path: string) => fs.writeFileSync(path, "not a database ".repeat(500)),
      /damaged or not a state/
    ],
    [
      "belongs to another program",
      (path: string) => execute(path, "CREATE TABLE theirs (a)"),
      /SQLite file of another program/
    ],
    [
      "was written by a newer version",
      (path: string) =>
        execute(path, `CREATE TABLE x (a); PRAGMA application_id = 0x53616c79; PRAGMA user_version = 7`),
      /newer version \(schema 7, this version knows 6\)/
    ]
  ] as const) {
    it.effect(`refuses a file that ${what} and leaves every byte of it`, () =>
      Effect.gen(function* () {
        const path = join(yield* directory, "state.db")
        make(path)
        const before = fs.readFileSync(path)

        const message = yield* messageOf(life(path, Effect.void))

        assert.match(message, expected)
        assert.include(message, path)
        assert.notInclude(message, "\n")
        assert.deepStrictEqual(fs.readFileSync(path), before)
      })
    )
  }

  it.effect("refuses a state file with damaged pages and leaves it", () =>
    Effect.gen(function* () {
      const path = yield* newFile
      yield* during(path, (store) =>
        Effect.forEach(
          Array.from({ length: 300 }, (_, i) => i),
          (i) => store.putMapping(mapping(i))
        )
      )
      const bytes = fs.readFileSync(path)
      bytes.fill(0xa5, 4096 * 4, bytes.length)
      fs.writeFileSync(path, bytes)

      const message = yield* messageOf(life(path, Effect.void))

      assert.match(message, /damaged/)
      assert.deepStrictEqual(fs.readFileSync(path), bytes)
    })
  )

  it.effect("names a directory in the way and a path through a file", () =>
    Effect.gen(function* () {
      const outer = yield* directory
      const path = join(outer, "state.db")
      const file = join(outer, "file")
      fs.mkdirSync(path)
      fs.writeFileSync(file, "")

      assert.match(yield* messageOf(life(path, Effect.void)), /it is a directory/)
      assert.match(yield* messageOf(life(join(file, "state.db"), Effect.void)), /not a directory/)
    })
  )

  it.effect("says that another process has the file when a write cannot get its lock", () =>
    Effect.gen(function* () {
      const path = yield* newFile
      yield* during(path, (store) =>
        Effect.gen(function* () {
          const other = new DatabaseSync(path)
          other.exec("BEGIN IMMEDIATE")
          const message = yield* messageOf(store.putMapping(mapping(1)))
          other.close()
          assert.match(message, /another process has locked it/)
          yield* store.putMapping(mapping(1))
        })
      )
    })
  )
})

for (const [name, withStore] of [
  [
    "on disk",
    <A, E>(work: Effect.Effect<A, E, StateStore>) => Effect.scoped(Effect.flatMap(newFile, (path) => life(path, work)))
  ],
  ["in memory", <A, E>(work: Effect.Effect<A, E, StateStore>) => Effect.provide(work, Memory.layer, { local: true })]
] as const) {
  describe(`StateStore ${name}`, () => {
    stateStoreContract(withStore)

    it.effect("gives a released slot back once, the one that rested longest first, and none before its time", () =>
      withStore(
        use((store) =>
          Effect.gen(function* () {
            for (const slot of [7, 8, 9]) yield* store.putMapping(mapping(slot))
            yield* store.removeMapping(mapping(8), 100)
            yield* store.removeMapping(mapping(7), 200)
            // It has another slot by now.
            yield* store.removeMapping({ ...mapping(9), slot: 10 }, 50)
            assert.deepStrictEqual(
              [
                yield* store.takeRested("bob", 999),
                yield* store.takeRested("alice", 99),
                yield* store.takeRested("alice", 200),
                yield* store.takeRested("alice", 199),
                yield* store.takeRested("alice", 200),
                yield* store.takeRested("alice", 999)
              ],
              [null, null, 8, null, 7, null]
            )
          })
        )
      )
    )

    it.effect(
      "remembers 4,096 released slots of a client, the first ones",
      () =>
        withStore(
          use((store) =>
            Effect.gen(function* () {
              for (let slot = 1; slot <= 4_097; slot++) {
                yield* store.putMapping(mapping(slot))
                yield* store.removeMapping(mapping(slot), slot)
              }
              const taken: Array<number | null> = []
              for (let n = 0; n < 4_097; n++) taken.push(yield* store.takeRested("alice", 9_999))
              assert.deepStrictEqual(taken.slice(4_094), [4_095, 4_096, null])
            })
          )
        ),
      // 4,096 syncs of a disk that others may use.
      60_000
    )
  })
}

const key = (fill: number): string => Buffer.alloc(32, fill).toString("base64")

const execute = (path: string, sql: string): void => {
  const database = new DatabaseSync(path)
  database.exec(sql)
  database.close()
}
