import { Effect, Fiber } from "effect"
import { TestClock } from "effect/testing"
import { assert, describe, it } from "@effect/vitest"
import * as fs from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { isRunning } from "./isRunning.ts"
import { startPostgres } from "./postgres.ts"
import { until } from "./sharedStore.ts"

/** Of the test, and gone with it; everybody may go through it. */
const folder = Effect.acquireRelease(
  Effect.sync(() => {
    const path = fs.mkdtempSync(join(tmpdir(), "sallyport-postgres-test-"))
    fs.chmodSync(path, 0o755)
    return path
  }),
  (path) => Effect.sync(() => fs.rmSync(path, { recursive: true, force: true }))
)

/** What the one server below has of the machine: its process, those that serve for it, and its shared memory. */
const partsOf = (under: string) => {
  const [name = ""] = fs.readdirSync(under)
  const lines = fs.readFileSync(join(under, name, "data", "postmaster.pid"), "utf8").split("\n")
  const own = Number(lines[0])
  const children = fs.readFileSync(`/proc/${own}/task/${own}/children`, "utf8").split(" ").filter(Boolean)
  return { processes: [own, ...children.map(Number)], segment: lines[6]?.trim().split(/ +/)[1] }
}

const segments = () =>
  fs
    .readFileSync("/proc/sysvipc/shm", "utf8")
    .split("\n")
    .map((line) => line.trim().split(/ +/)[1])

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
      const under = yield* folder

      const { processes, segment } = yield* Effect.scoped(
        Effect.gen(function* () {
          const { suspend } = yield* startPostgres({ under })
          const parts = partsOf(under)
          assert.include(segments(), parts.segment)
          assert.isAbove(parts.processes.filter(isRunning).length, 1)
          yield* suspend
          return parts
        })
      )

      assert.deepStrictEqual(processes.filter(isRunning), [])
      assert.notInclude(segments(), segment)
      assert.isEmpty(fs.readdirSync(under))
    })
  )

  it.effect("is given up after 30 s, and ended", () =>
    Effect.gen(function* () {
      const under = yield* folder
      const programs = yield* folder
      const program = (name: string, text: string) =>
        fs.writeFileSync(join(programs, name), `#!/bin/sh\n${text}\n`, { mode: 0o755 })
      program("initdb", 'for data; do :; done; mkdir "$data"')
      program("postgres", 'echo $$ > "$2/pid"; exec sleep 600')
      const pid = () => Number(fs.globSync(`${under}/*/data/pid`).map((path) => fs.readFileSync(path, "utf8"))[0])

      const starting = yield* Effect.forkChild(Effect.flip(Effect.scoped(startPostgres({ under, programs }))))
      yield* until(Effect.sync(() => pid() > 0))
      const process = pid()
      yield* TestClock.adjust("30 seconds")

      assert.match((yield* Fiber.join(starting)).message, /not ready after 30 s/)
      assert.isFalse(isRunning(process))
      assert.isEmpty(fs.readdirSync(under))
    })
  )
})
