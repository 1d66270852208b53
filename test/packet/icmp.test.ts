import { assert, describe, it } from "@effect/vitest"
import { ipv4HeaderChecksumOk, makeChecksum, transportChecksumOk } from "../../src/packet/checksum.ts"
import {
  hardenUnreachable,
  isUnreachable,
  networkUnreachable,
  parseQuoted,
  prohibited,
  writeUnreachable
} from "../../src/packet/icmp.ts"
import { protocolUdp } from "../../src/packet/protocols.ts"
import { makePacketView, type PacketView, parsePacket } from "../../src/packet/packetView.ts"
import { rewriteDestination } from "../../src/packet/rewrite.ts"
import { rewriteQuoted } from "../../src/packet/rewriteQuoted.ts"
import { build, bytes, byte, integer, packetSpec } from "../support/packetArbitraries.ts"
import { concat } from "../../src/packet/bytes.ts"
import {
  addressWords,
  buildEcho,
  buildFragment,
  buildIcmp,
  buildIp,
  buildTcp,
  buildUdp,
  dataOf,
  partialChecksum
} from "../support/packets.ts"
import { parse } from "../support/parsed.ts"

const v4 = { source: "100.64.0.2", destination: "100.96.0.1" }
const v6 = { source: "fd00:2021:1111::2", destination: "fd00:2021:1111:8000::1" }
const ports = { sourcePort: 40000, destinationPort: 443 }

const assertSound = (packet: Uint8Array): void => {
  assert.isTrue(ipv4HeaderChecksumOk(packet, parse(packet)), "IPv4 header checksum")
  assert.isTrue(transportChecksumOk(packet, parse(packet), makeChecksum(packet)), "ICMP checksum")
}

type Write = (bytes: Uint8Array, at: number, original: PacketView) => number

/** Lets `write` answer `packet` in an arena and returns the answer alone. */
const answer = (packet: Uint8Array, write: Write): Uint8Array => {
  const arena = concat([new Uint8Array(3), packet, new Uint8Array(1400).fill(0xee)])
  const view = makePacketView()
  assert.strictEqual(parsePacket(arena, 3, packet.length, view), 0)
  const at = 3 + packet.length + 5
  const length = write(arena, at, view)
  assert.deepStrictEqual(arena.slice(3, 3 + packet.length), packet, "the original is untouched")
  assert.isTrue(
    arena.subarray(at + length).every((b) => b === 0xee),
    "nothing is written behind"
  )
  return arena.slice(at, at + length)
}

const unreachable: Write = (bytes, at, o) => writeUnreachable(bytes, at, o, o.destination, networkUnreachable)

/** Each with type and code over both families, and to who sent UDP. */
const kinds: ReadonlyArray<
  readonly [string, Write, { readonly [k in "v4" | "v6" | "udp4" | "udp6"]: readonly [number, number] }]
> = [
  ["networkUnreachable", unreachable, { v4: [3, 0], v6: [1, 3], udp4: [3, 3], udp6: [1, 4] }],
  [
    "prohibited",
    (b, at, o) => writeUnreachable(b, at, o, o.destination, prohibited),
    { v4: [3, 13], v6: [1, 1], udp4: [3, 13], udp6: [1, 1] }
  ]
]

describe.each(kinds)("%s", (_, write, told) => {
  it.prop("is a sound error from the destination to the source that quotes the packet", [packetSpec], ([spec]) => {
    const packet = build(spec)
    const error = answer(packet, write)
    const original = parse(packet)
    const [type, code] = told[`${original.protocol === protocolUdp ? "udp" : "v"}${spec.v6 ? 6 : 4}`]
    const whole = packet.slice(0, original.length)
    const expected = buildIcmp({
      source: spec.destination,
      destination: spec.source,
      trafficClass: spec.v6 ? 0 : 0xc0,
      type,
      code,
      payload: whole
    })
    const view = parse(error)
    assertSound(error)
    assert.deepStrictEqual(error.slice(view.transport), expected.slice(view.transport))
    assert.deepStrictEqual(view.source, original.destination)
    assert.deepStrictEqual(view.destination, original.source)
    assert.strictEqual(error[spec.v6 ? 7 : 8], 64)
    assert.isTrue(view.icmpError)

    const quoted = makePacketView()
    assert.isTrue(parseQuoted(error, view, quoted))
    const shift = view.transport + 8 - original.offset
    assert.deepStrictEqual(quoted, {
      ...original,
      offset: original.offset + shift,
      transport: original.transport + shift
    })
  })
})

