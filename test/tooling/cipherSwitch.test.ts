import * as Fs from "node:fs"
import * as Path from "node:path"
import { afterAll, assert, beforeAll, describe, it } from "vitest"
import { build, findCipherSwitches, findUnencrypted } from "./cipherSwitch.ts"

describe("the built program", { timeout: 120_000 }, () => {
  let dist = ""
  beforeAll(() => void (dist = build()), 120_000)
  afterAll(() => Fs.rmSync(dist, { recursive: true, force: true }))

  /** What is found when a line is added to one of its files. */
  const withLine = (file: string, line: string): ReadonlyArray<string> => {
    const path = Path.join(dist, file)
    const text = Fs.readFileSync(path, "utf8")
    Fs.writeFileSync(path, `${text}\n${line}\n`)
    const found = findCipherSwitches(dist)
    Fs.writeFileSync(path, text)
    return found
  }

  it("has no way to do without its cipher, whatever the offloads are switched to", () => {
    assert.deepStrictEqual(findCipherSwitches(dist), [])
    assert.deepStrictEqual(findUnencrypted(dist), [])
  })

  it.each([
    ["a module from elsewhere", 'import "../../../test/bench/support/copyPrimitives.ts"'],
    ["a hook", 'import { registerHooks } from "node:module"; registerHooks({})'],
    ["a variable", 'export const plain = process.env["SALLYPORT_NO_CIPHER"]'],
    ["other primitives", "makePrimitives(memory, loadCopy)"]
  ])("would be found out by %s", (_, line) => {
    const found = withLine("layers/dataplane/native/packetWorker.js", line)

    assert.isAbove(found.length, 0)
    assert.match(found[0]!, /^layers\/dataplane\/native\/packetWorker\.js /)
  })

  it("would be found out by what it seals", () => {
    const path = Path.join(dist, "layers/dataplane/native/primitives.js")
    const text = Fs.readFileSync(path, "utf8")
    const patched = text.replace(
      /return \{ primitives: \{ \.\.\.fast/,
      (line) => `if (process.env.SALLYPORT_OFFLOADS === "none") fast.aead = () => ({ seal: () => {} });\n${line}`
    )
    assert.notStrictEqual(patched, text)
    Fs.writeFileSync(path, patched.replace("aead: fastest(", "aead: fast.aead.length === 0 ? fast.aead : fastest("))

    const found = findUnencrypted(dist)

    Fs.writeFileSync(path, text)
    assert.deepStrictEqual(found, ["with SALLYPORT_OFFLOADS=none a packet is not encrypted"])
  })
})
