import { assert, describe, it } from "@effect/vitest"
import {
  decodeMessages,
  encodeRequest,
  isMove,
  linkByName,
  readAddress,
  readForwarding,
  readLink,
  readRoute,
  routeTo
} from "../../src/host/netlink.ts"
import {
  elementsOf,
  readCounter,
  readElements,
  readGeneration,
  readKeys,
  readPart,
  readSetName
} from "../../src/host/nftNetlink.ts"
import { parseNetwork } from "../../src/packet/address.ts"
import { bytes as randomBytes } from "../support/packetArbitraries.ts"

const hex = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text.replaceAll(/\s/g, ""), "hex"))
const message = (type: number, body: string) => ({ type, body: hex(body) })

describe("a netlink request", () => {
  it("for a device has its name, ended by a zero and filled up", () => {
    assert.deepStrictEqual(
      encodeRequest(linkByName("lo"), 7),
      hex("28000000 1200 0100 07000000 00000000 00000000000000000000000000000000 0700 0300 6c6f00 00")
    )
  })

  it("for a route has the address in its family's length, and asks for the route as its table has it", () => {
    assert.deepStrictEqual(routeTo("100.64.0.2").body, hex("02 20 00 00 00 00 00 00 00200000 0800 0100 64400002"))
    assert.strictEqual(routeTo("fd00::2").body.length, 12 + 4 + 16)
    assert.deepStrictEqual(routeTo("fd00::2").body.slice(0, 2), Uint8Array.of(10, 128))
  })
})

