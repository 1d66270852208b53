import { execFileSync } from "node:child_process"
import { appendFileSync, readFileSync } from "node:fs"
import type { CampaignResult } from "./superviseCampaign.ts"

/** One run of `npm run fuzz`; a file has one a line. */
interface FuzzRecord {
  readonly commit: string
  readonly at: string
  readonly seed: number
  readonly inputs: number
  readonly targets: ReadonlyArray<{
    readonly target: string
    readonly inputs: number
    readonly seconds: number
    readonly blocks: number
    readonly findings: number
  }>
}

const git = (...args: ReadonlyArray<string>): string =>
  execFileSync("git", args, { encoding: "utf8", timeout: 10_000 }).trim()

/** Adds the run to the file; returns what all runs in it come to. */
export const addRecord = (
  file: string,
  run: { readonly seed: number; readonly results: ReadonlyArray<CampaignResult> }
): string => {
  const changed = git("status", "--porcelain", "--untracked-files=no") === "" ? "" : " with changes"
  const record: FuzzRecord = {
    commit: `${git("rev-parse", "--short=12", "HEAD")}${changed}`,
    at: new Date().toISOString(),
    seed: run.seed,
    inputs: run.results.reduce((sum, { inputs }) => sum + inputs, 0),
    targets: run.results.map(({ blocks, findings, inputs, seconds, target }) => ({
      target,
      inputs,
      seconds: Math.round(seconds),
      blocks,
      findings: findings.length
    }))
  }
  appendFileSync(file, `${JSON.stringify(record)}\n`)
  const all = readFileSync(file, "utf8")
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as FuzzRecord)
  const findings = all.flatMap(({ targets }) => targets).reduce((sum, target) => sum + target.findings, 0)
  return `${file}: ${all.length} runs, ${all.reduce((sum, { inputs }) => sum + inputs, 0)} inputs, ${findings} findings`
}
