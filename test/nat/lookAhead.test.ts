import { assert, describe, it } from "@effect/vitest"
import { lookAheadPackets } from "../../src/nat/lookAhead.ts"
import { Sessions } from "../../src/nat/sessions.ts"
import { words } from "../../src/packet/address.ts"

const tcp = 6 << 16
const proxy = words(0, 0, 0xffff, 0x64600001)
const real = words(0, 0, 0xffff, 0x0a000001)

/** A table of this many sessions, and all of its memory. */
const filled = (live: number) => {
  const memory: Array<Int32Array> = []
  const reserve = (length: number): Int32Array => {
    const block = new Int32Array(length)
    memory.push(block)
    return block
  }
  const sessions = new Sessions({ capacity: 64, perClient: 64, reserve })
  for (let i = 0; i < live; i++) sessions.insert(1, 6, 1_024 + i, proxy, 443, real, 7, 3, 10)
  return { memory, sessions }
}

describe("looking ahead", () => {
  for (const live of [0, 1, 64]) {
    it(`changes nothing in a table of ${live} sessions, for flows known and unknown`, () => {
      const { memory, sessions } = filled(live)
      const before = memory.map((block) => block.slice())

      for (let port = 1_000; port < 1_100; port += 20) {
        for (let i = 0; i < 20; i++) {
          sessions.outboundAhead.add(1, tcp | (port + i), proxy, 443)
          sessions.inboundAhead.add(1, tcp | (port + i), real, 443)
        }
        sessions.outboundAhead.fetch()
        sessions.inboundAhead.fetch()
      }

      assert.deepStrictEqual(memory, before)
      for (let i = 0; i < live; i++) {
        const slot = sessions.findOutbound(1, 6, 1_024 + i, proxy, 443)
        assert.isAtLeast(slot, 0)
        assert.strictEqual(sessions.findInbound(1, 6, 1_024 + i, real, 443), slot)
      }
    })
  }

  it("reads the bucket and the record of each flow, whichever of the first two buckets names it", () => {
    const { memory, sessions } = filled(64)
    const [records] = memory
    const reads = new Set<number>()
    const spied = new Proxy(records!, {
      get: (target, key) => {
        if (typeof key === "string" && /^\d+$/.test(key)) reads.add(Math.floor(Number(key) / 16))
        return Reflect.get(target, key) as unknown
      }
    })
    Object.assign(sessions.outboundAhead, { records: spied })

    for (let i = 0; i < 64; i++) sessions.outboundAhead.add(1, tcp | (1_024 + i), proxy, 443)
    sessions.outboundAhead.fetch()

    // Half full: some flows lie further from home than that.
    assert.isAtLeast(reads.size, 54)
  })

  it("takes no more flows than it has room for, and begins anew after each fetch", () => {
    const { sessions } = filled(1)

    for (let round = 0; round < 3; round++) {
      for (let i = 0; i < lookAheadPackets * 2; i++) sessions.inboundAhead.add(1, tcp | i, real, 443)
      sessions.inboundAhead.fetch()
    }

    assert.isAtLeast(sessions.findOutbound(1, 6, 1_024, proxy, 443), 0)
  })
})
