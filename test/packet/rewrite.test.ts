import { assert, describe, it } from "@effect/vitest"
import { ipv4HeaderChecksumOk, makeChecksum, transportChecksumOk } from "../../src/packet/checksum.ts"
import type { PacketView } from "../../src/packet/packetView.ts"
import { clampMss, rewriteDestination, rewriteSource } from "../../src/packet/rewrite.ts"
import { build, bytes, packetSpec, port } from "../support/packetArbitraries.ts"
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

const assertSound = (packet: Uint8Array, view: PacketView): void => {
  assert.isTrue(ipv4HeaderChecksumOk(packet, view), "IPv4 header checksum")
  assert.isTrue(transportChecksumOk(packet, view, makeChecksum(packet)), "transport checksum")
  assert.deepStrictEqual(parse(packet), view, "the view is what the bytes say")
}

/** Swaps in the checksum field what a kernel leaves to be completed. */
const withField = (packet: Uint8Array, view: PacketView, value: number): Uint8Array => {
  const copy = packet.slice()
  const at = view.transport + (view.protocol === 6 ? 16 : view.protocol === 17 ? 6 : 2)
  copy.set([value >>> 8, value & 255], at)
  return copy
}

const fieldOf = (packet: Uint8Array, view: PacketView): number => {
  const at = view.transport + (view.protocol === 6 ? 16 : view.protocol === 17 ? 6 : 2)
  return (packet[at]! << 8) | packet[at + 1]!
}

describe("rewriteDestination", () => {
  it.prop("gives the packet that would have been built with the new address and port", [packetSpec], ([spec]) => {
    const packet = build(spec)
    const view = parse(packet)
    assert.isTrue(rewriteDestination(packet, view, addressWords(spec.other), spec.otherPort))
    assertSound(packet, view)
    assert.deepStrictEqual(packet, build({ ...spec, destination: spec.other, sourcePort: spec.otherPort }))
  })

  it.prop("there and back is the identity", [packetSpec], ([spec]) => {
    const original = build(spec)
    const packet = original.slice()
    const view = parse(packet)
    rewriteDestination(packet, view, addressWords(spec.other), spec.otherPort)
    rewriteDestination(packet, view, addressWords(spec.destination), spec.sourcePort)
    assert.deepStrictEqual(packet, original)
    assert.deepStrictEqual(view, parse(original))
  })
})

describe("rewriteSource", () => {
  it.prop("gives the packet that would have been built with the new address and port", [packetSpec], ([spec]) => {
    const packet = build(spec)
    const view = parse(packet)
    assert.isTrue(rewriteSource(packet, view, addressWords(spec.other), spec.otherPort))
    assertSound(packet, view)
    const echo = spec.kind === "echo" || spec.kind === "echoReply"
    const sourcePort = echo ? spec.otherPort : spec.sourcePort
    assert.deepStrictEqual(packet, build({ ...spec, source: spec.other, sourcePort, destinationPort: spec.otherPort }))
  })

  it.prop("undoes on the reply what rewriteDestination did to the request", [packetSpec], ([spec]) => {
    const request = build(spec)
    const view = parse(request)
    rewriteDestination(request, view, addressWords(spec.other), spec.otherPort)
    const reply = { ...spec, source: spec.other, destination: spec.source }
    const echo = spec.kind === "echo" || spec.kind === "echoReply"
    const packet = build({
      ...reply,
      sourcePort: echo ? spec.otherPort : spec.destinationPort,
      destinationPort: spec.otherPort
    })
    rewriteSource(packet, parse(packet), addressWords(spec.destination), spec.sourcePort)
    assert.deepStrictEqual(
      packet,
      build({
        ...reply,
        source: spec.destination,
        sourcePort: echo ? spec.sourcePort : spec.destinationPort,
        destinationPort: spec.sourcePort
      })
    )
  })
})

