/** The package as others get it: packed, then unpacked beside what a library's user has, or installed as a program. */
import { assert, describe, it } from "@effect/vitest"
import { execFile, execFileSync, spawnSync } from "node:child_process"
import {
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync
} from "node:fs"
import { createServer } from "node:http"
import { isBuiltin } from "node:module"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import { afterAll, beforeAll } from "vitest"
import manifest from "../../package.json" with { type: "json" }
import { report } from "../cli/fixtures.ts"
import { importing, noting, oldNode } from "../support/hookedNode.ts"

const root = fileURLToPath(new URL("../../", import.meta.url))
const project = mkdtempSync(join(tmpdir(), "sallyport-package-"))
const installed = join(project, "node_modules/sallyport")
const prefix = join(project, "prefix")
const program = "dist/layers/program"

const run = (command: string, ...args: ReadonlyArray<string>): string =>
  execFileSync(command, args, { cwd: project, encoding: "utf8", timeout: 50_000 })

/** Paths of all files under a folder of the package. */
const filesUnder = (folder: string): Array<string> =>
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

const packagesNamedIn = (files: ReadonlyArray<string>): Array<string> => {
  const named = files.flatMap((file) =>
    Array.from(
      readFileSync(join(installed, file), "utf8").matchAll(
        /^(?:(?:(?:import|export|\}).* from|import) |.*\bimport\()"([@\w][\w@/.:-]*)"/gm
      ),
      ([, specifier]) => /^(?:@[^/]+\/)?[^/]+/.exec(specifier!)![0]
    )
  )
  return [...new Set(named.filter((name) => !isBuiltin(name)))]
}