describe("ICMP errors", () => {
  it.each([
    ["IPv4", v4, 576],
    ["IPv6", v6, 1280]
  ] as const)("about a long %s packet are as long as allowed and still readable", (_, o, most) => {
    for (const length of [most - 100, most, 1400]) {
      const packet = buildTcp({ ...o, ...ports, payload: new Uint8Array(length - 40).fill(9) })
      const error = answer(packet, unreachable)
      assert.strictEqual(error.length, Math.min(most, packet.length + (o === v4 ? 28 : 48)))
      assertSound(error)
      const quoted = makePacketView()
      assert.isTrue(parseQuoted(error, parse(error), quoted))
      assert.deepStrictEqual([quoted.sourcePort, quoted.destinationPort], [40000, 443])
    }
  })

  it("come from the address they are told to come from", () => {
    const error = answer(buildUdp({ ...v4, ...ports }), (bytes, at, o) =>
      writeUnreachable(bytes, at, o, addressWords("100.64.0.1"), prohibited)
    )
    assert.deepStrictEqual(parse(error).source, addressWords("100.64.0.1"))
  })

  it.each([
    ["an ICMP error", buildIcmp({ ...v4, type: 3, code: 1, payload: new Uint8Array(28) })],
    ["an ICMP redirect", buildIcmp({ ...v4, type: 5, code: 1, payload: new Uint8Array(28) })],
    ["an ICMPv6 error", buildIcmp({ ...v6, type: 1, code: 1, payload: new Uint8Array(48) })],
    ["a later fragment", laterFragment(v4)],
    ["a later IPv6 fragment", laterFragment(v6)],
    ["a packet from 0.0.0.0", buildUdp({ ...v4, ...ports, source: "0.0.0.0" })],
    ["a packet from 0.1.2.3", buildUdp({ ...v4, ...ports, source: "0.1.2.3" })],
    ["a packet from loopback", buildUdp({ ...v4, ...ports, source: "127.0.0.1" })],
    ["a packet from a group", buildUdp({ ...v4, ...ports, source: "224.0.0.1" })],
    ["a packet from broadcast", buildUdp({ ...v4, ...ports, source: "255.255.255.255" })],
    ["a packet from class E", buildUdp({ ...v4, ...ports, source: "240.0.0.1" })],
    ["a packet to a group", buildUdp({ ...v4, ...ports, destination: "239.1.1.1" })],
    ["a packet to broadcast", buildUdp({ ...v4, ...ports, destination: "255.255.255.255" })],
    ["a packet from ::", buildUdp({ ...v6, ...ports, source: "::" })],
    ["a packet from ::1", buildUdp({ ...v6, ...ports, source: "::1" })],
    ["a packet from an IPv6 group", buildUdp({ ...v6, ...ports, source: "ff02::1" })],
    ["a packet to an IPv6 group", buildUdp({ ...v6, ...ports, destination: "ff02::1" })]
  ])("are never sent about %s", (_, packet) => {
    for (const [, write] of kinds) assert.strictEqual(answer(packet, write).length, 0)
  })

  it("are sent about an echo and about the first fragment", () => {
    assert.isAbove(answer(buildEcho({ ...v4, identifier: 1 }), unreachable).length, 0)
    assert.isAbove(answer(buildEcho({ ...v6, identifier: 1 }), unreachable).length, 0)
    assert.isAbove(answer(fragmentsOf(v4)[0]!, unreachable).length, 0)
    assert.isAbove(answer(fragmentsOf(v6)[0]!, unreachable).length, 0)
  })

  it("are not written from an address of the other family, nor beyond the array", () => {
    const packet = buildUdp({ ...v4, ...ports })
    assert.strictEqual(
      answer(packet, (bytes, at, o) => writeUnreachable(bytes, at, o, addressWords("fd00::1"), prohibited)).length,
      0
    )
    const exact = concat([packet, new Uint8Array(packet.length + 28)])
    assert.strictEqual(unreachable(exact, packet.length, parse(packet)), packet.length + 28)
    assert.strictEqual(unreachable(exact, packet.length + 1, parse(packet)), 0)
    assert.strictEqual(unreachable(exact, -1, parse(packet)), 0)
  })
})

