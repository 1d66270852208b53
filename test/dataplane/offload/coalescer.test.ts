import { assert, describe, it } from "@effect/vitest"
import { Coalescer, type Gathered, maxParts, takeApart } from "../../../src/dataplane/offload/coalescer.ts"
import { formatAddress } from "../../../src/packet/address.ts"
import { makeChecksum } from "../../../src/packet/checksum.ts"
import { makePacketView, parsePacket } from "../../../src/packet/packetView.ts"
import { buildFragment, buildTcp, buildUdp, dataOf } from "../../support/packets.ts"
import { splitSuper, withoutIdentification } from "../../support/superPackets.ts"
import { Flow, makeRandom } from "../../support/traffic.ts"
import { Seed } from "../../support/packetArbitraries.ts"

const sentinel = 0xa5
const gap = 32

interface Written {
  readonly bytes: Uint8Array
  readonly header: Gathered["header"]
  readonly parts: number
}

/** The coalescer over an array with untouchable bytes between the packets. */
const makeWorld = (capacity = 1 << 20) => {
  const bytes = new Uint8Array(capacity).fill(sentinel)
  const written: Array<Written> = []
  const places: Array<{ readonly from: number; readonly to: number }> = []
  const view = makePacketView()
  let top = gap
  const apart: Array<Uint8Array> = []
  const coalescer = new Coalescer(bytes, makeChecksum(bytes), (gathered) => {
    const { header, lengths, offsets, parts } = gathered
    const pieces = Array.from({ length: parts }, (_, i) => {
      const [from, to] = [offsets[i]!, offsets[i]! + lengths[i]!]
      assert.isTrue(places.some((place) => place.from <= from && to <= place.to))
      return bytes.slice(from, to)
    })
    written.push({ bytes: new Uint8Array(Buffer.concat(pieces)), header: { ...header }, parts })
    takeApart(bytes, gathered, (at, length) => apart.push(bytes.slice(at, at + length)) > 0)
  })
  return {
    coalescer,
    written,
    /** What was written, taken apart instead. */
    apart,
    /** False when it is no packet at all. */
    add: (packet: Uint8Array): boolean => {
      const at = top
      bytes.set(packet, at)
      top += packet.length + gap
      if (parsePacket(bytes, at, packet.length, view) !== 0) {
        bytes.fill(sentinel, at, at + packet.length)
        return false
      }
      places.push({ from: at, to: at + packet.length })
      coalescer.add(view)
      return true
    },
    /** What the kernel makes of everything written so far. */
    packets: (): ReadonlyArray<Uint8Array> => written.flatMap(({ bytes: all, header }) => splitSuper(all, header)),
    assertNothingElseTouched: (): void => {
      let at = 0
      for (const { from, to } of [...places, { from: bytes.length, to: bytes.length }]) {
        for (; at < from; at++) if (bytes[at] !== sentinel) assert.fail(`byte ${at} was written`)
        at = to
      }
    }
  }
}

/** Packets of a pair of hosts in their order; without the padding that is none of the kernel's business. */
const byFlow = (packets: ReadonlyArray<Uint8Array>): Record<string, ReadonlyArray<string>> => {
  const flows: Record<string, Array<string>> = {}
  const view = makePacketView()
  for (const packet of packets) {
    assert.strictEqual(parsePacket(packet, 0, packet.length, view), 0)
    const ports = view.fragment ? "" : ` ${view.protocol} ${view.sourcePort} ${view.destinationPort}`
    const flow = `${formatAddress(view.source)} ${formatAddress(view.destination)}${ports}`
    ;(flows[flow] ??= []).push(Buffer.from(withoutIdentification(packet.subarray(0, view.length))).toString("hex"))
  }
  return flows
}

const tcp = (over: Partial<Parameters<typeof buildTcp>[0]> = {}) =>
  buildTcp({
    source: "10.0.0.1",
    destination: "10.1.0.1",
    sourcePort: 5_000,
    destinationPort: 443,
    payload: new Uint8Array(100).fill(7),
    dontFragment: true,
    ...over
  })

