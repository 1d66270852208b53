/** Why nothing can be released out of a folder: what was made of it would not be what the commit says. */
import { execFileSync } from "node:child_process"
import * as Fs from "node:fs"
import * as Path from "node:path"

const git = (root: string, ...args: ReadonlyArray<string>): string =>
  execFileSync("git", args, { cwd: root, encoding: "utf8", timeout: 30_000, stdio: ["ignore", "pipe", "pipe"] }).trim()

export const versionIn = (root: string): string =>
  JSON.parse(Fs.readFileSync(Path.join(root, "package.json"), "utf8")).version

/** What the changelog says of a version: its date, or `unreleased`, and the text below; `undefined`: nothing. */
export const changesOf = (
  changelog: string,
  version: string
): { readonly date: string; readonly text: string } | undefined => {
  const part = changelog.split(/^## /m).find((each) => each.startsWith(`${version}, `))
  const [, date, text] = /^\S+, (unreleased|\d{4}-\d\d-\d\d)\n([^]*)$/.exec(part ?? "") ?? []
  return date === undefined || text === undefined || text.trim() === "" ? undefined : { date, text: text.trim() }
}

interface Lock {
  readonly packages: Readonly<Record<string, { readonly version: string; readonly optional?: boolean }>>
}

const readLock = (file: string): Lock["packages"] =>
  Fs.existsSync(file) ? (JSON.parse(Fs.readFileSync(file, "utf8")) as Lock).packages : {}

/** A package that is not installed as the lock file says; npm writes down what it has installed. */
const otherwiseInstalled = (root: string): string | undefined => {
  const locked = readLock(Path.join(root, "package-lock.json"))
  const installed = readLock(Path.join(root, "node_modules/.package-lock.json"))
  const names = Object.keys({ ...locked, ...installed }).filter((name) => name !== "")
  return names.find(
    (name) =>
      locked[name]?.version !== installed[name]?.version &&
      !(installed[name] === undefined && locked[name]?.optional === true)
  )
}

/** One line with the fix; `undefined`: all is as it should be. A trial needs no date and no tag. */
export const releaseRefusal = (root: string, isTrial: boolean): string | undefined => {
  let changed: string
  try {
    changed = git(root, "status", "--porcelain")
  } catch (error) {
    const said = error instanceof Error && "stderr" in error ? String(error.stderr).split("\n", 1)[0] : String(error)
    return `git has no answer in ${root} (${said}) — git clone it anew`
  }
  if (changed !== "") {
    const files = changed.split("\n").map((line) => line.trim().replace(/^\S+ +/, ""))
    const named = files.slice(0, 3).join(", ") + (files.length > 3 ? ` and ${files.length - 3} more` : "")
    return `not as committed: ${named} — commit it, or take it away`
  }
  const version = versionIn(root)
  const changes = changesOf(Fs.readFileSync(Path.join(root, "CHANGELOG.md"), "utf8"), version)
  if (changes === undefined)
    return `CHANGELOG.md says nothing of ${version}, the version in package.json — write "## ${version}, DATE" and what is new`
  const other = otherwiseInstalled(root)
  if (other !== undefined) return `${other} is not installed as package-lock.json has it — npm ci`
  if (isTrial) return undefined
  if (changes.date === "unreleased")
    return `CHANGELOG.md has no date for ${version} — write "## ${version}, YYYY-MM-DD" and commit it`
  return git(root, "tag", "--list", `v${version}`) === ""
    ? undefined
    : `there is a tag v${version} already — give package.json and CHANGELOG.md the next version`
}
