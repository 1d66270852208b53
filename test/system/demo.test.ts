import { assert, it } from "@effect/vitest"
import { Effect, Queue, Schema } from "effect"
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { attemptCommand, runCommand } from "../../layers/lab/command.ts"
import { startProcess } from "../../layers/lab/process.ts"
import { inPairs } from "../support/inPairs.ts"
import { isRunning } from "../support/isRunning.ts"

const bin = fileURLToPath(new URL("../../src/bin.ts", import.meta.url))
const demo = (...flags: ReadonlyArray<string>) =>
  attemptCommand([process.execPath, bin, "demo", ...flags], { timeout: "100 seconds" })

const Result = Schema.fromJsonString(
  Schema.Struct({
    acceptMs: Schema.NullOr(Schema.Finite),
    handshakeMs: Schema.NullOr(Schema.Finite),
    acceptedWhileDnsDown: Schema.Boolean,
    answerWhileDnsDown: Schema.String,
    answerTypeCode: Schema.NullOr(Schema.String),
    healMs: Schema.NullOr(Schema.Finite),
    movedMs: Schema.NullOr(Schema.Finite),
    downloadedBytes: Schema.Finite,
    ok: Schema.Boolean,
    failed: Schema.NullOr(Schema.String)
  })
)
const lastLine = (output: string) => Schema.decodeEffect(Result)(output.trim().split("\n").at(-1) ?? "")

it.live(
  "tells the whole story: accepted at once, answered at once, healed, downloaded, moved",
  () =>
    Effect.gen(function* () {
      const { code, stderr, stdout } = yield* demo("--json")

      assert.strictEqual(code, 0, `${stdout}\n${stderr}`)
      const result = yield* lastLine(stdout)
      assert.deepInclude(result, {
        acceptedWhileDnsDown: true,
        answerWhileDnsDown: "icmp-unreachable",
        answerTypeCode: "3/0",
        downloadedBytes: 8 * 1024 * 1024,
        ok: true,
        failed: null
      })
      assert.isBelow(result.acceptMs ?? Infinity, 1000)
      assert.isBelow(result.handshakeMs ?? Infinity, 1000)
      assert.isBelow(result.healMs ?? Infinity, 2000)
      assert.isBelow(result.movedMs ?? Infinity, 9000)
    }),
  { timeout: 110_000 }
)

for (const step of ["accept", "icmp", "heal"] as const) {
  inPairs(`notices a gateway that breaks the promise of "${step}", names the step and ends with an error`, () =>
    Effect.gen(function* () {
      const { code, stderr, stdout } = yield* demo("--json", "--break", step)

      assert.isAbove(code, 0, stdout)
      assert.include(`${stdout}${stderr}`, `step "${step}" failed`)
      assert.deepInclude(yield* lastLine(stdout), { ok: false, failed: step })
    })
  )
}

const portalSteps = [
  /client {2,}asks for app\.corp\.internal: through portal, ICE and handshake in .* it is 100\.96\./,
  /gateway {2,}says after .* that it does not know where that is: E(HOST|NET)UNREACH/,
  /client {2,}has the page .* later, at try \d+/,
  /status {2,}the client is reached directly, through both routers/,
  /client {2,}downloads 8 MiB, SHA-256 .* is right/,
  /client {2,}gets in no more, .* later/,
  /client {2,}asks again, is authorized again, and has the page/
]

inPairs("tells the story of a portal's gateway, with the relay's part in it", () =>
  Effect.gen(function* () {
    const { code, stderr, stdout } = yield* demo("--portal")

    assert.strictEqual(code, 0, `${stdout}\n${stderr}`)
    for (const told of portalSteps) assert.match(stdout, told)
    assert.match(stdout, /client {2,}reads on through a relay; the way was changed within/)
    assert.include(stdout, "That was all of it")
  })
)

inPairs("leaves the relay's part out of a portal's story where there is no coturn, and says so", () =>
  Effect.gen(function* () {
    const hidden = 'mount --bind /dev/null "$(command -v turnserver)"; exec "$@"'
    const { code, stderr, stdout } = yield* attemptCommand(
      ["unshare", "--mount", "sh", "-ec", hidden, "sh", process.execPath, bin, "demo", "--portal"],
      { timeout: "100 seconds" }
    )

    assert.strictEqual(code, 0, `${stdout}\n${stderr}`)
    for (const told of portalSteps) assert.match(stdout, told)
    assert.include(stdout, "There is no coturn on this machine")
    assert.include(stdout, "Without coturn the part about relays is left out.")
    assert.notInclude(stdout, "reads on through a relay")
  })
)

