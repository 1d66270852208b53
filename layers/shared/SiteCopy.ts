/** `SiteCopy` in an SQLite file of its own, which is made anew when it cannot be understood. */
import * as fs from "node:fs"
import { DatabaseSync, type StatementSync } from "node:sqlite"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { maxRested, type StateError, type StoredMapping } from "../../src/host/StateStore.ts"
import type { MappingChange, ReleasedMapping } from "../../src/shared/SharedStore.ts"
import { placeName } from "../../src/shared/directory.ts"
import { SiteCopy } from "../../src/shared/SiteCopy.ts"
import { type Holding, isExactSlot, isHeld, type SlotZones } from "../../src/shared/slotZones.ts"
import { explainState } from "../host/stateErrors.ts"

/** `user_version`; a file of another one is made anew. */
const schemaVersion = 1

/** How long to wait for somebody else who reads or writes the file: a backup, or a curious operator. */
const busyMs = 250

/** Rows that are written in one go: everything else of the gateway waits meanwhile. */
const rowsAtOnce = 500

/**
 * Of `own` rows: `sent` is 0 where the site is to be told, 1 where it was, 2 where that came back; `confirmed` is when the
 * release of the slot came back, by the store's clock.
 */
const schema = `
  CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
  CREATE TABLE mapping (
    client TEXT NOT NULL, slot INTEGER NOT NULL, domain TEXT NOT NULL, resource TEXT NOT NULL, last_used REAL NOT NULL,
    reading INTEGER NOT NULL, sent INTEGER NOT NULL, PRIMARY KEY (client, slot)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX used ON mapping (client) WHERE sent = 0;
  CREATE INDEX reading ON mapping (reading);
  CREATE TABLE directory (
    domain TEXT PRIMARY KEY, slot INTEGER NOT NULL, reading INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE own (
    n INTEGER PRIMARY KEY, client TEXT NOT NULL, slot INTEGER NOT NULL, domain TEXT NOT NULL, resource TEXT NOT NULL,
    last_used REAL NOT NULL, gone INTEGER NOT NULL, sent INTEGER NOT NULL, confirmed REAL, UNIQUE (client, slot)
  ) STRICT;
  CREATE INDEX unsent ON own (n) WHERE sent = 0;
  CREATE INDEX unconfirmed ON own (n) WHERE sent = 1;
  CREATE INDEX rested ON own (client, confirmed) WHERE gone = 1;
  PRAGMA user_version = ${schemaVersion};
`

