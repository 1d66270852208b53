/**
 * `StateStore` in one SQLite file (`stateFile.ts`).
 *
 * A commit is a plain write to the log, microseconds long. What must outlive power loss then waits until the log is on
 * the disk, in a thread of node's: everything else of the gateway goes on meanwhile, and those who wait together share
 * one sync. What was written some seconds ago is in the file itself, so that a plain copy has it.
 */
import { dirname } from "node:path"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import * as Semaphore from "effect/Semaphore"
import {
  type GatewayKeys,
  maxRested,
  reservedOf,
  StateError,
  StateStore,
  type StoredClient,
  type StoredMapping
} from "../../src/host/StateStore.ts"
import { makeOddities } from "../../src/loops/oddities.ts"
import { superviseForever } from "../../src/loops/superviseForever.ts"
import { explainState } from "./stateErrors.ts"
import {
  emptyLog,
  openStateFile,
  readKeys,
  readSite,
  saveStateFile,
  writeKeyLeft,
  writeKeys,
  writeSite
} from "./stateFile.ts"
import { lockStateDirectory } from "./stateLock.ts"
import { makeDirectory } from "./makeDirectory.ts"
import { publicKeyOf } from "./keyText.ts"

/**
 * Opens or creates the file at `path` (mode 0600, missing directories 0700) while the layer lives, alone of all gateways.
 * `newKey`: where a file has lost its key, another one may be made.
 */
