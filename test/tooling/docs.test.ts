/** Holds every page to the code: README, CONTRIBUTING, CHANGELOG and `docs/`. */
import { assert, describe, it } from "@effect/vitest"
import { Result } from "effect"
import { existsSync, readdirSync, readFileSync } from "node:fs"
import { dirname, join, normalize } from "node:path"
import { fileURLToPath } from "node:url"
import type { ConfigError } from "../../src/config/problem.ts"
import { parseConfig } from "../../src/config/parseConfig.ts"
import { parsePortalConfig } from "../../src/lab/devPortal/configFile.ts"

const root = fileURLToPath(new URL("../..", import.meta.url))
const read = (path: string): string => readFileSync(join(root, path), "utf8")
const matches = (text: string, pattern: RegExp): ReadonlyArray<string> => [
  ...new Set(Array.from(text.matchAll(pattern), (match) => match[1]!))
]
const filesOf = (...folders: ReadonlyArray<string>): ReadonlyArray<string> =>
  folders.flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, encoding: "utf8" }).map((file) => `${folder}/${file}`)
  )
const sources = (...folders: ReadonlyArray<string>): ReadonlyArray<string> =>
  filesOf(...folders).filter((file) => file.endsWith(".ts"))

const pages = [
  "README.md",
  "CONTRIBUTING.md",
  "CHANGELOG.md",
  ...filesOf("docs").filter((file) => file.endsWith(".md"))
]
const everything = pages.map(read).join("\n")

