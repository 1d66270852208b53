/**
 * The SQLite file of the state (`node:sqlite`, WAL). It holds the gateway's private key: it appears as a whole with the
 * key in it, is readable by its owner only, and a file that cannot be understood is refused, never replaced.
 */
import { randomBytes } from "node:crypto"
import * as fs from "node:fs"
import { dirname } from "node:path"
import { DatabaseSync, type StatementSync } from "node:sqlite"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { type GatewayKeys, StateError, type StoredSite } from "../../src/host/StateStore.ts"
import { type FileSync, makeFileSync } from "./fileSync.ts"
import { publicKeyOf } from "./keyText.ts"
import { makeDirectory } from "./makeDirectory.ts"
import { damaged } from "./stateErrors.ts"

export interface StateFile {
  readonly database: DatabaseSync
  readonly statements: ReturnType<typeof prepare>
  readonly log: FileSync
  /** Its key was made just now: clients have another one, or none. */
  readonly newKey: boolean
  /** Whether the path leads to another file by now, or to none. */
  readonly whereabouts: () => "there" | "replaced" | "gone"
  /** Takes the log of a replaced file from beside the other one: SQLite would take what is in it for the other one's. */
  readonly removeLog: () => void
}

/** Marks the file as ours (SQLite's `application_id`): "Saly". */
const applicationId = 0x53616c79

/** `user_version`. Grows with the tables; a newer file is refused. */
const schemaVersion = 6

/** Only a log of this many pages (64 MiB) is moved into the file by a write. */
const checkpointPages = 16_384

/** For so long a write waits for another process. */
const busyMs = 250

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

/** What version 4 added: the gateway's public key that the client has proved to know. */
const gatewayKeyColumn = "ALTER TABLE client ADD COLUMN gateway_key TEXT;"

/** What version 5 added: the public key of the device that the row is of. */
const publicKeyColumn = "ALTER TABLE client ADD COLUMN public_key TEXT;"

/** What version 6 made of the mappings: a name may have several slots, each of which is one name's. */
const mappingsBySlot = `
  CREATE TABLE by_slot (
    client TEXT NOT NULL, slot INTEGER NOT NULL, domain TEXT NOT NULL, resource TEXT NOT NULL, last_used REAL NOT NULL,
    PRIMARY KEY (client, slot)
  ) STRICT, WITHOUT ROWID;
  INSERT INTO by_slot SELECT client, slot, domain, resource, last_used FROM mapping;
  DROP TABLE mapping;
  ALTER TABLE by_slot RENAME TO mapping;
`

/** Before it there was but one key, which every client has that was ever here. */
const fillGatewayKeys = (database: DatabaseSync): void => {
  const key = database.prepare("SELECT value FROM meta WHERE name = 'private_key'").get()?.["value"]
  if (typeof key === "string") database.prepare("UPDATE client SET gateway_key = ?").run(publicKeyOf(key))
}

/**
 * What was dated while the clock was ahead would be the last one used, or rest, until that time has come. Not while the
 * clock is plainly behind: a board without a battery begins in 1970.
 */
const pastDates = ["mapping SET last_used", "rested SET since"]
  .map((set) => {
    const column = set.split(" ").at(-1)!
    return `UPDATE ${set} = unixepoch() * 1000 WHERE ${column} > unixepoch() * 1000 AND unixepoch() > ${Date.UTC(2026, 0) / 1_000};`
  })
  .join(" ")

/**
 * Opens the file at `path`, or makes it with a key of its own, and missing directories with it. `newKey`: a file without
 * anything in it may be replaced, too, and one without a key gets another one.
 */