const udp = (over: Partial<Parameters<typeof buildUdp>[0]> = {}) =>
  buildUdp({
    source: "fd00::1",
    destination: "fd01::1",
    sourcePort: 5_000,
    destinationPort: 53,
    payload: new Uint8Array(100).fill(7),
    ...over
  })

/** Adds them all, flushes, and tells how many packets each write was made of. */
const partsOf = (packets: ReadonlyArray<Uint8Array>): ReadonlyArray<number> => {
  const world = makeWorld()
  for (const packet of packets) assert.isTrue(world.add(packet))
  world.coalescer.flush()
  assert.deepStrictEqual(byFlow(world.packets()), byFlow(packets))
  return world.written.map(({ parts }) => parts)
}

describe("what the kernel gets", () => {
  it.prop(
    "is split into exactly the packets that went in, in order within each flow, however up to 40 flows interleave",
    [Seed],
    ([seed]) => {
      const random = makeRandom(seed)
      const flows = Array.from({ length: random.below(40) + 1 }, (_, i) => new Flow(random, i))
      const world = makeWorld()
      const sent: Array<Uint8Array> = []
      let current = random.pick(flows)
      for (let i = 0; i < 250; i++) {
        if (random.chance(0.4)) current = random.pick(flows)
        for (const packet of current.next()) {
          assert.isTrue(world.add(packet))
          sent.push(packet)
        }
        if (random.chance(0.01)) world.coalescer.flush()
      }
      world.coalescer.flush()

      assert.deepStrictEqual(byFlow(world.packets()), byFlow(sent))
      assert.deepStrictEqual(byFlow(world.apart), byFlow(sent))
      world.assertNothingElseTouched()
      assert.strictEqual(
        world.coalescer.joined,
        sent.length - world.written.length,
        "every packet is either the first of a write or joined"
      )
    },
    { arbitrary: { runs: 60, seed: 11 } }
  )

  it("is much less than what came in when a few flows interleave", () => {
    const random = makeRandom(3)
    const flows = Array.from({ length: 8 }, (_, i) => new Flow(random, i))
    const world = makeWorld()
    for (let i = 0; i < 400; i++) for (const packet of flows[i % 8]!.next()) world.add(packet)
    world.coalescer.flush()

    assert.isBelow(world.written.length, 250)
  })

  it.prop(
    "stays the packets that went in when their bytes are changed at random, and nothing else is written over",
    [Seed],
    ([seed]) => {
      const random = makeRandom(seed)
      const flows = Array.from({ length: random.below(6) + 1 }, (_, i) => new Flow(random, i))
      const world = makeWorld()
      const accepted: Array<Uint8Array> = []
      for (let i = 0; i < 120; i++) {
        for (const packet of random.pick(flows).next()) {
          const mutated = packet.slice(0, random.chance(0.1) ? random.below(packet.length + 1) : packet.length)
          for (let n = random.below(3); n > 0; n--) {
            mutated[random.below(Math.min(mutated.length, random.pick([20, 60, 1_400])))] = random.below(256)
          }
          if (world.add(mutated)) accepted.push(mutated)
        }
      }
      world.coalescer.flush()

      assert.deepStrictEqual(byFlow(world.packets()), byFlow(accepted))
      world.assertNothingElseTouched()
    },
    { arbitrary: { runs: 80, seed: 12 } }
  )
})

