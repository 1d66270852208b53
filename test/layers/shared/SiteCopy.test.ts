import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as fs from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { DatabaseSync } from "node:sqlite"
import * as Live from "../../../layers/shared/SiteCopy.ts"
import { maxRested } from "../../../src/host/StateStore.ts"
import type { MappingChange, SharedPage } from "../../../src/shared/SharedStore.ts"
import { SiteCopy } from "../../../src/shared/SiteCopy.ts"
import type { SlotSpan } from "../../../src/shared/slotZones.ts"
import { onlySite, put, released } from "../../support/sharedStore.ts"

const newFile = Effect.map(
  Effect.acquireRelease(
    Effect.sync(() => fs.mkdtempSync(join(tmpdir(), "sallyport-site-"))),
    (path) => Effect.sync(() => fs.rmSync(path, { recursive: true }))
  ),
  (directory) => join(directory, "site.db")
)

type Copy = SiteCopy["Service"]

/** Slots from 100 to 9,999 are the gateway's own zone, further ones are blocks of 100. */
const zonesWith = (exact: SlotSpan) =>
  onlySite(
    exact,
    () => ({ from: 100, to: 10_000 }),
    (no) => ({ from: 10_000 + 100 * no, to: 10_100 + 100 * no }),
    10
  )

/** One life of a gateway with its copy at hand. */
const life = <A, E>(path: string, work: (copy: Copy) => Effect.Effect<A, E>, exact: SlotSpan = { from: 0, to: 0 }) =>
  Effect.provide(
    Effect.flatMap(SiteCopy, (copy) => Effect.andThen(copy.signedIn({ gateway: 3, lost: false }), work(copy))),
    Live.layer(path, zonesWith(exact)),
    { local: true }
  )

const page = (revision: number, changes: ReadonlyArray<MappingChange>, more: Partial<SharedPage> = {}): SharedPage => ({
  changes,
  directory: [],
  cursor: { revision, head: revision, token: `token ${revision}` },
  last: true,
  anew: false,
  blocks: [],
  dateMs: revision * 1_000,
  ...more
})
const now = 77

const slots = (copy: Copy) => Effect.map(copy.mappings, (mappings) => mappings.map(({ slot }) => slot))