describe("hardenUnreachable", () => {
  it.each([
    ...[0, 1, 5, 11, 12].map((code) => [v4, 3, code, 3] as const),
    ...[2, 3, 4, 9, 10, 13].map((code) => [v4, 3, code, code] as const),
    [v4, 11, 0, 0],
    ...[0, 2, 3].map((code) => [v6, 1, code, 4] as const),
    ...[1, 4, 5].map((code) => [v6, 1, code, code] as const),
    [v6, 2, 0, 0],
    [v6, 3, 0, 0]
  ] as const)("makes of %o, type %i code %i, code %i", (o, type, code, expected) => {
    const payload = buildUdp({ source: o.destination, destination: o.source, ...ports })
    const error = buildIcmp({ ...o, type, code, payload })
    const view = parse(error)
    hardenUnreachable(error, view)
    assertSound(error)
    assert.deepStrictEqual([view.icmpType, view.icmpCode], [type, expected])
    assert.deepStrictEqual(parse(error), view)
  })
})

describe("isUnreachable", () => {
  it.each([
    [v4, 3, 0, true],
    [v4, 3, 1, true],
    [v4, 3, 4, false],
    [v4, 3, 13, true],
    [v4, 11, 0, false],
    [v6, 1, 0, true],
    [v6, 1, 4, true],
    [v6, 2, 0, false],
    [v6, 3, 0, false]
  ])("%j type %d code %d: %s", (o, type, code, expected) => {
    assert.strictEqual(isUnreachable(parse(buildIcmp({ ...o, type, code, payload: new Uint8Array(40) }))), expected)
  })

  it("is false for anything but an ICMP error", () => {
    assert.isFalse(isUnreachable(parse(buildUdp({ ...v4, ...ports }))))
    assert.isFalse(isUnreachable(parse(buildIp(v4, 58, Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0)))))
  })
})

