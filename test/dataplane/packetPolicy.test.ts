/** The packet path knows no control plane: what differs between them comes as data. */
import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { assert, describe, it } from "vitest"

const engine = fileURLToPath(new URL("../../src/dataplane/engine", import.meta.url))

/** Names of control planes, and of what used to stand for them. */
const words = /\b(standalone|portals?|firezone|sallyport\.yaml|modes?)\b/i

describe("under src/dataplane/engine", () => {
  it("no line names a control plane or a mode", () => {
    const files = readdirSync(engine)
    const found = files.flatMap((file) =>
      readFileSync(join(engine, file), "utf8")
        .split("\n")
        .flatMap((line, i) => (words.test(line) ? [`${file}:${i + 1}: ${line.trim()}`] : []))
    )
    assert.isAbove(files.length, 10)
    assert.deepStrictEqual(found, [])
  })
})
