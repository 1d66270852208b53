/** A site's PostgreSQL whose disk, a directory that others fill as well, gets full. Says in JSON what became of it. */
import { Effect } from "effect"
import { execFileSync } from "node:child_process"
import * as fs from "node:fs"
import { join } from "node:path"
import { maxWritten } from "../../../src/shared/SharedStore.ts"
import { startPostgres } from "../../support/postgres.ts"
import { addressOf, live, openStore, put, readOn, until } from "../../support/sharedStore.ts"

const [disk = ""] = process.argv.slice(2)
const filler = join(disk, "filler")

const fill = (): void => {
  const file = fs.openSync(filler, "w")
  try {
    for (;;) fs.writeSync(file, Buffer.alloc(4_096))
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== "ENOSPC") throw cause
  } finally {
    fs.closeSync(file)
  }
}

const result = Effect.gen(function* () {
  const server = yield* startPostgres()
  const tables = join(disk, "tables")
  fs.mkdirSync(tables)
  execFileSync("chown", ["postgres:postgres", tables], { timeout: 10_000 })
  yield* server.sql(`CREATE TABLESPACE small LOCATION '${tables}'`)
  const database = yield* server.database
  yield* server.sql(`ALTER DATABASE ${database} SET TABLESPACE small`)
  const store = yield* openStore(live(addressOf(database, server)))
  const known = put(1)
  yield* store.write([known])

  fill()
  const many = Array.from({ length: maxWritten }, (_, i) => put(2 + i))
  const { message, reason } = yield* Effect.flip(store.write(many))
  let meanwhile: ReadonlyArray<unknown> = []
  yield* until(
    Effect.map(Effect.option(readOn(store, null)), (read) => {
      if (read._tag === "Some") meanwhile = read.value.changes
      return read._tag === "Some"
    })
  )
  fs.rmSync(filler)
  yield* until(Effect.isSuccess(store.write(many)))
  const { changes } = yield* readOn(store, null)
  return { reason, message, meanwhile, known: [known], afterwards: changes.length }
})

process.stdout.write(`${JSON.stringify(await Effect.runPromise(Effect.scoped(result)))}\n`)
