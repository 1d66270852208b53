import { assert, it } from "@effect/vitest"
import { Effect, Queue, Schema } from "effect"
import { fileURLToPath } from "node:url"
import { attemptCommand, runCommand } from "../../layers/lab/command.ts"
import { startProcess } from "../../layers/lab/process.ts"
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
  it.live(
    `notices a gateway that breaks the promise of "${step}", names the step and ends with an error`,
    () =>
      Effect.gen(function* () {
        const { code, stderr, stdout } = yield* demo("--json", "--break", step)

        assert.isAbove(code, 0, stdout)
        assert.include(`${stdout}${stderr}`, `step "${step}" failed`)
        assert.deepInclude(yield* lastLine(stdout), { ok: false, failed: step })
      }),
    { timeout: 110_000 }
  )
}

it.live(
  "leaves nothing behind when it is interrupted in the middle",
  () =>
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
    }).pipe(Effect.scoped),
  { timeout: 60_000 }
)
