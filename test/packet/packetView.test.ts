import { assert, describe, it } from "@effect/vitest"
import { makePacketView, parsePacket, parseTruncated } from "../../src/packet/packetView.ts"
import { ParseReason } from "../../src/packet/parseReason.ts"
import { build, byte, bytes, integer, packetSpec, port } from "../support/packetArbitraries.ts"
import { concat } from "../../src/packet/bytes.ts"
import {
  addressBytes,
  addressWords,
  buildEcho,
  buildFragment,
  buildIcmp,
  buildIp,
  buildTcp,
  buildUdp,
  dataOf
} from "../support/packets.ts"
import { parse } from "../support/parsed.ts"

const v4 = { source: "10.0.0.1", destination: "192.0.2.7" }
const v6 = { source: "fd00::1", destination: "2001:db8::7" }
const ports = { sourcePort: 40000, destinationPort: 443 }

/** A copy with one byte replaced. */
const withByte = (packet: Uint8Array, at: number, value: number): Uint8Array => {
  const copy = packet.slice()
  copy[at] = value
  return copy
}

describe("parsePacket", () => {
  it.prop("reads back what was built, anywhere in an array", [packetSpec, integer(0, 70)], ([spec, at]) => {
    const packet = build(spec)
    const all = concat([new Uint8Array(at).fill(0xee), packet, new Uint8Array(7).fill(0xdd)])
    const view = makePacketView()
    assert.strictEqual(parsePacket(all, at, packet.length, view), 0)
    const echo = spec.kind === "echo" || spec.kind === "echoReply"
    const extensions = spec.v6 ? spec.extensions!.reduce((n, e) => n + 2 + (e.body?.length ?? 6), 0) : 0
    const transport = at + (spec.v6 ? 40 : 20) + extensions
    const transportLength = (spec.kind === "tcp" ? 20 : 8) + spec.payload.length
    assert.deepStrictEqual(view, {
      offset: at,
      version: spec.v6 ? 6 : 4,
      length: transport - at + transportLength,
      transport,
      transportLength,
      protocol: spec.kind === "tcp" ? 6 : echo ? (spec.v6 ? 58 : 1) : 17,
      source: addressWords(spec.source),
      destination: addressWords(spec.destination),
      sourcePort: spec.sourcePort,
      destinationPort: echo ? spec.sourcePort : spec.destinationPort,
      tcpFlags: spec.kind === "tcp" ? spec.flags : 0,
      icmpType: !echo ? 0 : spec.kind === "echo" ? (spec.v6 ? 128 : 8) : spec.v6 ? 129 : 0,
      icmpCode: 0,
      fragment: false,
      fragmentOffset: 0,
      fragmentEnd: 0,
      identification: 0,
      echo,
      query: echo,
      icmpError: false
    })
  })

  it.prop("a cut packet is refused wherever it is cut", [packetSpec, port], ([spec, cut]) => {
    const packet = build({ ...spec, padding: 0 })
    const length = cut % packet.length
    const view = makePacketView()
    assert.strictEqual(parsePacket(packet, 0, length, view), ParseReason.Truncated)
  })

  it.prop(
    "any bytes give 0 or a named reason, and a view that stays inside them",
    [bytes(120), byte, integer(0, 130), integer(-2, 130), byte],
    ([data, first, offset, length, next]) => {
      // Mostly a plausible start, or nothing but ParseReason.BadVersion would be tried.
      if (data.length > 40 && (first & 1) !== 0) {
        const v6 = (first & 2) !== 0
        const start = offset % 8
        data[start] = v6 ? 0x60 : 0x40 | (5 + (first >>> 6))
        data[start + 2] = 0
        if (v6) {
          data[start + 4] = 0
          data[start + 6] = [0, 6, 17, 43, 44, 51, 58, 60][next & 7]!
        }
      }
      for (const at of [offset, offset % 8]) {
        for (const n of [length, data.length - at]) {
          const watched = guard(data, at, n)
          for (const read of [parsePacket, parseTruncated]) {
            const view = makePacketView()
            const reason = read(watched, at, n, view)
            assert.oneOf(reason, [0, ...Object.values(ParseReason)])
            if (reason !== 0) continue
            assert.isAtLeast(view.transport, at + 20)
            assert.isAtLeast(view.transportLength, 0)
            assert.strictEqual(view.transport + view.transportLength, at + view.length)
            assert.isAtMost(view.length, n)
          }
        }
      }
    },
    { arbitrary: { runs: 400 } }
  )

  it.prop("one changed byte never throws nor reads outside", [packetSpec, port, byte], ([spec, at, value]) => {
    const packet = build({ ...spec, padding: 0 })
    packet[at % packet.length] = value
    const view = makePacketView()
    const reason = parsePacket(guard(packet, 0, packet.length), 0, packet.length, view)
    assert.oneOf(reason, [0, ...Object.values(ParseReason)])
    if (reason === 0) assert.isAtMost(view.length, packet.length)
  })

  it.each([
    ["nothing", new Uint8Array(), ParseReason.Truncated],
    ["19 bytes", withByte(new Uint8Array(19), 0, 0x45), ParseReason.Truncated],
    ["version 0", new Uint8Array(40), ParseReason.BadVersion],
    ["version 5", withByte(new Uint8Array(40), 0, 0x55), ParseReason.BadVersion],
    ["an IPv4 header of 16 bytes", withByte(buildUdp({ ...v4, ...ports }), 0, 0x44), ParseReason.BadHeaderLength],
    ["an IPv4 header longer than the packet", withByte(buildUdp({ ...v4, ...ports }), 0, 0x4f), ParseReason.Truncated],
    ["a total length below the header", withByte(buildUdp({ ...v4, ...ports }), 3, 19), ParseReason.BadLength],
    ["a total length beyond the bytes", withByte(buildUdp({ ...v4, ...ports }), 3, 29), ParseReason.Truncated],
    ["39 bytes of IPv6", withByte(new Uint8Array(39), 0, 0x60), ParseReason.Truncated],
    ["an IPv6 length beyond the bytes", withByte(buildUdp({ ...v6, ...ports }), 5, 9), ParseReason.Truncated],
    ["half a UDP header", buildIp(v4, 17, new Uint8Array(7)), ParseReason.TransportTruncated],
    ["a UDP length of 7", withByte(buildUdp({ ...v4, ...ports }), 25, 7), ParseReason.BadLength],
    ["a UDP length beyond the packet", withByte(buildUdp({ ...v6, ...ports }), 45, 9), ParseReason.BadLength],
    ["19 bytes of TCP", buildIp(v4, 6, new Uint8Array(19)), ParseReason.TransportTruncated],
    ["a TCP data offset of 4", withByte(buildTcp({ ...v6, ...ports }), 52, 0x40), ParseReason.BadHeaderLength],
    [
      "a TCP data offset beyond the packet",
      withByte(buildTcp({ ...v4, ...ports }), 32, 0x60),
      ParseReason.TransportTruncated
    ],
    ["7 bytes of ICMP", buildIp(v4, 1, new Uint8Array(7)), ParseReason.TransportTruncated],
    ["7 bytes of ICMPv6", buildIp(v6, 58, new Uint8Array(7)), ParseReason.TransportTruncated],
    [
      "an IPv4-mapped source in IPv6",
      buildUdp({ ...v6, ...ports, source: "::ffff:10.0.0.1" }),
      ParseReason.MappedAddress
    ],
    [
      "an IPv4-mapped destination in IPv6",
      buildUdp({ ...v6, ...ports, destination: "::ffff:1.1.1.1" }),
      ParseReason.MappedAddress
    ]
  ])("%s is refused", (_, packet, reason) => {
    parse(packet, reason)
  })

  it("does not take bytes behind the packet for part of it", () => {
    const packet = buildTcp({ ...v4, ...ports, padding: 15 })
    assert.strictEqual(parse(packet).length, packet.length - 15)
  })

  it("knows the protocols of one family only in that family", () => {
    const message = dataOf(buildEcho({ ...v4, identifier: 7 }))
    assert.isFalse(parse(buildIp(v6, 1, message)).echo)
    assert.isFalse(parse(buildIp(v6, 58, withByte(message, 0, 13))).query)
    assert.isFalse(parse(buildIp(v4, 1, withByte(message, 0, 160))).query)
    assert.isFalse(parse(buildIp(v4, 58, withByte(message, 0, 128))).echo)
    assert.isFalse(parse(buildIp(v4, 58, withByte(message, 0, 3))).icmpError)
    assert.isFalse(parse(buildIp(v6, 1, withByte(message, 0, 3))).icmpError)
  })

  it("passes other protocols without ports", () => {
    const view = parse(buildIp(v4, 47, Uint8Array.of(1, 2, 3, 4)))
    assert.strictEqual(view.protocol, 47)
    assert.strictEqual(view.sourcePort, 0)
    assert.strictEqual(view.transportLength, 4)
  })

  it("reads a packet of the control protocol: next header 255, both addresses ::", () => {
    const view = parse(buildIp({ source: "::", destination: "::" }, 255, new Uint8Array(8)))
    assert.strictEqual(view.protocol, 255)
    assert.deepStrictEqual(view.source, addressWords("::"))
    assert.strictEqual(view.transportLength, 8)
  })

  it("tells ICMP errors from other messages by type", () => {
    const errors = (source: { source: string; destination: string }) =>
      Array.from({ length: 256 }, (_, type) => type).filter(
        (type) => parse(buildIcmp({ ...source, type, code: 0, payload: new Uint8Array() })).icmpError
      )
    assert.deepStrictEqual(errors(v4), [3, 4, 5, 11, 12])
    assert.deepStrictEqual(
      errors(v6),
      Array.from({ length: 128 }, (_, type) => type)
    )
  })
})

