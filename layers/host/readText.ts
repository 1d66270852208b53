import * as fs from "node:fs"

/** A small file as the kernel has them, without the white space around it; `undefined`: it cannot be read. */
export const readText = (path: string): string | undefined => {
  try {
    return fs.readFileSync(path, "utf8").trim()
  } catch {
    return undefined
  }
}
