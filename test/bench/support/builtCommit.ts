/** Sallyport as it was at a commit, built beside this checkout and gone with the scope. */
import { mkdtempSync, readFileSync, rmSync, symlinkSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import process from "node:process"
import { fileURLToPath } from "node:url"
import { Effect, Schema, type Scope } from "effect"
import { runCommand } from "../../../layers/lab/command.ts"
import { Lab, type LabError } from "../../../src/lab/demo/Lab.ts"

export interface BuiltCommit {
  readonly commit: string
  readonly subject: string
  /** What Node runs. */
  readonly program: string
}

const root = fileURLToPath(new URL("../../..", import.meta.url))
const Manifest = Schema.fromJsonString(Schema.Struct({ bin: Schema.Struct({ sallyport: Schema.String }) }))

/** Builds a revision of this repository: with the dependencies that are here if it locks the same ones, else with its own. */
export const buildCommit: (revision: string) => Effect.Effect<BuiltCommit, LabError, Scope.Scope> = Effect.fnUntraced(
  function* (revision) {
    const shown = yield* runCommand(["git", "-C", root, "log", "-1", "--format=%h %s", revision, "--"])
    const [commit = "", ...subject] = shown.trim().split(" ")
    const directory = yield* Effect.acquireRelease(
      Effect.sync(() => mkdtempSync(join(tmpdir(), `sallyport-bench-${commit}-`))),
      (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
    )
    const archive = join(directory, "archive.tar")
    yield* runCommand(["git", "-C", root, "archive", `--output=${archive}`, commit])
    yield* runCommand(["tar", "-xf", archive, "-C", directory])
    const lock = (at: string): string => readFileSync(join(at, "package-lock.json"), "utf8")
    if (lock(directory) === lock(root)) symlinkSync(join(root, "node_modules"), join(directory, "node_modules"))
    else yield* npm(directory, "ci", "--ignore-scripts", "--no-audit", "--no-fund")
    yield* npm(directory, "run", "--silent", "build")
    const manifest = readFileSync(join(directory, "package.json"), "utf8")
    const { bin } = yield* Effect.orDie(Schema.decodeEffect(Manifest)(manifest))
    return { commit, subject: subject.join(" "), program: join(directory, bin.sallyport) }
  }
)

/** To its end: what npm has started outlives it, and would write into a directory that is gone. */
const npm = (directory: string, ...parameters: ReadonlyArray<string>): Effect.Effect<string, LabError> =>
  Effect.uninterruptible(runCommand(["npm", "--prefix", directory, ...parameters], { timeout: "5 minutes" }))

/** The lab with another Sallyport, at both ends of its control socket; what else it starts stays. Under the same Node. */
export const withProgram = (lab: Lab["Service"], program: string): Lab["Service"] => {
  const sallyport = [process.execPath, program]
  return Lab.of({
    ...lab,
    program: (name) => (name === "sallyport" ? sallyport : lab.program(name)),
    status: (socket) => lab.exec("gateway", [...sallyport, "status", "--json", "--socket", socket])
  })
}
