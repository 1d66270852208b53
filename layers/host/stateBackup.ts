/** Copies of the state of a gateway, and their way back (`sallyport backup`, `restore`). */
import * as fs from "node:fs"
import { dirname, join, resolve } from "node:path"
import { DatabaseSync } from "node:sqlite"
import * as Effect from "effect/Effect"
import type { Restored, StateSummary } from "../../src/cli/StateFiles.ts"
import { StateError } from "../../src/host/StateStore.ts"
import { publicKeyOf } from "./keyText.ts"
import { makeDirectory } from "./makeDirectory.ts"
import { companions, copyState, own, removeState } from "./stateCopy.ts"
import { explainState } from "./stateErrors.ts"
import { checkStateFile, syncPath } from "./stateFile.ts"
import { lockStateDirectory } from "./stateLock.ts"

/**
 * One transaction of SQLite's reads all that is committed, in the log too, whether a gateway runs or not; the gateway goes
 * on writing meanwhile.
 */
export const backupState = (
  stateDir: string,
  file: string,
  { overwrite }: { readonly overwrite: boolean }
): Effect.Effect<StateSummary, StateError> => {
  const path = join(stateDir, "state.db")
  return attempt(path, "read", () => {
    if (!fs.existsSync(path)) {
      throw new StateError({
        message: `there is no state in ${stateDir}: name the configuration of the gateway with -c`
      })
    }
    return inRoomBeside(file, (made) => {
      fs.closeSync(fs.openSync(made, "wx", 0o600))
      withDatabase(path, (database) => {
        checkStateFile(database, path)
        database.prepare("VACUUM INTO ?").run(made)
      })
      const summary = withDatabase(made, (database) => summaryOf(database, path))
      syncPath(made)
      writing(file, () => {
        if (overwrite) fs.renameSync(made, file)
        else appear(made, file)
        syncPath(dirname(resolve(file)))
      })
      return summary
    })
  })
}

/** Gives the file its name, unless there is one of that name already. */
const appear = (made: string, file: string): void => {
  try {
    fs.linkSync(made, file)
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException
    // A file system without links (a memory stick) gets a copy, which is no atomic step.
    if (code !== "EPERM" && code !== "ENOTSUP" && code !== "ENOSYS") throw cause
    fs.copyFileSync(made, file, fs.constants.COPYFILE_EXCL)
    syncPath(file)
  }
}

/** The scope holds the state directory: a gateway that runs on it is not disturbed, and none starts meanwhile. */
export const restoreState = Effect.fnUntraced(function* (stateDir: string, file: string) {
  const added = yield* attempt(file, "read", () => {
    fs.accessSync(file, fs.constants.R_OK)
    return makeDirectory(stateDir, 0o700)
  })
  yield* Effect.acquireRelease(lockStateDirectory(stateDir), (lock) => Effect.sync(() => lock.release())).pipe(
    Effect.mapError((error) =>
      error.inUse === true
        ? new StateError({ inUse: true, message: `nothing is restored while a gateway runs: ${error.message}` })
        : error
    )
  )
  const path = join(stateDir, "state.db")
  return yield* attempt(file, "read", (): Restored => {
    own(join(stateDir, "lock"), stateDir)
    const made = `${path}.restored`
    removeState(made)
    try {
      // A plain copy of a directory has the log beside the file.
      copyState(file, made)
      fs.chmodSync(made, 0o600)
      const summary = withDatabase(made, (database) => {
        checkStateFile(database, file)
        return summaryOf(database, file)
      })
      const kept = keepBeside(path)
      const before = keyOf(path)
      const slotsLost = withDatabase(made, (database) => {
        keepSite(database, path)
        const lost = kept !== null && !keepReserved(database, path)
        database.exec("PRAGMA wal_checkpoint(TRUNCATE)")
        return lost
      })
      own(made, stateDir)
      syncPath(made)
      if (kept !== null) own(kept, stateDir)
      // What it knows of its own slots is of the state before; all of it is read anew.
      removeState(join(stateDir, "site.db"))
      // SQLite would take it for the new file's.
      for (const suffix of companions) fs.rmSync(path + suffix, { force: true })
      fs.renameSync(made, path)
      syncPath(stateDir)
      return { ...summary, kept, before, slotsLost }
    } finally {
      removeState(made)
    }
  }).pipe(Effect.tapError(() => Effect.sync(() => unmake(stateDir, added))))
})

