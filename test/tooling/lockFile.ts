/**
 * npm leaves an optional package out where the Node that runs npm is older than the package asks for, and says nothing.
 * That Node runs nothing else here, the locked one does: so the lock file does not repeat what optional packages ask for.
 * npm writes it again with every new version; `node test/tooling/lockFile.ts` removes it.
 */
import * as Fs from "node:fs"
import process from "node:process"
import { fileURLToPath } from "node:url"

interface LockFile {
  readonly packages: Record<string, { optional?: boolean; engines?: Readonly<Record<string, string>> }>
}

const path = fileURLToPath(new URL("../../package-lock.json", import.meta.url))

export const readLockFile = (): LockFile => JSON.parse(Fs.readFileSync(path, "utf8"))

/** The optional packages that an old Node under npm would keep out. */
export const findLeftOut = ({ packages }: LockFile): ReadonlyArray<string> =>
  Object.keys(packages).filter((name) => packages[name]!.optional === true && packages[name]!.engines !== undefined)

if (import.meta.main) {
  const file = readLockFile()
  const found = findLeftOut(file)
  for (const name of found) delete file.packages[name]!.engines
  Fs.writeFileSync(path, `${JSON.stringify(file, null, 2)}\n`)
  process.stdout.write(`${found.length} packages were changed\n`)
}
