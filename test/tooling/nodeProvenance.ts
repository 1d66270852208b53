/**
 * Where the Node comes from that is installed with the program. npm holds its package to the lock file; whether the binary
 * in it is the one of the Node project, only the Node project's own archive can tell.
 */
import { execFileSync } from "node:child_process"
import { createHash } from "node:crypto"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"

export interface NodeProvenance {
  readonly package: string
  readonly version: string
  /** Of the package, as the lock file has it. */
  readonly integrity: string
  /** Of `bin/node`, where it is installed. */
  readonly sha256?: string
  /** `same as in URL`, or `not compared: WHY`. */
  readonly official: string
}

const official = "https://nodejs.org/dist"

const sha256 = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex")

const get = async (url: string, timeoutMs: number): Promise<Uint8Array> => {
  const answer = await fetch(url, { signal: AbortSignal.timeout(timeoutMs) })
  if (!answer.ok) throw new Error(`${url} answers ${answer.status}`)
  return new Uint8Array(await answer.arrayBuffer())
}

/** The sum of `bin/node` in the project's archive, whose own sum is the one that the project publishes. */
const officialSum = async (archive: string, folder: string): Promise<string> => {
  const sums = Buffer.from(await get(`${folder}/SHASUMS256.txt`, 20_000)).toString()
  const bytes = await get(`${folder}/${archive}.tar.gz`, 300_000)
  if (!sums.split("\n").includes(`${sha256(bytes)}  ${archive}.tar.gz`))
    throw new Error(`${archive}.tar.gz is not what SHASUMS256.txt says`)
  const directory = Fs.mkdtempSync(Path.join(Os.tmpdir(), "node-"))
  try {
    execFileSync("tar", ["-xz", "-C", directory, `${archive}/bin/node`], { input: bytes, timeout: 60_000 })
    return sha256(Fs.readFileSync(Path.join(directory, archive, "bin/node")))
  } finally {
    Fs.rmSync(directory, { recursive: true })
  }
}

/**
 * Of each Node that the lock file has; throws when an installed one is another one than the project's.
 * @param from where the project's archives are; `null`: nobody is asked
 */
export const nodeProvenance = async (
  root: string,
  from: string | null = official
): Promise<ReadonlyArray<NodeProvenance>> => {
  const lock: Lock = JSON.parse(Fs.readFileSync(Path.join(root, "package-lock.json"), "utf8"))
  const told: Array<NodeProvenance> = []
  for (const [place, { integrity, version }] of Object.entries(lock.packages)) {
    const [, name, system] = /^node_modules\/(node-(linux-\w+))$/.exec(place) ?? []
    if (name === undefined) continue
    const known = { package: name, version, integrity }
    const file = Path.join(root, place, "bin/node")
    if (!Fs.existsSync(file)) {
      told.push({ ...known, official: "not compared: it is not installed here" })
      continue
    }
    const sum = sha256(Fs.readFileSync(file))
    if (from === null) {
      told.push({ ...known, sha256: sum, official: "not compared: a trial asks nobody" })
      continue
    }
    const archive = `node-v${version}-${system}`
    const url = `${from}/v${version}/${archive}.tar.gz`
    const theirs = await officialSum(archive, `${from}/v${version}`).catch(reasonOf)
    if (typeof theirs === "string" && theirs !== sum)
      throw new Error(`${name} has another bin/node than ${url} — do not ship it`)
    const official = typeof theirs === "string" ? `same as in ${url}` : `not compared: ${theirs.reason}`
    told.push({ ...known, sha256: sum, official })
  }
  return told
}

interface Lock {
  readonly packages: Readonly<Record<string, { readonly version: string; readonly integrity: string }>>
}

/** `fetch` has the reason within its error. */
const reasonOf = (error: unknown): { readonly reason: string } => {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error
  return { reason: cause instanceof Error ? cause.message : String(cause) }
}