/** Opens or makes the file, whose directory is there, while the layer lives. */
export const layer = (path: string, zones: SlotZones): Layer.Layer<SiteCopy, StateError> =>
  Layer.effect(
    SiteCopy,
    Effect.gen(function* () {
      const attempt =
        (verb: "open" | "read" | "write") =>
        <A>(run: () => A): Effect.Effect<A, StateError> =>
          Effect.try({ try: run, catch: (cause) => explainState(path, verb, cause) })
      const { database, problem } = yield* Effect.acquireRelease(
        attempt("open")(() => open(path)),
        (opened) => Effect.sync(() => opened.database.close())
      )
      if (problem !== null) yield* Effect.logWarning(`${path} was made anew, since it could not be used: ${problem}`)
      const sql = prepare(database)
      let state = readState(sql)
      const directory = new Map(sql.directory.all().map((row) => [row["domain"] as string, row["slot"] as number]))
      /** Whether this gateway, and it alone, gives the slot. */
      const owns = (slot: number, holding: Holding = state): boolean => isHeld(zones, holding, slot)

      /** Whether it is the name's at all clients and gateways, and nobody's to release. */
      const isExact = ({ domain, slot }: ReleasedMapping): boolean =>
        isExactSlot(zones, slot) && directory.get(placeName(domain, zones.siteOf(slot))) === slot

      /** All of it or nothing. */
      const together = <A>(run: () => A): Effect.Effect<A, StateError> =>
        attempt("write")(() => {
          database.exec("BEGIN IMMEDIATE")
          try {
            const result = run()
            database.exec("COMMIT")
            return result
          } catch (cause) {
            // On a full disk SQLite has rolled back by itself.
            if (database.isTransaction) database.exec("ROLLBACK")
            throw cause
          }
        })
      const inPortions = <A>(items: ReadonlyArray<A>, run: (item: A) => unknown) =>
        Effect.forEach(
          Array.from({ length: Math.ceil(items.length / rowsAtOnce) }, (_, i) =>
            items.slice(i * rowsAtOnce, (i + 1) * rowsAtOnce)
          ),
          (portion) =>
            Effect.andThen(
              together(() => portion.forEach(run)),
              Effect.yieldNow
            ),
          { discard: true }
        )
      /** Along with the rest, if any; what it yields has happened then. */
      const become = <A>(next: State, run: () => A): Effect.Effect<A, StateError> =>
        together(() => {
          sql.putState.run(JSON.stringify(next))
          return run()
        }).pipe(Effect.tap(() => Effect.sync(() => void (state = next))))
      const nothing = () => {}
      /** Some of what was not read since, which is forgotten; none is left where it yields none. */
      const past = (reading: number): Effect.Effect<ReadonlyArray<ReleasedMapping>, StateError> =>
        Effect.tap(
          together(() => sql.sweep.all(reading, rowsAtOnce) as unknown as ReadonlyArray<ReleasedMapping>),
          Effect.yieldNow
        )

      /** Some of what is own, which is behind `from`; yields where it ends. */
      const unsend = (from: number): Effect.Effect<number | null, StateError> =>
        together(() => {
          const end = sql.portionEnd.get(from, rowsAtOnce)?.["n"] as number | null
          if (end !== null) sql.unsend.run(from, end)
          return end
        })

      /** Yields whether it is news: what becomes of own slots is decided here. */
      const takeChange = (
        { _tag, mapping }: MappingChange,
        isOwn: boolean,
        reading: number,
        dateMs: number
      ): boolean => {
        const { client, domain, slot } = mapping
        if (!isOwn) {
          if (_tag === "Put") sql.put.run(...columns(mapping), reading)
          else sql.remove.run(client, slot, domain)
          return true
        }
        if (_tag === "Released") {
          sql.ownReleased.run(dateMs, client, slot)
          return false
        }
        const isOld = sql.knows.get(client, slot, mapping.lastUsedAt) !== undefined
        sql.ownPut.run(...columns(mapping))
        return !isOld
      }

      return SiteCopy.of({
        standing: Effect.sync(() => state),
        mappings: attempt("read")(() => Array.from(sql.mappings.iterate(), (row) => toMapping(row as unknown as Row))),
        mappingsOf: (client) =>
          attempt("read")(() => sql.mappingsOf.all(client).map((row) => toMapping(row as unknown as Row))),
        directory,
        signedIn: Effect.fnUntraced(function* ({ gateway, lost }) {
          if (gateway !== state.gateway) yield* become({ ...state, gateway }, nothing)
          // A store that takes over may not have what the one before had just taken.
          yield* together(() => void sql.unsendUnconfirmed.run())
          for (let from: number | null = lost ? -1 : null; from !== null; from = yield* unsend(from))
            yield* Effect.yieldNow
        }),
        take: Effect.fnUntraced(function* ({ anew, blocks, changes, cursor, dateMs, directory: entered, last }, now) {
          if (anew) yield* become({ ...state, cursor: null, reading: state.reading + 1, complete: false }, nothing)
          const { reading } = state
          // Whose names they are the page says itself: who has lost his copy learns of his blocks with it.
          const all = [...new Set([...state.blocks, ...blocks])]
          const isOwn = ({ slot }: ReleasedMapping) => owns(slot, { gateway: state.gateway, blocks: all })
          const news: Array<MappingChange> = []
          yield* inPortions(changes, (change) => {
            if (takeChange(change, isOwn(change.mapping), reading, dateMs)) news.push(change)
          })
          const freed = changes.filter(({ _tag, mapping }) => _tag === "Released" && isOwn(mapping))
          const clients = new Set(freed.map(({ mapping }) => mapping.client))
          yield* inPortions([...clients], (client) => sql.trimRested.run(client, maxRested))
          yield* inPortions(entered, ({ domain, slot }) => sql.enter.run(domain, slot, reading))
          for (const { domain, slot } of entered) directory.set(domain, slot)
          const readAt = last || state.readAt === null ? { store: dateMs, own: now } : state.readAt
          yield* become({ ...state, blocks: all, cursor, readAt }, nothing)
          return news
        }),
        sweep: Effect.suspend(() =>
          state.complete
            ? Effect.succeed([])
            : Effect.tap(past(state.reading), ({ length }) =>
                length > 0
                  ? Effect.void
                  : Effect.map(
                      become({ ...state, complete: true }, () => sql.sweepDirectory.all(state.reading)),
                      (swept) => swept.forEach((row) => directory.delete(row["domain"] as string))
                    )
              )
        ),
        lapse: Effect.suspend(() =>
          Effect.tap(past(state.reading + 1), ({ length }) =>
            become(length > 0 ? { ...state, cursor: null } : { ...state, cursor: null, readAt: null }, nothing)
          )
        ),
        put: (mapping) =>
          together(() => {
            const { client, domain, lastUsedAt, slot } = mapping
            if (owns(slot)) sql.own.run(...columns(mapping))
            // What the directory has for everybody any gateway may tell first; it stays until it has been read.
            else if (isExact(mapping)) sql.give.run(...columns(mapping), state.reading + 1)
            else sql.use.run(lastUsedAt, client, slot, domain)
          }),
        release: ({ client, domain, slot }) =>
          together(() => void (owns(slot) ? sql.release : sql.remove).run(client, slot, domain)),
        putMissing: (mappings) =>
          inPortions(
            mappings.filter((mapping) => owns(mapping.slot) || isExact(mapping)),
            (mapping) => {
              if (owns(mapping.slot)) sql.ownMissing.run(...columns(mapping))
              else sql.giveMissing.run(...columns(mapping), state.reading + 1)
            }
          ),
        unsent: (atMost) =>
          attempt("read")(() => {
            const own = sql.unsent.all(atMost)
            const used = own.length < atMost ? sql.used.all(atMost - own.length) : []
            return [...own, ...used].map((row) => toChange(row as unknown as Row))
          }),
        untold: attempt("read")(() => Number(sql.untold.get()?.["n"])),
        sent: (changes) =>
          inPortions(changes, ({ _tag, mapping }) => {
            const { client, domain, slot } = mapping
            if (_tag === "Released") sql.releaseSent.run(client, slot, domain)
            else if (owns(slot)) sql.putSent.run(...columns(mapping))
            else sql.useSent.run(client, slot, domain, mapping.lastUsedAt)
          }),
        withdraw: ({ client, domain, slot }) =>
          together(() => void (owns(slot) ? sql.withdraw : sql.remove).run(client, slot, domain)),
        takeRested: (client, before, site = 0) =>
          Effect.suspend(() => {
            database.exec("PRAGMA synchronous = FULL")
            const [one, other = one] = zones.slice(site)
            const spans = [one!.from, one!.to, other!.from, other!.to]
            const taken = together(
              () =>
                (sql.takeRested.get(client, before, ...spans) as { readonly slot: number } | undefined)?.slot ?? null
            )
            return Effect.ensuring(
              taken,
              Effect.sync(() => database.exec("PRAGMA synchronous = NORMAL"))
            )
          })
      })
    })
  )