export const openStateFile = (path: string, newKey: boolean): StateFile => {
  let made = false
  if (!fs.existsSync(path)) {
    if (!newKey && fs.existsSync(`${path}-wal`)) throw lost(`${path} is gone, only its log is there`)
    make(path)
    made = true
  } else if (isEmpty(path)) {
    if (!newKey) throw lost(`${path} holds nothing`)
    make(path)
    made = true
  }
  // What is wrong with the path itself, this tells better than SQLite.
  fs.closeSync(fs.openSync(path, "r+"))
  const mode = fs.statSync(path).mode
  if ((mode & 0o077) !== 0) fs.chmodSync(path, 0o600)
  const database = new DatabaseSync(path, { timeout: busyMs })
  try {
    checkStateFile(database, path)
    database.exec(
      `PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = ${checkpointPages}; PRAGMA secure_delete = ON;`
    )
    upgrade(database)
    const statements = prepare(database)
    if (statements.getKey.get() === undefined) {
      if (!newKey) throw lost(`${path} has no key in it`)
      statements.putMeta.run("private_key", makeKey())
      made = true
    }
    database.exec(pastDates)
    // What a start has changed is in the file itself: so much of it a plain copy has.
    database.exec("PRAGMA wal_checkpoint(TRUNCATE)")
    const own = identity(path)
    const companions = [`${path}-wal`, `${path}-shm`].map((name) => [name, identity(name)] as const)
    return {
      database,
      statements,
      log: makeFileSync(`${path}-wal`),
      newKey: made,
      whereabouts: () => {
        const found = identity(path)
        if (found === undefined) return "gone"
        return found === own ? "there" : "replaced"
      },
      removeLog: () => {
        for (const [name, its] of companions) if (its !== undefined && identity(name) === its) fs.rmSync(name)
      }
    }
  } catch (cause) {
    database.close()
    throw cause
  }
}

/** The keys of the file, which has one at least. */
export const readKeys = ({ statements }: StateFile): GatewayKeys => {
  const meta = new Map(statements.meta.all().map(({ name, value }) => [name, value as string]))
  const ending = meta.get("ending_key")
  return {
    privateKey: meta.get("private_key")!,
    ending:
      ending === undefined
        ? null
        : { privateKey: ending, endsAt: Number(meta.get("ending_at")), leftMs: Number(meta.get("ending_left") ?? 0) }
  }
}

export const writeKeys = (file: StateFile, { ending, privateKey }: GatewayKeys): void => {
  const { putMeta, removeMeta } = file.statements
  putMeta.run("private_key", privateKey)
  if (ending === null) {
    for (const name of ["ending_key", "ending_at", "ending_left"]) removeMeta.run(name)
  } else {
    putMeta.run("ending_key", ending.privateKey)
    putMeta.run("ending_at", String(ending.endsAt))
    writeKeyLeft(file, ending.leftMs)
  }
}

/** `null` also where it cannot be understood: then it gives no slots before it has asked the site for others. */
export const readSite = ({ statements }: StateFile): StoredSite | null => {
  const value = statements.site.get()?.["value"]
  return typeof value === "string" ? Option.getOrNull(decodeSite(value)) : null
}
const decodeSite = Schema.decodeUnknownOption(
  Schema.fromJsonString(
    Schema.Struct({
      id: Schema.String,
      spans: Schema.Array(Schema.Struct({ from: Schema.Int, to: Schema.Int }))
    })
  )
)

export const writeSite = ({ statements }: StateFile, site: StoredSite): void =>
  void statements.putMeta.run("site", JSON.stringify(site))

export const writeKeyLeft = ({ statements }: StateFile, leftMs: number): void =>
  void statements.putMeta.run("ending_left", String(leftMs))

/**
 * Moves all of the log into the file and empties it: what is in neither any more is nowhere. `false`: another process that
 * reads the file is in the way, for which nobody waits here.
 */
export const emptyLog = ({ database }: StateFile): boolean => {
  database.exec("PRAGMA busy_timeout = 0")
  try {
    return database.prepare("PRAGMA wal_checkpoint(TRUNCATE)").get()?.["busy"] === 0
  } finally {
    database.exec(`PRAGMA busy_timeout = ${busyMs}`)
  }
}

/** Writes all that the open file has to `path`, where it was deleted. The old one is closed first: that deletes by name. */
export const saveStateFile = (file: StateFile, path: string): void => {
  makeDirectory(dirname(path), 0o700)
  const made = prepareNew(path)
  file.database.prepare("VACUUM INTO ?").run(made)
  file.log.close()
  file.database.close()
  settle(made, path)
}

/** A new file, seen by nobody before it is complete and on the disk. */
const make = (path: string): void => {
  const made = prepareNew(path)
  const database = new DatabaseSync(made)
  try {
    database.exec("PRAGMA synchronous = FULL")
    upgrade(database)
    prepare(database).putMeta.run("private_key", makeKey())
  } finally {
    database.close()
  }
  settle(made, path)
}

/** Tells a file from another one at the same path; `undefined`: there is none. */
const identity = (path: string): string | undefined => {
  const found = fs.statSync(path, { throwIfNoEntry: false })
  return found && `${found.dev}:${found.ino}`
}

