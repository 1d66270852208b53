import { assert, describe, it } from "@effect/vitest"
import { BlockList } from "../../src/dns/BlockList.ts"
import { bytes } from "../support/packetArbitraries.ts"

const listOf = (text: string, limit?: number): BlockList => {
  const list = new BlockList(limit)
  list.add(text)
  return list
}

describe("a block list", () => {
  it("in hosts format is about just the names in it", () => {
    const list = listOf("0.0.0.0 Ads.Example.com. tracker.example.net # both\r\n127.0.0.1\ta.b\n:: c.d\n::1 e.f\n")
    for (const name of ["ads.example.com", "tracker.example.net", "a.b", "c.d", "e.f"])
      assert.strictEqual(list.find(name), name)
    for (const name of ["x.ads.example.com", "example.com", "b", "."]) assert.isUndefined(list.find(name), name)
    assert.deepStrictEqual([list.size, list.bad], [5, 0])
  })

  it("of domains is about all names below them, too; the longest entry is the one found", () => {
    const list = listOf("\ufeffexample.com\n*.example.net\n.example.org\nads.example.com\n*.zip\n")
    assert.strictEqual(list.find("www.example.com"), "example.com")
    assert.strictEqual(list.find("x.ads.example.com"), "ads.example.com")
    assert.strictEqual(list.find("example.net"), "example.net")
    assert.strictEqual(list.find("a.b.example.org"), "example.org")
    assert.strictEqual(list.find("evil.zip"), "zip")
    assert.isUndefined(list.find("notexample.com"))
  })

  it("takes a whole top-level domain away only where that is written out", () => {
    const list = listOf("com\nnet.\n.zip\n")
    assert.isUndefined(list.find("www.example.com"))
    assert.isUndefined(list.find("www.example.net"))
    assert.strictEqual(list.find("evil.zip"), "zip")
    assert.deepStrictEqual([list.bad, list.firstBad], [2, 1])
  })

  it("says nothing of the host's own names, and nothing in comments and empty lines", () => {
    const list = listOf(
      "# a list\n\n127.0.0.1 localhost localhost.localdomain\n::1 ip6-localhost ip6-loopback\n0.0.0.0 0.0.0.0\n255.255.255.255\n"
    )
    assert.deepStrictEqual([list.size, list.bad], [0, 1])
  })

  it("counts lines that make no sense, and says where the first one is", () => {
    const list = listOf("a.b\n10.0.0.5 nas.home\n||ads.example.com^\n<html>\nb\u00fccher.example\n0.0.0.0\nx y\nc.d\n")
    assert.deepStrictEqual([list.bad, list.firstBad, list.size], [6, 2, 2])
  })

  it("keeps to its bound, and counts what did not fit", () => {
    const list = listOf("a.b\nc.d\na.b\ne.f\n0.0.0.0 g.h i.j\n", 2)
    assert.deepStrictEqual([list.size, list.leftOut], [2, 3])
  })

  it("is the same in one piece or many", () => {
    const text = "a.b\n0.0.0.0 c.d\nnonsense here\n"
    const pieces = new BlockList()
    for (const line of text.split(/(?<=\n)/)) pieces.add(line.replace(/\n$/, ""))
    assert.deepStrictEqual([pieces.size, pieces.bad, pieces.firstBad], [2, 1, 3])
  })

  it.prop("any text makes one, and only names are found", [bytes(300)], ([data]) => {
    const list = listOf(Buffer.from(data).toString("latin1"))
    assert.isAtMost(list.size, 300)
  })
})