describe("netlink answers", () => {
  it("are cut at their lengths, and end with one that is torn", () => {
    const two = hex("14000000 0300 0000 01000000 00000000 aabbccdd 12000000 1000 0000 02000000 00000000 eeff 0000")
    assert.deepStrictEqual(
      decodeMessages(two).map(({ body, sequence, type }) => [type, sequence, Buffer.from(body).toString("hex")]),
      [
        [3, 1, "aabbccdd"],
        [16, 2, "eeff"]
      ]
    )
    assert.lengthOf(decodeMessages(two.slice(0, 30)), 1)
    assert.lengthOf(decodeMessages(hex("00000000 0300 0000 01000000 00000000")), 0)
  })

  it("tell a device's index, whether it is up, MTU and queue", () => {
    const link = message(
      16,
      "00 00 feff 05000000 01000000 00000000 0700 0300 613000 00 0800 0400 00050000 0800 0d00 e8030000"
    )
    assert.deepStrictEqual(readLink(link), { index: 5, name: "a0", up: true, mtu: 1280, queue: 1000 })
    link.body[8] = 0
    assert.isFalse(readLink(link)?.up)
  })

  it("tell an address with its prefix: the own one, not that of the other end", () => {
    const address = message(20, "02 20 00 00 05000000 0800 0100 64400009 0800 0200 64400001")
    assert.deepStrictEqual(readAddress(address), { index: 5, address: "100.64.0.1/32" })
  })

  it("tell a route's own prefix, device and source", () => {
    const route = message(24, "02 0b 00 00 fe 03 fd 01 00200000 0800 0400 05000000 0800 0700 64400001")
    assert.deepStrictEqual(readRoute(route), { device: 5, prefix: 11, source: "100.64.0.1" })
  })

  it("tell which devices forward, negative indexes included, and the number of changes of rules", () => {
    const all = message(80, "02 00 00 00 0800 0100 ffffffff 0800 0200 01000000")
    assert.deepStrictEqual(readForwarding(all), { index: -1, on: true })
    assert.strictEqual(readGeneration(message(0x0a0f, "00 00 0000 0800 0100 00000102")), 258)
  })

  it("tell a table's counters and the counted elements of its sets", () => {
    const counter = message(
      0x0a12,
      "01 00 0000 0600 0100 7400 0000 0600 0200 6300 0000 1c00 0480 0c00 0100 0000000000000054 0c00 0200 0000000000000003"
    )
    assert.deepStrictEqual(readCounter(counter), { name: "c", packets: 3 })
    const key = (word: string) => `1000 0180 0c00 0180 02000000 ${word}`
    const packets = (count: string) =>
      `2c00 0780 0c00 0180 636f756e74657200 1c00 0280 0c00 0100 0000000000000054 0c00 0200 00000000000000${count}`
    const element = (word: string, count: string) => `4000 0180 ${key(word)} ${packets(count)}`
    const elements = message(0x0a0c, `01 00 0000 8400 0380 ${element("06000000", "03")} ${element("11000000", "04")}`)
    assert.deepStrictEqual(
      readElements(elements)?.map(({ key: [nfproto, , , , l4proto], packets }) => [nfproto, l4proto, packets]),
      [
        [2, 6, 3],
        [2, 17, 4]
      ]
    )
    assert.deepStrictEqual(elementsOf("t", "s"), {
      type: 0x0a0d,
      dump: true,
      body: hex("01 00 0000 0600 0100 7400 0000 0600 0200 7300 0000")
    })
  })

  it("tell what a table is made of, without handles and what has been counted", () => {
    const rule = (handle: string, expressions = "aabbccdd") =>
      message(
        0x0a06,
        `01 00 0000 0600 0100 7400 0000 0600 0200 6300 0000 0c00 0300 00000000000000${handle} 0800 0480 ${expressions}`
      )
    assert.strictEqual(readPart("t", rule("01")), readPart("t", rule("02")))
    assert.notStrictEqual(readPart("t", rule("01")), readPart("t", rule("01", "aabbccde")))
    assert.isUndefined(readPart("u", rule("01")))
    const object = (type: string, data: string) =>
      message(0x0a12, `01 00 0000 0600 0100 7400 0000 0600 0200 6300 0000 0800 0300 000000${type} 0800 0480 ${data}`)
    assert.strictEqual(readPart("t", object("01", "00000001")), readPart("t", object("01", "00000002")))
    assert.notStrictEqual(readPart("t", object("07", "00000001")), readPart("t", object("07", "00000002")))
    const set = message(0x0a09, "01 00 0000 0600 0100 7400 0000 0600 0200 7300 0000")
    assert.strictEqual(readSetName("t", set), "s")
    assert.isUndefined(readSetName("u", set))
    const element = "1000 0180 0c00 0180 0800 0100 64400000"
    assert.lengthOf(readKeys(message(0x0a0c, `01 00 0000 1400 0380 ${element}`)) ?? [], 1)
  })

  it("tell of a move by addresses, rules, default routes and routes that touch the ranges: a router has a million others", () => {
    const ranges = ["100.64.0.0/11", "fd00:2021:1111::/107"].flatMap((range) => parseNetwork(range) ?? [])
    const route = (prefix: string, to: string) => message(24, `02 ${prefix} 00 00 fe 03 fd 01 00000000 ${to}`)
    assert.isTrue(isMove(message(20, "02 20 00 00 05000000"), ranges))
    assert.isTrue(isMove(message(32, "02 00 00 00 00 00 00 01 00000000"), ranges))
    assert.isTrue(isMove(message(25, "02 00 00 00 fe 03 fd 01 00000000"), ranges))
    assert.isTrue(isMove(route("18", "0800 0100 64410100"), ranges))
    assert.isTrue(isMove(route("0a", "0800 0100 64400000"), ranges))
    assert.isFalse(isMove(route("18", "0800 0100 0a000000"), ranges))
    assert.isFalse(isMove(message(16, "00 00 feff 05000000 01000000 00000000"), ranges))
  })

  it.prop("of any bytes are read without harm", [randomBytes(200)], ([bytes]) => {
    for (const { body } of decodeMessages(bytes)) assert.isAtMost(body.length, bytes.length)
    for (const [type, read] of [
      [16, readLink],
      [20, readAddress],
      [24, readRoute],
      [80, readForwarding],
      [0x0a06, readPart.bind(null, "t")],
      [0x0a09, readSetName.bind(null, "t")],
      [0x0a0c, readElements],
      [0x0a0c, readKeys],
      [0x0a0f, readGeneration],
      [0x0a12, readCounter]
    ] as const) {
      read({ type, body: bytes })
    }
  })
})
