import * as fs from "node:fs"
import { dirname, resolve } from "node:path"

/**
 * Makes the directory with all above it; throws what the file system says. Node's own `recursive` tries without end where
 * a file system such as /proc takes no directories. Yields those that were made, the outermost first.
 */
export const makeDirectory = (path: string, mode: number): ReadonlyArray<string> => {
  const missing: Array<string> = []
  const made: Array<string> = []
  for (let at = resolve(path); !fs.existsSync(at) && at !== dirname(at); at = dirname(at)) missing.push(at)
  for (const directory of missing.toReversed()) {
    try {
      fs.mkdirSync(directory, { mode })
      made.push(directory)
    } catch (cause) {
      // Somebody else has just made it.
      if (!(cause instanceof Error) || !("code" in cause) || cause.code !== "EEXIST") throw cause
      if (!fs.existsSync(directory)) throw cause
    }
  }
  if (!fs.statSync(path).isDirectory()) {
    throw Object.assign(new Error(`ENOTDIR: not a directory, mkdir '${path}'`), { code: "ENOTDIR" })
  }
  return made
}