describe("parseQuoted", () => {
  const error = (o: typeof v4, payload: Uint8Array) => buildIcmp({ ...o, type: o === v4 ? 3 : 1, code: 0, payload })
  const reads = (packet: Uint8Array) => parseQuoted(packet, parse(packet), makePacketView())

  it("needs an error, its own family, a first fragment and 8 bytes of transport", () => {
    const udp4 = buildUdp({ ...v4, ...ports })
    const udp6 = buildUdp({ ...v6, ...ports })
    assert.isTrue(reads(error(v4, udp4)))
    assert.isTrue(reads(error(v6, udp6)))
    assert.isFalse(reads(buildEcho({ ...v4, identifier: 1, payload: udp4 })))
    assert.isFalse(reads(error(v4, udp6)))
    assert.isFalse(reads(error(v6, udp4)))
    assert.isFalse(reads(error(v4, udp4.slice(0, 27))))
    assert.isFalse(reads(error(v6, udp6.slice(0, 47))))
    assert.isFalse(reads(error(v4, buildIp(v4, 47, new Uint8Array(7)))))
    assert.isFalse(reads(error(v4, laterFragment(v4))))
    assert.isFalse(reads(error(v6, laterFragment(v6))))
    assert.isFalse(reads(error(v4, new Uint8Array())))
  })

  it("does not read an error that is itself a fragment", () => {
    const data = dataOf(error(v4, buildUdp({ ...v4, ...ports })))
    const first = buildFragment({
      ...v4,
      protocol: 1,
      data: concat([data, new Uint8Array(40)]),
      size: 48,
      identification: 1
    })
    assert.isFalse(reads(first[0]!))
  })

  it("ignores extensions behind a padded quotation (RFC 4884)", () => {
    const quoted = concat([buildUdp({ ...v4, ...ports }), new Uint8Array(100)])
    const packet = error(v4, concat([quoted, Uint8Array.of(0x20, 0, 0, 0, 0, 8, 1, 1, 0, 0, 0, 0)]))
    const view = makePacketView()
    assert.isTrue(parseQuoted(packet, parse(packet), view))
    assert.strictEqual(view.length, 28)
  })

  it.prop(
    "reads any quotation without throwing, inside the error",
    [bytes(90), byte, integer(0, 1)],
    ([data, b, six]) => {
      if (data.length > 0) data[0] = six === 1 ? 0x60 | (b & 15) : 0x40 | (5 + (b & 3))
      const o = six === 1 ? v6 : v4
      const packet = error(o, data)
      const outer = parse(packet)
      const view = makePacketView()
      if (!parseQuoted(packet, outer, view)) return
      assert.isAtMost(view.offset + view.length, packet.length)
      const before = packet.slice()
      // Whatever is quoted, translating it keeps the outer checksums right.
      const real = six === 1 ? "2001:db8::7" : "192.0.2.7"
      if (!rewriteQuoted(packet, outer, view, addressWords(real), addressWords(real), b)) {
        assert.deepStrictEqual(packet, before)
        return
      }
      assertSound(packet)
      assert.strictEqual(packet.length, before.length)
    }
  )
})

