/** Names of another gateway's state in that of this one, which is stopped (`sallyport import`). */
import * as fs from "node:fs"
import { join } from "node:path"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type { GatewayConfig } from "../../src/config/GatewayConfig.ts"
import { proxyNetworks, slotCapacity } from "../../src/control/standalone/proxyPool.ts"
import { StateError } from "../../src/host/StateStore.ts"
import { type GivenAlone, importNames, type NameImport, type Taker } from "../../src/shared/importNames.ts"
import { maxSites, type SlotSpan, slotZones, spansOfFirst } from "../../src/shared/slotZones.ts"
import { publicKeyOf } from "./keyText.ts"
import { copyState, own, removeState } from "./stateCopy.ts"
import { explainState } from "./stateErrors.ts"
import { openStateFile, readKeys, readSite, type StateFile, syncPath } from "./stateFile.ts"
import { lockStateDirectory } from "./stateLock.ts"

/**
 * All of it or nothing. The scope holds the state directory meanwhile.
 * @param other what the file is of
 */
export const importState = Effect.fnUntraced(function* (
  config: GatewayConfig,
  other: GatewayConfig,
  file: string,
  { dryRun }: { readonly dryRun: boolean }
) {
  const { stateDir } = config
  const path = join(stateDir, "state.db")
  if (!fs.existsSync(path)) {
    return yield* new StateError({ message: `there is no state in ${stateDir}: start the gateway once before` })
  }
  yield* Effect.acquireRelease(lockStateDirectory(stateDir), (lock) => Effect.sync(() => lock.release())).pipe(
    Effect.mapError((error) =>
      error.inUse === true
        ? new StateError({ inUse: true, message: `nothing is taken over while a gateway runs: ${error.message}` })
        : error
    )
  )
  return yield* Effect.try({
    try: (): NameImport => {
      const made = `${path}.imported`
      removeState(made)
      try {
        own(join(stateDir, "lock"), stateDir)
        // What is read may be of an older version, which opening it changes.
        copyState(file, made)
        fs.chmodSync(made, 0o600)
        return opened(made, file, (theirs) =>
          opened(path, path, (ours) => {
            compare(ours, theirs, { config, other, file })
            const names = importNames(takerOf(ours, config), givenBy(theirs, other))
            if (!dryRun && names.taken.length + names.reserved.size > 0) write(ours, names)
            return names
          })
        )
      } finally {
        removeState(made)
        syncPath(stateDir)
      }
    },
    catch: (cause) =>
      (cause as NodeJS.ErrnoException).code === "ENOENT"
        ? new StateError({ message: `${file} does not exist: check the path` })
        : explainState(file, "read", cause)
  })
})

/** @param name what it is called where it cannot be understood */
const opened = <A>(path: string, name: string, use: (file: StateFile) => A): A => {
  const file = open(path, name)
  try {
    return use(file)
  } finally {
    file.log.close()
    file.database.close()
  }
}

const open = (path: string, name: string): StateFile => {
  try {
    return openStateFile(path, false)
  } catch (cause) {
    throw cause instanceof StateError
      ? new StateError({ message: cause.message.replaceAll(path, name) })
      : explainState(name, "read", cause)
  }
}

interface Compared {
  readonly config: GatewayConfig
  readonly other: GatewayConfig
  readonly file: string
}

/** Who was told the names, where they lead, and that nobody else gives them. */
const compare = (own: StateFile, theirs: StateFile, { config, file, other }: Compared): void => {
  const refuse = (cause: string, fix: string): never => {
    throw new StateError({ message: `nothing is taken over: ${cause} — ${fix}` })
  }
  const keys = readKeys(own)
  const answers = [keys.privateKey, ...(keys.ending === null ? [] : [keys.ending.privateKey])].map(publicKeyOf)
  const key = publicKeyOf(readKeys(theirs).privateKey)
  if (!answers.includes(key)) {
    refuse(
      `${file} is of a gateway with the key ${key}, and this one has ${answers.join(" and ")}`,
      "its clients need new files (sallyport client-config), and ask for their names anew"
    )
  }
  for (const range of ["proxy4", "proxy6"] as const) {
    if (config.network[range] === other.network[range]) continue
    refuse(
      `its proxy addresses are of ${other.network[range]}, and those of this gateway of ${config.network[range]}`,
      "there is no address that both know"
    )
  }
  if ((readSite(theirs)?.spans.length ?? 0) > 0) {
    refuse(`${file} is of a gateway of a site`, "its names are in that site's PostgreSQL")
  }
  if ((config.sites?.own.number ?? 0) > 0) {
    refuse(
      `this gateway is of site ${config.sites!.own.name}, and what a gateway alone gave are addresses of site number 0`,
      "take them over at a gateway of that site"
    )
  }
}

const givenBy = ({ database, statements }: StateFile, { clients }: GatewayConfig): GivenAlone => ({
  mappings: statements.mappings.all() as unknown as GivenAlone["mappings"],
  reserved: new Map(
    database
      .prepare("SELECT client, next FROM reserved")
      .all()
      .map((row) => [row["client"] as string, row["next"] as number])
  ),
  devices: new Map(clients.map(({ id, publicKey }) => [id, publicKey]))
})

const takerOf = (file: StateFile, config: GatewayConfig): Taker => {
  const seen = file.database.prepare("SELECT id FROM client UNION SELECT client FROM rested").all()
  return {
    ...givenBy(file, config),
    seen: new Set(seen.map(({ id }) => id as string)),
    spans: countedSpans(readSite(file)?.spans ?? [], config)
  }
}

/** Those that names of site number 0 come from. Without any it is alone still. */
const countedSpans = (
  spans: ReadonlyArray<SlotSpan>,
  { network, sites }: GatewayConfig
): ReadonlyArray<SlotSpan> | null => {
  if (spans.length === 0) return null
  const capacity = slotCapacity(proxyNetworks(network))
  if (sites === null) return spansOfFirst(spans, capacity)
  const { siteOf } = Result.getOrThrow(slotZones(capacity, maxSites))
  return spans.filter(({ from }) => siteOf(from) === 0)
}

const write = ({ database, statements }: StateFile, { reserved, taken }: NameImport): void => {
  database.exec("PRAGMA synchronous = FULL; BEGIN IMMEDIATE")
  try {
    const reserve = database.prepare(
      "INSERT INTO reserved VALUES (?, ?) ON CONFLICT (client) DO UPDATE SET next = max(next, excluded.next)"
    )
    for (const [client, count] of reserved) reserve.run(client, count)
    for (const { client, domain, lastUsedAt, resource, slot } of taken)
      statements.putMapping.run(client, slot, domain, resource, lastUsedAt)
    database.exec("COMMIT")
  } catch (cause) {
    if (database.isTransaction) database.exec("ROLLBACK")
    throw cause
  }
}