inPairs("refuses a portal's story in JSON, in one line", () =>
  Effect.gen(function* () {
    const { code, stderr, stdout } = yield* demo("--portal", "--json")

    assert.deepStrictEqual([code, stdout], [2, ""])
    assert.match(stderr, /^[^\n]*demo --portal takes neither --json nor --break — leave them out\n$/)
  })
)

inPairs("leaves nothing behind when it is interrupted in the middle", () =>
  Effect.gen(function* () {
    const child = yield* startProcess([process.execPath, bin, "demo"])
    let line = ""
    while (!line.includes("asks the gateway")) line = yield* Queue.take(child.lines)
    const namespaces = yield* runCommand(["ip", "netns", "list"])
    const own = namespaces.split("\n").filter((name) => name.startsWith(`sallyport-lab-${child.pid}-`))
    const pids = yield* Effect.forEach(own, (name) => runCommand(["ip", "netns", "pids", name.split(" ")[0] ?? ""]))
    const children = pids.join("").trim().split("\n").map(Number)

    process.kill(child.pid, "SIGINT")
    yield* child.exit

    assert.strictEqual(own.length, 3)
    assert.isAtLeast(children.length, 6)
    assert.notInclude(yield* runCommand(["ip", "netns", "list"]), `sallyport-lab-${child.pid}-`)
    for (const pid of children) assert.isFalse(isRunning(pid), `process ${pid} is still there`)
  }).pipe(Effect.scoped)
)

const root = fileURLToPath(new URL("../..", import.meta.url))
/** An ordinary user on a machine with a TUN device of these rights, who can read this repository wherever it lies. */
const asUser = (tunMode: string, path: string, ...command: ReadonlyArray<string>): ReadonlyArray<string> => [
  "unshare",
  "--mount",
  "sh",
  "-ec",
  `mount --bind "$1" /mnt; mount -t tmpfs none /dev/net; mknod /dev/net/tun c 10 200; chmod ${tunMode} /dev/net/tun
   PATH="$2:$PATH"; shift 2; exec setpriv --reuid 54321 --regid 54321 --clear-groups "$@"`,
  "sh",
  root,
  path,
  ...command
]
const demoAsUser = (tunMode: string, path = "/") =>
  attemptCommand(asUser(tunMode, path, process.execPath.replace(root, "/mnt/"), "/mnt/src/bin.ts", "demo", "--json"), {
    timeout: "100 seconds"
  })

it.live(
  "tells the whole story to an ordinary user, too, where TUN device and user namespaces are open to everybody",
  () =>
    Effect.gen(function* () {
      const allowed = yield* attemptCommand(asUser("666", "/", "unshare", "--user", "--map-root-user", "--net", "true"))

      const { code, stderr, stdout } = yield* demoAsUser("666")

      if (allowed.code === 0) {
        assert.strictEqual(code, 0, `${stdout}\n${stderr}`)
        assert.deepInclude(yield* lastLine(stdout), { answerWhileDnsDown: "icmp-unreachable", ok: true, failed: null })
      } else {
        assert.deepStrictEqual([code, stdout], [1, ""])
        assert.match(stderr, /^[^\n]*the kernel allows no user namespace for it: run it with sudo\n$/)
      }
    }),
  { timeout: 110_000 }
)

inPairs("tells an ordinary user in one line why there is no story, and what helps", () =>
  Effect.gen(function* () {
    const directory = yield* Effect.acquireRelease(
      Effect.sync(() => mkdtempSync(join(tmpdir(), "sallyport-user-"))),
      (path) => Effect.sync(() => rmSync(path, { recursive: true }))
    )
    chmodSync(directory, 0o755)
    writeFileSync(join(directory, "unshare"), "#!/bin/sh\necho 'unshare failed: Operation not permitted' >&2; exit 1\n")
    chmodSync(join(directory, "unshare"), 0o755)
    for (const [mode, path, line] of [
      ["600", "/", /^[^\n]*\/dev\/net\/tun may not be opened by this user: run it with sudo\n$/],
      ["666", directory, /^[^\n]*the kernel allows no user namespace for it: run it with sudo\n$/]
    ] as const) {
      const { code, stderr, stdout } = yield* demoAsUser(mode, path)

      assert.strictEqual(code, 1)
      assert.strictEqual(stdout, "")
      assert.match(stderr, line)
    }
  }).pipe(Effect.scoped)
)