describe("rewriteQuoted", () => {
  // What the client sent goes out translated to (other, otherPort); a router on the way complains.
  const router = (v6: boolean) => (v6 ? "2001:db8::99" : "198.51.100.9")
  // Type and code in both families: unreachable, prohibited, closed port, packet too big, time exceeded.
  const complaints = [
    [
      [3, 0],
      [1, 3]
    ],
    [
      [3, 13],
      [1, 1]
    ],
    [
      [3, 3],
      [1, 4]
    ],
    [
      [3, 4],
      [2, 0]
    ],
    [
      [11, 0],
      [3, 0]
    ]
  ] as const

  it.prop(
    "turns an error about the translated packet into one about what the client sent",
    [packetSpec, integer(0, 4), integer(0, 1)],
    ([spec, kind, cut]) => {
      const sent = build({ ...spec, padding: 0 })
      const translated = sent.slice()
      rewriteDestination(translated, parse(translated), addressWords(spec.other), spec.otherPort)
      const [four, six] = complaints[kind]!
      const [type, code] = spec.v6 ? six : four
      // RFC 792 guarantees 8 bytes of transport.
      const quotedLength = cut === 1 ? parse(sent).transport + 8 : sent.length
      const errorAbout = (source: string, payload: Uint8Array) =>
        buildIcmp({ source, destination: spec.source, type, code, payload: payload.slice(0, quotedLength) })
      const packet = errorAbout(router(spec.v6), translated)
      const error = parse(packet)
      const quoted = makePacketView()
      assert.isTrue(parseQuoted(packet, error, quoted))
      assert.isTrue(
        rewriteQuoted(
          packet,
          error,
          quoted,
          addressWords(spec.destination),
          addressWords(spec.destination),
          spec.sourcePort
        )
      )
      assertSound(packet)
      assert.deepStrictEqual(packet, errorAbout(spec.destination, sent))
      assert.deepStrictEqual(error, parse(packet))
      const again = makePacketView()
      assert.isTrue(parseQuoted(packet, error, again))
      assert.deepStrictEqual(quoted, again)
    }
  )

  it("follows a quoted TTL that a router has counted down", () => {
    const at = (ttl: number, destination: string, sourcePort: number) =>
      buildUdp({ ...v4, ...ports, destination, sourcePort, ttl })
    const packet = buildIcmp({
      source: "198.51.100.9",
      destination: v4.source,
      type: 11,
      code: 0,
      payload: at(1, "192.0.2.7", 9)
    })
    const error = parse(packet)
    const quoted = makePacketView()
    parseQuoted(packet, error, quoted)
    rewriteQuoted(packet, error, quoted, addressWords(v4.destination), addressWords(v4.destination), 40000)
    assert.deepStrictEqual(
      packet,
      buildIcmp({
        source: v4.destination,
        destination: v4.source,
        type: 11,
        code: 0,
        payload: at(1, v4.destination, 40000)
      })
    )
  })

  it("leaves a quoted UDP checksum of 0 at 0", () => {
    const sent = (destination: string, sourcePort: number) =>
      buildUdp({ ...v4, ...ports, destination, sourcePort, withoutChecksum: true })
    const about = (source: string, payload: Uint8Array) =>
      buildIcmp({ source, destination: v4.source, type: 3, code: 3, payload })
    const packet = about("192.0.2.7", sent("192.0.2.7", 9))
    const error = parse(packet)
    const quoted = makePacketView()
    parseQuoted(packet, error, quoted)
    rewriteQuoted(packet, error, quoted, addressWords(v4.destination), addressWords(v4.destination), 40000)
    assert.deepStrictEqual(packet, about(v4.destination, sent(v4.destination, 40000)))
  })

  it("keeps an outer checksum that is still to be completed a pseudo-header sum", () => {
    const payload = buildUdp({ ...v6, ...ports, destination: "2001:db8::7" })
    const packet = buildIcmp({ source: "2001:db8::99", destination: v6.source, type: 1, code: 4, payload })
    const length = packet.length - 40
    const sum = partialChecksum({ source: "2001:db8::99", destination: v6.source }, 58, length)
    packet.set([sum >>> 8, sum & 255], 42)
    const error = parse(packet)
    const quoted = makePacketView()
    parseQuoted(packet, error, quoted)
    rewriteQuoted(packet, error, quoted, addressWords(v6.destination), addressWords(v6.destination), 1, true)
    const expected = partialChecksum({ source: v6.destination, destination: v6.source }, 58, length)
    assert.strictEqual((packet[42]! << 8) | packet[43]!, expected)
  })

  it("changes nothing for an address of the other family or a protocol it cannot translate", () => {
    const udp = buildUdp({ ...v4, ...ports })
    const gre = buildIp(v4, 47, new Uint8Array(8))
    const four = addressWords("192.0.2.7")
    const six = addressWords("fd00::7")
    for (const [payload, source, destination] of [
      [udp, six, four],
      [udp, four, six],
      [gre, four, four]
    ] as const) {
      const original = buildIcmp({ source: "192.0.2.7", destination: v4.source, type: 3, code: 1, payload })
      const packet = original.slice()
      const error = parse(packet)
      const quoted = makePacketView()
      assert.isTrue(parseQuoted(packet, error, quoted))
      assert.isFalse(rewriteQuoted(packet, error, quoted, source, destination, 1))
      assert.deepStrictEqual(packet, original)
    }
  })
})

function fragmentsOf(o: typeof v4): Array<Uint8Array> {
  const data = dataOf(buildUdp({ ...o, ...ports, payload: new Uint8Array(40) }))
  return buildFragment({ ...o, protocol: 17, data, size: 24, identification: 5 })
}

function laterFragment(o: typeof v4): Uint8Array {
  return fragmentsOf(o)[1]!
}
