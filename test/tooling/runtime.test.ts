import { assert, it } from "vitest"

it("the tests run on the node that the gateway needs", () => {
  const [major = 0, minor = 0] = process.versions.node.split(".").map(Number)
  assert.isTrue(major > 22 || (major === 22 && minor >= 19), `this is node ${process.versions.node}`)
})