export const layer = (
  path: string,
  { newKey = false }: { readonly newKey?: boolean } = {}
): Layer.Layer<StateStore, StateError> =>
  Layer.effect(
    StateStore,
    Effect.gen(function* () {
      /** Why the last write was not kept, and why the next ones will not be. */
      let unwritten: string | null = null
      let misplaced: string | null = null
      const attempt =
        (verb: "open" | "read" | "write") =>
        <A>(run: () => A): Effect.Effect<A, StateError> =>
          Effect.try({ try: run, catch: (cause) => explainState(path, verb, cause) })
      const read = attempt("read")
      /** Only what could be written is remembered: whether it could, `status` says. */
      const watched = <A>(effect: Effect.Effect<A, StateError>): Effect.Effect<A, StateError> =>
        effect.pipe(
          Effect.tap(() => Effect.sync(() => void (unwritten = null))),
          Effect.tapError(({ message }) => Effect.sync(() => void (unwritten = message)))
        )
      const change = <A>(run: () => A) => watched(attempt("write")(run))
      const write = (run: () => unknown) => Effect.asVoid(change(run))

      const directory = dirname(path)
      yield* attempt("open")(() => makeDirectory(directory, 0o700))
      let lock = yield* lockStateDirectory(directory)
      yield* Effect.addFinalizer(() => Effect.sync(() => lock.release()))
      let file = yield* attempt("open")(() => openStateFile(path, newKey))
      yield* tellOfKey(path, publicKeyOf(readKeys(file).privateKey), { made: file.newKey, asked: newKey })
      yield* Effect.addFinalizer(() =>
        Effect.sync(() => {
          file.log.close()
          // Closing deletes the log by its name, which may be another file's by then.
          if (file.whereabouts() === "replaced") file.removeLog()
          else file.database.close()
        })
      )

      /** All of it or nothing. */
      const together = (run: () => void): Effect.Effect<void, StateError> =>
        write(() => {
          const { database } = file
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
      const synced = watched(
        Effect.tryPromise({ try: () => file.log.sync(), catch: (cause) => explainState(path, "write", cause) })
      )
      const checkpoint =
        // A thread puts the log on the disk first: of the two syncs of a checkpoint that leaves the file's own.
        Effect.andThen(
          synced,
          write(() => file.database.exec("PRAGMA wal_checkpoint(PASSIVE)"))
        )

      const loudly = makeOddities(Effect.logError)
      /** Somebody has deleted the file, perhaps with all around it: what is open still has everything. */
      const saveAgain = Effect.gen(function* () {
        yield* attempt("write")(() => saveStateFile(file, path))
        file = yield* attempt("open")(() => openStateFile(path, false))
        yield* Effect.logWarning(
          `${path} was deleted while the gateway ran: it was written again, with all that it had`
        )
      }).pipe(
        Effect.catch(({ message }) => {
          misplaced = `${path} was deleted while the gateway runs, and cannot be written again: ${message}`
          return loudly("gone", misplaced)
        })
      )
      /** Somebody has deleted its file, as one that seemed to be left over. */
      const lockAgain = Effect.gen(function* () {
        const next = yield* lockStateDirectory(directory)
        lock.release()
        lock = next
        misplaced = null
      }).pipe(
        Effect.catch(({ message }) => {
          misplaced = message
          return loudly("lock", message)
        })
      )
      const oneLook = Semaphore.makeUnsafe(1)
      const lookAfter = Effect.gen(function* () {
        if (file.whereabouts() === "gone") yield* saveAgain
        switch (file.whereabouts()) {
          case "there":
            if (!lock.isThere()) return yield* lockAgain
            misplaced = null
            return
          case "replaced":
            // Where that fails nothing can be written, either.
            yield* Effect.ignore(attempt("write")(file.removeLog))
            misplaced = `${path} was replaced while the gateway runs: nothing new is kept in it until the gateway is restarted`
            return yield* loudly("replaced", misplaced)
          case "gone":
        }
      }).pipe((look) => oneLook.withPermit(look))
      /** Fails where the file at the path is another one: the next start would not find what is kept now. */
      const inPlace = Effect.flatMap(lookAfter, () =>
        misplaced === null ? Effect.void : Effect.fail(new StateError({ message: misplaced }))
      )

      const logEmptied = change(() => emptyLog(file)).pipe(
        Effect.repeat({ until: (emptied) => emptied, ...patience }),
        Effect.filterOrFail(
          (emptied) => emptied,
          () =>
            new StateError({
              message: `cannot write the state in ${path}: another process reads it, and what is forgotten would stay in its log; wait for that one (a backup, sqlite3) or end it, and try again`
            })
        )
      )

      const putKeys = Effect.fnUntraced(function* (keys: GatewayKeys) {
        yield* inPlace
        const before = yield* read(() => readKeys(file))
        yield* together(() => writeKeys(file, keys))
        // Keys that are refused must not be what the next start finds.
        const takeBack = Effect.andThen(
          together(() => writeKeys(file, before)),
          synced
        )
        yield* synced.pipe(
          Effect.andThen(logEmptied),
          Effect.andThen(inPlace),
          Effect.catch((error) =>
            Effect.andThen(
              Effect.mapError(takeBack, ({ message }) => new StateError({ message: refusedTwice(error, message) })),
              Effect.fail(error)
            )
          )
        )
      })

      const changes = Effect.sync(() => Number(file.statements.changes.get()?.["n"]))
      const upkeep = checkpointWhenQuiet({ changes, checkpoint })
      yield* Effect.forkScoped(
        superviseForever("StateStore.upkeep", Effect.andThen(lookAfter, Effect.sleep("1 second")))
      )
      yield* Effect.forkScoped(upkeep, { startImmediately: true })

      return StateStore.of({
        trouble: Effect.sync(() => misplaced ?? unwritten),
        keys: read(() => readKeys(file)),
        putKeys,
        putKeyLeft: (leftMs) => write(() => writeKeyLeft(file, leftMs)),
        clients: read(() => file.statements.clients.all().map((row) => toClient(row as unknown as ClientRow))),
        putClients: (rows) =>
          together(() => {
            for (const { client, endpoint, gatewayKey, lastSeenAt, lastTai64n, local, publicKey, sentTick } of rows) {
              file.statements.putClient.run(
                client,
                publicKey,
                endpoint?.address ?? null,
                endpoint?.port ?? null,
                local,
                lastTai64n,
                sentTick,
                gatewayKey,
                lastSeenAt
              )
            }
          }),
        mappings: read(() => file.statements.mappings.all().map((row) => ({ ...(row as unknown as StoredMapping) }))),
        mappingsOf: (client) =>
          read(() => file.statements.mappingsOf.all(client).map((row) => ({ ...(row as unknown as StoredMapping) }))),
        site: read(() => readSite(file)),
        putSite: (site) =>
          Effect.andThen(
            write(() => writeSite(file, site)),
            synced
          ),
        putMapping: (m) =>
          write(() => {
            const { putMapping } = file.statements
            if (putMapping.run(m.client, m.slot, m.domain, m.resource, m.lastUsedAt).changes === 0) {
              throw new StateError({
                message: `${path}: slot ${m.slot} of ${m.client} is another name's than ${m.domain}`
              })
            }
          }),
        removeMapping: (m, releasedAt) =>
          together(() => {
            const { removeMapping, rest } = file.statements
            const { changes } = removeMapping.run(m.client, m.slot, m.domain)
            if (changes > 0) rest.run(m.client, m.slot, releasedAt, m.client, maxRested)
          }),
        takeRested: (client, before) =>
          change(
            () =>
              (file.statements.takeRested.get(client, before) as { readonly slot: number } | undefined)?.slot ?? null
          ).pipe(Effect.tap((slot) => (slot === null ? Effect.void : synced))),
        reserveSlots: (client, count, site) =>
          change(() => {
            const { reserve } = file.statements
            return (reserve.get(reservedOf(client, site), count, count, count) as { readonly first: number }).first
          }).pipe(Effect.tap(synced))
      })
    })
  )

/** Who reads the file has so long to come to an end. */
const patience = { schedule: Schedule.spaced("100 millis"), times: 20 }

const refusedTwice = ({ message }: StateError, again: string): string =>
  `${message}; nor could it be taken back, so that the next start may find the keys changed: ${again}`

/** A key that clients do not have cuts all of them off: whoever made it by mistake (a state directory elsewhere) reads so. */
const tellOfKey = (path: string, publicKey: string, of: { readonly made: boolean; readonly asked: boolean }) => {
  if (of.made) {
    return Effect.logWarning(
      `this gateway has a new key, made in ${path}: every client needs PublicKey = ${publicKey} (sallyport client-config prints its file); clients that know another one are refused until then, or until the state that has it is restored`
    )
  }
  return of.asked
    ? Effect.logWarning(
        `--new-key did nothing: ${path} has its key (${publicKey}), which stays: leave the option out; for another key stop the gateway and move the file away, with all proxy IPs`
      )
    : Effect.void
}

/**
 * Moving the log into the file holds questions up for some tens of milliseconds: it is done in a quiet second, in which
 * no more than so many rows change, once so many have, or the oldest change is so many seconds old. Then it may be that
 * no second is quiet.
 */
const quietRows = 64
const oldSeconds = 10
const tooOldSeconds = 60

/** Trouble is told by the next write; a minute later it is tried again. */
const checkpointWhenQuiet = (log: {
  readonly changes: Effect.Effect<number>
  readonly checkpoint: Effect.Effect<void, StateError>
}): Effect.Effect<void> =>
  Effect.suspend(() => {
    let moved = 0
    let before = 0
    let age = 0
    const turn = Effect.gen(function* () {
      const changes = yield* log.changes
      const quiet = changes - before <= quietRows
      before = changes
      age = changes === moved ? 0 : age + 1
      const due = changes - moved >= quietRows || age > oldSeconds
      if ((quiet && due) || age > tooOldSeconds) {
        yield* log.checkpoint
        moved = changes
      }
      yield* Effect.sleep("1 second")
    })
    return superviseForever("StateStore.checkpoint", turn)
  }).pipe(Effect.retry(Schedule.spaced("1 minute")), Effect.ignore)

interface ClientRow {
  readonly id: string
  readonly public_key: string | null
  readonly address: string | null
  readonly port: number | null
  readonly local: string | null
  readonly tai64n: string | null
  readonly sent_tick: number
  readonly gateway_key: string | null
  readonly last_seen: number
}

const toClient = (row: ClientRow): StoredClient => ({
  client: row.id,
  publicKey: row.public_key,
  endpoint: row.address === null || row.port === null ? null : { address: row.address, port: row.port },
  local: row.local,
  lastTai64n: row.tai64n,
  sentTick: row.sent_tick,
  gatewayKey: row.gateway_key,
  lastSeenAt: row.last_seen
})