describe("SiteCopy", () => {
  it.effect("has in the next life what was read, and where to read on", () =>
    Effect.gen(function* () {
      const path = yield* newFile
      yield* life(path, (copy) =>
        Effect.gen(function* () {
          const directory = [{ domain: "git.example", slot: 7 }]
          yield* copy.take(page(3, [put(1), put(2)], { anew: true, directory }), now)
          yield* copy.take(page(5, [put(2, "other.example"), released(1), put(3)], { blocks: [4] }), now)
          assert.deepStrictEqual(copy.directory, new Map([["git.example", 7]]))
        })
      )

      yield* life(path, (copy) =>
        Effect.gen(function* () {
          assert.deepStrictEqual(yield* copy.mappings, [put(2, "other.example").mapping, put(3).mapping])
          assert.deepStrictEqual(yield* copy.mappingsOf("nobody"), [])
          assert.deepStrictEqual(yield* copy.mappingsOf(put(2).mapping.client), yield* copy.mappings)
          assert.deepStrictEqual(copy.directory, new Map([["git.example", 7]]))
          assert.deepInclude(yield* copy.standing, {
            gateway: 3,
            blocks: [4],
            cursor: { revision: 5, head: 5, token: "token 5" },
            readAt: { store: 5_000, own: 77 }
          })
        })
      )
    })
  )

  it.effect("begins anew where nothing was read, or a first page was not read to its end", () =>
    Effect.gen(function* () {
      const path = yield* newFile
      const cursor = (copy: Copy) => Effect.map(copy.standing, (standing) => standing.cursor)
      assert.isNull(yield* life(path, cursor))
      yield* life(path, (copy) => copy.take(page(3, [put(1)], { anew: true }), now))
      const execute = (sql: string) => {
        const database = new DatabaseSync(path)
        database.exec(sql)
        database.close()
      }
      // A crash in the middle of a page leaves the same.
      execute("CREATE TRIGGER full BEFORE INSERT ON mapping WHEN NEW.slot = 9 BEGIN SELECT RAISE(ABORT, 'no'); END")
      yield* life(path, (copy) => Effect.flip(copy.take(page(9, [put(8), put(9)], { anew: true }), now)))
      execute("DROP TRIGGER full")

      yield* life(path, (copy) =>
        Effect.gen(function* () {
          assert.isNull(yield* cursor(copy))
          assert.deepStrictEqual(yield* slots(copy), [1])
          yield* copy.take(page(9, [put(9)], { anew: true }), now)
          yield* copy.sweep
          assert.deepStrictEqual(yield* slots(copy), [9])
        })
      )
    })
  )

  it.effect("keeps what it knew while all is read anew, and lets go of what did not come again, once", () =>
    Effect.gen(function* () {
      const path = yield* newFile
      yield* life(path, (copy) => {
        const directory = [{ domain: "old.example", slot: 5 }]
        return copy.take(page(3, [put(1), put(2), put(3)], { anew: true, directory }), now)
      })

      yield* life(path, (copy) =>
        Effect.gen(function* () {
          const directory = [{ domain: "new.example", slot: 5 }]
          const news = yield* copy.take(page(1, [put(2)], { anew: true, last: false, directory }), now + 9)
          assert.deepStrictEqual(news, [put(2)])
          assert.deepStrictEqual(yield* slots(copy), [1, 2, 3])
          // Only when all was read it is as new as that.
          assert.deepStrictEqual((yield* copy.standing).readAt, { store: 3_000, own: now })
        })
      )
      yield* life(path, (copy) =>
        Effect.gen(function* () {
          assert.deepStrictEqual(yield* copy.take(page(2, [put(4)]), now), [put(4)])
          assert.deepStrictEqual(yield* copy.sweep, [released(1).mapping, released(3).mapping])
          assert.deepStrictEqual(yield* copy.sweep, [])
          assert.deepStrictEqual(yield* slots(copy), [2, 4])
          assert.deepStrictEqual(copy.directory, new Map([["new.example", 5]]))
          yield* copy.take(page(3, []), now)
          assert.deepStrictEqual(yield* copy.sweep, [])
          assert.deepStrictEqual(yield* slots(copy), [2, 4])
        })
      )
    })
  )

  it.effect("says from when on it relies on what was not yet read to its end", () =>
    Effect.gen(function* () {
      yield* life(yield* newFile, (copy) =>
        Effect.gen(function* () {
          yield* copy.take(page(1, [put(1)], { anew: true, last: false }), now)
          yield* copy.take(page(2, [put(2)], { last: false }), now + 9)
          assert.deepStrictEqual((yield* copy.standing).readAt, { store: 1_000, own: now })

          yield* copy.take(page(3, [put(3)]), now + 10)
          assert.deepStrictEqual((yield* copy.standing).readAt, { store: 3_000, own: now + 10 })
        })
      )
    })
  )

  it.effect("lets go of a slot only for the name that has it", () =>
    Effect.gen(function* () {
      yield* life(yield* newFile, (copy) =>
        Effect.gen(function* () {
          yield* copy.take(page(1, [put(1, "now.example"), released(1, "before.example")], { anew: true }), now)
          assert.deepStrictEqual(yield* copy.mappings, [put(1, "now.example").mapping])
        })
      )
    })
  )

  it.effect("forgets all of others when it is too old, and begins anew", () =>
    Effect.gen(function* () {
      yield* life(yield* newFile, (copy) =>
        Effect.gen(function* () {
          const directory = [{ domain: "git.example", slot: 7 }]
          yield* copy.take(page(1, [put(1), put(2)], { anew: true, directory }), now)
          yield* copy.put(put(101).mapping)

          assert.deepStrictEqual(yield* copy.lapse, [released(1).mapping, released(2).mapping])
          // Whoever ends here goes on with it in the next life.
          assert.isNotNull((yield* copy.standing).readAt)
          assert.deepStrictEqual(yield* copy.lapse, [])

          // Exact names have their slots for ever.
          assert.deepStrictEqual([yield* copy.mappings, copy.directory.size], [[], 1])
          assert.deepInclude(yield* copy.standing, { cursor: null, readAt: null })
          assert.deepStrictEqual(yield* copy.unsent(9), [put(101)])
        })
      )
    })
  )

  it.effect("does at once only as much as others can wait for, however much it knows", () =>
    Effect.gen(function* () {
      yield* life(yield* newFile, (copy) =>
        Effect.gen(function* () {
          const many = (from: number, of: (slot: number) => MappingChange) =>
            Array.from({ length: 1_200 }, (_, i) => of(from + i))
          const theirs = many(20_000, (slot) => put(slot))
          const own = many(1_000, (slot) => put(slot))
          yield* copy.take(page(1, [...theirs, ...own], { anew: true }), now)
          yield* copy.signedIn({ gateway: 3, lost: true })
          assert.deepStrictEqual(yield* copy.unsent(9_999), own)
          yield* copy.take(page(1, [put(20_000)], { anew: true }), now)

          const portions: Array<number> = []
          for (let gone = yield* copy.sweep; gone.length > 0; gone = yield* copy.sweep) portions.push(gone.length)

          assert.deepStrictEqual(portions, [500, 500, 199])
          assert.deepStrictEqual(yield* slots(copy), [20_000])
        })
      )
    })
  )

  it.effect("keeps what is to be told across lives, the oldest first, and of one slot the last", () =>
    Effect.gen(function* () {
      const path = yield* newFile
      yield* life(path, (copy) => Effect.forEach([101, 102, 103], (slot) => copy.put(put(slot).mapping)))
      const later = { ...put(101).mapping, lastUsedAt: 2e12 }
      yield* life(path, (copy) => Effect.andThen(copy.put(later), copy.release(released(102).mapping)))

      yield* life(path, (copy) =>
        Effect.gen(function* () {
          const again: MappingChange = { _tag: "Put", mapping: later }
          assert.deepStrictEqual(yield* copy.unsent(9), [released(102), put(103), again])
          assert.deepStrictEqual(yield* copy.unsent(2), [released(102), put(103)])
        })
      )
    })
  )

  it.effect("knows what was told, but not what has changed since", () =>
    Effect.gen(function* () {
      yield* life(yield* newFile, (copy) =>
        Effect.gen(function* () {
          yield* Effect.forEach([101, 102, 103, 104], (slot) => copy.put(put(slot).mapping))
          yield* copy.release(released(104).mapping)
          const told = yield* copy.unsent(9)
          const later = { ...put(102).mapping, lastUsedAt: 2e12 }
          yield* copy.put(later)
          yield* copy.release(released(103).mapping)

          yield* copy.sent(told)

          assert.deepStrictEqual(yield* copy.unsent(9), [released(103), { _tag: "Put", mapping: later }])
        })
      )
    })
  )

  it.effect("tells again on the next connection what was told, but has not come back", () =>
    Effect.gen(function* () {
      const path = yield* newFile
      yield* life(path, (copy) =>
        Effect.gen(function* () {
          yield* Effect.forEach([101, 102, 103, 104], (slot) => copy.put(put(slot).mapping))
          yield* copy.release(released(103).mapping)
          yield* copy.release(released(104).mapping)
          yield* copy.sent(yield* copy.unsent(9))
          yield* copy.take(page(1, [put(101), released(103)]), now)
          assert.deepStrictEqual(yield* copy.unsent(9), [])

          yield* copy.signedIn({ gateway: 3, lost: false })

          assert.deepStrictEqual(yield* copy.unsent(9), [put(102), released(104)])
        })
      )
    })
  )

  it.effect("does not take what was told before for what is to be told", () =>
    Effect.gen(function* () {
      yield* life(yield* newFile, (copy) =>
        Effect.gen(function* () {
          yield* copy.put(put(101).mapping)
          yield* copy.sent(yield* copy.unsent(9))
          const later = { ...put(101).mapping, lastUsedAt: 2e12 }
          yield* copy.put(later)

          yield* copy.take(page(1, [put(101)]), now)

          assert.deepStrictEqual(yield* copy.unsent(9), [{ _tag: "Put", mapping: later }])
        })
      )
    })
  )

  it.effect("tells again what the site has otherwise", () =>
    Effect.gen(function* () {
      yield* life(yield* newFile, (copy) =>
        Effect.gen(function* () {
          const all = [101, 102, 103, 104]
          yield* Effect.forEach(all, (slot) => copy.put(put(slot).mapping))
          yield* copy.release(released(104).mapping)
          yield* copy.sent(yield* copy.unsent(9))
          assert.deepStrictEqual(yield* copy.unsent(9), [])

          yield* copy.take(page(2, [put(101), released(102), put(103, "else.example"), put(104)]), now)

          assert.deepStrictEqual(yield* copy.unsent(9), [put(102), put(103), released(104)])
          assert.deepStrictEqual(yield* copy.mappings, [])
        })
      )
    })
  )

  it.effect("takes for its own what lies in a block that comes along with it", () =>
    Effect.gen(function* () {
      const path = yield* newFile
      yield* life(path, (copy) =>
        Effect.gen(function* () {
          const all = [put(10_200), put(10_300), released(10_201)]
          yield* copy.take(page(2, all, { anew: true, blocks: [2] }), now)

          assert.deepStrictEqual(yield* slots(copy), [10_300])
          yield* copy.release(released(10_200).mapping)
          assert.deepStrictEqual(yield* copy.unsent(9), [released(10_200)])
        })
      )
    })
  )

  it.effect("takes an own name from the site that it does not know, and does not tell it", () =>
    Effect.gen(function* () {
      yield* life(yield* newFile, (copy) =>
        Effect.gen(function* () {
          yield* copy.take(page(2, [put(101)]), now)
          assert.deepStrictEqual(yield* copy.unsent(9), [])

          yield* copy.signedIn({ gateway: 3, lost: true })
          assert.deepStrictEqual(yield* copy.unsent(9), [put(101)])
        })
      )
    })
  )

  it.effect("tells all that is own again to a site that has lost something, and what rested rests anew", () =>
    Effect.gen(function* () {
      yield* life(yield* newFile, (copy) =>
        Effect.gen(function* () {
          yield* copy.put(put(101).mapping)
          yield* copy.put(put(102).mapping)
          yield* copy.release(released(102).mapping)
          yield* copy.sent(yield* copy.unsent(9))
          yield* copy.take(page(2, [put(101), released(102)]), now)

          yield* copy.signedIn({ gateway: 3, lost: true })

          assert.deepStrictEqual(yield* copy.unsent(9), [put(101), released(102)])
          assert.isNull(yield* copy.takeRested("alice", Infinity))
        })
      )
    })
  )

  it.effect("gives a slot back once, the one that has rested longest since its release came back", () =>
    Effect.gen(function* () {
      const path = yield* newFile
      yield* life(path, (copy) =>
        Effect.gen(function* () {
          for (const slot of [107, 108, 109]) {
            yield* copy.put(put(slot).mapping)
            yield* copy.release(released(slot).mapping)
          }
          yield* copy.take(page(1, [released(108)]), now)
          yield* copy.take(page(2, [released(107)]), now)
          assert.deepStrictEqual(
            [
              yield* copy.takeRested("bob", 9_999),
              yield* copy.takeRested("alice", 999),
              yield* copy.takeRested("alice", 2_000),
              yield* copy.takeRested("alice", 1_999)
            ],
            [null, null, 108, null]
          )
        })
      )
      yield* life(path, (copy) =>
        Effect.gen(function* () {
          assert.deepStrictEqual(
            [yield* copy.takeRested("alice", 2_000), yield* copy.takeRested("alice", Infinity)],
            [107, null]
          )
        })
      )
    })
  )

  it.effect("remembers 4,096 slots of a client that rest, those that have rested longest", () =>
    Effect.gen(function* () {
      yield* life(yield* newFile, (copy) =>
        Effect.gen(function* () {
          const all = Array.from({ length: maxRested + 2 }, (_, i) => 101 + i)
          yield* copy.take(
            page(
              1,
              all.map((slot) => put(slot))
            ),
            now
          )
          yield* Effect.forEach(all, (slot) => copy.release(released(slot).mapping), { discard: true })
          yield* copy.take(
            page(
              2,
              all.slice(1).map((slot) => released(slot))
            ),
            now
          )
          yield* copy.take(page(3, [released(101)]), now)

          yield* copy.signedIn({ gateway: 3, lost: true })
          const left = (yield* copy.unsent(9_999)).map(({ mapping }) => mapping.slot)
          assert.strictEqual(left.length, maxRested)
          assert.notInclude(left, 101)
        })
      )
    })
  )

  it.effect("tells that a name of others was used, once, and keeps none of them that is released here", () =>
    Effect.gen(function* () {
      yield* life(yield* newFile, (copy) =>
        Effect.gen(function* () {
          yield* copy.take(page(1, [put(1), put(2), put(3)], { anew: true }), now)
          const later = (slot: number) => ({ ...put(slot).mapping, lastUsedAt: 2e12 })
          yield* copy.put(later(1))
          yield* copy.put({ ...later(2), domain: "else.example" })
          yield* copy.put(later(4))
          yield* copy.put(put(101).mapping)
          yield* copy.release(released(3).mapping)

          const told = yield* copy.unsent(9)
          assert.deepStrictEqual(told, [put(101), { _tag: "Put", mapping: later(1) }])
          assert.deepStrictEqual(yield* copy.unsent(1), [put(101)])
          yield* copy.put({ ...later(1), lastUsedAt: 3e12 })
          yield* copy.sent(told)
          assert.lengthOf(yield* copy.unsent(9), 1)
          yield* copy.sent(yield* copy.unsent(9))
          assert.deepStrictEqual(yield* copy.unsent(9), [])
          assert.deepStrictEqual(yield* slots(copy), [1, 2])
          yield* copy.withdraw(released(1).mapping)
          assert.deepStrictEqual(yield* slots(copy), [2])
        })
      )
    })
  )

  it.effect(
    "tells names of the directory's slots, which are nobody's own, and keeps them until they were read back",
    () =>
      Effect.gen(function* () {
        yield* life(
          yield* newFile,
          (copy) =>
            Effect.gen(function* () {
              const directory = [{ domain: put(1).mapping.domain, slot: 1 }]
              yield* copy.take(page(1, [put(3)], { anew: true, directory }), now)
              yield* copy.put(put(1).mapping)
              yield* copy.put(put(60).mapping)
              // What a gateway gave when it was alone is not what the directory has.
              yield* copy.put(put(4).mapping)
              yield* copy.putMissing([put(5).mapping])

              const told = yield* copy.unsent(9)
              assert.deepStrictEqual(told, [put(1)])
              yield* copy.sent(told)
              assert.deepStrictEqual(yield* copy.unsent(9), [])
              // The site was read from a point before it was told.
              yield* copy.take(page(2, [], { anew: true }), now)
              assert.deepStrictEqual(yield* copy.sweep, [released(3).mapping])
              assert.deepStrictEqual(yield* slots(copy), [1])
              yield* copy.take(page(3, [put(1)]), now)
              yield* copy.put({ ...put(1).mapping, lastUsedAt: 2e12 })
              assert.lengthOf(yield* copy.unsent(9), 1)
              // What was forgotten as too old is told anew from the gateway's own state.
              yield* copy.take(page(4, [], { anew: true, directory }), now)
              yield* copy.lapse
              yield* copy.putMissing([put(1).mapping])
              assert.deepStrictEqual(yield* copy.unsent(9), [put(1)])
            }),
          { from: 0, to: 50 }
        )
      })
  )

  it.effect("has its blocks in the order in which they came, and loses none", () =>
    Effect.gen(function* () {
      yield* life(yield* newFile, (copy) =>
        Effect.gen(function* () {
          yield* copy.take(page(1, [], { anew: true, blocks: [7] }), now)
          yield* copy.take(page(2, [], { blocks: [3, 7] }), now)
          yield* copy.take(page(3, [], { anew: true, blocks: [] }), now)

          assert.deepStrictEqual((yield* copy.standing).blocks, [7, 3])
        })
      )
    })
  )

  it.effect("rests from the first time on that the release came back", () =>
    Effect.gen(function* () {
      yield* life(yield* newFile, (copy) =>
        Effect.gen(function* () {
          yield* copy.put(put(101).mapping)
          yield* copy.release(released(101).mapping)
          yield* copy.take(page(1, [released(101)]), now)
          yield* copy.take(page(5, [released(101)]), now)

          assert.strictEqual(yield* copy.takeRested("alice", 1_000), 101)
        })
      )
    })
  )

  it.effect("puts what is missing, and nothing that is known or not its own", () =>
    Effect.gen(function* () {
      yield* life(yield* newFile, (copy) =>
        Effect.gen(function* () {
          yield* copy.take(page(1, [put(101), put(102, "theirs.example")], { anew: true }), now)
          yield* copy.put(put(103).mapping)
          yield* copy.release(released(103).mapping)

          const all = [1, 101, 102, 103, 104].map((slot) => put(slot).mapping)
          yield* copy.putMissing(all)

          assert.deepStrictEqual(yield* copy.unsent(9), [released(103), put(104)])
        })
      )
    })
  )

  it.effect("releases a slot only for the name that has it", () =>
    Effect.gen(function* () {
      yield* life(yield* newFile, (copy) =>
        Effect.gen(function* () {
          yield* copy.put(put(101, "now.example").mapping)
          yield* copy.release(released(101, "before.example").mapping)
          assert.deepStrictEqual(yield* copy.unsent(9), [put(101, "now.example")])
        })
      )
    })
  )

  it.effect("has no own name any more that is withdrawn", () =>
    Effect.gen(function* () {
      yield* life(yield* newFile, (copy) =>
        Effect.gen(function* () {
          yield* copy.put(put(101).mapping)
          yield* copy.withdraw(released(101, "else.example").mapping)
          assert.deepStrictEqual(yield* copy.unsent(9), [put(101)])
          yield* copy.withdraw(released(101).mapping)
          assert.deepStrictEqual(yield* copy.unsent(9), [])
        })
      )
    })
  )

  for (const [what, spoil] of [
    ["is another version's", (path: string) => new DatabaseSync(path).exec("PRAGMA user_version = 99")],
    ["is no database", (path: string) => fs.writeFileSync(path, "this is not what it was")]
  ] as const) {
    it.effect(`is made anew when its file ${what}`, () =>
      Effect.gen(function* () {
        const path = yield* newFile
        yield* life(path, (copy) => copy.take(page(1, [put(1)], { anew: true }), now))
        spoil(path)

        yield* life(path, (copy) =>
          Effect.gen(function* () {
            assert.deepStrictEqual([yield* copy.mappings, (yield* copy.standing).cursor], [[], null])
            yield* copy.put(put(101).mapping)
          })
        )
      })
    )
  }

  it.effect("is not made anew when its file cannot be opened just now", () =>
    Effect.gen(function* () {
      const path = yield* newFile
      yield* life(path, (copy) => copy.take(page(1, [put(1)], { anew: true }), now))
      const other = new DatabaseSync(path)
      other.exec("PRAGMA locking_mode = EXCLUSIVE; BEGIN IMMEDIATE")

      const { message } = yield* Effect.flip(life(path, () => Effect.void))
      other.close()

      assert.match(message, /cannot open the state in .*: another process has locked it/)
      yield* life(path, (copy) => Effect.map(slots(copy), (known) => assert.deepStrictEqual(known, [1])))
    })
  )

  it.effect("is nobody else's to read", () =>
    Effect.gen(function* () {
      const path = yield* newFile
      yield* life(path, (copy) =>
        Effect.andThen(
          copy.put(put(101).mapping),
          Effect.sync(() => {
            for (const suffix of ["", "-wal", "-shm"]) {
              assert.strictEqual(fs.statSync(path + suffix).mode & 0o777, 0o600)
            }
          })
        )
      )
    })
  )

  it.effect("says why it cannot write, and takes the page when it can", () =>
    Effect.gen(function* () {
      const path = yield* newFile
      yield* life(path, () => Effect.void)
      const other = new DatabaseSync(path)

      yield* life(path, (copy) =>
        Effect.gen(function* () {
          other.exec("BEGIN IMMEDIATE")
          const { message } = yield* Effect.flip(copy.take(page(1, [put(1)], { anew: true }), now))
          other.exec("ROLLBACK")
          assert.match(message, new RegExp(`cannot write the state in ${path}: [^\\n]+`))

          yield* copy.take(page(1, [put(1)], { anew: true }), now)
          assert.deepStrictEqual(yield* slots(copy), [1])
        })
      )
      other.close()
    })
  )
})
