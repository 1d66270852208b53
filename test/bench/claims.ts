/**
 * What `docs/numbers.md` may claim: `npm run bench:claims -- FILE…`, files that runs of a bench wrote with
 * `--record FILE`. Prints of each figure the worst of at least five runs, as tables in Markdown.
 */
import { readFileSync } from "node:fs"
import process from "node:process"
import { Result, Schema } from "effect"
import { claims } from "./support/claims.ts"
import { RunRecord } from "./support/record.ts"

const decodeRun = Schema.decodeUnknownResult(Schema.fromJsonString(RunRecord))

const textOf = (file: string): string => {
  try {
    return readFileSync(file, "utf8")
  } catch {
    throw new Error(`${file} cannot be read — have benches write it: npm run bench -- --record ${file}`)
  }
}

const read = (file: string): ReadonlyArray<RunRecord> =>
  textOf(file)
    .split("\n")
    .flatMap((line, index) =>
      line === ""
        ? []
        : [Result.getOrThrowWith(decodeRun(line), () => new Error(`${file}:${index + 1} is no record of a run`))]
    )

try {
  process.stdout.write(
    `${Result.getOrThrowWith(claims(process.argv.slice(2).flatMap(read)), (line) => new Error(line))}\n`
  )
} catch (error) {
  process.stderr.write(`bench:claims: ${error instanceof Error ? error.message : String(error)}\n`)
  process.exitCode = 1
}
