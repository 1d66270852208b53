import { assert, describe, it } from "@effect/vitest"
import { spawn } from "node:child_process"
import { once } from "node:events"
import { closeSync, mkdtempSync, openSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { tryLock, unlock } from "../../../../layers/dataplane/native/fileLock.ts"

describe("a lock on a file", () => {
  it("is held once, and free when it is given back, though a child has inherited the descriptor", async () => {
    const directory = mkdtempSync(join(tmpdir(), "sallyport-"))
    const open = (): number => openSync(join(directory, "lock"), "w")
    const [first, second] = [open(), open()]
    assert.strictEqual(tryLock(first), "locked")
    assert.strictEqual(tryLock(second), "held")
    const child = spawn(process.execPath, ["-e", "process.stdin.resume()"], {
      stdio: ["pipe", "ignore", "ignore", first]
    })
    await once(child, "spawn")

    unlock(first)
    closeSync(first)

    assert.strictEqual(tryLock(second), "locked")
    child.stdin!.end()
    await once(child, "exit")
    closeSync(second)
    rmSync(directory, { recursive: true })
  })
})
