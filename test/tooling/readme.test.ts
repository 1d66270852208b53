import { assert, describe, it } from "@effect/vitest"
import { Result } from "effect"
import { existsSync, readdirSync, readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { parseConfig } from "../../src/config/readConfig.ts"

const root = fileURLToPath(new URL("../..", import.meta.url))
const read = (path: string): string => readFileSync(`${root}/${path}`, "utf8")
const readme = read("README.md")
const matches = (text: string, pattern: RegExp): ReadonlyArray<string> => [
  ...new Set(Array.from(text.matchAll(pattern), (match) => match[1]!))
]

describe("the README", () => {
  it("shows a configuration that is correct", () => {
    const [yaml = ""] = matches(readme, /```yaml\n([^]*?)```/g)
    const parsed = parseConfig(yaml, "README.md")

    assert.isTrue(Result.isSuccess(parsed), String(Result.isFailure(parsed) && parsed.failure.message))
  })

  it("explains every key of the configuration", () => {
    const keys = matches(read("src/config/fileSchema.ts"), /^ {2}([a-z][a-z0-9_]*): /gm).filter(
      (key) => !Object.hasOwn({ trace: 0, debug: 0, info: 0, warn: 0, error: 0, none: 0 }, key)
    )

    assert.isAbove(keys.length, 30)
    for (const key of keys) assert.include(readme, `\`${key}\``)
  })

  it("names every command and no other", () => {
    const commands = readdirSync(`${root}/src/cli`).flatMap((file) =>
      matches(read(`src/cli/${file}`), /Command\.make\(\s*"([a-z-]+)"/g)
    )
    const named = matches(readme, /^[^\n]*(?:`|^|\| )sallyport ([a-z-]+)/gm)

    for (const command of commands) if (command !== "sallyport") assert.include(readme, `sallyport ${command}`)
    for (const name of named) assert.include(commands, name)
  })

  it("names every environment variable of the gateway", () => {
    const variables = ["layers", "src/cli", "src/lab/client", "src/config"].flatMap((directory) =>
      readdirSync(`${root}/${directory}`)
        .filter((file) => file.endsWith(".ts"))
        .flatMap((file) => matches(read(`${directory}/${file}`), /"(SALLYPORT_[A-Z_]+)"/g))
    )

    assert.isAtLeast(variables.length, 9)
    for (const variable of variables) assert.include(readme, `\`${variable}\``)
  })

  it("points to files and scripts that exist", () => {
    const paths = matches(readme, /((?:test|src|layers|\.ci)\/[A-Za-z0-9_./-]*[A-Za-z0-9_])/g)
    const scripts: Readonly<Record<string, string>> = JSON.parse(read("package.json")).scripts

    assert.isAbove(paths.length, 25)
    for (const path of paths) if (!path.startsWith("src/bin.js")) assert.isTrue(existsSync(`${root}/${path}`), path)
    for (const script of matches(readme, /npm run ([a-z:]+)/g)) assert.property(scripts, script)
  })
})
