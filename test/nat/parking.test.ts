import { assert, describe, it } from "@effect/vitest"
import { type FlowView, Parking } from "../../src/nat/parking.ts"
import { parseAddress } from "../../src/packet/address.ts"

const parkingLimits = { perMapping: 8, perClient: 65_536, total: 16_777_216, holdFor: 2_000 }
const parkedPacketSize = 2_048
const proxy = parseAddress("100.96.0.1")!
const udp = (sourcePort = 1): FlowView => ({
  protocol: 17,
  sourcePort,
  destinationPort: 53,
  tcpFlags: 0,
  destination: proxy
})
const tcp = (sourcePort: number, tcpFlags = 2): FlowView => ({ ...udp(sourcePort), protocol: 6, tcpFlags })

const packet = (n: number, length = 100): Uint8Array => new Uint8Array(length).fill(n)

const park = (
  parking: Parking,
  n: number,
  o: { mapping?: number; client?: number; view?: FlowView; now?: number; length?: number } = {}
) => {
  const bytes = packet(n, o.length)
  return parking.park(o.mapping ?? 1, o.client ?? 1, bytes, 0, bytes.length, o.view ?? udp(n), o.now ?? 0)
}

const released = (parking: Parking, mapping = 1): ReadonlyArray<number> => {
  const found: Array<number> = []
  parking.release(mapping, (bytes, length) => {
    assert.strictEqual(bytes.length, length)
    found.push(bytes[0]!)
  })
  return found
}

const expired = (parking: Parking, now: number): ReadonlyArray<string> => {
  const found: Array<string> = []
  parking.expire(now, (mapping, bytes) => found.push(`${mapping}:${bytes[0]!}`))
  return found
}

describe("parking", () => {
  it("hands out copies in order, once", () => {
    const parking = new Parking()
    const arena = new Uint8Array(300)
    for (const n of [1, 2, 3]) {
      arena.fill(n)
      assert.isTrue(parking.park(1, 1, arena, 100, 150, udp(n), 0))
    }
    arena.fill(9)
    const found: Array<Uint8Array> = []
    parking.release(1, (bytes) => found.push(bytes.slice()))
    assert.deepStrictEqual(
      found,
      [1, 2, 3].map((n) => packet(n, 150))
    )
    assert.deepStrictEqual(released(parking), [])
    assert.strictEqual(parking.size, 0)
  })

  it("holds eight packets per mapping", () => {
    const parking = new Parking()
    for (let n = 1; n <= 8; n++) assert.isTrue(park(parking, n))
    assert.isFalse(park(parking, 9))
    assert.isTrue(park(parking, 10, { mapping: 2 }))
    assert.deepStrictEqual(released(parking), [1, 2, 3, 4, 5, 6, 7, 8])
  })

  it("holds one SYN per flow, and counts its repetitions as parked", () => {
    const parking = new Parking()
    assert.isTrue(park(parking, 1, { view: tcp(1) }))
    assert.isTrue(park(parking, 2, { view: tcp(1), now: 1_000 }))
    assert.isTrue(park(parking, 3, { view: tcp(2) }))
    assert.isTrue(park(parking, 4, { view: tcp(1, 16) }))
    assert.isTrue(park(parking, 5, { view: udp(1) }))
    assert.isTrue(park(parking, 6, { view: udp(1) }))
    assert.deepStrictEqual(released(parking), [1, 3, 4, 5, 6])
  })

  it("holds 64 KiB per client, and the client has them back after a release", () => {
    const parking = new Parking()
    const fill = () => {
      let parked = 0
      for (let n = 0; n < 100; n++) if (park(parking, 1, { mapping: 100 + n, length: 1_280 })) parked += 1_280
      return parked
    }
    assert.strictEqual(fill(), 51 * 1_280)
    assert.isTrue(park(parking, 1, { mapping: 1, client: 2 }))
    for (let n = 0; n < 100; n++) released(parking, 100 + n)
    assert.strictEqual(fill(), 51 * 1_280)
  })

  it("holds a bounded number of bytes for the gateway and uses its memory again", () => {
    const parking = new Parking({ ...parkingLimits, total: 4 * parkedPacketSize })
    for (let round = 0; round < 3; round++) {
      for (let n = 1; n <= 4; n++) assert.isTrue(park(parking, n, { client: n, mapping: n }))
      assert.isFalse(park(parking, 5, { client: 5, mapping: 5 }))
      for (let n = 1; n <= 4; n++) assert.deepStrictEqual(released(parking, n), [n])
    }
  })

  it("takes no packet longer than its places", () => {
    const parking = new Parking()
    assert.isTrue(park(parking, 1, { length: parkedPacketSize }))
    assert.isFalse(park(parking, 2, { length: parkedPacketSize + 1 }))
  })

  it("ends 2 s after a mapping's first packet; then the mapping takes none until its lookup is over", () => {
    const parking = new Parking()
    park(parking, 1, { now: 0 })
    park(parking, 2, { now: 1_999 })
    park(parking, 3, { mapping: 2, now: 1_000 })
    assert.deepStrictEqual(expired(parking, 1_999), [])
    assert.isFalse(park(parking, 4, { now: 2_000 }))
    assert.deepStrictEqual(expired(parking, 2_000), ["1:1", "1:2"])
    assert.isFalse(park(parking, 5, { now: 5_000 }))
    assert.deepStrictEqual(expired(parking, 5_000), ["2:3"])
    assert.deepStrictEqual(released(parking), [])
    assert.isTrue(park(parking, 6, { now: 6_000 }))
  })

  it("hands out what waits for a lookup that may take longer at its own time, which may be said anew", () => {
    const parking = new Parking()
    parking.begin(1, 0, 4_000)
    park(parking, 1)
    parking.begin(2, 500)
    park(parking, 2, { mapping: 2, now: 500 })
    assert.deepStrictEqual(expired(parking, 2_499), [])
    assert.deepStrictEqual(expired(parking, 2_500), ["2:2"])
    assert.deepStrictEqual(expired(parking, 3_999), [])
    parking.begin(1, 3_999, 5_000)
    assert.deepStrictEqual(expired(parking, 4_999), [])
    assert.deepStrictEqual(expired(parking, 5_000), ["1:1"])
    parking.begin(1, 5_001, 9_000)
    assert.isFalse(park(parking, 3, { now: 5_001 }))
  })

  it("forgets a mapping with its packets", () => {
    const parking = new Parking()
    park(parking, 1)
    parking.forgetMapping(1)
    assert.deepStrictEqual(released(parking), [])
    assert.deepStrictEqual(expired(parking, 1e6), [])
    assert.strictEqual(parking.size, 0)
  })

  it("may be given packets while it hands some out", () => {
    const parking = new Parking()
    park(parking, 1)
    park(parking, 2)
    const found: Array<number> = []
    parking.release(1, (bytes) => {
      park(parking, 7, { mapping: 2 })
      found.push(bytes[0]!)
    })
    assert.deepStrictEqual(found, [1, 2])
    assert.deepStrictEqual(released(parking, 2), [7, 7])
  })
})
