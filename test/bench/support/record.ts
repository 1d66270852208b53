/** Runs that are kept: with `--record FILE` each appends its figures to the file, as one line of JSON. */
import { execFileSync } from "node:child_process"
import { appendFileSync } from "node:fs"
import { cpus, release } from "node:os"
import { relative } from "node:path"
import process from "node:process"
import { Schema } from "effect"

export const Figure = Schema.Struct({
  name: Schema.String,
  unit: Schema.String,
  value: Schema.Finite,
  /** The side of it that is bad for us. */
  bad: Schema.Literals(["low", "high"])
})
export type Figure = typeof Figure.Type

export const RunRecord = Schema.Struct({
  /** What was measured, with the options that matter. */
  title: Schema.String,
  command: Schema.String,
  /** `YYYY-MM-DD` */
  day: Schema.String,
  /** Of this program; ends with `changed` where files differ from it. */
  commit: Schema.String,
  /** Version and toolchain of what we are compared with. */
  peer: Schema.NullOr(Schema.String),
  node: Schema.String,
  machine: Schema.String,
  figures: Schema.Array(Figure)
})
export type RunRecord = typeof RunRecord.Type

/** How a `commit` ends that cannot be had again. */
export const changed = " with changes"

const git = (...parameters: ReadonlyArray<string>): string =>
  execFileSync("git", parameters, { cwd: import.meta.dirname, encoding: "utf8" }).trim()

const at = process.argv.indexOf("--record")
const file = at < 0 ? null : process.argv[at + 1]
if (file === undefined) throw new Error("--record wants a file")

/** What is loaded is what runs, whatever becomes of the files meanwhile. */
const commit =
  file === null
    ? ""
    : git("rev-parse", "--short=12", "HEAD") + (git("status", "--porcelain", "-uno") === "" ? "" : changed)

/** As it was typed, without `--record FILE`. */
const command = (): string => {
  const script = process.env["npm_lifecycle_event"]
  const start =
    script === undefined ? ["node", relative(process.cwd(), process.argv[1]!)] : ["npm", "run", script, "--"]
  const options = process.argv.slice(2).toSpliced(at - 2, 2)
  return (options.length === 0 ? start.filter((text) => text !== "--") : [...start, ...options])
    .map((text) => (text.includes(" ") ? `"${text}"` : text))
    .join(" ")
}

/** Appends the run to the file that `--record` names; nothing without it. Figures that are no number are left out. */
export const record = (title: string, peer: string | null, figures: ReadonlyArray<Figure>): void => {
  if (file === null) return
  const processors = cpus()
  const run: RunRecord = {
    title,
    command: command(),
    day: new Date().toISOString().slice(0, 10),
    commit,
    peer,
    node: process.version,
    machine: `${processors.length} × ${processors[0]?.model ?? "unknown processor"}, Linux ${release()}`,
    figures: figures.filter(({ value }) => Number.isFinite(value))
  }
  appendFileSync(file, `${JSON.stringify(run)}\n`)
}
