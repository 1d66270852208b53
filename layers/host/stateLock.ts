/**
 * One gateway per state directory: two with one key would call each other's clients away. The lock is on a file of its
 * own, so that SQLite's locks and those who read the state beside a running gateway are not concerned, and ends with the
 * process, however that ends. The file stays, and names the process that had it last.
 */
import * as fs from "node:fs"
import { join } from "node:path"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import { StateError } from "../../src/host/StateStore.ts"
import { tryLock, unlock } from "../dataplane/native/fileLock.ts"
import { explainState } from "./stateErrors.ts"

/** A gateway that is just ending gets two seconds. */
const patience = { schedule: Schedule.spaced("100 millis"), times: 20 }

export interface StateLock {
  /** Whether others would meet it: a lock on a file that somebody has deleted keeps nobody out. */
  readonly isThere: () => boolean
  readonly release: () => void
}

/** Fails when another gateway has the directory, which must exist. Held until `release`. */
export const lockStateDirectory = (directory: string): Effect.Effect<StateLock, StateError> =>
  attempt(directory).pipe(
    Effect.retry({ ...patience, while: ({ _tag }) => _tag === "Held" }),
    Effect.catchTag("Held", ({ pid }) =>
      Effect.fail(
        new StateError({
          inUse: true,
          message: `${directory} is in use by another gateway${pid === null ? "" : ` (pid ${pid})`}: stop it, or give this one a state directory of its own`
        })
      )
    )
  )

interface Held {
  readonly _tag: "Held"
  readonly pid: number | null
}

const attempt = Effect.fnUntraced(function* (directory: string): Effect.fn.Return<StateLock, Held | StateError> {
  const path = join(directory, "lock")
  const fd = yield* Effect.try({
    try: () => fs.openSync(path, fs.constants.O_RDWR | fs.constants.O_CREAT, 0o600),
    catch: (cause) => explainState(directory, "open", cause)
  })
  const outcome = tryLock(fd)
  if (outcome === "held") {
    const pid = Number.parseInt(fs.readFileSync(fd, "utf8"), 10)
    fs.closeSync(fd)
    return yield* Effect.fail({ _tag: "Held", pid: Number.isInteger(pid) ? pid : null } as const)
  }
  if (outcome === "locked") {
    leavePid(fd)
  } else {
    yield* Effect.logWarning(
      `${directory} is on a file system without locks (${outcome.error}): see to it that no other gateway uses it`
    )
  }
  const { dev, ino } = fs.fstatSync(fd)
  return {
    isThere: () => {
      const found = fs.statSync(path, { throwIfNoEntry: false })
      return found !== undefined && found.dev === dev && found.ino === ino
    },
    release: () => {
      unlock(fd)
      fs.closeSync(fd)
    }
  }
})

const leavePid = (fd: number): void => {
  try {
    fs.ftruncateSync(fd)
    fs.writeSync(fd, `${process.pid}\n`, 0)
  } catch {
    // On a full disk the next one is not told the pid.
  }
}
