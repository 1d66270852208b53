import { assert, describe, it } from "@effect/vitest"
import { Fragments, fromClient, toClient } from "../../src/nat/fragments.ts"
import { words } from "../../src/packet/address.ts"
import { addressWords } from "../support/packets.ts"

const fragmentedDatagrams = 32
const fragmentLifetime = 5_000
const proxy = addressWords("100.96.0.4")
const real = addressWords("10.20.0.10")

const part = (from: number, to: number, identification = 7, protocol = 17) => ({
  protocol,
  identification,
  fragmentOffset: from,
  fragmentEnd: to
})

const begun = (now = 0): Fragments => {
  const fragments = new Fragments()
  fragments.begin(fromClient, 1, part(0, 1232), proxy, real, now)
  return fragments
}

describe("later fragments", () => {
  it("follow the first one of their datagram, in order, and get its address", () => {
    const fragments = begun()
    const to = words()
    assert.isTrue(fragments.follow(fromClient, 1, part(1232, 2464), proxy, to, 1))
    assert.deepStrictEqual(to, real)
    assert.isTrue(fragments.follow(fromClient, 1, part(2464, 2600), proxy, words(), 1))
  })

  it("are refused when they overlap, leave a gap or come again", () => {
    const fragments = begun()
    assert.isFalse(fragments.follow(fromClient, 1, part(8, 1240), proxy, words(), 1))
    assert.isFalse(fragments.follow(fromClient, 1, part(1224, 2000), proxy, words(), 1))
    assert.isFalse(fragments.follow(fromClient, 1, part(1240, 2000), proxy, words(), 1))
    assert.isTrue(fragments.follow(fromClient, 1, part(1232, 2464), proxy, words(), 1))
    assert.isFalse(fragments.follow(fromClient, 1, part(1232, 2464), proxy, words(), 1))
  })

  it.each([
    ["client", fromClient, 2, part(1232, 2464), proxy],
    ["direction", toClient, 1, part(1232, 2464), proxy],
    ["identification", fromClient, 1, part(1232, 2464, 8), proxy],
    ["protocol", fromClient, 1, part(1232, 2464, 7, 6), proxy],
    ["address", fromClient, 1, part(1232, 2464), addressWords("100.96.0.5")],
    ["family", fromClient, 1, part(1232, 2464), addressWords("fd00:2021:1111:8000::4")]
  ] as const)("of another %s are strangers", (_, direction, client, view, address) => {
    assert.isFalse(begun().follow(direction, client, view, address, words(), 1))
  })

  it.each([0, 2 ** 31 - 100, 2 ** 32 - 100])("follow for 5 seconds, with a clock at %i", (now) => {
    const view = part(1232, 2464)
    assert.isTrue(begun(now).follow(fromClient, 1, view, proxy, words(), now + fragmentLifetime - 1))
    assert.isFalse(begun(now).follow(fromClient, 1, view, proxy, words(), now + fragmentLifetime))
  })

  it("follow the last first fragment when an identification comes again", () => {
    const fragments = begun()
    const other = addressWords("10.20.0.20")
    fragments.begin(fromClient, 1, part(0, 800), proxy, other, 10)
    const to = words()
    assert.isFalse(fragments.follow(fromClient, 1, part(1232, 2464), proxy, to, 11))
    assert.isTrue(fragments.follow(fromClient, 1, part(800, 1000), proxy, to, 11))
    assert.deepStrictEqual(to, other)
  })

  it("end with what the client may reach", () => {
    const fragments = begun()
    fragments.begin(toClient, 1, part(0, 1232), real, proxy, 0)
    fragments.forgetClient(1)
    assert.isFalse(fragments.follow(fromClient, 1, part(1232, 2464), proxy, words(), 1))
    assert.isFalse(fragments.follow(toClient, 1, part(1232, 2464), real, words(), 1))
  })

  it("are kept in mind for so many datagrams of a client; the oldest goes first, and other clients keep theirs", () => {
    const fragments = begun()
    for (let n = 1; n <= fragmentedDatagrams; n++) {
      fragments.begin(fromClient, 2, part(0, 1232, n), proxy, real, 0)
    }
    assert.isTrue(fragments.follow(fromClient, 2, part(1232, 2464, 1), proxy, words(), 1))
    fragments.begin(fromClient, 2, part(0, 1232, 1_000), proxy, real, 1)
    assert.isFalse(fragments.follow(fromClient, 2, part(2464, 3000, 1), proxy, words(), 1))
    for (let n = 2; n <= fragmentedDatagrams; n++) {
      assert.isTrue(fragments.follow(fromClient, 2, part(1232, 2464, n), proxy, words(), 1))
    }
    assert.isTrue(fragments.follow(fromClient, 1, part(1232, 2464), proxy, words(), 1))
  })
})
