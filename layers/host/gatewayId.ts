/** The id that the portal knows this gateway by: the same one after every start. */
import { createHash, randomUUID } from "node:crypto"
import * as Fs from "node:fs"
import { join } from "node:path"
import * as Effect from "effect/Effect"
import { makeDirectory } from "./makeDirectory.ts"
import { lockStateDirectory } from "./stateLock.ts"

/**
 * Keeps the id to this gateway while the scope lives: two with one id would take each other's connections at the portal.
 * A directory that only can be read is used without a lock.
 */
export const holdGatewayId = (stateDir: string) =>
  Effect.acquireRelease(lockStateDirectory(stateDir), (lock) => Effect.sync(() => lock.release())).pipe(
    Effect.asVoid,
    Effect.catchIf(
      ({ inUse }) => inUse !== true,
      () => Effect.void
    )
  )

/** Reads `gateway_id` of the state directory, JSON or plain; makes and keeps one when there is none. */
export const gatewayId = Effect.fnUntraced(function* (stateDir: string) {
  const path = join(stateDir, "gateway_id")
  const known = read(path)
  if (known !== null) return known
  const id = createHash("sha256").update(randomUUID()).digest("hex")
  const problem = write(stateDir, path, id)
  if (problem !== null) {
    yield* Effect.logWarning(
      `the gateway's id cannot be kept (${problem}): the portal will see another gateway after every start; make ${stateDir} writable or set FIREZONE_ID`
    )
  }
  return id
})

const read = (path: string): string | null => {
  let text: string
  try {
    const info = Fs.statSync(path)
    // A pipe would be waited for.
    if (!info.isFile() || info.size > 4_096) return null
    text = Fs.readFileSync(path, "utf8").trim()
  } catch {
    return null
  }
  const id = text.startsWith("{") ? idOf(text) : text
  return id !== null && /^[!-~]{1,256}$/.test(id) ? id : null
}

const idOf = (json: string): string | null => {
  try {
    const parsed: unknown = JSON.parse(json)
    return typeof parsed === "object" && parsed !== null && "id" in parsed && typeof parsed.id === "string"
      ? parsed.id
      : null
  } catch {
    return null
  }
}

/** All or nothing, so that a crash leaves no half of an id. */
const write = (directory: string, path: string, id: string): string | null => {
  try {
    makeDirectory(directory, 0o750)
    Fs.writeFileSync(`${path}.new`, `${JSON.stringify({ id })}\n`, { mode: 0o640, flush: true })
    Fs.renameSync(`${path}.new`, path)
    return null
  } catch (error) {
    return error instanceof Error && "code" in error ? String(error.code) : String(error)
  }
}
