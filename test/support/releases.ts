/** What released versions have left behind: their state files, as text, and what was in them. Kept for ever. */
import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { DatabaseSync } from "node:sqlite"
import { Effect, Schema } from "effect"
import type { StateStore } from "../../src/host/StateStore.ts"

export const releasesDirectory = fileURLToPath(new URL("../fixtures/releases", import.meta.url))

/** By version. */
export const releases = readdirSync(releasesDirectory).map((version) => ({
  version,
  /** The state file, in SQL. */
  state: readFileSync(join(releasesDirectory, version, "state.sql"), "utf8"),
  /** What `contentsOf` said of it then. */
  contents: JSON.parse(readFileSync(join(releasesDirectory, version, "state.json"), "utf8")) as Contents
}))

/** All that a store has. Released slots are taken from it. */
export const contentsOf = (store: StateStore["Service"]) =>
  Effect.all({
    keys: store.keys,
    clients: store.clients,
    mappings: store.mappings,
    site: store.site,
    rested: store.takeRested("alice", 2_000_000_000_000),
    next: store.reserveSlots("alice", 1)
  })
export type Contents = Effect.Success<ReturnType<typeof contentsOf>>

const Name = Schema.Struct({ name: Schema.String, sql: Schema.String })
const Column = Schema.Struct({ name: Schema.String })

/** A file of SQLite as SQL that makes it anew. */
export const dump = (path: string): string => {
  const database = new DatabaseSync(path, { readOnly: true })
  try {
    const all = <A>(schema: Schema.Codec<A>, sql: string): ReadonlyArray<A> =>
      database
        .prepare(sql)
        .all()
        .map((row) => Schema.decodeUnknownSync(schema)(row))
    const lines = ["application_id", "user_version"].map(
      (name) => `PRAGMA ${name} = ${String(database.prepare(`PRAGMA ${name}`).get()?.[name])};`
    )
    for (const { name, sql } of all(Name, "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY rowid")) {
      lines.push(`${sql};`)
      if (!sql.startsWith("CREATE TABLE")) continue
      const columns = all(Column, `SELECT name FROM pragma_table_info('${name}')`).map(
        (column) => `quote(${column.name})`
      )
      const rows = database.prepare(`SELECT concat_ws(', ', ${columns.join(", ")}) AS line FROM ${name}`).all()
      for (const { line } of rows) lines.push(`INSERT INTO ${name} VALUES (${String(line)});`)
    }
    return `${lines.join("\n")}\n`
  } finally {
    database.close()
  }
}