const withoutBlocks = (text: string): string => text.replaceAll(/^```[^]*?^```$/gm, "")
const code = (text: string): string =>
  [...matches(text, /^```[a-z]*\n([^]*?)^```$/gm), ...matches(withoutBlocks(text), /`([^`\n]+)`/g)].join("\n")
/** The cells of every row of every table, without the lines under the heads. */
const rows = (text: string): ReadonlyArray<ReadonlyArray<string>> =>
  matches(withoutBlocks(text), /^\| (?!-)(.*) \|$/gm).map((row) => row.split(/(?<!\\)\|/).map((cell) => cell.trim()))

/** What GitHub makes of a heading. */
const anchor = (heading: string): string =>
  heading
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N} _-]/gu, "")
    .replaceAll(" ", "-")
const anchors = (page: string): ReadonlyArray<string> => matches(withoutBlocks(read(page)), /^#+ (.+)$/gm).map(anchor)

/** The flags of each command, by its name. */
const commands: ReadonlyMap<string, ReadonlyArray<string>> = new Map(
  sources("src/cli").flatMap((file) => {
    const shared = ["configFlag", "controlSocketFlags", "gatewayKey"].filter((name) =>
      read(file).includes(`"./${name}.ts"`)
    )
    const flagged = [file, ...shared.map((name) => `src/cli/${name}.ts`)].map(read).join("\n")
    const [, group] = /\/(client|key)(?:Add|Remove|List|Show|Rotate)\.ts$/.exec(file) ?? []
    const parent = group === undefined ? "" : `${group} `
    const flags = matches(flagged, /\b(?:Flag\.[A-Z]\w+|switchFlag)\(\s*"([a-z0-9-]+)"/g)
    return matches(read(file), /Command\.make\(\s*"([a-z-]+)"/g).map((name): readonly [string, typeof flags] => [
      parent + name,
      flags
    ])
  })
)

describe("the pages", () => {
  it("show configurations that are correct", () => {
    for (const page of pages) {
      for (const yaml of matches(read(page), /^```yaml\n([^]*?)^```$/gm)) {
        const parse: (text: string, file: string) => Result.Result<unknown, ConfigError> = /^gateways:/m.test(yaml)
          ? parsePortalConfig
          : parseConfig
        const parsed = parse(yaml, page)

        assert.isTrue(Result.isSuccess(parsed), Result.isFailure(parsed) ? parsed.failure.message : "")
      }
    }
    assert.isAtLeast(matches(everything, /^```yaml\n([^]*?)^```$/gm).length, 3)
  })

  it("link to pages, headings and files that are there", () => {
    for (const page of pages) {
      for (const link of matches(withoutBlocks(read(page)), /\]\(([^)\s]+)\)/g)) {
        if (link.startsWith("https:")) continue
        const [path, heading] = link.split("#") as [string, string?]
        const target = path === "" ? page : normalize(join(dirname(page), path))

        assert.isTrue(existsSync(join(root, target)), `${page}: ${link}`)
        if (heading !== undefined) assert.include(anchors(target), heading, `${page}: ${link}`)
      }
    }
  })

  it("point to files and scripts that exist", () => {
    const paths = matches(everything, /(?<![\w./-])((?:test|src|layers|docs|examples|\.ci)\/[\w./-]*\w)/g)
    const scripts: Readonly<Record<string, string>> = JSON.parse(read("package.json")).scripts

    assert.isAtLeast(paths.length, 50)
    for (const path of paths) assert.isTrue(existsSync(join(root, path)), path)
    for (const script of matches(everything, /npm run ((?:--silent )?[a-z][a-z:]*)/g)) {
      assert.property(scripts, script.replace("--silent ", ""))
    }
  })

  it("have the sections that comments name", () => {
    let named = 0
    for (const file of sources("src", "layers", "test")) {
      const text = read(file).replaceAll(/\n *(?:\*|\/\/) /g, " ")
      for (const [, page, list] of text.matchAll(/(docs\/[a-z-]+\.md), ("[^"]+"(?:(?:, | and )"[^"]+")*)/g)) {
        for (const heading of matches(list!, /"([^"]+)"/g)) {
          assert.include(anchors(page!), anchor(heading), file)
          named++
        }
      }
    }
    assert.isAbove(named, 15)
  })

  it("name no command that is not there", () => {
    const named = matches(code(everything), /\bsallyport ([a-z][a-z-]*)/g)

    assert.isAbove(named.length, 8)
    for (const name of named) assert.include([...commands.keys()], name)
  })

  it("explain every variable of the environment, and name no other", () => {
    const product = sources("src", "layers").filter((file) => !/^(src\/lab\/demo|layers\/lab)\//.test(file))
    const readByCode = product.flatMap((file) => [
      ...matches(read(file), /"((?:SALLYPORT|FIREZONE)_[A-Z_]+)"/g),
      ...matches(read(file), /\b(?:optional|choice|flag|port|duration|address|String)\(\s*"([A-Z][A-Z_]+)"/g)
    ])
    const anywhere = [...sources("src", "layers"), ...filesOf("deploy/debian")].map(read).join("\n")

    assert.isAtLeast(new Set(readByCode).size, 20)
    for (const variable of readByCode) assert.include(everything, `\`${variable}\``)
    for (const variable of matches(everything, /\b((?:SALLYPORT|FIREZONE)_[A-Z_]+)/g)) {
      assert.include(anywhere, variable)
    }
  })

  it("are all reached from the README", () => {
    const links = matches(read("README.md"), /\]\(([^)\s#]+)/g)

    for (const page of pages) if (page !== "README.md") assert.include(links, page)
  })
})

