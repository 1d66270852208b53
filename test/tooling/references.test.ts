/** What comments and pages refer to is in the project, or is published. */
import { assert, describe, it } from "@effect/vitest"
import { existsSync, readdirSync, readFileSync } from "node:fs"
import { basename, dirname, join } from "node:path"
import { fileURLToPath } from "node:url"

const root = fileURLToPath(new URL("../..", import.meta.url))
const self = basename(import.meta.url)
const files = [
  ...["src", "layers", "test", "docs", ".ci"].flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile() && entry.name !== self)
      .map((entry) => join(entry.parentPath, entry.name))
  ),
  ...["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "package.json", ".oxlintrc.json"].map((name) => join(root, name))
].map((path) => ({
  path: path.slice(root.length),
  // A comment's line may end anywhere in what it says.
  text: readFileSync(path, "utf8").replaceAll(/\s*\n\s*(?:\*|\/\/)?\s*/g, " ")
}))

/** What `pattern` finds: its first group, behind the path of the file. */
const found = (pattern: RegExp): ReadonlyArray<readonly [path: string, what: string]> =>
  files.flatMap(({ path, text }) => Array.from(text.matchAll(pattern), (match) => [path, match[1]!] as const))

describe("references", () => {
  it("are to pages that are there", () => {
    const pages = found(/((?<![\w./-])[\w./-]+\.md)\b/g)

    assert.isAbove(pages.length, 40)
    for (const [path, page] of pages) {
      const isThere = ["", "docs", dirname(path)].some((folder) => existsSync(join(root, folder, page)))
      assert.isTrue(isThere, `${path}: ${page}`)
    }
  })

  it("are to sections of RFCs and of WireGuard's whitepaper only", () => {
    const sections = found(/(\S+ \S+ ?§[\d.]+)/g)

    assert.isAbove(sections.length, 50)
    for (const [path, section] of sections) {
      assert.match(section, /(?:RFC \d+|whitepaper|paper|and|,|\() ?§/, path)
    }
  })

  it("name no working paper", () => {
    assert.deepStrictEqual(found(/(firezone-protocol|[Dd]esign §)/g), [])
  })
})
