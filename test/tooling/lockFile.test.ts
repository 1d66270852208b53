import { assert, describe, it } from "vitest"
import { findLeftOut, readLockFile } from "./lockFile.ts"

describe("the lock file", () => {
  it("lets every Node under npm install all of the optional packages", () => {
    const leftOut = findLeftOut(readLockFile())

    assert.deepStrictEqual(leftOut, [], "run: node test/tooling/lockFile.ts")
  })

  it("would be found out with one that asks for a Node", () => {
    const file = readLockFile()
    const name = Object.keys(file.packages).find((key) => file.packages[key]!.optional === true)!
    file.packages[name]!.engines = { node: ">=22" }

    const leftOut = findLeftOut(file)

    assert.deepStrictEqual(leftOut, [name])
  })
})
