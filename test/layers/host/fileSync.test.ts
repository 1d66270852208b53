import { assert, describe, it } from "@effect/vitest"
import * as fs from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { makeFileSync } from "../../../layers/host/fileSync.ts"

/** A file whose syncs end when the test says so. */
const heldFile = (test: (file: ReturnType<typeof makeFileSync>, held: Array<(e: Error | null) => void>) => unknown) => {
  const directory = fs.mkdtempSync(join(tmpdir(), "file-sync-"))
  const path = join(directory, "log")
  fs.writeFileSync(path, "")
  const held: Array<(error: Error | null) => void> = []
  const file = makeFileSync(path, (_, done) => void held.push(done))
  return Promise.resolve(test(file, held)).finally(() => fs.rmSync(directory, { recursive: true }))
}

const settled = () => new Promise((resolve) => setImmediate(resolve))

describe("makeFileSync", () => {
  it("shares one sync among all who ask while another is under way", () =>
    heldFile(async (file, held) => {
      const first = file.sync()
      const later = [file.sync(), file.sync(), file.sync()]
      assert.strictEqual(held.length, 1)
      held[0]!(null)
      await first
      await settled()
      assert.strictEqual(held.length, 2)
      held[1]!(null)
      await Promise.all(later)
      file.close()
    }))

  it("never takes a sync for an answer that began before the call", () =>
    heldFile(async (file, held) => {
      let done = false
      const first = file.sync()
      const second = file.sync().then(() => void (done = true))
      held[0]!(null)
      await first
      await settled()
      assert.isFalse(done)
      held[1]!(null)
      await second
      file.close()
    }))

  it("tells a failure to those who waited for that sync only", () =>
    heldFile(async (file, held) => {
      const first = file.sync()
      const second = file.sync()
      held[0]!(new Error("the disk is gone"))
      assert.strictEqual(await first.catch((error: Error) => error.message), "the disk is gone")
      await settled()
      held[1]!(null)
      await second
      file.close()
    }))

  it("closes the file after the sync under way and refuses the rest", () =>
    heldFile(async (file, held) => {
      const first = file.sync()
      const second = file.sync()
      file.close()
      held[0]!(null)
      await first
      assert.match(await second.then(String, String), /was closed/)
      assert.strictEqual(held.length, 1)
    }))

  it("syncs a real file", async () => {
    const path = join(fs.mkdtempSync(join(tmpdir(), "file-sync-")), "log")
    fs.writeFileSync(path, "bytes")
    const file = makeFileSync(path)
    await Promise.all([file.sync(), file.sync()])
    file.close()
    fs.rmSync(path)
  })
})
