import { assert, describe, it } from "@effect/vitest"
import { Coalescer } from "../../../src/dataplane/offload/coalescer.ts"
import { Segmenter } from "../../../src/dataplane/offload/segmenter.ts"
import { gsoNone, gsoTcp4, gsoUdp, type VirtioHeader } from "../../../src/dataplane/offload/virtioHeader.ts"
import { makeChecksum } from "../../../src/packet/checksum.ts"
import { makePacketView, parsePacket } from "../../../src/packet/packetView.ts"
import { buildEcho, buildFragment, buildTcp, buildUdp, dataOf } from "../../support/packets.ts"
import { asSuper, checksumsOk, splitSuper } from "../../support/superPackets.ts"
import { makeRandom, type Random } from "../../support/traffic.ts"
import { Seed } from "../../support/packetArbitraries.ts"

const start = 128
const sentinel = 0xa5

/** The segments, each copied before the next is asked for, as the engine seals them; `undefined`: refused. */
const segmentsOf = (packet: Uint8Array, header: Readonly<VirtioHeader>): ReadonlyArray<Uint8Array> | undefined => {
  const bytes = new Uint8Array(start + packet.length + 128).fill(sentinel)
  bytes.set(packet, start)
  const view = makePacketView()
  if (parsePacket(bytes, start, packet.length, view) !== 0) return undefined
  const segmenter = new Segmenter(bytes, makeChecksum(bytes))
  if (!segmenter.begin(view, header)) return undefined
  const segments: Array<Uint8Array> = []
  while (segmenter.next()) {
    const { length, more, offset } = segmenter
    assert.isTrue(offset >= start && offset + length <= start + packet.length)
    assert.strictEqual(more, offset + length < start + view.length)
    segments.push(bytes.slice(offset, offset + length))
  }
  assert.isFalse(segmenter.next())
  assert.isTrue(bytes.subarray(0, start).every((b) => b === sentinel))
  assert.isTrue(bytes.subarray(start + packet.length).every((b) => b === sentinel))
  return segments
}

/** A super-packet of 2 … 64 segments. */
const randomSuper = (random: Random, flags: number) => {
  const v6 = random.chance(0.5)
  const segmentSize = random.pick([1, 2, 15, 16, 17, 39, 40, 100, 536, 1_208, 1_220, 1_400])
  const most = Math.min(64 * segmentSize, 65_000)
  const whole = segmentSize * (2 + random.below(Math.floor(most / segmentSize) - 1))
  const payload = random.bytes(random.chance(0.5) ? whole : whole - random.below(segmentSize))
  const packet = {
    source: v6 ? "fd00::1" : "10.0.0.1",
    destination: v6 ? "fd01::1" : "10.1.0.1",
    ttl: 1 + random.below(255),
    trafficClass: random.below(256),
    flowLabel: random.below(0x100000),
    dontFragment: random.chance(0.5),
    identification: random.pick([0, 1, 0xfffe]),
    sourcePort: 443,
    destinationPort: 5_000,
    payload
  }
  const tcpOptions = random.pick([
    new Uint8Array(),
    Uint8Array.of(1, 1, 8, 10, 0, 0, 0, 9, 0, 0, 0, 7),
    new Uint8Array(40)
  ])
  const tcp = random.chance(0.6)
  const built = tcp
    ? buildTcp({ ...packet, flags, tcpOptions, sequence: random.pick([1, 0xfffffff0, 0x7ffffff0]), window: 77 })
    : buildUdp(packet)
  return asSuper(built, segmentSize)
}