describe("consecutive packets of a flow", () => {
  const stream = (count: number, over: (i: number) => Partial<Parameters<typeof buildTcp>[0]> = () => ({})) =>
    Array.from({ length: count }, (_, i) => tcp({ sequence: 1 + 100 * i, ...over(i) }))

  it("become one, a shorter one being the last", () => {
    assert.deepStrictEqual(partsOf(stream(5)), [5])
    assert.deepStrictEqual(partsOf([...stream(3), tcp({ sequence: 301, payload: new Uint8Array(9) })]), [4])
    assert.deepStrictEqual(
      partsOf([...stream(2), tcp({ sequence: 201, payload: new Uint8Array(9) }), tcp({ sequence: 210 })]),
      [3, 1]
    )
  })

  it("become one of at most 64 parts and 65,535 bytes", () => {
    assert.deepStrictEqual(partsOf(stream(maxParts + 2)), [maxParts, 2])
    const payload = new Uint8Array(1_360)
    const big = Array.from({ length: 50 }, (_, i) => tcp({ sequence: 1 + 1_360 * i, payload }))
    assert.deepStrictEqual(partsOf(big), [48, 2])
    const six = Array.from({ length: 50 }, () => udp({ payload }))
    assert.deepStrictEqual(partsOf(six), [48, 2])
  })

  it("end with the one that says PSH, and the last part of what is written says it", () => {
    const packets = stream(4, (i) => ({ flags: i === 1 ? 0x18 : 0x10 }))

    assert.deepStrictEqual(partsOf(packets), [2, 2])
  })

  it("that carry a Diffserv or ECN mark are joined with their like only", () => {
    assert.deepStrictEqual(partsOf(stream(4, (i) => ({ trafficClass: i < 2 ? 2 : 3 }))), [2, 2])
    assert.deepStrictEqual(
      partsOf(Array.from({ length: 4 }, (_, i) => udp({ trafficClass: i < 2 ? 0xb8 : 0 }))),
      [2, 2]
    )
  })

  it("of another hop limit, flow label or don't-fragment flag are not joined", () => {
    assert.deepStrictEqual(partsOf(stream(4, (i) => ({ ttl: 64 - (i >> 1) }))), [2, 2])
    assert.deepStrictEqual(partsOf(Array.from({ length: 4 }, (_, i) => udp({ ttl: 64 - (i >> 1) }))), [2, 2])
    assert.deepStrictEqual(partsOf(Array.from({ length: 4 }, (_, i) => udp({ flowLabel: i >> 1 }))), [2, 2])
    assert.deepStrictEqual(partsOf([tcp(), tcp({ sequence: 101, dontFragment: false, identification: 1 })]), [1, 1])
  })

  it("that may be fragmented keep their identifications", () => {
    assert.deepStrictEqual(
      partsOf(stream(3, (i) => ({ dontFragment: false, identification: (65_535 + i) & 0xffff }))),
      [3]
    )
    assert.deepStrictEqual(partsOf(stream(3, () => ({ dontFragment: false, identification: 9 }))), [1, 1, 1])
    assert.deepStrictEqual(partsOf(stream(3, () => ({ dontFragment: true, identification: 0 }))), [3])
  })

  it("with other reserved bits, window, acknowledgement, options or urgent pointer are not joined", () => {
    for (const change of [
      { reserved: 1 },
      { window: 9 },
      { acknowledgement: 9 },
      { tcpOptions: Uint8Array.of(1, 1, 1, 1) },
      { urgent: 1 }
    ]) {
      assert.deepStrictEqual(partsOf([tcp(), tcp({ sequence: 101, ...change })]), [1, 1])
    }
    assert.deepStrictEqual(
      partsOf(stream(2, (i) => ({ tcpOptions: Uint8Array.of(1, 1, 8, 10, 0, 0, 0, i, 0, 0, 0, 1) }))),
      [1, 1]
    )
    assert.deepStrictEqual(
      partsOf(stream(3, () => ({ tcpOptions: Uint8Array.of(1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 1) }))),
      [3]
    )
  })

  it("of two hosts with the same ports are kept apart", () => {
    assert.deepStrictEqual(partsOf([tcp(), tcp({ sequence: 101, source: "10.0.0.2" })]), [1, 1])
    assert.deepStrictEqual(partsOf([udp(), udp({ destination: "fd01::2" })]), [1, 1])
  })

  it("out of sequence are not joined and keep their order", () => {
    assert.deepStrictEqual(partsOf([tcp({ sequence: 101 }), tcp({ sequence: 1 }), tcp({ sequence: 201 })]), [1, 1, 1])
    for (const end of [0x80000000, 0x100000000]) {
      const around = [-200, -100, 0].map((n) => tcp({ sequence: (end + n) % 0x100000000 }))
      assert.deepStrictEqual(partsOf(around), [3])
    }
  })
})

