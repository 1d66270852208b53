import * as Fs from "node:fs"

/** Of the package: its file lies two levels up from the source, three from the build. */
export const version: string = (() => {
  for (const path of ["../../package.json", "../../../package.json"]) {
    const file = new URL(path, import.meta.url)
    if (!Fs.existsSync(file)) continue
    const read: unknown = JSON.parse(Fs.readFileSync(file, "utf8"))
    if (typeof read === "object" && read !== null && "version" in read) return String(read.version)
  }
  return "unknown"
})()
