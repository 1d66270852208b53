import { spawn, spawnSync } from "node:child_process"
import * as Fs from "node:fs"
import * as Net from "node:net"
import * as Os from "node:os"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import { assert, describe, it } from "vitest"
import packageJson from "../../package.json" with { type: "json" }
import { importing, oldNode } from "../support/hookedNode.ts"

const bin = fileURLToPath(new URL("../../src/bin.ts", import.meta.url))

const old = (execve: boolean) => importing(`${oldNode}${execve ? "" : "process.execve = undefined"}`)
const oldAndAlone = importing(`${oldNode}Object.defineProperty(process, "arch", { value: "none" })`)

interface Ended {
  readonly code: number | null
  readonly signal: string | null
  readonly out: string
  readonly err: string
}

const start = (nodeArgs: ReadonlyArray<string>, args: ReadonlyArray<string>, input: string, program = bin) => {
  const child = spawn(process.execPath, [...nodeArgs, program, ...args], { stdio: "pipe", timeout: 20_000 })
  child.stdin.end(input)
  const ended = new Promise<Ended>((resolve, reject) => {
    let out = ""
    let err = ""
    child.stdout.on("data", (data: Buffer) => (out += data.toString()))
    child.stderr.on("data", (data: Buffer) => (err += data.toString()))
    child.on("error", reject)
    child.on("close", (code, signal) => resolve({ code, signal, out, err }))
  })
  return { child, ended }
}

const run = (nodeArgs: ReadonlyArray<string>, args: ReadonlyArray<string>, input = "") =>
  start(nodeArgs, args, input).ended

/** A pair as `wg pubkey` makes it. */
const privateKey = "QEFCQ0RFRkdISUpLTE1OT1BRUlNUVVZXWFlaW1xdXl8="
const publicKey = "eaYx7t4b+cmPEgMs3q3Q56B5OY/HhriMyEbsia+FpRo="

