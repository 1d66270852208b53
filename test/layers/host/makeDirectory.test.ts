import { assert, describe, it } from "@effect/vitest"
import * as fs from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { makeDirectory } from "../../../layers/host/makeDirectory.ts"

const codeOf = (path: string): unknown => {
  try {
    makeDirectory(path, 0o700)
    return undefined
  } catch (cause) {
    return (cause as NodeJS.ErrnoException).code
  }
}

describe("a directory that is to be there", () => {
  it("is made with all above it, once", () => {
    const root = fs.mkdtempSync(join(tmpdir(), "make-directory-"))
    makeDirectory(join(root, "a/b/c"), 0o700)
    makeDirectory(join(root, "a/b/c"), 0o700)
    assert.strictEqual(fs.statSync(join(root, "a/b")).mode & 0o777, 0o700)
    fs.rmSync(root, { recursive: true })
  })

  it("fails at once where none can be", () => {
    const root = fs.mkdtempSync(join(tmpdir(), "make-directory-"))
    fs.writeFileSync(join(root, "file"), "")
    fs.symlinkSync("loop", join(root, "loop"))
    assert.strictEqual(codeOf("/proc/sallyport/state"), "ENOENT")
    assert.strictEqual(codeOf(join(root, "file")), "ENOTDIR")
    assert.strictEqual(codeOf(join(root, "file/state")), "ENOTDIR")
    assert.isDefined(codeOf(join(root, "loop")))
    assert.isDefined(codeOf(join(root, "loop/state")))
    fs.rmSync(root, { recursive: true })
  })
})