describe("both rewrites", () => {
  it("change nothing for an address of the other family", () => {
    for (const [o, other] of [
      [v4, "fd00::9"],
      [v6, "10.0.0.9"]
    ] as const) {
      const original = buildUdp({ ...o, ...ports })
      const packet = original.slice()
      const view = parse(packet)
      assert.isFalse(rewriteDestination(packet, view, addressWords(other), 1))
      assert.isFalse(rewriteSource(packet, view, addressWords(other), 1))
      assert.deepStrictEqual(packet, original)
      assert.deepStrictEqual(view, parse(original))
    }
  })

  it("change nothing in a protocol whose checksum they do not know", () => {
    const original = buildIp(v4, 132, new Uint8Array(16))
    const packet = original.slice()
    const view = parse(packet)
    assert.isFalse(rewriteDestination(packet, view, addressWords("10.0.0.9"), 1))
    assert.isFalse(rewriteSource(packet, view, addressWords("10.0.0.9"), 1))
    assert.deepStrictEqual(packet, original)
  })

  it("leave a UDP checksum of 0 over IPv4 at 0", () => {
    const packet = buildUdp({ ...v4, ...ports, withoutChecksum: true })
    const view = parse(packet)
    rewriteDestination(packet, view, addressWords("192.0.2.7"), 1)
    rewriteSource(packet, view, addressWords("192.0.2.8"), 2)
    assert.strictEqual(fieldOf(packet, view), 0)
  })

  it("write a UDP checksum that comes to 0 as ffff", () => {
    for (const o of [v4, v6]) {
      const other = o === v4 ? "192.0.2.7" : "2001:db8::7"
      // The payload that makes the sum of the translated packet come to 0.
      const probe = buildUdp({ ...o, ...ports, destination: other, payload: new Uint8Array(2) })
      const sum = fieldOf(probe, parse(probe))
      const payload = Uint8Array.of(sum >>> 8, sum & 255)
      const packet = buildUdp({ ...o, ...ports, payload })
      const view = parse(packet)
      rewriteDestination(packet, view, addressWords(other), ports.sourcePort)
      assert.strictEqual(fieldOf(packet, view), 0xffff)
      assertSound(packet, view)
      rewriteDestination(packet, view, addressWords(o.destination), ports.sourcePort)
      assert.deepStrictEqual(packet, buildUdp({ ...o, ...ports, payload }))
    }
  })

  it.prop("keep an un-inverted pseudo-header sum right, without the ports", [packetSpec], ([spec]) => {
    if (spec.kind === "echo" || spec.kind === "echoReply" || spec.kind === "udpWithoutChecksum") return
    const whole = build(spec)
    const view = parse(whole)
    const sumFor = (source: string, destination: string) =>
      partialChecksum({ source, destination }, view.protocol, view.transportLength)
    const packet = withField(whole, view, sumFor(spec.source, spec.destination))
    rewriteDestination(packet, view, addressWords(spec.other), spec.otherPort, true)
    assert.strictEqual(fieldOf(packet, view), sumFor(spec.source, spec.other))
    rewriteSource(packet, view, addressWords(spec.destination), spec.sourcePort, true)
    assert.strictEqual(fieldOf(packet, view), sumFor(spec.destination, spec.other))
    assert.deepStrictEqual([view.sourcePort, view.destinationPort], [spec.otherPort, spec.sourcePort])
  })

  it("change only addresses of an ICMP message without identifier", () => {
    for (const [o, other] of [
      [v4, "192.0.2.7"],
      [v6, "2001:db8::7"]
    ] as const) {
      const message = {
        type: o === v4 ? 9 : 133,
        code: 0,
        rest: Uint8Array.of(9, 9, 9, 9),
        payload: new Uint8Array(4)
      }
      const packet = buildIcmp({ ...o, ...message })
      const view = parse(packet)
      assert.isTrue(rewriteDestination(packet, view, addressWords(other), 1))
      assert.deepStrictEqual(packet, buildIcmp({ ...o, ...message, destination: other }))
      assert.strictEqual(view.sourcePort, 0)
    }
  })

  it.prop("fragments rewritten one by one come together to the rewritten packet", [bytes(80), port], ([payload, p]) => {
    for (const [o, other] of [
      [v4, "192.0.2.7"],
      [v6, "2001:db8::7"]
    ] as const) {
      for (const [protocol, make] of [
        [6, buildTcp],
        [17, buildUdp]
      ] as const) {
        const data = dataOf(make({ ...o, ...ports, payload }))
        const cut = { protocol, size: 24, identification: 77 }
        const fragments = buildFragment({ ...o, ...cut, data })
        for (const fragment of fragments) {
          const view = parse(fragment)
          assert.isTrue(rewriteDestination(fragment, view, addressWords(other), p))
          assert.deepStrictEqual(parse(fragment), view)
        }
        const expected = dataOf(make({ ...o, ...ports, payload, destination: other, sourcePort: p }))
        assert.deepStrictEqual(fragments, buildFragment({ ...o, ...cut, destination: other, data: expected }))
      }
    }
  })
})

