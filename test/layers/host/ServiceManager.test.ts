import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Logger } from "effect"
import { TestClock } from "effect/testing"
import { serviceManager } from "../../../layers/host/ServiceManager.ts"
import { tellingReload, ServiceManager } from "../../../src/host/ServiceManager.ts"
import { notifyAddress } from "../../../src/host/serviceNotice.ts"
import { listenNotify } from "../../support/notifySocket.ts"

const directory = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "notify-"))),
  (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
)

const recording = (lines: Array<string>) =>
  Logger.layer([Logger.make(({ message }) => void lines.push(String(message)))])

describe("the service manager", () => {
  it.effect("hears at a path and at an abstract name", () =>
    Effect.gen(function* () {
      for (const named of [`${yield* directory}/notify`, `@sallyport-test-${process.pid}`]) {
        const heard = yield* listenNotify(notifyAddress(named)!)
        const manager = yield* serviceManager({ NOTIFY_SOCKET: named, WATCHDOG_USEC: "2000000" })

        assert.isTrue(yield* manager!.tell({ state: "ready", status: "well" }))
        assert.strictEqual(manager!.watchdogMs, 2_000)
        assert.deepStrictEqual(heard(), ["READY=1\nSTATUS=well"])
      }
    })
  )

  it.effect("is told of a reload for as long as it goes on, also of one that fails", () =>
    Effect.gen(function* () {
      const named = `${yield* directory}/notify`
      const heard = yield* listenNotify(notifyAddress(named)!)
      const manager = yield* serviceManager({ NOTIFY_SOCKET: named })
      yield* manager!.tell({ state: "ready" })
      heard()
      const before = process.hrtime.bigint() / 1_000n
      const during: Array<string> = []
      const reload = Effect.andThen(
        Effect.sync(() => during.push(...heard())),
        Effect.fail("refused")
      )

      const failed = yield* Effect.provideService(Effect.flatten(tellingReload(reload)), ServiceManager, manager).pipe(
        Effect.flip
      )

      const [, micros] = /^RELOADING=1\nMONOTONIC_USEC=(\d+)$/.exec(during[0] ?? "") ?? []
      assert.strictEqual(failed, "refused")
      assert.isAtLeast(Number(micros), Number(before))
      assert.isBelow(Number(micros), Number(before) + 60_000_000)
      assert.deepStrictEqual(heard(), ["READY=1"])
    })
  )

  it.effect("is not told that a gateway is ready by a reload while it starts", () =>
    Effect.gen(function* () {
      const named = `${yield* directory}/notify`
      const heard = yield* listenNotify(notifyAddress(named)!)
      const manager = yield* serviceManager({ NOTIFY_SOCKET: named })

      const reloaded = yield* Effect.provideService(
        Effect.flatten(tellingReload(Effect.succeed("reloaded"))),
        ServiceManager,
        manager
      )

      assert.deepStrictEqual([reloaded, heard()], ["reloaded", []])
    })
  )

  it.effect("that is away is told again later; the log says once that it is", () =>
    Effect.gen(function* () {
      const named = `${yield* directory}/notify`
      const lines: Array<string> = []
      const manager = yield* serviceManager({ NOTIFY_SOCKET: named })
      const tell = Effect.provide(manager!.tell({ alive: true }), recording(lines))

      assert.deepStrictEqual([yield* tell, yield* tell], [false, false])
      const heard = yield* listenNotify(notifyAddress(named)!)

      assert.isTrue(yield* tell)
      assert.deepStrictEqual(heard(), ["WATCHDOG=1"])
      assert.strictEqual(lines.length, 1)
      assert.match(lines[0]!, /does not listen at .*notify \(ENOENT\)/)
    })
  )

  it.effect("whose queue is full is waited for, a second at most", () =>
    Effect.gen(function* () {
      const named = `${yield* directory}/notify`
      const heard = yield* listenNotify(notifyAddress(named)!)
      const manager = yield* serviceManager({ NOTIFY_SOCKET: named })
      let told = 0
      const flood = Effect.repeat(
        Effect.tap(manager!.tell({ alive: true }), () => Effect.sync(() => told++)),
        { times: 4_999 }
      )
      const fiber = yield* Effect.forkChild(flood, { startImmediately: true })
      const full = told
      const waited = heard().length
      yield* TestClock.adjust("100 millis")

      assert.isBelow(full, 5_000)
      assert.strictEqual(waited, full)
      assert.isAbove(told, full)
      yield* Fiber.interrupt(fiber)
    })
  )

  it.effect("is none where the environment names none, and where nobody can listen at what it names", () =>
    Effect.gen(function* () {
      const lines: Array<string> = []
      const of = (named?: string) => Effect.provide(serviceManager({ NOTIFY_SOCKET: named }), recording(lines))

      assert.deepStrictEqual([yield* of(), yield* of(""), yield* of("vsock:2:1")], [null, null, null])
      assert.strictEqual(lines.length, 1)
      assert.match(lines[0]!, /NOTIFY_SOCKET is "vsock:2:1"/)
    })
  )
})
