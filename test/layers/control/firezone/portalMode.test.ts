import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { TestClock } from "effect/testing"
import { gatewayId, holdGatewayId } from "../../../../layers/host/gatewayId.ts"
import { serveHealth } from "../../../../layers/host/healthServer.ts"

const directory = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "sallyport-id-"))),
  (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
)

describe("the gateway's id", () => {
  it.effect("is made once and kept", () =>
    Effect.gen(function* () {
      const stateDir = join(yield* directory, "a/b")
      const id = yield* gatewayId(stateDir)
      assert.match(id, /^[0-9a-f]{64}$/)
      assert.strictEqual(yield* gatewayId(stateDir), id)
      assert.deepStrictEqual(JSON.parse(readFileSync(join(stateDir, "gateway_id"), "utf8")), { id })
    }).pipe(Effect.scoped)
  )

  it.effect("is taken from a file in either form; a broken one is replaced", () =>
    Effect.gen(function* () {
      const stateDir = yield* directory
      const write = (text: string) => Effect.sync(() => writeFileSync(join(stateDir, "gateway_id"), text))
      yield* write(`{"id":"abc"}\n`)
      assert.strictEqual(yield* gatewayId(stateDir), "abc")
      yield* write("3f2a1b4c-0000-4000-8000-0123456789ab\n")
      assert.strictEqual(yield* gatewayId(stateDir), "3f2a1b4c-0000-4000-8000-0123456789ab")
      for (const text of ["", "{", "{}", `{"id":7}`, "two words"]) {
        yield* write(text)
        assert.match(yield* gatewayId(stateDir), /^[0-9a-f]{64}$/)
      }
    }).pipe(Effect.scoped)
  )

  it.effect("is that of one gateway at a time", () =>
    Effect.gen(function* () {
      const stateDir = yield* directory
      yield* gatewayId(stateDir)
      const held = Effect.gen(function* () {
        yield* holdGatewayId(stateDir)
        const second = yield* Effect.forkChild(Effect.flip(Effect.scoped(holdGatewayId(stateDir))))
        yield* TestClock.adjust("3 seconds")
        assert.match((yield* Fiber.join(second)).message, /is in use by another gateway \(pid \d+\): stop it, or/)
      })
      yield* Effect.scoped(held)
      yield* Effect.scoped(holdGatewayId(stateDir))
      yield* Effect.scoped(holdGatewayId(`${stateDir}/absent`))
    }).pipe(Effect.scoped)
  )

  it.effect("that cannot be kept is used all the same", () =>
    Effect.gen(function* () {
      const file = join(yield* directory, "file")
      writeFileSync(file, "")
      assert.match(yield* gatewayId(`${file}/state`), /^[0-9a-f]{64}$/)
    }).pipe(Effect.scoped)
  )
})

describe("the health service", () => {
  it.live("answers healthz always, readyz when ready, and nothing else", () =>
    Effect.gen(function* () {
      let ready = false
      const port = yield* serveHealth({ host: "127.0.0.1", port: 0 }, () => ready)
      const status = (path: string, method = "GET") =>
        Effect.promise(async () => (await fetch(`http://127.0.0.1:${port}${path}`, { method })).status)
      assert.strictEqual(yield* status("/healthz"), 200)
      assert.strictEqual(yield* status("/readyz"), 503)
      ready = true
      assert.strictEqual(yield* status("/readyz?x=1"), 200)
      assert.strictEqual(yield* status("/"), 404)
      assert.strictEqual(yield* status("/healthz", "POST"), 404)
      assert.isNull(yield* serveHealth({ host: "127.0.0.1", port: port! }, () => true))
    }).pipe(Effect.scoped)
  )
})