describe("clampMss", () => {
  const mss = (value: number) => Uint8Array.of(2, 4, value >>> 8, value & 255)

  it.each([
    ["IPv4", v4, 1240],
    ["IPv6", v6, 1220]
  ] as const)("lowers the option of an %s SYN to what fits, wherever it stands", (_, o, limit) => {
    for (const before of [[], [1], [1, 1], [3, 3, 7], [4, 2]]) {
      const syn = (value: number) =>
        buildTcp({ ...o, ...ports, flags: 2, tcpOptions: concat([Uint8Array.from(before), mss(value)]) })
      const packet = syn(1460)
      const view = parse(packet)
      assert.isTrue(clampMss(packet, view, 1280))
      assert.deepStrictEqual(packet, syn(limit))
      assertSound(packet, view)
      assert.isFalse(clampMss(packet, view, 1280))
    }
  })

  it("counts extension headers", () => {
    const syn = (value: number) =>
      buildTcp({ ...v6, ...ports, flags: 0x12, tcpOptions: mss(value), extensions: [{ type: 60 }] })
    const packet = syn(1460)
    clampMss(packet, parse(packet), 1280)
    assert.deepStrictEqual(packet, syn(1212))
  })

  it.each([
    ["a smaller option", { flags: 2, tcpOptions: mss(536) }],
    ["a segment that is no SYN", { flags: 0x10, tcpOptions: mss(1460) }],
    ["a SYN without options", { flags: 2 }],
    ["an option after the end of options", { flags: 2, tcpOptions: Uint8Array.of(0, 0, 0, 0, 2, 4, 5, 180) }],
    ["an option of length 0", { flags: 2, tcpOptions: Uint8Array.of(8, 0, 2, 4, 5, 180, 0, 0) }],
    ["an option that ends beyond the header", { flags: 2, tcpOptions: Uint8Array.of(8, 40, 2, 4, 5, 180, 0, 0) }],
    ["an MSS option of another length", { flags: 2, tcpOptions: Uint8Array.of(2, 6, 5, 180, 0, 0, 0, 0) }]
  ])("leaves %s alone", (_, fields) => {
    const original = buildTcp({ ...v4, ...ports, ...fields })
    const packet = original.slice()
    assert.isFalse(clampMss(packet, parse(packet), 1280))
    assert.deepStrictEqual(packet, original)
  })

  it("does not touch a checksum that is still to be completed", () => {
    const whole = buildTcp({ ...v4, ...ports, flags: 2, tcpOptions: mss(1460) })
    const packet = withField(whole, parse(whole), 0x1234)
    assert.isTrue(clampMss(packet, parse(packet), 1280, true))
    assert.strictEqual(fieldOf(packet, parse(packet)), 0x1234)
  })

  it("ignores UDP and ICMP", () => {
    for (const packet of [buildUdp({ ...v4, ...ports }), buildEcho({ ...v6, identifier: 1 })]) {
      assert.isFalse(clampMss(packet, parse(packet), 1280))
    }
  })
})