/** The packages a part of which is in the program: above each part stands its file. */
const packagesInside = (): Array<string> => {
  const parts = filesUnder(program).flatMap((file) =>
    Array.from(readFileSync(join(installed, file), "utf8").matchAll(/^\/\/ node_modules\/((?:@[^/]+\/)?[^/]+)\//gm))
  )
  return [...new Set(parts.map(([, name]) => name!))]
}

const importAll = (): string =>
  entryPoints()
    .map((name, i) => `import * as entry${i} from "${name}"\nexport { entry${i} }\n`)
    .join("")

/** The file in `project`. */
let packed: string

beforeAll(() => {
  const said = execFileSync("npm", ["pack", "--ignore-scripts", "--json", "--pack-destination", project], {
    cwd: root,
    encoding: "utf8",
    timeout: 50_000,
    stdio: ["ignore", "pipe", "ignore"]
  })
  packed = JSON.parse(said)[0].filename
  mkdirSync(installed, { recursive: true })
  run("tar", "-xzf", packed, "--strip-components=1", "-C", installed)
  for (const name of Object.keys({ ...manifest.dependencies, ...manifest.peerDependencies })) {
    mkdirSync(dirname(join(project, "node_modules", name)), { recursive: true })
    symlinkSync(join(root, "node_modules", name), join(project, "node_modules", name))
  }
  writeFileSync(join(project, "package.json"), JSON.stringify({ private: true, type: "module" }))
})
afterAll(() => rmSync(project, { recursive: true }))

describe("the packed package", () => {
  it("holds the program, the library with its declarations, the pages, and nothing else", () => {
    const built = filesUnder("dist")
    const dashboards = [program, "dist/layers/monitor"].flatMap((place) =>
      ["dashboard.css", "dashboard.js", "index.html"].map((name) => `${place}/dashboard/${name}`)
    )
    const single = ["dist/src/bin.js", "dist/THIRD_PARTY_NOTICES.txt", ...dashboards]
    assert.includeMembers(built, single)
    const files = built.filter((file) => !single.includes(file))
    const chunks = files.filter((file) => file.startsWith(`${program}/`))
    assert.isEmpty(chunks.filter((file) => !file.endsWith(".js")))
    const library = files.filter((file) => !chunks.includes(file))
    assert.isAbove(library.length, 200)
    for (const file of library) {
      const source = /^dist\/((?:src|layers)\/.*?)(\.js|\.d\.ts)$/.exec(file)?.[1]
      assert.isDefined(source, file)
      assert.includeMembers(library, [`dist/${source}.js`, `dist/${source}.d.ts`])
    }
    const besides = filesUnder(".").filter(
      (file) => !/^(?:dist\/.+|docs\/(?:[a-z-]+\.md|(?:doctor|status)\.schema\.json)|[A-Z]+\.md)$/.test(file)
    )
    assert.isEmpty(besides.filter((file) => !["package.json", "LICENSE"].includes(file)))
  })

  it("names no package that is there for development only; its program names none but koffi", () => {
    const files = filesUnder("dist")
    const ofProgram = files.filter((file) => file.startsWith(`${program}/`))
    assert.deepStrictEqual(packagesNamedIn(ofProgram), ["koffi"])
    assert.deepStrictEqual(packagesNamedIn(["dist/src/bin.js"]), [])
    assert.sameMembers(packagesNamedIn(files), [
      ...Object.keys(manifest.dependencies),
      ...Object.keys(manifest.peerDependencies)
    ])
  })

  it("has the licence of every package that the program holds a part of", () => {
    const notices = readFileSync(join(installed, "dist/THIRD_PARTY_NOTICES.txt"), "utf8")
    const packages = packagesInside()
    assert.includeMembers(packages, ["effect", "yaml", "@noble/ciphers", "ws"])
    for (const name of packages) {
      const { license, version } = JSON.parse(readFileSync(join(root, "node_modules", name, "package.json"), "utf8"))
      const licence = readFileSync(join(root, "node_modules", name, "LICENSE"), "utf8")
      assert.include(notices, `\n${name} ${version}, ${license}\n\n${licence.trim()}\n`)
    }
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

describe("the package, installed into an empty prefix", () => {
  const bin = join(prefix, "bin/sallyport")
  const modules = join(prefix, "lib/node_modules/sallyport/node_modules")

  beforeAll(() => {
    const options = ["--global", "--prefer-offline", "--no-audit", "--no-fund", "--prefix", prefix]
    execFileSync("npm", ["install", ...options, join(project, packed)], { timeout: 120_000, stdio: "pipe" })
  }, 130_000)

  it("is less than 300 MB with Node, and has nothing that is there for development only", () => {
    const files = readdirSync(prefix, { recursive: true, encoding: "utf8" })
    const bytes = files.reduce((sum, file) => sum + lstatSync(join(prefix, file)).blocks * 512, 0)
    assert.isBelow(bytes, 300e6)
    const packages = readdirSync(modules).filter((name) => !name.startsWith("."))
    assert.sameMembers(packages, ["@koromix", "@noble", "koffi", `node-linux-${process.arch}`, "yaml"])
  })

  it("shows the status of a gateway, for which it loads less than a megabyte", async () => {
    const socket = join(project, "s")
    const listFile = join(project, "modules.json")
    const server = createServer((_, answer) => answer.end(JSON.stringify(report)))
    await new Promise<void>((resolve) => server.listen(socket, resolve))
    try {
      const args = [...importing(noting(listFile)), bin, "status", "--socket", socket]
      const shown = await promisify(execFile)(process.execPath, args, { timeout: 20_000 })
      assert.include(shown.stdout, "gitlab.corp.internal")
    } finally {
      server.close()
    }
    const urls: ReadonlyArray<string> = JSON.parse(readFileSync(listFile, "utf8"))
    const files = urls.filter((url) => url.startsWith("file:"))
    assert.isBelow(
      files.reduce((sum, url) => sum + statSync(new URL(url)).size, 0),
      1e6
    )
    assert.isBelow(files.length, 60)
  })

  for (const [how, code] of [
    ["", oldNode],
    [", also one that cannot become another program by itself", `${oldNode}process.execve = undefined`]
  ] as const) {
    it(`runs on the Node that came with it when an old one starts it${how}`, () => {
      assert.strictEqual(
        run(process.execPath, ...importing(code), bin, "--version"),
        `sallyport v${manifest.version}\n`
      )
    })
  }
})