/** Nothing is left of a state directory that was made for what turned out to be no state. */
const unmake = (stateDir: string, added: ReadonlyArray<string>): void => {
  if (added.length === 0) return
  fs.rmSync(join(stateDir, "lock"), { force: true })
  try {
    for (const directory of added.toReversed()) fs.rmdirSync(directory)
  } catch {
    // Somebody else has put something there.
  }
}

const attempt = <A>(path: string, verb: "open" | "read" | "write", run: () => A): Effect.Effect<A, StateError> =>
  Effect.try({ try: run, catch: (cause) => explain(path, verb, cause) })

const explain = (path: string, verb: "open" | "read" | "write", cause: unknown): StateError =>
  (cause as NodeJS.ErrnoException).code === "ENOENT"
    ? new StateError({ message: `${path} does not exist: check the path` })
    : explainState(path, verb, cause)

/** What goes wrong with the backup's own file is not the state's trouble. */
const writing = <A>(file: string, run: () => A): A => {
  try {
    return run()
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException
    if (code === "EEXIST") {
      throw new StateError({
        message: `${file} is there already and stays as it is: name another file, or say --overwrite`
      })
    }
    if (code === "ENOENT")
      throw new StateError({
        message: `there is no directory ${dirname(resolve(file))}: make it, or name another file`
      })
    throw explainState(file, "write", cause)
  }
}

/** A directory that only its owner may enter, on the file system of `file`, while `use` lasts. */
const inRoomBeside = <A>(file: string, use: (made: string) => A): A => {
  const room = writing(file, () => fs.mkdtempSync(join(dirname(resolve(file)), ".sallyport-backup-")))
  try {
    return use(join(room, "state.db"))
  } finally {
    fs.rmSync(room, { recursive: true, force: true })
  }
}

const withDatabase = <A>(path: string, use: (database: DatabaseSync) => A): A => {
  const database = new DatabaseSync(path, { timeout: 2_000 })
  try {
    return use(database)
  } finally {
    database.close()
  }
}

const summaryOf = (database: DatabaseSync, path: string): StateSummary => {
  const value = (sql: string) => database.prepare(sql).get()?.["value"]
  const key = value("SELECT value FROM meta WHERE name = 'private_key'")
  const ending = value("SELECT value FROM meta WHERE name = 'ending_key'")
  if (typeof key !== "string" || Buffer.from(key, "base64").length !== 32) {
    throw new StateError({ message: `${path} has no key in it: a gateway cannot start with it; take another backup` })
  }
  return {
    publicKey: publicKeyOf(key),
    endingKey: typeof ending === "string" ? publicKeyOf(ending) : null,
    clients: Number(value("SELECT count(*) AS value FROM client")),
    names: Number(value("SELECT count(*) AS value FROM mapping"))
  }
}

/**
 * A gateway of a site is the one that its state directory says, and comes as a new one where there is none: the one that the
 * backup is of may be alive, or may have given slots since.
 */
const keepSite = (restored: DatabaseSync, path: string): void => {
  const wasOne = Number(restored.prepare("DELETE FROM meta WHERE name = 'site'").run().changes) > 0
  const site = readPresent(path, (database) => database.prepare("SELECT value FROM meta WHERE name = 'site'").get())
  if (site !== undefined) restored.prepare("INSERT INTO meta VALUES ('site', ?)").run(site["value"]!)
  // They are counted through slots that are another one's now.
  else if (wasOne) restored.exec("DELETE FROM reserved")
}

/**
 * Slots that were handed out since the backup was made stay reserved: no proxy IP comes to stand for another name. `false`:
 * which ones they are cannot be read.
 */
const keepReserved = (restored: DatabaseSync, path: string): boolean => {
  const rows = readPresent(path, (database) => database.prepare("SELECT client, next FROM reserved").all())
  for (const { client, next } of rows ?? []) {
    restored
      .prepare("INSERT INTO reserved VALUES (?, ?) ON CONFLICT (client) DO UPDATE SET next = max(next, excluded.next)")
      .run(client!, next!)
  }
  return rows !== undefined
}

const keyOf = (path: string): string | null =>
  readPresent(path, (database) => summaryOf(database, path).publicKey) ?? null

/** `undefined` where the state is missing or damaged, which may be why another one is restored. */
const readPresent = <A>(path: string, read: (database: DatabaseSync) => A): A | undefined => {
  if (!fs.existsSync(path)) return undefined
  try {
    return withDatabase(path, read)
  } catch {
    return undefined
  }
}

const keepBeside = (path: string): string | null => {
  if (!fs.existsSync(path)) return null
  const kept = `${path}.before-${new Date().toISOString().replaceAll(/[:.]/g, "-")}`
  copyState(path, kept)
  return kept
}