describe("IPv4 options", () => {
  it("are stepped over", () => {
    // No-op, record route with room for one address, router alert.
    const options = Uint8Array.of(1, 7, 7, 4, 0, 0, 0, 0, 148, 4, 0, 0)
    const view = parse(buildUdp({ ...v4, ...ports, options }))
    assert.strictEqual(view.transport, 32)
    assert.strictEqual(view.destinationPort, 443)
  })

  it.each([
    ["a loose source route", [131, 7, 4, 10, 0, 0, 1], ParseReason.SourceRouted],
    ["a strict source route behind a no-op", [1, 137, 7, 4, 10, 0, 0, 1], ParseReason.SourceRouted],
    ["an option of length 0", [7, 0, 0, 0], ParseReason.BadExtension],
    ["an option of length 1", [7, 1, 0, 0], ParseReason.BadExtension],
    ["an option that ends beyond the header", [7, 9, 4, 0], ParseReason.BadExtension],
    ["an option without its length", [1, 1, 1, 7], ParseReason.BadExtension],
    ["a source route after the end of options", [0, 131, 3, 4], 0]
  ])("%s", (_, options, reason) => {
    parse(buildUdp({ ...v4, ...ports, options: Uint8Array.from(options) }), reason)
  })
})

it("an IPv4 option without its length at the end of the packet is refused unread", () => {
  const packet = buildIp({ ...v4, options: Uint8Array.of(1, 1, 1, 7) }, 47, new Uint8Array())
  assert.strictEqual(parsePacket(guard(packet, 0, 24), 0, 24, makePacketView()), ParseReason.BadExtension)
})