describe("bin.ts", { timeout: 30_000 }, () => {
  it("starts the command line on a node that is new enough", async () => {
    const { code, out } = await run([], ["--version"])
    assert.deepStrictEqual([code, out], [0, `sallyport v${packageJson.version}\n`])
  })

  it("keeps the young generation small however much lives, so that no collection holds questions up", async () => {
    const newSpaceAtExit = importing(
      `import { getHeapSpaceStatistics } from "node:v8"
      const youngBytes = () => getHeapSpaceStatistics().find((s) => s.space_name === "new_space").space_size
      process.on("exit", () => {
        const before = youngBytes()
        globalThis.living = Array.from({ length: 1_000_000 }, (_, i) => ({ i }))
        process.stderr.write(JSON.stringify([before, youngBytes()]))
      })`
    )
    const { err } = await run(newSpaceAtExit, ["--version"])
    const [before, after] = JSON.parse(err)
    assert.isBelow(after, 8 * 2 ** 20, `${before} bytes before`)
  })

  for (const [how, execve] of [
    ["becomes the locked node", true],
    ["becomes the locked node, where node has no way to do that, too,", false]
  ] as const) {
    it(`${how} when its own is too old, with the same arguments, streams and exit code`, async () => {
      const good = await run(old(execve), ["pubkey"], `${privateKey}\n`)
      const bad = await run(old(execve), ["pubkey"], "nothing")
      assert.deepStrictEqual([good.code, good.out, good.err], [0, `${publicKey}\n`, ""])
      assert.deepStrictEqual([bad.code, bad.out], [1, ""])
      assert.match(bad.err, /^sallyport: standard input is not a WireGuard key .* — try: .*\n$/)
    })

    it(`${how} as the same process, which ends with 0 on SIGTERM`, async () => {
      // A gateway that accepts and never answers: the connection shows that the program is running.
      const directory = Fs.mkdtempSync(Path.join(Os.tmpdir(), "bin-"))
      const server = Net.createServer()
      try {
        const connected = new Promise((resolve) => server.once("connection", resolve))
        await new Promise<void>((resolve) => server.listen(Path.join(directory, "s"), resolve))
        const { child, ended } = start(old(execve), ["status", "--socket", Path.join(directory, "s")], "")
        await connected
        assert.strictEqual(Fs.readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, "utf8"), "")
        child.kill("SIGTERM")
        const { code, signal, err } = await ended
        assert.deepStrictEqual([code, signal, err], [0, null, ""])
      } finally {
        server.close()
        Fs.rmSync(directory, { recursive: true, force: true })
      }
    })
  }

  it("says in one line what is missing when no node is new enough", async () => {
    const { code, out, err } = await run(oldAndAlone, ["--version"])
    assert.deepStrictEqual([code, out], [1, ""])
    assert.match(err, /^sallyport: needs Node 22\.19 or newer, this is 20\.20\.2 — [^\n]*\n$/)
  })

  for (const [what, complaint, line] of [
    [
      "libatomic, which a bare Debian lacks",
      "node: error while loading shared libraries: libatomic.so.1: cannot open shared object file: No such file",
      /^sallyport: \S+\/bin\/node needs the library libatomic\.so\.1, .* — sudo apt-get install libatomic1\n$/
    ],
    [
      "another library",
      "node: error while loading shared libraries: libother.so.2: cannot open shared object file: No such file",
      /^sallyport: \S+\/bin\/node needs the library libother\.so\.2, .* — install it\n$/
    ],
    ["what nobody foresaw", "Illegal instruction", /^sallyport: .*\(Illegal instruction\) — install Node [^\n]*\n$/]
  ] as const) {
    it(`says in one line, once, when the locked node lacks ${what}`, async () => {
      const directory = Fs.mkdtempSync(Path.join(Os.tmpdir(), "bin-"))
      try {
        const locked = Path.join(directory, "node_modules", `node-${process.platform}-${process.arch}`)
        Fs.mkdirSync(Path.join(locked, "bin"), { recursive: true })
        Fs.writeFileSync(Path.join(locked, "package.json"), JSON.stringify({ version: "26.10.0" }))
        Fs.writeFileSync(Path.join(locked, "bin", "node"), `#!/bin/sh\necho "${complaint}" >&2\nexit 127\n`, {
          mode: 0o755
        })
        Fs.copyFileSync(bin, Path.join(directory, "bin.ts"))
        Fs.writeFileSync(Path.join(directory, "package.json"), '{"type":"module"}')

        const { code, out, err } = await start(old(true), ["--version"], "", Path.join(directory, "bin.ts")).ended

        assert.deepStrictEqual([code, out], [1, ""])
        assert.match(err, line)
      } finally {
        Fs.rmSync(directory, { recursive: true, force: true })
      }
    })
  }

  it("shows what is wrong in a file as file:line:column", async () => {
    const { code, err } = await run([], ["connect", fileURLToPath(new URL("runtime.test.ts", import.meta.url))])
    assert.strictEqual(code, 1)
    assert.match(err, /^\S+runtime\.test\.ts:1:1: [^\n]+\n/)
    assert.notMatch(err, / {4}at /)
  })

  it("fails when its output cannot be written", async () => {
    for (const words of [["genkey"], ["--version"], ["--help"]]) {
      const child = spawnSync("sh", ["-c", 'exec "$@" > /dev/full', "sh", process.execPath, bin, ...words], {
        encoding: "utf8",
        timeout: 20_000
      })
      assert.deepStrictEqual(
        [child.status, child.stderr],
        [1, "sallyport: its output cannot be written (ENOSPC) — write it somewhere else\n"],
        words.join(" ")
      )
    }
  })

  it("adds no client whose only copy of the key cannot be written", () => {
    const directory = Fs.mkdtempSync(Path.join(Os.tmpdir(), "bin-"))
    try {
      const file = Path.join(directory, "s.yaml")
      Fs.writeFileSync(file, "endpoint: 192.0.2.1:51820\nclients: {}\n", { mode: 0o600 })
      const words = ["client", "add", "bob", "--gateway-key", publicKey, "--config", file]
      const child = spawnSync("sh", ["-c", 'exec "$@" > /dev/full', "sh", process.execPath, bin, ...words], {
        encoding: "utf8",
        timeout: 20_000
      })
      assert.strictEqual(child.status, 1)
      assert.match(child.stderr, /^sallyport: bob is not added to \S+s\.yaml: its WireGuard file cannot be shown — /)
      assert.strictEqual(Fs.readFileSync(file, "utf8"), "endpoint: 192.0.2.1:51820\nclients: {}\n")
      assert.deepStrictEqual(Fs.readdirSync(directory), ["s.yaml"])
    } finally {
      Fs.rmSync(directory, { recursive: true })
    }
  })

  it("fails with one line and no stack trace", async () => {
    const { code, err } = await run([], ["check", "--config", "/does/not/exist.yaml"])
    assert.deepStrictEqual(
      [code, err],
      [
        1,
        "sallyport: /does/not/exist.yaml does not exist — make it with sallyport init, or name another with --config\n"
      ]
    )
  })
})
