import { assert, describe, it } from "@effect/vitest"
import { compileFilters } from "../../src/nat/portFilters.ts"
import { filtered, Routes } from "../../src/nat/routes.ts"
import { parseAddress, parseNetwork } from "../../src/packet/address.ts"

const noRoute = -1
const tcp = 6
const open = compileFilters([])
const web = compileFilters([{ protocol: "tcp", from: 443, to: 443 }])

const choose = (routes: Routes, text: string, port = 443, client = 1): number =>
  routes.choose(client, parseAddress(text)!, tcp, port)

describe("routes", () => {
  it("take the longest prefix among a client's own resources", () => {
    const routes = new Routes()
    routes.set(1, 10, "a", parseNetwork("10.0.0.0/8"), open)
    routes.set(1, 11, "b", parseNetwork("10.1.0.0/16"), open)
    routes.set(1, 12, "c", parseNetwork("10.1.1.1"), open)
    routes.set(2, 13, "d", parseNetwork("10.1.1.1"), open)
    assert.deepStrictEqual(
      ["10.2.0.1", "10.1.2.3", "10.1.1.1", "11.0.0.1"].map((a) => choose(routes, a)),
      [10, 11, 12, noRoute]
    )
    assert.strictEqual(choose(routes, "10.1.1.1", 443, 2), 13)
    assert.strictEqual(choose(routes, "10.1.1.1", 443, 3), noRoute)
  })

  it("prefer a resource whose filters permit the packet to a longer prefix", () => {
    const routes = new Routes()
    routes.set(1, 10, "a", parseNetwork("10.0.0.0/8"), open)
    routes.set(1, 11, "b", parseNetwork("10.1.0.0/16"), web)
    assert.strictEqual(choose(routes, "10.1.0.1", 443), 11)
    assert.strictEqual(choose(routes, "10.1.0.1", 80), 10)
  })

  it("tell a filtered packet from one without any resource", () => {
    const routes = new Routes()
    routes.set(1, 11, "b", parseNetwork("10.1.0.0/16"), web)
    assert.strictEqual(choose(routes, "10.1.0.1", 80), filtered)
    assert.strictEqual(choose(routes, "10.2.0.1", 80), noRoute)
  })

  it("take the smallest id among equals, in whatever order they came", () => {
    for (const ids of [
      ["a", "b"],
      ["b", "a"]
    ]) {
      const routes = new Routes()
      ids.forEach((id) => routes.set(1, id === "a" ? 20 : 10, id, parseNetwork("10.0.0.0/8"), open))
      assert.strictEqual(choose(routes, "10.0.0.1"), 20)
    }
  })

  it("take the Internet last, for both families", () => {
    const routes = new Routes()
    routes.set(1, 10, "a", undefined, open)
    routes.set(1, 11, "b", parseNetwork("0.0.0.0/0"), web)
    assert.strictEqual(choose(routes, "8.8.8.8", 443), 11)
    assert.strictEqual(choose(routes, "8.8.8.8", 80), 10)
    assert.strictEqual(choose(routes, "2606:4700::1"), 10)
  })

  it("keep the families apart: ::/0 has no IPv4 address", () => {
    const routes = new Routes()
    routes.set(1, 10, "a", parseNetwork("::/0"), open)
    assert.strictEqual(choose(routes, "8.8.8.8"), noRoute)
    assert.strictEqual(choose(routes, "2606:4700::1"), 10)
  })

  it("replace a resource that is set again, and forget one that is removed", () => {
    const routes = new Routes()
    routes.set(1, 10, "a", parseNetwork("10.0.0.0/8"), open)
    routes.set(1, 10, "a", parseNetwork("11.0.0.0/8"), web)
    assert.deepStrictEqual([choose(routes, "10.0.0.1"), choose(routes, "11.0.0.1")], [noRoute, 10])
    routes.remove(1, 10)
    assert.strictEqual(choose(routes, "11.0.0.1"), noRoute)
    routes.set(1, 10, "a", undefined, open)
    routes.forgetClient(1)
    assert.strictEqual(choose(routes, "11.0.0.1"), noRoute)
  })
})
