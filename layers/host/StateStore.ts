/**
 * `StateStore` in one SQLite file (`node:sqlite`, WAL). The file holds the gateway's private key: it is readable by its
 * owner only, and a file that cannot be understood is refused, never replaced.
 *
 * A commit is a plain write to the log, microseconds long. What must outlive power loss then waits until the log is on
 * the disk, in a thread of node's: everything else of the gateway goes on meanwhile, and those who wait together share
 * one sync.
 */
import * as fs from "node:fs"
import { dirname } from "node:path"
import { DatabaseSync, type StatementSync } from "node:sqlite"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import { maxRested, StateError, StateStore, type StoredClient, type StoredMapping } from "../../src/host/StateStore.ts"
import { superviseForever } from "../../src/loops/superviseForever.ts"
import { makeFileSync } from "./fileSync.ts"

/** Opens or creates the file at `path` (mode 0600, missing directories 0700) while the layer lives. */
export const layer = (path: string): Layer.Layer<StateStore, StateError> =>
  Layer.effect(
    StateStore,
    Effect.gen(function* () {
      const attempt =
        (verb: "open" | "read" | "write") =>
        <A>(run: () => A): Effect.Effect<A, StateError> =>
          Effect.try({ try: run, catch: (cause) => explain(path, verb, cause) })
      const read = attempt("read")
      const change = attempt("write")
      const write = (run: () => unknown) => Effect.asVoid(change(run))

      const database = yield* Effect.acquireRelease(
        attempt("open")(() => open(path)),
        (database) => Effect.sync(() => database.close())
      )
      const statements = prepare(database)
      const log = yield* Effect.acquireRelease(
        attempt("open")(() => makeFileSync(`${path}-wal`)),
        (log) => Effect.sync(log.close)
      )

      /** All of it or nothing. */
      const together = (run: () => void): Effect.Effect<void, StateError> =>
        write(() => {
          database.exec("BEGIN IMMEDIATE")
          try {
            run()
            database.exec("COMMIT")
          } catch (cause) {
            // On a full disk SQLite has rolled back by itself.
            if (database.isTransaction) database.exec("ROLLBACK")
            throw cause
          }
        })
      const synced = Effect.tryPromise({ try: log.sync, catch: (cause) => explain(path, "write", cause) })

      yield* Effect.forkScoped(
        checkpointWhenQuiet({
          changes: Effect.sync(() => Number(statements.changes.get()?.["n"])),
          // A thread puts the log on the disk first: of the two syncs of a checkpoint that leaves the file's own.
          checkpoint: Effect.andThen(
            synced,
            write(() => database.exec("PRAGMA wal_checkpoint(PASSIVE)"))
          )
        }),
        { startImmediately: true }
      )

      return StateStore.of({
        privateKey: read(() => (statements.getKey.get() as { readonly value: string } | undefined)?.value ?? null),
        setPrivateKey: (base64) =>
          Effect.andThen(
            write(() => statements.setKey.run(base64)),
            synced
          ),
        clients: read(() => statements.clients.all().map((row) => toClient(row as unknown as ClientRow))),
        putClients: (rows) =>
          together(() => {
            for (const { client, endpoint, lastSeenAt, lastTai64n, local, sentTick } of rows) {
              statements.putClient.run(
                client,
                endpoint?.address ?? null,
                endpoint?.port ?? null,
                local,
                lastTai64n,
                sentTick,
                lastSeenAt
              )
            }
          }),
        mappings: read(() => statements.mappings.all().map((row) => ({ ...(row as unknown as StoredMapping) }))),
        putMapping: (m) => write(() => statements.putMapping.run(m.client, m.resource, m.domain, m.slot, m.lastUsedAt)),
        removeMapping: (m, releasedAt) =>
          together(() => {
            const { changes } = statements.removeMapping.run(m.client, m.resource, m.domain, m.slot)
            if (changes > 0) statements.rest.run(m.client, m.slot, releasedAt, m.client, maxRested)
          }),
        takeRested: (client, before) =>
          change(
            () => (statements.takeRested.get(client, before) as { readonly slot: number } | undefined)?.slot ?? null
          ).pipe(Effect.tap((slot) => (slot === null ? Effect.void : synced))),
        reserveSlots: (client, count) =>
          change(() => (statements.reserve.get(client, count, count, count) as { readonly first: number }).first).pipe(
            Effect.tap(synced)
          )
      })
    })
  )

/** Marks the file as ours (SQLite's `application_id`): "Saly". */
const applicationId = 0x53616c79