describe("IPv6 extension headers", () => {
  const routing = (left: number) => ({ type: 43, body: Uint8Array.of(0, left, 0, 0, 0, 0) })
  const options = { type: 60 }

  it("eight are walked, nine are too many", () => {
    const extensions = [{ type: 0 }, ...Array.from({ length: 7 }, () => options)]
    assert.strictEqual(parse(buildUdp({ ...v6, ...ports, extensions })).sourcePort, 40000)
    parse(buildUdp({ ...v6, ...ports, extensions: [...extensions, options] }), ParseReason.TooManyExtensions)
  })

  it.each([
    ["a routing header with segments left", [routing(1)], ParseReason.SourceRouted],
    ["a routing header that is done", [routing(0)], 0],
    ["hop-by-hop options not first", [options, { type: 0 }], ParseReason.BadExtension]
  ])("%s", (_, extensions, reason) => {
    parse(buildTcp({ ...v6, ...ports, extensions }), reason)
  })

  it("a header that ends beyond the packet is refused", () => {
    parse(withByte(buildUdp({ ...v6, ...ports, extensions: [options] }), 41, 2), ParseReason.TransportTruncated)
    parse(buildIp(v6, 60, new Uint8Array(7)), ParseReason.TransportTruncated)
    // No next header behind it, so nothing but the header's own length can be at fault.
    parse(buildIp(v6, 60, Uint8Array.of(59, 1, 0, 0, 0, 0, 0, 0)), ParseReason.TransportTruncated)
  })

  it("a header that has hardly begun is refused unread", () => {
    const packet = buildIp(v6, 60, Uint8Array.of(59))
    const view = makePacketView()
    assert.strictEqual(parsePacket(guard(packet, 0, 41), 0, 41, view), ParseReason.TransportTruncated)
  })

  it.each([50, 59])("the walk stops at header %d", (protocol) => {
    const view = parse(buildIp({ ...v6, extensions: [options] }, protocol, new Uint8Array(3)))
    assert.strictEqual(view.protocol, protocol)
    assert.strictEqual(view.transport, 48)
  })

  it("a second fragment header is refused", () => {
    const inner = concat([Uint8Array.of(17, 0, 0, 0, 0, 0, 0, 1), dataOf(buildUdp({ ...v6, ...ports }))])
    parse(
      buildIp({ ...v6, fragment: { offset: 0, more: false, identification: 1 } }, 44, inner),
      ParseReason.BadExtension
    )
  })
})