describe("README.md", () => {
  const readme = read("README.md")

  it("has at most 10 KiB", () => {
    assert.isAtMost(Buffer.byteLength(readme), 10_240)
  })

  it("names the two commands, and says where Schema is", () => {
    assert.include(readme, "npm ci && npm run demo")
    assert.include(readme, "npm ci && npm test")
    assert.include(readme, "`effect/Schema` is the successor of `@effect/schema`")
  })

  it("shows every room on its map", () => {
    const [map = ""] = matches(readme, /^## Map\n\n```\n([^]*?)```/gm)
    const [src = "", layers = ""] = map.split(/^(?:layers|test)\//m)
    const roomsOf = (folder: string): ReadonlyArray<string> =>
      readdirSync(join(root, folder), { withFileTypes: true }).flatMap((entry) =>
        entry.isDirectory() ? [entry.name] : []
      )

    for (const room of roomsOf("src")) assert.match(src, new RegExp(`\\b${room}/`))
    for (const room of roomsOf("layers")) assert.match(layers, new RegExp(`\\b${room}/`))
  })
})

describe("docs/configuration.md", () => {
  it("explains every key of the file, and no other", () => {
    const keys = matches(read("src/config/fileSchema.ts"), /^ {2}([a-z][a-z0-9_]*): (?:Schema|text|oneOf)\b/gm)
    const explained = rows(read("docs/configuration.md"))
      .filter(([key = ""]) => !key.startsWith("key"))
      .flatMap(([key = ""]) => matches(key, /`([a-z0-9_]+)`/g))

    assert.isAbove(keys.length, 30)
    assert.sameMembers([...new Set(explained)], [...keys])
  })
})

describe("docs/commands.md", () => {
  it("explains every command with its flags, and no other", () => {
    const explained = new Map<string, Set<string>>()
    for (const [usage = ""] of rows(read("docs/commands.md"))) {
      for (const line of matches(usage, /`sallyport ([a-z-]+[^`]*)`/g)) {
        const [name] = /^(?:(?:client|key) )?[a-z-]+/.exec(line)!
        const flags = explained.get(name) ?? new Set()
        for (const flag of matches(line, /--([a-z0-9-]+)/g)) flags.add(flag)
        explained.set(name, flags)
      }
    }

    assert.sameMembers([...explained.keys(), "sallyport", "client", "key"], [...commands.keys()])
    for (const [name, flags] of explained) assert.sameMembers([...flags], [...commands.get(name)!], name)
  })
})

describe("docs/portal.md", () => {
  it("names every key of the development portal's file", () => {
    const [file = ""] = matches(read("src/lab/devPortal/configFile.ts"), /const PortalFile = ([^]*?)^\}\)/gm)
    const keys = matches(file, /^ {2}([a-z_]+):/gm)

    assert.isAbove(keys.length, 8)
    for (const key of keys) assert.match(code(read("docs/portal.md")), new RegExp(`^${key}\\b`, "m"))
  })
})

describe("docs/failures.md", () => {
  it("names the tests of every fault", () => {
    const faults = rows(read("docs/failures.md")).slice(1)

    assert.isAbove(faults.length, 12)
    for (const fault of faults) assert.match(fault.at(-1)!, /`test\/[^`]+\.test\.ts`/, fault[0])
  })
})

describe("docs/numbers.md", () => {
  it("says of every figure in how many runs, from which commit, how and beside what it was measured", () => {
    const sections = read("docs/numbers.md").split(/^## /m).slice(1)
    /** In a column of its own, or in the text around the table for all of its rows. */
    const saidAround: Readonly<Record<string, (section: string) => boolean>> = {
      runs: () => false,
      command: (section) => /`npm run bench[^`]*`/.test(section),
      measured: (section) => /commit `?[0-9a-f]{7,}/i.test(section),
      "peer, toolchain": (section) => !section.includes("wireguard-go") || /built with go\d/.test(section)
    }

    for (const section of sections) {
      let head: ReadonlyArray<string> = []
      for (const row of rows(section)) {
        if (row.includes("runs")) head = row
        for (const [column, around] of Object.entries(saidAround)) {
          const cell = row[head.indexOf(column)] ?? ""
          assert.isTrue(cell !== "" || around(section), `${row[0]}: ${column}`)
        }
      }
    }
    assert.isAtLeast(sections.filter((section) => rows(section).length > 0).length, 3)
  })
})

describe("docs/design.md", () => {
  it("lists every command, order and notice of the packet worker", () => {
    for (const file of ["src/dataplane/commands.ts", "src/dataplane/orders.ts", "src/dataplane/notices.ts"]) {
      for (const tag of matches(read(file), /readonly _tag: "(\w+)"/g)) {
        assert.include(read("docs/design.md"), `\`${tag}\``)
      }
    }
  })
})

describe("docs/library.md", () => {
  it("names every entry point of the package, and no other", () => {
    const entries = Object.keys(JSON.parse(read("package.json")).exports).filter((entry) => entry !== "./package.json")

    assert.isAbove(entries.length, 8)
    assert.sameMembers(
      matches(withoutBlocks(read("docs/library.md")), /`(sallyport\/[^`]+)`/g) as Array<string>,
      entries.map((entry) => entry.replace(".", "sallyport"))
    )
  })
})

describe("LICENSE", () => {
  it("is the one that package.json names", () => {
    assert.strictEqual(JSON.parse(read("package.json")).license, "Apache-2.0")
    assert.match(read("LICENSE"), /Apache License\s+Version 2\.0, January 2004[^]+END OF TERMS AND CONDITIONS/)
  })
})
