import { Effect } from "effect"
import { assert, describe, it } from "@effect/vitest"
import { existsSync, readdirSync } from "node:fs"
import { tmpdir } from "node:os"
import { startPostgres } from "./postgres.ts"

describe("a PostgreSQL of a test", { timeout: 60_000 }, () => {
  it.live("keeps what it has when it is killed, and a standby has it, too, and takes over", () =>
    Effect.gen(function* () {
      const primary = yield* startPostgres()
      const database = yield* primary.database
      const standby = yield* startPostgres({ standbyOf: primary })
      yield* primary.sql("CREATE TABLE kept AS SELECT 1 AS n", database)

      yield* primary.kill
      yield* primary.start
      assert.strictEqual(yield* primary.sql("SELECT n FROM kept", database), "1")
      yield* primary.kill
      yield* standby.promote

      yield* standby.sql("INSERT INTO kept VALUES (2)", database)
      assert.strictEqual(yield* standby.sql("SELECT sum(n) FROM kept", database), "3")
    })
  )

  it.live("leaves nothing behind, not even a suspended one", () =>
    Effect.gen(function* () {
      const directories = () => readdirSync(tmpdir()).filter((name) => name.startsWith("sallyport-postgres-"))
      const before = new Set(directories())

      const made = yield* Effect.scoped(
        Effect.gen(function* () {
          yield* Effect.flatMap(startPostgres(), ({ suspend }) => suspend)
          return directories().filter((name) => !before.has(name))
        })
      )

      assert.lengthOf(made, 1)
      assert.isFalse(existsSync(`${tmpdir()}/${made[0]}`))
    })
  )
})