describe("fragments", () => {
  for (const [name, family] of [
    ["IPv4", v4],
    ["IPv6", v6]
  ] as const) {
    const data = dataOf(buildTcp({ ...family, ...ports, payload: new Uint8Array(60).fill(1) }))
    const fragments = buildFragment({ ...family, protocol: 6, data, size: 32, identification: 0x1234 })

    it(`${name}: the first has ports, later ones have none; all have the identification`, () => {
      const views = fragments.map((f) => parse(f))
      assert.deepStrictEqual(
        views.map((v) => [v.fragment, v.fragmentOffset, v.sourcePort, v.identification, v.protocol, v.transportLength]),
        [
          [true, 0, 40000, 0x1234, 6, 32],
          [true, 32, 0, 0x1234, 6, 32],
          [true, 64, 0, 0x1234, 6, 16]
        ]
      )
      assert.deepStrictEqual(
        views.map((v) => v.fragmentEnd),
        [32, 64, 80]
      )
    })

    it(`${name}: a view used for a later fragment keeps nothing of the packet before`, () => {
      const view = parse(buildTcp({ ...family, ...ports, flags: 0xff }))
      assert.strictEqual(parsePacket(fragments[1]!, 0, fragments[1]!.length, view), 0)
      assert.deepStrictEqual([view.sourcePort, view.destinationPort, view.tcpFlags], [0, 0, 0])
      const error = buildIcmp({ ...family, type: 3, code: 1, payload: new Uint8Array(8) })
      assert.strictEqual(parsePacket(error, 0, error.length, view), 0)
      assert.strictEqual(parsePacket(fragments[1]!, 0, fragments[1]!.length, view), 0)
      assert.deepStrictEqual([view.icmpType, view.icmpCode, view.icmpError, view.echo], [0, 0, false, false])
    })

    it(`${name}: a first fragment without the whole TCP header is refused`, () => {
      const tiny = buildFragment({ ...family, protocol: 6, data, size: 16, identification: 1 })
      parse(tiny[0]!, ParseReason.TransportTruncated)
    })

    it(`${name}: a first fragment of a longer UDP datagram is read`, () => {
      const udp = dataOf(buildUdp({ ...family, ...ports, payload: new Uint8Array(100) }))
      const first = buildFragment({ ...family, protocol: 17, data: udp, size: 48, identification: 1 })[0]!
      assert.strictEqual(parse(first).destinationPort, 443)
    })

    it(`${name}: a fragment before others is refused when none can begin behind it`, () => {
      for (const length of [0, 7, 9]) {
        const fragment = { offset: 8, more: true, identification: 1 }
        parse(buildIp({ ...family, fragment }, 17, new Uint8Array(length)), ParseReason.BadFragment)
        parse(buildIp({ ...family, fragment: { ...fragment, more: false } }, 17, new Uint8Array(length)))
      }
    })

    it(`${name}: a fragment that ends beyond 65535 is refused`, () => {
      const fragment = { offset: 65528, more: false, identification: 1 }
      parse(buildIp({ ...family, fragment }, 17, new Uint8Array(8)), ParseReason.BadFragment)
    })
  }

  it("IPv6: an atomic fragment is a whole packet and its header is stepped over", () => {
    const udp = dataOf(buildUdp({ ...v6, ...ports }))
    const view = parse(buildIp({ ...v6, fragment: { offset: 0, more: false, identification: 9 } }, 17, udp))
    assert.isFalse(view.fragment)
    assert.strictEqual(view.transport, 48)
    assert.strictEqual(view.destinationPort, 443)
  })

  it("IPv6: a later fragment ends the walk whatever its next header says", () => {
    const fragment = { offset: 8, more: false, identification: 9 }
    const view = parse(buildIp({ ...v6, fragment }, 60, Uint8Array.of(255, 255, 255, 255, 255, 255, 255, 255)))
    assert.strictEqual(view.protocol, 60)
    assert.strictEqual(view.transportLength, 8)
  })

  it("IPv4: don't-fragment alone makes no fragment", () => {
    assert.isFalse(parse(withByte(buildUdp({ ...v4, ...ports }), 6, 0x40)).fragment)
  })
})