/** Rows of an earlier reading go when the present one is complete. */
const State = Schema.Struct({
  gateway: Schema.NullOr(Schema.Int),
  blocks: Schema.Array(Schema.Int),
  cursor: Schema.NullOr(Schema.Struct({ revision: Schema.Int, head: Schema.Int, token: Schema.String })),
  readAt: Schema.NullOr(Schema.Struct({ store: Schema.Finite, own: Schema.Finite })),
  reading: Schema.Int,
  complete: Schema.Boolean
})
type State = typeof State.Type
const unread: State = { gateway: null, blocks: [], cursor: null, readAt: null, reading: 0, complete: true }

interface Row {
  readonly client: string
  readonly slot: number
  readonly domain: string
  readonly resource: string
  readonly last_used: number
  readonly gone: number
}

const columns = ({ client, domain, lastUsedAt, resource, slot }: StoredMapping) =>
  [client, slot, domain, resource, lastUsedAt] as const

const toMapping = ({ client, domain, last_used, resource, slot }: Row): StoredMapping => ({
  client,
  slot,
  domain,
  resource,
  lastUsedAt: last_used
})

const toChange = (row: Row): MappingChange =>
  row.gone === 0
    ? { _tag: "Put", mapping: toMapping(row) }
    : { _tag: "Released", mapping: { client: row.client, slot: row.slot, domain: row.domain } }

