/**
 * Changes one operator or call of a source file at a time and runs tests: what survives is code that no test holds, or that says nothing.
 *
 *     npm run mutate -- src/resolution/NameBook.ts test/resolution
 */
import { execFile } from "node:child_process"
import * as fs from "node:fs"

const [file, ...tests] = process.argv.slice(2)
if (file === undefined || tests.length === 0) throw new Error("usage: npm run mutate -- FILE TESTS…")

const changes: ReadonlyArray<readonly [RegExp, string]> = [
  [/ === /g, " !== "],
  [/ !== /g, " === "],
  [/ <= /g, " < "],
  [/ < /g, " <= "],
  [/ >= /g, " > "],
  [/ > /g, " >= "],
  [/ && /g, " || "],
  [/ \|\| /g, " && "],
  [/ \+ /g, " - "],
  [/ - /g, " + "],
  [/\btrue\b/g, "false"],
  [/\bfalse\b/g, "true"],
  // A call as a statement.
  [/(?<=^ +)(?!return|if|for|while)[\w.!?]+\(.*\)$/gm, ""]
]

const text = fs.readFileSync(file, "utf8")
const lineAt = (at: number): string => text.slice(text.lastIndexOf("\n", at - 1) + 1).split("\n", 1)[0]!
const isCode = (at: number): boolean => !/^\s*(\*|\/\*\*|\/\/|import )/.test(lineAt(at))
const mutants = changes
  .flatMap(([from, to]) => Array.from(text.matchAll(from), ({ 0: old, index }) => ({ at: index, old, to })))
  .filter(({ at }) => isCode(at))
  .toSorted((a, b) => a.at - b.at)

const pass = (): Promise<boolean> =>
  new Promise((resolve) => {
    execFile("npx", ["vitest", "run", "--bail", "1", ...tests], { timeout: 300_000, maxBuffer: 2 ** 28 }, (error) =>
      resolve(error === null)
    )
  })

process.on("exit", () => fs.writeFileSync(file, text))
for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => process.exit(1))

if (!(await pass())) throw new Error("the tests are red as it is")
let survived = 0
for (const { at, old, to } of mutants) {
  fs.writeFileSync(file, text.slice(0, at) + to + text.slice(at + old.length))
  if (!(await pass())) continue
  survived++
  console.log(`${file}:${text.slice(0, at).split("\n").length}: ${old.trim()} → ${to.trim()}`)
}
console.log(`${survived} of ${mutants.length} survived`)
