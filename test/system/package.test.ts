/** The package as another project gets it: packed, unpacked beside its dependencies alone. */
import { assert, describe, it } from "@effect/vitest"
import { execFileSync, spawnSync } from "node:child_process"
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { isBuiltin } from "node:module"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterAll, beforeAll } from "vitest"
import manifest from "../../package.json" with { type: "json" }

const root = fileURLToPath(new URL("../../", import.meta.url))
const project = mkdtempSync(join(tmpdir(), "sallyport-package-"))
const installed = join(project, "node_modules/sallyport")

const run = (command: string, ...args: ReadonlyArray<string>): string =>
  execFileSync(command, args, { cwd: project, encoding: "utf8", timeout: 50_000 })

/** Paths of all files under a folder of the package. */
const filesUnder = (folder: string): ReadonlyArray<string> =>
  readdirSync(join(installed, folder), { recursive: true, withFileTypes: true }).flatMap((entry) =>
    entry.isFile() ? [join(entry.parentPath, entry.name).slice(installed.length + 1)] : []
  )

/** What `import` may name; a pattern stands for each of its files. */
const entryPoints = (): ReadonlyArray<string> =>
  Object.entries(manifest.exports).flatMap(([entry, target]) => {
    if (typeof target === "string") return []
    const name = entry.replace(".", "sallyport")
    if (!entry.endsWith("/*")) return [name]
    const files = readdirSync(join(installed, dirname(target.default))).filter((file) => file.endsWith(".js"))
    return files.map((file) => name.replace("*", file.slice(0, -".js".length)))
  })

const importAll = (): string =>
  entryPoints()
    .map((name, i) => `import * as entry${i} from "${name}"\nexport { entry${i} }\n`)
    .join("")

beforeAll(() => {
  const packed = execFileSync("npm", ["pack", "--ignore-scripts", "--json", "--pack-destination", project], {
    cwd: root,
    encoding: "utf8",
    timeout: 50_000,
    stdio: ["ignore", "pipe", "ignore"]
  })
  mkdirSync(installed, { recursive: true })
  run("tar", "-xzf", JSON.parse(packed)[0].filename, "--strip-components=1", "-C", installed)
  for (const name of Object.keys(manifest.dependencies)) {
    mkdirSync(dirname(join(project, "node_modules", name)), { recursive: true })
    symlinkSync(join(root, "node_modules", name), join(project, "node_modules", name))
  }
  writeFileSync(join(project, "package.json"), JSON.stringify({ private: true, type: "module" }))
})
afterAll(() => rmSync(project, { recursive: true }))

describe("the packed package", () => {
  it("holds the build, each file with its declarations, the pages, and nothing else", () => {
    const built = filesUnder("dist")
    const dashboard = built.filter((file) => /^dist\/layers\/monitor\/dashboard\/dashboard\.(?:css|js)$/.test(file))
    const page = "dist/layers/monitor/dashboard/index.html"
    const files = built.filter((file) => file !== page && !dashboard.includes(file))
    const sources = files.map((file) => /^dist\/((?:src|layers)\/.*?)(\.js|\.d\.ts)$/.exec(file)?.[1])
    assert.isAbove(files.length, 200)
    for (const [i, source] of sources.entries()) {
      assert.isDefined(source, files[i])
      assert.includeMembers(files, [`dist/${source}.js`, `dist/${source}.d.ts`])
    }
    assert.include(built, page)
    assert.lengthOf(dashboard, 2)
    const besides = filesUnder(".").filter(
      (file) => !/^(?:dist\/.+|docs\/(?:[a-z-]+\.md|(?:doctor|status)\.schema\.json)|[A-Z]+\.md)$/.test(file)
    )
    assert.isEmpty(besides.filter((file) => !["package.json", "LICENSE"].includes(file)))
  })

  it("names no package that is there for development only", () => {
    const named = filesUnder("dist").flatMap((file) =>
      Array.from(
        readFileSync(join(installed, file), "utf8").matchAll(/(?:\bfrom |^import |\bimport\()"([@\w][\w@/.:-]*)"/gm),
        ([, specifier]) => /^(?:@[^/]+\/)?[^/]+/.exec(specifier!)![0]
      )
    )
    const packages = new Set(named.filter((name) => !isBuiltin(name)))
    assert.sameMembers([...packages], Object.keys(manifest.dependencies))
  })

  it("runs, and lets every entry point be imported", () => {
    assert.strictEqual(
      run(process.execPath, "node_modules/sallyport/dist/src/bin.js", "--version"),
      `sallyport v${manifest.version}\n`
    )
    writeFileSync(join(project, "all.js"), importAll())
    assert.isAbove(entryPoints().length, 10)
    run(process.execPath, "all.js")
  })

  it("has declarations that hold in a strict project which checks the libraries' declarations, too", () => {
    writeFileSync(join(project, "all.ts"), `${importAll()}export const nothing: typeof entry0 = 1\n`)
    const options = ["--module", "nodenext", "--target", "es2024", "--lib", "es2024", "--types", "", "--strict"]
    const args = [...options, "--exactOptionalPropertyTypes", "--noEmit", "--pretty", "false", "all.ts"]
    const { stdout } = spawnSync(process.execPath, [join(root, "node_modules/typescript/bin/tsc"), ...args], {
      cwd: project,
      encoding: "utf8",
      timeout: 50_000
    })
    const errors = stdout
      .split("\n")
      .filter((line) => line.includes(": error ") && !/node_modules\/effect\//.test(line))
    // The one error is the last line's own: a check that found nothing would not be one.
    assert.deepStrictEqual(
      errors.map((line) => line.split(":", 1)[0]),
      [`all.ts(${entryPoints().length * 2 + 1},14)`]
    )
  })
})
