/** An upgrade loses nothing: what every released version has left is read by this one. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { DatabaseSync } from "node:sqlite"
import { version as current } from "../../../layers/host/version.ts"
import { contentsOf, dump, releases } from "../../support/releases.ts"
import { stateLife as life } from "../../support/stateLife.ts"

const aPath = Effect.map(
  Effect.acquireRelease(
    Effect.sync(() => mkdtempSync(join(tmpdir(), "sallyport-release-"))),
    (path) => Effect.sync(() => rmSync(path, { recursive: true }))
  ),
  (directory) => join(directory, "state.db")
)

const write = (path: string, sql: string): void => {
  const database = new DatabaseSync(path)
  database.exec(sql)
  database.close()
}

describe.each(releases)("the state of version $version", ({ contents, state }) => {
  it.effect("is all there in this version, and still is in its next life", () =>
    Effect.gen(function* () {
      const path = yield* aPath
      write(path, state)

      const found = yield* life(path, contentsOf)
      const next = yield* life(path, ({ clients, keys, mappings, site }) =>
        Effect.all({ clients, keys, mappings, site })
      )

      assert.containSubset(found, contents)
      assert.containSubset(next, { ...contents, rested: undefined, next: undefined })
    })
  )

  it.effect("is refused in a line, and not touched, where it is a later version's", () =>
    Effect.gen(function* () {
      const path = yield* aPath
      write(path, `${state}; PRAGMA user_version = 99;`)
      const before = dump(path)

      const { message } = yield* Effect.flip(life(path, () => Effect.void))

      assert.match(
        message,
        /was written by a newer version \(schema 99, this version knows \d+\): upgrade, or restore the older file$/
      )
      assert.strictEqual(dump(path), before)
    })
  )
})

it("what this version leaves is kept for the ones to come", () => {
  assert.include(
    releases.map(({ version }) => version),
    current
  )
})
