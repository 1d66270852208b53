import { assert, describe, it } from "@effect/vitest"
import { encodeNotice, notifyAddress, watchdogMs } from "../../src/host/serviceNotice.ts"

describe("a notice", () => {
  it("has a line for each thing, as sd_notify(3) calls them", () => {
    const lines = (notice: Parameters<typeof encodeNotice>[0]) => encodeNotice(notice, 77n).split("\n")

    assert.deepStrictEqual(lines({ state: "ready", status: "2 of 3" }), ["READY=1", "STATUS=2 of 3"])
    assert.deepStrictEqual(lines({ state: "reloading" }), ["RELOADING=1", "MONOTONIC_USEC=77"])
    assert.deepStrictEqual(lines({ state: "stopping", alive: true }), ["STOPPING=1", "WATCHDOG=1"])
    assert.deepStrictEqual(lines({ extendMs: 30_000 }), ["EXTEND_TIMEOUT_USEC=30000000"])
  })

  it("has a status of one line and a bounded length, whatever is in it", () => {
    const notice = encodeNotice({ status: `a\nREADY=1\u001b[2J${"x".repeat(5_000)}` }, 0n)

    assert.strictEqual(notice.split("\n").length, 1)
    assert.isBelow(notice.length, 250)
  })
})

describe("the address of a service manager", () => {
  it("is a path or an abstract name that fits into sun_path", () => {
    assert.deepStrictEqual(notifyAddress("/run/n"), new TextEncoder().encode("/run/n"))
    assert.deepStrictEqual(notifyAddress("@n"), Uint8Array.of(0, 110))
    assert.strictEqual(notifyAddress(`/${"n".repeat(106)}`)?.length, 107)
    assert.strictEqual(notifyAddress(`@${"n".repeat(107)}`)?.length, 108)
  })

  it("is nothing else", () => {
    for (const text of ["", "@", "/", "run/n", "vsock:2:1", `/${"n".repeat(107)}`, `@${"n".repeat(108)}`]) {
      assert.isNull(notifyAddress(text), text)
    }
  })
})

describe("the watchdog", () => {
  it("is this process's only, in milliseconds", () => {
    assert.strictEqual(watchdogMs({ WATCHDOG_USEC: "30000000", WATCHDOG_PID: "7" }, 7), 30_000)
    assert.strictEqual(watchdogMs({ WATCHDOG_USEC: "30000000" }, 7), 30_000)
    assert.isNull(watchdogMs({ WATCHDOG_USEC: "30000000", WATCHDOG_PID: "8" }, 7))
  })

  it("is none where the number is no number", () => {
    for (const text of [undefined, "", "0", "-1", "1e6", "soon"]) assert.isNull(watchdogMs({ WATCHDOG_USEC: text }, 7))
  })
})