/** `user_version`. Grows with the tables; a newer file is refused. */
const schemaVersion = 3

/**
 * Moving the log into the file holds questions up for some tens of milliseconds: it is done in a quiet second. Only a
 * log of this many pages (64 MiB) does not wait for one.
 */
const checkpointPages = 16_384
/** Changed rows of a second in which few questions come, and those that are worth a checkpoint. */
const quietRows = 64

/** Trouble is told by the next write; a minute later it is tried again. */
const checkpointWhenQuiet = (log: {
  readonly changes: Effect.Effect<number>
  readonly checkpoint: Effect.Effect<void, StateError>
}): Effect.Effect<void> =>
  Effect.suspend(() => {
    let moved = 0
    let before = 0
    const turn = Effect.gen(function* () {
      const changes = yield* log.changes
      const quiet = changes - before <= quietRows
      before = changes
      if (quiet && changes - moved >= quietRows) {
        yield* log.checkpoint
        moved = changes
      }
      yield* Effect.sleep("1 second")
    })
    return superviseForever("StateStore.checkpoint", turn)
  }).pipe(Effect.retry(Schedule.spaced("1 minute")), Effect.ignore)

const schema = `
  CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
  CREATE TABLE client (
    id TEXT PRIMARY KEY, address TEXT, port INTEGER, tai64n TEXT, last_seen REAL NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE reserved (client TEXT PRIMARY KEY, next INTEGER NOT NULL) STRICT, WITHOUT ROWID;
  CREATE TABLE mapping (
    client TEXT NOT NULL, resource TEXT NOT NULL, domain TEXT NOT NULL, slot INTEGER NOT NULL, last_used REAL NOT NULL,
    PRIMARY KEY (client, resource, domain), UNIQUE (client, slot)
  ) STRICT, WITHOUT ROWID;
  PRAGMA application_id = ${applicationId};
`

/** What version 2 added. */
const restedTable = `
  CREATE TABLE rested (
    client TEXT NOT NULL, slot INTEGER NOT NULL, since REAL NOT NULL, PRIMARY KEY (client, slot)
  ) STRICT, WITHOUT ROWID;
`

/** What version 3 added: the address of ours that a client sends to, and our last timestamp. */
const clientColumns = `
  ALTER TABLE client ADD COLUMN local TEXT;
  ALTER TABLE client ADD COLUMN sent_tick INTEGER NOT NULL DEFAULT 0;
`

const open = (path: string): DatabaseSync => {
  const directory = dirname(path)
  fs.mkdirSync(directory, { recursive: true, mode: 0o700 })
  // Made before SQLite opens it, so that the key is at no moment readable by others; WAL and index inherit the mode.
  const fd = fs.openSync(path, fs.constants.O_RDWR | fs.constants.O_CREAT, 0o600)
  try {
    if ((fs.fstatSync(fd).mode & 0o077) !== 0) fs.fchmodSync(fd, 0o600)
  } finally {
    fs.closeSync(fd)
  }
  const database = new DatabaseSync(path, { timeout: 250 })
  try {
    check(database, path)
    database.exec(
      `PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = ${checkpointPages};`
    )
    const version = pragma(database, "user_version")
    if (version < schemaVersion) {
      const steps = [schema, restedTable, clientColumns].slice(version).join("")
      database.exec(`BEGIN IMMEDIATE; ${steps} PRAGMA user_version = ${schemaVersion}; COMMIT;`)
    }
    syncDirectory(directory)
    return database
  } catch (cause) {
    database.close()
    throw cause
  }
}

/** Reads only: a file that is not understood stays byte for byte what it was. */
const check = (database: DatabaseSync, path: string): void => {
  const version = pragma(database, "user_version")
  const tables = pragma(database, "schema_version")
  if (version === 0 && tables === 0) return
  if (pragma(database, "application_id") !== applicationId) {
    throw new StateError({
      message: `${path} is an SQLite file of another program: choose another path for the gateway's state`
    })
  }
  if (version > schemaVersion) {
    throw new StateError({
      message: `${path} was written by a newer version (schema ${version}, this version knows ${schemaVersion}): upgrade, or restore the older file`
    })
  }
  const verdict = database.prepare("PRAGMA quick_check(1)").get()?.["quick_check"]
  if (verdict !== "ok") throw damaged(path)
}

const pragma = (database: DatabaseSync, name: string): number =>
  Number(database.prepare(`PRAGMA ${name}`).get()?.[name])

