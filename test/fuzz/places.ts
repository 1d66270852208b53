/** Where targets, findings and corpora are. */
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { decodeFinding, encodeFinding, fileOf, type Finding } from "./Story.ts"

const folder = (name: string): string => fileURLToPath(new URL(name, import.meta.url))
const corpusFile = (target: string): string => folder(`corpus/${target}.txt`)

export const targetNames: ReadonlyArray<string> = readdirSync(folder("targets"))
  .filter((file) => file.endsWith(".ts"))
  .map((file) => file.slice(0, -3))
  .sort()

export const moduleOf = (target: string): string => new URL(`targets/${target}.ts`, import.meta.url).href

/** One input in base64 a line. */
export const readCorpus = (target: string): ReadonlyArray<Uint8Array> =>
  existsSync(corpusFile(target))
    ? readFileSync(corpusFile(target), "utf8")
        .split("\n")
        .filter((line) => line !== "")
        .map((line) => Uint8Array.from(Buffer.from(line, "base64")))
    : []

/** The shortest first, as many as fit. */
export const writeCorpus = (target: string, inputs: ReadonlyArray<Uint8Array>, maxLength: number): void => {
  let length = 0
  const lines = [...inputs]
    .sort((a, b) => a.length - b.length)
    .map((input) => Buffer.from(input).toString("base64"))
    .filter((line) => line !== "" && (length += line.length + 1) <= maxLength)
  mkdirSync(folder("corpus"), { recursive: true })
  writeFileSync(corpusFile(target), lines.map((line) => `${line}\n`).join(""))
}

/** All that was ever found, to be told again by `findings.test.ts`. */
export const readFindings = (): ReadonlyArray<readonly [file: string, finding: Finding]> =>
  (existsSync(folder("findings")) ? readdirSync(folder("findings")) : [])
    .filter((file) => file.endsWith(".json"))
    .map((file) => [file, decodeFinding(readFileSync(folder(`findings/${file}`), "utf8"))] as const)

/** Returns the file's path from the root of the project. */
export const writeFinding = (finding: Finding): string => {
  const file = fileOf(finding)
  mkdirSync(folder("findings"), { recursive: true })
  writeFileSync(folder(`findings/${file}`), encodeFinding(finding))
  return `test/fuzz/findings/${file}`
}
