import { execFile } from "node:child_process"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import { assert, beforeAll, describe, it } from "vitest"

const root = fileURLToPath(new URL("../..", import.meta.url))

/** A project with the folders of this one. */
const files: Readonly<Record<string, string>> = {
  "package.json": `{ "name": "fixture", "type": "module" }`,
  "tsconfig.json": `{ "compilerOptions": { "module": "nodenext", "allowImportingTsExtensions": true, "noEmit": true } }`,
  "src/bin.ts": `import { used } from "./access/planted.ts"\nconsole.log(used)\n`,
  "src/access/planted.ts": [
    `export const used = 1`,
    `export const unused = 2`,
    `export const usedHereAndInATest = 3`,
    `export const usedInATest = usedHereAndInATest`,
    `export type UsedInATest = typeof usedInATest`,
    ``
  ].join("\n"),
  "test/access/planted.test.ts": [
    `import { usedHereAndInATest, usedInATest, type UsedInATest } from "../../src/access/planted.ts"`,
    `import { support } from "../support/planted.ts"`,
    `const value: UsedInATest = usedInATest`,
    `console.log(support, usedHereAndInATest, value)`,
    ``
  ].join("\n"),
  "test/support/planted.ts": `export const support = 1\nexport const unusedSupport = 2\n`,
  "layers/access/alone.ts": `export const alone = 1\n`
}

interface Report {
  readonly issues: ReadonlyArray<{
    readonly file: string
    readonly files: ReadonlyArray<{ readonly name: string }>
    readonly exports: ReadonlyArray<{ readonly name: string }>
    readonly types: ReadonlyArray<{ readonly name: string }>
  }>
}

describe("the check for unused exports", { timeout: 30_000 }, () => {
  const found = new Map<string, ReadonlyArray<string>>()

  beforeAll(async () => {
    const tree = Fs.mkdtempSync(Path.join(Os.tmpdir(), "unused-exports-"))
    try {
      Fs.copyFileSync(Path.join(root, "knip.json"), Path.join(tree, "knip.json"))
      for (const [path, content] of Object.entries(files)) {
        Fs.mkdirSync(Path.dirname(Path.join(tree, path)), { recursive: true })
        Fs.writeFileSync(Path.join(tree, path), content)
      }
      for (const [mode, flags] of [
        ["whole", []],
        ["production", ["--production"]]
      ] as const) {
        const knip = Path.join(root, "node_modules/knip/bin/knip.js")
        const output = await new Promise<string>((resolve) => {
          // It exits with 1 because it finds what it should.
          execFile(
            process.execPath,
            [knip, "--reporter", "json", ...flags],
            { cwd: tree, timeout: 20_000 },
            (_error, out) => resolve(out)
          )
        })
        const { issues } = JSON.parse(output) as Report
        found.set(
          mode,
          issues
            .flatMap((issue) => [...issue.files, ...issue.exports, ...issue.types].map(({ name }) => name))
            .toSorted()
        )
      }
    } finally {
      Fs.rmSync(tree, { recursive: true, force: true })
    }
  })

  it("finds what nobody imports, in the tests too", () => {
    assert.deepStrictEqual(found.get("whole"), ["layers/access/alone.ts", "unused", "unusedSupport"])
  })

  it("finds what only tests import", () => {
    assert.deepStrictEqual(found.get("production"), [
      "UsedInATest",
      "layers/access/alone.ts",
      "unused",
      "usedHereAndInATest",
      "usedInATest"
    ])
  })

  it("is part of the linter's command, in both ways", () => {
    const { scripts } = JSON.parse(Fs.readFileSync(Path.join(root, "package.json"), "utf8")) as {
      readonly scripts: Readonly<Record<string, string>>
    }

    assert.match(scripts["lint"]!, /&& knip && knip --production$/)
  })
})
