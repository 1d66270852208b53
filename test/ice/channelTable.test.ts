import { assert, describe, it } from "@effect/vitest"
import { Arbitrary } from "effect"
import { type Channel, ChannelTable, isChannelData, writeChannelHeader } from "../../src/ice/channelTable.ts"
import { makeEndpoint } from "../../src/packet/endpoint.ts"
import { transportAddress } from "../../src/packet/transportAddress.ts"
import { integer } from "../support/packetArbitraries.ts"

const server = makeEndpoint()
const peer = transportAddress("192.0.2.1", 1)!
const relayed = transportAddress("198.51.100.1", 50_000)!
const add = (table: ChannelTable, number = 0x4000) => table.add(number, peer, relayed, server)

describe("the channel table", () => {
  it.prop(
    "gives each channel a handle of its own, and an old handle finds nothing, whatever comes and goes",
    [Arbitrary.array(Arbitrary.all([integer(0, 2), integer(0, 1000)]), { maxLength: 200 })],
    ([steps]) => {
      const table = new ChannelTable(5)
      const live: Array<Channel> = []
      const gone = new Set<number>()
      for (const [kind, choice] of steps) {
        if (kind > 0) {
          const channel = add(table)
          assert.strictEqual(channel === undefined, live.length === 5)
          if (channel === undefined) continue
          assert.isFalse(gone.has(channel.handle) || live.some((other) => other.handle === channel.handle))
          assert.isTrue(channel.handle > 0 && channel.handle < 2 ** 31)
          live.push(channel)
        } else if (live.length > 0) {
          const [channel] = live.splice(choice % live.length, 1)
          table.remove(channel!)
          gone.add(channel!.handle)
        }
        assert.strictEqual(table.size, live.length)
        for (const channel of live) assert.strictEqual(table.get(channel.handle), channel)
        for (const handle of gone) assert.isUndefined(table.get(handle))
      }
    },
    { arbitrary: { runs: 300 } }
  )

  it("finds nothing under numbers that are no handles", () => {
    const table = new ChannelTable(4)
    add(table)
    for (const handle of [0, 1, 3, 4, -1, 0x7fff_ffff, -0x8000_0000, 2 ** 40, Number.NaN, 0.5]) {
      assert.isUndefined(table.get(handle))
    }
  })

  it("lets a slot rest while others are free", () => {
    const table = new ChannelTable(3)
    const slots = Array.from({ length: 6 }, () => {
      const channel = add(table)!
      table.remove(channel)
      return channel.handle & 0xffff
    })
    assert.deepStrictEqual(slots, [0, 1, 2, 0, 1, 2])
  })

  it("removes a channel once: a second time changes nothing", () => {
    const table = new ChannelTable(2)
    const first = add(table)!
    table.remove(first)
    const second = add(table)!
    table.remove(first)
    assert.strictEqual(table.get(second.handle), second)
    assert.strictEqual(table.size, 1)
  })

  it("keeps handles positive when a slot's generations are used up", () => {
    const table = new ChannelTable(1)
    let last = 0
    for (let i = 0; i < 0x8000; i++) {
      const channel = add(table)!
      assert.notStrictEqual(channel.handle, last)
      assert.isTrue(channel.handle > 0 && channel.handle < 2 ** 31)
      assert.strictEqual(table.get(channel.handle), channel)
      last = channel.handle
      table.remove(channel)
    }
  })

  it("refuses a capacity that its slots cannot hold", () => {
    assert.throws(() => new ChannelTable(0), RangeError)
    assert.throws(() => new ChannelTable(65_537), RangeError)
  })
})

describe("ChannelData", () => {
  it("has number and length before the payload, not padded", () => {
    const bytes = new Uint8Array(8).fill(0xee)
    writeChannelHeader(bytes, 2, 0x4abc, 1300)
    assert.deepStrictEqual([...bytes], [0xee, 0xee, 0x4a, 0xbc, 0x05, 0x14, 0xee, 0xee])
  })

  it("is told from STUN and WireGuard by its first byte", () => {
    const firstBytes = Array.from({ length: 256 }, (_, byte) => byte).filter(isChannelData)
    assert.deepStrictEqual(firstBytes, [64, 65, 66, 67, 68, 69, 70, 71, 72, 73, 74, 75, 76, 77, 78, 79])
  })
})