describe("a packet that goes singly", () => {
  for (const [name, packet] of [
    ["FIN", tcp({ sequence: 201, flags: 0x11 })],
    ["SYN", tcp({ sequence: 201, flags: 0x12 })],
    ["RST", tcp({ sequence: 201, flags: 0x14 })],
    ["URG", tcp({ sequence: 201, flags: 0x30, urgent: 5 })],
    ["ECE", tcp({ sequence: 201, flags: 0x50 })],
    ["CWR", tcp({ sequence: 201, flags: 0x90 })],
    ["no ACK", tcp({ sequence: 201, flags: 0x08 })],
    ["no data", tcp({ sequence: 201, payload: new Uint8Array() })],
    ["IPv4 options", tcp({ sequence: 201, options: Uint8Array.of(148, 4, 0, 0) })]
  ] as const) {
    it(`because of ${name} neither overtakes its flow nor is overtaken by it`, () => {
      const packets = [tcp(), tcp({ sequence: 101 }), packet, tcp({ sequence: 301 }), tcp({ sequence: 401 })]

      assert.deepStrictEqual(partsOf(packets), [2, 1, 2])
    })
  }

  it("because of a wrong checksum stays as wrong as it was", () => {
    for (const at of [10, 19, 37, 139]) {
      const corrupt = tcp({ sequence: 101 })
      corrupt[at]! ^= 1
      const world = makeWorld()
      for (const packet of [tcp(), corrupt, tcp({ sequence: 201 })]) world.add(packet)
      world.coalescer.flush()

      assert.isTrue(world.written.some(({ bytes, header }) => !header.partial && Buffer.compare(bytes, corrupt) === 0))
      assert.isTrue(world.written.every(({ parts }) => parts === 1))
    }
  })

  it("because it has no UDP checksum keeps none", () => {
    const four = { source: "10.0.0.1", destination: "10.1.0.1", dontFragment: true }
    const bare = udp({ ...four, withoutChecksum: true })

    assert.deepStrictEqual(partsOf([udp(four), bare, bare, udp(four)]), [1, 1, 1, 1])
  })

  it("because it is empty, longer than the first or of another UDP length stays whole", () => {
    assert.deepStrictEqual(partsOf([udp(), udp({ payload: new Uint8Array() }), udp()]), [1, 1, 1])
    assert.deepStrictEqual(partsOf([udp(), udp({ payload: new Uint8Array(101) })]), [1, 1])
  })

  it("because it is a fragment leaves after everything before it, though it need not tell its flow", () => {
    const four = { source: "10.0.0.1", destination: "10.1.0.1" }
    const fragments = buildFragment({
      ...four,
      protocol: 17,
      data: dataOf(udp({ ...four, payload: new Uint8Array(40) })),
      size: 24,
      identification: 7
    })
    const packets = [
      udp({ ...four, identification: 1 }),
      udp({ ...four, identification: 2 }),
      fragments[1]!,
      fragments[0]!
    ]
    const world = makeWorld()
    for (const packet of packets) world.add(packet)

    assert.deepStrictEqual(world.packets(), packets)
  })

  it("when UDP is not to be joined, while TCP still is", () => {
    const world = makeWorld()
    world.coalescer.udp = false
    for (const packet of [udp(), udp(), tcp(), tcp({ sequence: 101 })]) world.add(packet)
    world.coalescer.flush()

    assert.deepStrictEqual(
      world.written.map(({ parts }) => parts),
      [1, 1, 2]
    )
  })
})

it("an earlier flow leaves first when more flows come than are collected", () => {
  const world = makeWorld()
  for (let i = 0; i < 20; i++) world.add(tcp({ sourcePort: 1_000 + i }))
  const early = world.written.length
  for (let i = 0; i < 20; i++) world.add(tcp({ sourcePort: 1_000 + i, sequence: 101 }))
  world.coalescer.flush()

  assert.strictEqual(early, 4)
  assert.strictEqual(world.packets().length, 40)
  const ports = world.written.slice(0, 4).map(({ bytes }) => (bytes[20]! << 8) | bytes[21]!)
  assert.deepStrictEqual(ports, [1_000, 1_001, 1_002, 1_003])
})
