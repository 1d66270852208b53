/**
 * Makes all that is released, into `release/`, of the commit that is checked out: `npm run release -- --dry-run`, and
 * without the flag a tag, too. Nothing is published. The same commit gives the same bytes, with the same Node and npm.
 */
import { execFileSync } from "node:child_process"
import { createHash } from "node:crypto"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import { commitTime } from "./commitTime.ts"
import { nodeProvenance } from "./nodeProvenance.ts"
import { packagesInside } from "./notices.ts"
import { npm } from "./npm.ts"
import { changesOf, releaseRefusal, versionIn } from "./releaseRefusal.ts"
import { readSbom, shippedOnly } from "./sbom.ts"

const root = fileURLToPath(new URL("../..", import.meta.url))
const folder = Path.join(root, "release")

const fail = (line: string): never => {
  process.stderr.write(`release: ${line}\n`)
  process.exit(1)
}

/** The files of a folder with their sums, as `sha256sum` writes and checks them. */
const sumsOf = (directory: string): string =>
  Fs.readdirSync(directory)
    .sort()
    .map((name) => [
      createHash("sha256")
        .update(Fs.readFileSync(Path.join(directory, name)))
        .digest("hex"),
      name
    ])
    .map(([sum, name]) => `${sum}  ${name}\n`)
    .join("")

const make = async (version: string, isTrial: boolean): Promise<void> => {
  const seconds = commitTime(root)
  const run = ([command, ...args]: readonly [string, ...ReadonlyArray<string>]): string =>
    execFileSync(command, args, {
      cwd: root,
      encoding: "utf8",
      timeout: 900_000,
      env: { ...process.env, SOURCE_DATE_EPOCH: String(seconds) },
      stdio: ["ignore", "pipe", "inherit"]
    })
  const write = (name: string, text: string): void => Fs.writeFileSync(Path.join(folder, name), text)
  Fs.rmSync(folder, { recursive: true, force: true })
  Fs.mkdirSync(folder)
  run(npm("run", "--silent", "build"))
  run(npm("pack", "--ignore-scripts", "--silent", "--pack-destination", folder))
  write(`sallyport-${version}.cdx.json`, shippedOnly(readSbom(root), packagesInside(Path.join(root, "dist")), seconds))
  for (const processor of ["amd64", "arm64"])
    run([process.execPath, "test/tooling/packageDeb.ts", "--arch", processor, "--out", folder])
  const changelog = Fs.readFileSync(Path.join(root, "CHANGELOG.md"), "utf8")
  write("CHANGES.txt", `${changesOf(changelog, version)!.text}\n`)
  const provenance = {
    version,
    commit: run(["git", "rev-parse", "HEAD"]).trim(),
    committed: new Date(seconds * 1000).toISOString(),
    madeWith: { node: process.versions.node, npm: run(npm("--version")).trim() },
    ships: await nodeProvenance(root, isTrial ? null : undefined)
  }
  write("provenance.json", `${JSON.stringify(provenance, null, 2)}\n`)
  write("SHA256SUMS", sumsOf(folder))
  for (const name of Fs.readdirSync(folder))
    process.stdout.write(`${String(Fs.statSync(Path.join(folder, name)).size).padStart(10)}  release/${name}\n`)
  for (const { package: name, official } of provenance.ships) process.stdout.write(`${name}: ${official}\n`)
}

const [flag, ...others] = process.argv.slice(2)
if ((flag !== undefined && flag !== "--dry-run") || others.length > 0) fail("takes --dry-run, or nothing")
const isTrial = flag === "--dry-run"
const refusal = releaseRefusal(root, isTrial)
if (refusal !== undefined) fail(refusal)
const version = versionIn(root)
try {
  await make(version, isTrial)
  if (!isTrial) {
    execFileSync("git", ["tag", "-a", `v${version}`, "-m", `Sallyport ${version}`], { cwd: root, timeout: 30_000 })
    process.stdout.write(`tagged v${version} — git push origin v${version}, and publish what is in release/\n`)
  }
} catch (error) {
  fail(error instanceof Error ? error.message : String(error))
}