/** The file, and what SQLite has beside it, if any. */
export const remove = (path: string): void => {
  for (const suffix of ["", "-wal", "-shm"]) fs.rmSync(path + suffix, { force: true })
}

/** What is in the file is of no use; any other trouble with it may pass. */
class Useless extends Error {}

/** `problem`: why what was there is not there any more. */
const open = (path: string): { readonly database: DatabaseSync; readonly problem: string | null } => {
  try {
    return { database: openAsIs(path), problem: null }
  } catch (cause) {
    const { errcode = 0 } = cause as { readonly errcode?: number }
    // SQLITE_CORRUPT and SQLITE_NOTADB
    const problem = [11, 26].includes(errcode & 0xff)
      ? "it is damaged"
      : cause instanceof Useless
        ? cause.message
        : null
    if (problem === null) throw cause
    remove(path)
    return { database: openAsIs(path), problem }
  }
}

const openAsIs = (path: string): DatabaseSync => {
  // It says who asks for what: nobody else's to read, and the companions inherit that.
  if (path !== ":memory:") fs.closeSync(fs.openSync(path, "a", 0o600))
  const database = new DatabaseSync(path, { timeout: busyMs })
  try {
    database.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = 16384;")
    const version = Number(database.prepare("PRAGMA user_version").get()?.["user_version"])
    if (version === 0) database.exec(`BEGIN; ${schema} COMMIT;`)
    else if (version !== schemaVersion) throw new Useless(`it is another version's (schema ${version})`)
    const verdict = database.prepare("PRAGMA quick_check(1)").get()?.["quick_check"]
    if (verdict !== "ok") throw new Useless(`it is damaged (${String(verdict)})`)
    database.exec("PRAGMA wal_checkpoint(TRUNCATE)")
    return database
  } catch (cause) {
    database.close()
    throw cause
  }
}