const makeKey = (): string => randomBytes(32).toString("base64")

/** Made empty before SQLite opens it, so that the key is at no moment readable by others; WAL and index inherit the mode. */
const prepareNew = (path: string): string => {
  const made = `${path}.new`
  for (const suffix of ["", "-journal", "-wal", "-shm"]) fs.rmSync(made + suffix, { force: true })
  fs.closeSync(fs.openSync(made, "wx", 0o600))
  return made
}

/** A file whose directory entry is not on disk is gone after power loss, key included. */
const settle = (made: string, path: string): void => {
  for (const suffix of ["-wal", "-shm"]) fs.rmSync(path + suffix, { force: true })
  fs.renameSync(made, path)
  syncPath(dirname(path))
}

/** Puts a file, or the entries of a directory, on the disk. */
export const syncPath = (path: string): void => {
  const fd = fs.openSync(path, "r")
  try {
    fs.fsyncSync(fd)
  } finally {
    fs.closeSync(fd)
  }
}

/** Of no bytes, or a copy that was made while all there was lay in the log. */
const isEmpty = (path: string): boolean => {
  if (fs.statSync(path).isDirectory()) return false
  if (fs.statSync(path).size === 0) return !fs.existsSync(`${path}-wal`) || fs.statSync(`${path}-wal`).size === 0
  const database = new DatabaseSync(path, { readOnly: true, timeout: 250 })
  try {
    return pragma(database, "schema_version") === 0
  } catch {
    // What it is instead, `checkStateFile` says.
    return false
  } finally {
    database.close()
  }
}

const upgrade = (database: DatabaseSync): void => {
  const version = pragma(database, "user_version")
  if (version >= schemaVersion) return
  const all = [schema, restedTable, clientColumns, gatewayKeyColumn, publicKeyColumn, mappingsBySlot]
  const steps = all.slice(version).join("")
  database.exec(`BEGIN IMMEDIATE; ${steps}`)
  if (version < 4) fillGatewayKeys(database)
  database.exec(`PRAGMA user_version = ${schemaVersion}; COMMIT;`)
}

/** Reads only: a file that is not understood stays byte for byte what it was. */
export const checkStateFile = (database: DatabaseSync, path: string): void => {
  const version = pragma(database, "user_version")
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

const lost = (what: string): StateError =>
  new StateError({
    message: `${what}, so the gateway's private key is gone although clients may know it: restore the state directory, or start once with --new-key and give every client the new public key`
  })

const pragma = (database: DatabaseSync, name: string): number =>
  Number(database.prepare(`PRAGMA ${name}`).get()?.[name])

const prepare = (database: DatabaseSync) => {
  const sql = (text: string): StatementSync => database.prepare(text)
  return {
    changes: sql("SELECT total_changes() AS n"),
    getKey: sql("SELECT value FROM meta WHERE name = 'private_key'"),
    meta: sql("SELECT name, value FROM meta"),
    site: sql("SELECT value FROM meta WHERE name = 'site'"),
    putMeta: sql("INSERT INTO meta VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value"),
    removeMeta: sql("DELETE FROM meta WHERE name = ?"),
    clients: sql("SELECT id, public_key, address, port, local, tai64n, sent_tick, gateway_key, last_seen FROM client"),
    putClient: sql(
      `INSERT INTO client (id, public_key, address, port, local, tai64n, sent_tick, gateway_key, last_seen)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
       ON CONFLICT (id) DO UPDATE SET public_key = excluded.public_key, address = excluded.address, port = excluded.port,
       local = excluded.local, tai64n = excluded.tai64n, sent_tick = excluded.sent_tick,
       gateway_key = excluded.gateway_key, last_seen = excluded.last_seen`
    ),
    mappings: sql("SELECT client, resource, domain, slot, last_used AS lastUsedAt FROM mapping ORDER BY client, slot"),
    mappingsOf: sql(
      "SELECT client, resource, domain, slot, last_used AS lastUsedAt FROM mapping WHERE client = ? ORDER BY slot"
    ),
    putMapping: sql(
      `INSERT INTO mapping (client, slot, domain, resource, last_used) VALUES (?, ?, ?, ?, ?)
       ON CONFLICT (client, slot) DO UPDATE SET resource = excluded.resource, last_used = excluded.last_used
       WHERE domain = excluded.domain`
    ),
    removeMapping: sql("DELETE FROM mapping WHERE client = ? AND slot = ? AND domain = ?"),
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
