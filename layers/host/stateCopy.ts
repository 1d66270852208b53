/** Copies of state files, with what SQLite keeps beside them. */
import * as fs from "node:fs"

/** What SQLite has beside a file. */
export const companions = ["-wal", "-shm"]

/** With its log, before anybody opens it: SQLite deletes the log of a file that it does not understand. */
export const copyState = (from: string, to: string): void => {
  for (const suffix of ["", "-wal"])
    if (suffix === "" || fs.existsSync(from + suffix)) fs.copyFileSync(from + suffix, to + suffix)
}

export const removeState = (path: string): void => {
  for (const suffix of ["", ...companions]) fs.rmSync(path + suffix, { force: true })
}

/** Where root writes for a gateway's user, that one gets the file. */
export const own = (path: string, directory: string): void => {
  const { gid, uid } = fs.statSync(directory)
  const its = fs.statSync(path)
  if (its.uid !== uid || its.gid !== gid) fs.chownSync(path, uid, gid)
}
