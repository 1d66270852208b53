/** What SQLite or the file system threw, as one line with the path, the cause and the fix. */
import { StateError } from "../../src/host/StateStore.ts"

/** Of a file that SQLite does not take for one of its own, or not for a whole one. */
export const damaged = (path: string): StateError =>
  new StateError({
    message: `${path} is damaged or not a state file: restore it from a backup, or move it away (clients then need the gateway's new key)`
  })

export const explainState = (path: string, verb: "open" | "read" | "write", cause: unknown): StateError => {
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
