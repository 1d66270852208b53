import { spawn } from "node:child_process"
import * as Fs from "node:fs"
import * as Http from "node:http"
import * as Os from "node:os"
import * as Path from "node:path"
import { fileURLToPath, pathToFileURL } from "node:url"
import { afterAll, assert, beforeAll, describe, it } from "vitest"
import { report } from "../cli/fixtures.ts"
import { example, key } from "../config/fixtures.ts"
import { importing, noting } from "../support/hookedNode.ts"

const root = fileURLToPath(new URL("../..", import.meta.url))
const directory = Fs.mkdtempSync(Path.join(Os.tmpdir(), "loading-"))
const listFile = Path.join(directory, "modules.json")
const config = Path.join(directory, "sallyport.yaml")
const socket = Path.join(directory, "s")

/** What importing a module whose name ends so fails with. */
const missing = (name: string) => `import { registerHooks } from "node:module"
registerHooks({
  load: (url, context, next) => {
    if (/\\/layers\\/${name}\\.ts$/.test(url)) throw new Error("no ${name}\\n    at somewhere")
    return next(url, context)
  }
})`

const run = (hook: string, args: ReadonlyArray<string>, input = "") =>
  new Promise<{ readonly code: number | null; readonly out: string; readonly err: string }>((resolve, reject) => {
    const bin = Path.join(root, "src/bin.ts")
    const hooked = [...importing(hook), bin, ...args]
    const env = { ...process.env, SALLYPORT_CONFIG: undefined }
    const child = spawn(process.execPath, hooked, { stdio: "pipe", timeout: 20_000, env })
    let out = ""
    let err = ""
    child.stdout.on("data", (data: Buffer) => (out += data.toString()))
    child.stderr.on("data", (data: Buffer) => (err += data.toString()))
    child.on("error", reject)
    child.on("close", (code) => resolve({ code, out, err }))
    child.stdin.end(input)
  })

const loadedBy = async (args: ReadonlyArray<string>, input?: string) => {
  Fs.rmSync(listFile, { force: true })
  const ended = await run(noting(listFile), args, input)
  const urls: ReadonlyArray<string> = JSON.parse(Fs.readFileSync(listFile, "utf8"))
  return { ...ended, urls }
}

const inGateway =
  /^(layers\/(dataplane|control|access|resolution|lab|memory|dns)|src\/(dataplane|nat|wireguard|ice|lab))\//
const gatewayAmong = (urls: ReadonlyArray<string>) =>
  urls.filter(
    (url) =>
      inGateway.test(url.replace(pathToFileURL(root).href, "")) || url.includes("/koffi/") || url === "node:sqlite"
  )

const commands: ReadonlyArray<{
  readonly args: ReadonlyArray<string>
  /** It answers, so it has loaded what it needs. */
  readonly said: RegExp
  /** All modules together; without: the framework of the command line is loaded, which alone is about 200. */
  readonly below?: number
}> = [
  { args: ["--version"], said: /^sallyport v\d/, below: 20 },
  { args: ["status", "--socket", socket], said: /gitlab\.corp\.internal/, below: 200 },
  { args: ["status", "--check", "--socket", socket], said: /^4 things are wrong/, below: 200 },
  { args: ["status", "--json", "--socket", socket], said: /"workerEpoch"/, below: 200 },
  { args: ["status", "--socket", "/nowhere/s"], said: /^sallyport: no gateway is running \(nothing at/, below: 200 },
  {
    args: ["vip-notify", "--socket", socket, "INSTANCE", "VI_1", "MASTER", "100"],
    said: /^MASTER: heard$/m,
    below: 40
  },
  { args: ["vip-notify", "--socket", "/nowhere/s", "BACKUP"], said: /no gateway is running \(nothing at/, below: 40 },
  { args: ["vip-notify", "--config", config, "MASTER"], said: /^MASTER: heard$/m },
  { args: ["status", "--socket", socket, "--log-level", "debug"], said: /gitlab\.corp\.internal/ },
  { args: ["status", "--config", config], said: /gitlab\.corp\.internal/ },
  { args: ["--help"], said: /dev-portal/ },
  { args: ["up", "--help"], said: /--new-key/ },
  { args: ["check", "--config", config], said: /is correct/ },
  { args: ["client-config", "bob", "--config", config], said: /\[Interface\]/ },
  { args: ["genkey"], said: /^[\w+/]{43}=\n$/ }
]

describe("sallyport", { timeout: 30_000 }, () => {
  const server = Http.createServer(({ url }, answer) =>
    answer.end(JSON.stringify(url === "/v1/vip" ? "MASTER: heard" : report))
  )
  beforeAll(async () => {
    Fs.writeFileSync(config, `${example}state_dir: ${directory}\ncontrol_socket: ${socket}\n`, { mode: 0o600 })
    await new Promise<void>((resolve) => server.listen(socket, resolve))
  })
  afterAll(() => {
    server.close()
    Fs.rmSync(directory, { recursive: true })
  })

  for (const { args, below, said } of commands) {
    const count = below === undefined ? "" : ` and fewer than ${below} modules`
    it(`${args.join(" ").replaceAll(`${directory}/`, "")} loads nothing of a gateway${count}`, async () => {
      const { err, out, urls } = await loadedBy(args)

      assert.match(`${out}${err}`, said)
      assert.deepStrictEqual(gatewayAmong(urls), [])
      assert.isBelow(urls.length, below ?? Infinity)
    })
  }

  it("pubkey loads of a gateway no more than the curve", async () => {
    const { out, urls } = await loadedBy(["pubkey"], key(1))

    assert.match(out, /^[\w+/]{43}=\n$/)
    assert.deepStrictEqual(
      gatewayAmong(urls).map((url) => Path.basename(url)),
      ["nodePrimitives.ts"]
    )
  })

  it("up without its file has loaded no more than what gives its privileges up", async () => {
    const { err, urls } = await loadedBy(["up", "--config", "/nowhere.yaml"])

    assert.match(err, /^sallyport: \/nowhere\.yaml does not exist/)
    assert.deepStrictEqual(
      gatewayAmong(urls)
        .filter((url) => !url.includes("/koffi/"))
        .map((url) => Path.basename(url)),
      ["privileges.ts", "ffi.ts", "memory.ts"]
    )
    // Up to here it is loaded twice: with privileges to give up, the process starts itself anew.
    const twice = urls.findIndex((url) => url.endsWith("/layers/runCli.ts"))
    assert.isTrue(twice > 0 && twice < 40, `${twice} modules`)
  })

  it("up loads a gateway, so that the others' lists would show one", async () => {
    const { err, urls } = await loadedBy(["up", "--config", config])

    // It touches nothing of this host: there is one already.
    assert.match(err, /^sallyport: a gateway is already running/m)
    assert.isAbove(gatewayAmong(urls).length, 50)
  })

  it("says in one line when a program, or the command line itself, cannot be loaded", async () => {
    const program = await run(missing("Gateway"), ["up", "--config", config])
    const commandLine = await run(missing("runCli"), ["check"])

    assert.deepStrictEqual(program, {
      code: 1,
      out: "",
      err: "sallyport: a part of the program cannot be loaded (no Gateway) — reinstall it\n"
    })
    assert.deepStrictEqual([commandLine.code, commandLine.out], [1, ""])
    assert.match(commandLine.err, /^sallyport: cannot start: no runCli[^]* — reinstall it\n$/)
  })
})