describe("parseTruncated", () => {
  it.each([
    ["TCP", buildTcp({ ...v4, ...ports, flags: 0x12, payload: new Uint8Array(30) }), 28, 0],
    ["TCP up to its flags", buildTcp({ ...v6, ...ports, flags: 0x12, payload: new Uint8Array(30) }), 54, 0x12],
    ["UDP", buildUdp({ ...v6, ...ports, payload: new Uint8Array(30) }), 48, 0]
  ])("reads the ports of %s from what is left", (_, packet, left, flags) => {
    const view = makePacketView()
    assert.strictEqual(parseTruncated(packet, 0, left, view), 0)
    assert.deepStrictEqual([view.sourcePort, view.destinationPort, view.tcpFlags], [40000, 443, flags])
    assert.strictEqual(view.length, left)
  })

  it("refuses fewer than 8 bytes of a transport header", () => {
    const packet = buildTcp({ ...v4, ...ports })
    assert.strictEqual(parseTruncated(packet, 0, 27, makePacketView()), ParseReason.TransportTruncated)
  })
})

it("the addresses of test packets stand where the headers say", () => {
  const packet = buildUdp({ ...v6, ...ports })
  assert.deepStrictEqual(packet.slice(8, 24), addressBytes("fd00::1"))
  assert.deepStrictEqual(packet.slice(24, 40), addressBytes("2001:db8::7"))
})

/** The array, failing the test when an index outside [from, from + length) is read. */
const guard = (data: Uint8Array, from: number, length: number): Uint8Array =>
  new Proxy(data, {
    get: (target, key) => {
      if (key === "length") return target.length
      const index = Number(key)
      if (!(index >= from && index < from + length && index < target.length)) {
        throw new Error(`read of ${String(key)} outside [${from}, ${from + length})`)
      }
      return target[index]
    }
  })