/** A file whose directory entry is not on disk is gone after power loss, key included. */
const syncDirectory = (directory: string): void => {
  const fd = fs.openSync(directory, "r")
  try {
    fs.fsyncSync(fd)
  } finally {
    fs.closeSync(fd)
  }
}

const prepare = (database: DatabaseSync) => {
  const sql = (text: string): StatementSync => database.prepare(text)
  return {
    changes: sql("SELECT total_changes() AS n"),
    getKey: sql("SELECT value FROM meta WHERE name = 'private_key'"),
    setKey: sql("INSERT INTO meta VALUES ('private_key', ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value"),
    clients: sql("SELECT id, address, port, local, tai64n, sent_tick, last_seen FROM client"),
    putClient: sql(
      `INSERT INTO client (id, address, port, local, tai64n, sent_tick, last_seen) VALUES (?, ?, ?, ?, ?, ?, ?)
       ON CONFLICT (id) DO UPDATE SET address = excluded.address, port = excluded.port, local = excluded.local,
       tai64n = excluded.tai64n, sent_tick = excluded.sent_tick, last_seen = excluded.last_seen`
    ),
    mappings: sql("SELECT client, resource, domain, slot, last_used AS lastUsedAt FROM mapping ORDER BY client, slot"),
    putMapping: sql(
      `INSERT INTO mapping VALUES (?, ?, ?, ?, ?) ON CONFLICT (client, resource, domain) DO UPDATE SET
       slot = excluded.slot, last_used = excluded.last_used`
    ),
    removeMapping: sql("DELETE FROM mapping WHERE client = ? AND resource = ? AND domain = ? AND slot = ?"),
    rest: sql(
      `INSERT INTO rested SELECT ?, ?, ? WHERE (SELECT count(*) FROM rested WHERE client = ?) < ?
       ON CONFLICT (client, slot) DO UPDATE SET since = excluded.since`
    ),
    takeRested: sql(
      `DELETE FROM rested WHERE (client, slot) = (
         SELECT client, slot FROM rested WHERE client = ? AND since <= ? ORDER BY since, slot LIMIT 1
       ) RETURNING slot`
    ),
    reserve: sql(
      `INSERT INTO reserved VALUES (?, ?) ON CONFLICT (client) DO UPDATE SET next = next + ?
       RETURNING next - ? AS first`
    )
  }
}

interface ClientRow {
  readonly id: string
  readonly address: string | null
  readonly port: number | null
  readonly local: string | null
  readonly tai64n: string | null
  readonly sent_tick: number
  readonly last_seen: number
}

const toClient = (row: ClientRow): StoredClient => ({
  client: row.id,
  endpoint: row.address === null || row.port === null ? null : { address: row.address, port: row.port },
  local: row.local,
  lastTai64n: row.tai64n,
  sentTick: row.sent_tick,
  lastSeenAt: row.last_seen
})

const damaged = (path: string): StateError =>
  new StateError({
    message: `${path} is damaged or not a state file: restore it from a backup, or move it away (clients then need the gateway's new key)`
  })

/** One line with the path, the cause and the fix, from whatever SQLite or the file system threw. */
const explain = (path: string, verb: "open" | "read" | "write", cause: unknown): StateError => {
  if (cause instanceof StateError) return cause
  const error = cause as { readonly code?: string; readonly errcode?: number; readonly message?: string }
  const say = (rest: string): StateError => new StateError({ message: `cannot ${verb} the state in ${path}: ${rest}` })
  if (error.errcode !== undefined) {
    switch (error.errcode & 0xff) {
      case 5:
      case 6:
        return say("another process has locked it; stop the other gateway or give each its own state file")
      case 8:
        return say("the file or its file system is read-only; make it writable")
      case 11:
      case 26:
        return damaged(path)
      case 13:
        return say("the disk is full; free some space (what was stored before is untouched)")
      case 14:
        return say("the file cannot be opened; check that its directory is writable")
      default:
        return say(oneLine(error.message))
    }
  }
  switch (error.code) {
    case "EACCES":
    case "EPERM":
      return say(`no permission (${error.code}); let the gateway's user own the file and its directory`)
    case "EROFS":
      return say("the file system is read-only (EROFS); choose a writable path")
    case "ENOSPC":
    case "EDQUOT":
      return say(`the disk is full (${error.code}); free some space`)
    case "EISDIR":
      return say("it is a directory; name a file")
    case "ENOTDIR":
    case "EEXIST":
      return say("a part of the path is not a directory; choose another path")
    default:
      return say(oneLine(error.message))
  }
}

const oneLine = (message: string | undefined): string => (message ?? "unknown cause").replace(/\s+/g, " ")