const prepare = (database: DatabaseSync) => {
  const sql = (text: string): StatementSync => database.prepare(text)
  const insert = "INSERT INTO own (client, slot, domain, resource, last_used, gone, sent)"
  return {
    state: sql("SELECT value FROM meta WHERE name = 'state'"),
    putState: sql("INSERT OR REPLACE INTO meta VALUES ('state', ?)"),
    mappings: sql("SELECT client, slot, domain, resource, last_used FROM mapping ORDER BY client, slot"),
    mappingsOf: sql("SELECT client, slot, domain, resource, last_used FROM mapping WHERE client = ? ORDER BY slot"),
    put: sql("INSERT OR REPLACE INTO mapping VALUES (?, ?, ?, ?, ?, ?, 1)"),
    use: sql("UPDATE mapping SET last_used = ?, sent = 0 WHERE client = ? AND slot = ? AND domain = ?"),
    give: sql(
      `INSERT INTO mapping VALUES (?, ?, ?, ?, ?, ?, 0) ON CONFLICT (client, slot) DO UPDATE
       SET domain = excluded.domain, resource = excluded.resource, last_used = excluded.last_used, sent = 0`
    ),
    giveMissing: sql("INSERT INTO mapping VALUES (?, ?, ?, ?, ?, ?, 0) ON CONFLICT (client, slot) DO NOTHING"),
    used: sql("SELECT client, slot, domain, resource, last_used, 0 AS gone FROM mapping WHERE sent = 0 LIMIT ?"),
    useSent: sql("UPDATE mapping SET sent = 1 WHERE client = ? AND slot = ? AND domain = ? AND last_used = ?"),
    remove: sql("DELETE FROM mapping WHERE client = ? AND slot = ? AND domain = ?"),
    sweep: sql(
      `DELETE FROM mapping WHERE (client, slot) IN (SELECT client, slot FROM mapping WHERE reading < ? LIMIT ?)
       RETURNING client, slot, domain`
    ),
    directory: sql("SELECT domain, slot FROM directory"),
    enter: sql("INSERT OR REPLACE INTO directory VALUES (?, ?, ?)"),
    sweepDirectory: sql("DELETE FROM directory WHERE reading < ? RETURNING domain"),

    knows: sql("SELECT 1 FROM own WHERE client = ? AND slot = ? AND (gone = 1 OR last_used >= ?)"),
    // With a number of its own, so that it comes after all others.
    own: sql(`${insert.replace("INSERT", "INSERT OR REPLACE")} VALUES (?, ?, ?, ?, ?, 0, 0)`),
    ownMissing: sql(`${insert} VALUES (?, ?, ?, ?, ?, 0, 0) ON CONFLICT (client, slot) DO NOTHING`),
    release: sql(
      `${insert} VALUES (?, ?, ?, '', 0, 1, 0) ON CONFLICT (client, slot) DO UPDATE
       SET gone = 1, sent = 0, confirmed = NULL WHERE gone = 0 AND domain = excluded.domain`
    ),
    // As the site has it: what is otherwise here is to be sent again.
    ownPut: sql(
      `${insert} VALUES (?, ?, ?, ?, ?, 0, 2) ON CONFLICT (client, slot) DO UPDATE SET
         sent = CASE
           WHEN gone = 1 OR domain <> excluded.domain THEN 0
           WHEN resource <> excluded.resource OR last_used > excluded.last_used THEN sent
           ELSE 2
         END,
         confirmed = NULL, last_used = max(last_used, excluded.last_used)`
    ),
    ownReleased: sql(
      "UPDATE own SET sent = 2 * gone, confirmed = CASE gone WHEN 1 THEN coalesce(confirmed, ?) END WHERE client = ? AND slot = ?"
    ),
    trimRested: sql(
      `DELETE FROM own WHERE n IN (
         SELECT n FROM own WHERE client = ? AND gone = 1 AND confirmed IS NOT NULL ORDER BY confirmed LIMIT -1 OFFSET ?
       )`
    ),
    unsend: sql("UPDATE own SET sent = 0, confirmed = NULL WHERE n > ? AND n <= ?"),
    unsendUnconfirmed: sql("UPDATE own SET sent = 0 WHERE sent = 1"),
    portionEnd: sql("SELECT max(n) AS n FROM (SELECT n FROM own WHERE n > ? ORDER BY n LIMIT ?)"),
    unsent: sql("SELECT client, slot, domain, resource, last_used, gone FROM own WHERE sent = 0 ORDER BY n LIMIT ?"),
    untold: sql(
      "SELECT (SELECT count(*) FROM own WHERE sent = 0) + (SELECT count(*) FROM mapping WHERE sent = 0) AS n"
    ),
    putSent: sql(
      `UPDATE own SET sent = 1
       WHERE client = ? AND slot = ? AND domain = ? AND resource = ? AND last_used = ? AND gone = 0 AND sent = 0`
    ),
    releaseSent: sql("UPDATE own SET sent = 1 WHERE client = ? AND slot = ? AND domain = ? AND gone = 1 AND sent = 0"),
    withdraw: sql("DELETE FROM own WHERE client = ? AND slot = ? AND domain = ?"),
    takeRested: sql(
      `DELETE FROM own WHERE n = (
         SELECT n FROM own
         WHERE client = ? AND gone = 1 AND confirmed <= ? AND (slot >= ? AND slot < ? OR slot >= ? AND slot < ?)
         ORDER BY confirmed, slot LIMIT 1
       ) RETURNING slot`
    )
  }
}

const readState = (sql: ReturnType<typeof prepare>): State => {
  const value = sql.state.get()?.["value"]
  const decoded = typeof value === "string" ? decodeState(value) : Option.none()
  return Option.getOrElse(decoded, () => unread)
}
const decodeState = Schema.decodeUnknownOption(Schema.fromJsonString(State))
