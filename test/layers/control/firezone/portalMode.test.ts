import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { TestClock } from "effect/testing"
import { gatewayId, holdGatewayId } from "../../../../layers/host/gatewayId.ts"

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