describe("a super-packet", () => {
  it.prop(
    "is cut as the kernel would cut it, checksums right, nothing else written over",
    [Seed],
    ([seed]) => {
      const random = makeRandom(seed)
      const flags = 0x10 | random.pick([0, 0, 1, 8, 9, 0x80, 0x88, 0x40])
      const { bytes, header } = randomSuper(random, flags)

      const segments = segmentsOf(bytes, header)

      assert.deepStrictEqual(segments, splitSuper(bytes, header))
      assert.isTrue(segments!.every(checksumsOk))
    },
    { arbitrary: { runs: 120, seed: 21 } }
  )

  it.prop(
    "that was cut and is joined again is the same super-packet",
    [Seed],
    ([seed]) => {
      const random = makeRandom(seed)
      const { bytes, header } = randomSuper(random, random.pick([0x10, 0x18]))
      const segments = segmentsOf(bytes, header)!
      const memory = new Uint8Array(Buffer.concat(segments))
      const joined: Array<{ readonly bytes: Uint8Array; readonly header: VirtioHeader }> = []
      const coalescer = new Coalescer(memory, makeChecksum(memory), (gathered) => {
        const parts = Array.from({ length: gathered.parts }, (_, i) =>
          memory.slice(gathered.offsets[i], gathered.offsets[i]! + gathered.lengths[i]!)
        )
        joined.push({ bytes: new Uint8Array(Buffer.concat(parts)), header: { ...gathered.header } })
      })

      const view = makePacketView()
      let at = 0
      for (const segment of segments) {
        assert.strictEqual(parsePacket(memory, at, segment.length, view), 0)
        coalescer.add(view)
        at += segment.length
      }
      coalescer.flush()

      assert.deepStrictEqual(joined, [{ bytes, header }])
    },
    { arbitrary: { runs: 80, seed: 22 } }
  )

  it("says FIN and PSH in its last segment only, CWR in its first only, ECE in each", () => {
    const tcp = buildTcp({
      source: "10.0.0.1",
      destination: "10.1.0.1",
      sourcePort: 1,
      destinationPort: 2,
      flags: 0xd9,
      payload: new Uint8Array(250)
    })
    const { bytes, header } = asSuper(tcp, 100)

    const flags = segmentsOf(bytes, header)!.map((segment) => segment[33])

    assert.deepStrictEqual(flags, [0xd0, 0x50, 0x59])
  })

  it("never makes a UDP checksum of 0, which would say that there is none", () => {
    const udp = { source: "10.0.0.1", destination: "10.1.0.1", sourcePort: 1, destinationPort: 2 }
    const bare = buildUdp({ ...udp, payload: new Uint8Array(100) })
    const payload = new Uint8Array(200)
    // The word that brings the sum of a segment to its largest, whose complement is 0.
    payload.set(bare.subarray(26, 28), 0)
    payload.set(bare.subarray(26, 28), 100)
    const { bytes, header } = asSuper(buildUdp({ ...udp, payload }), 100)

    const checksums = segmentsOf(bytes, header)!.map((segment) => [...segment.subarray(26, 28)])

    assert.deepStrictEqual(checksums, [
      [255, 255],
      [255, 255]
    ])
  })

  it("of one segment and no more is that packet", () => {
    const udp = buildUdp({
      source: "10.0.0.1",
      destination: "10.1.0.1",
      sourcePort: 1,
      destinationPort: 2,
      payload: new Uint8Array(90)
    })
    const { bytes, header } = asSuper(udp, 100)

    assert.deepStrictEqual(segmentsOf(bytes, header), [udp])
  })
})

describe("what is no super-packet", () => {
  const address = { source: "10.0.0.1", destination: "10.1.0.1", sourcePort: 1, destinationPort: 2 }
  const tcp = buildTcp({ ...address, payload: new Uint8Array(300) })
  const udp = buildUdp({ ...address, payload: new Uint8Array(300) })
  const fragment = buildFragment({ ...address, protocol: 17, data: dataOf(udp), size: 200, identification: 1 })[0]!

  for (const [name, packet, change] of [
    ["without a kind", tcp, { kind: gsoNone }],
    ["without a segment size", tcp, { segmentSize: 0 }],
    ["TCP that is called UDP", tcp, { kind: gsoUdp }],
    ["UDP that is called TCP", udp, { kind: gsoTcp4 }],
    ["a fragment", fragment, {}],
    ["ICMP", buildEcho({ ...address, identifier: 1, payload: new Uint8Array(300) }), { kind: gsoTcp4 }],
    ["TCP without data", buildTcp(address), {}]
  ] as const) {
    it(`is refused: ${name}`, () => {
      const { header } = asSuper(packet, 100)

      assert.isUndefined(segmentsOf(packet, { ...header, ...change }))
    })
  }

  it.prop(
    "is cut into packets that lie inside of it or refused, whatever its bytes and its header say",
    [Seed],
    ([seed]) => {
      const random = makeRandom(seed)
      const { bytes, header } = randomSuper(random, 0x10)
      const packet = bytes.slice(0, random.chance(0.3) ? random.below(bytes.length) + 1 : bytes.length)
      for (let n = random.below(4); n > 0; n--) packet[random.below(Math.min(packet.length, 80))] = random.below(256)
      const odd: VirtioHeader = {
        partial: random.chance(0.5),
        kind: random.pick([0, 1, 4, 5] as const),
        headerLength: random.below(65_536),
        segmentSize: random.pick([0, 1, header.segmentSize, 65_535]),
        checksumStart: random.below(65_536),
        checksumOffset: random.below(65_536)
      }

      const segments = segmentsOf(packet, odd)

      if (segments !== undefined) assert.isAbove(segments.length, 0)
    },
    { arbitrary: { runs: 150, seed: 23 } }
  )
})
