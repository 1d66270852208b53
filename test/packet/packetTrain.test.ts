import { assert, describe, it } from "@effect/vitest"
import { Arbitrary } from "effect"
import { PacketTrain } from "../../src/packet/packetTrain.ts"
import { makePacketView, type PacketView, parsePacket } from "../../src/packet/packetView.ts"
import { rewriteDestination } from "../../src/packet/rewrite.ts"
import { build, byte, bytes, integer, type PacketSpec, packetSpec } from "../support/packetArbitraries.ts"
import { concat } from "../../src/packet/bytes.ts"
import { addressWords, buildIp, dataOf } from "../support/packets.ts"

const ack = 0x10
const push = 0x08

const viewOf = (packet: Uint8Array, offset: number): PacketView | undefined => {
  const view = makePacketView()
  return parsePacket(packet, offset, packet.length - offset, view) === 0 ? view : undefined
}

/** How the packet at `offset` would be rewritten by itself. */
const rewritten = (packet: Uint8Array, offset: number, spec: PacketSpec) => {
  const copy = packet.slice()
  const view = viewOf(copy, offset)
  assert.isDefined(view)
  rewriteDestination(copy, view, addressWords(spec.other), spec.otherPort)
  return { copy, view }
}

/** A train that `first` began, and the view that tells of it. */
const begun = (first: Uint8Array, spec: PacketSpec) => {
  const train = new PacketTrain()
  const view = viewOf(first, 0)
  assert.isDefined(view)
  train.begin(first, view, addressWords(spec.other), spec.otherPort)
  rewriteDestination(first, view, addressWords(spec.other), spec.otherPort)
  return { train, view }
}

/** TCP with data under way, or UDP; without extension headers. */
const flow = packetSpec.pipe(
  Arbitrary.map((spec): PacketSpec => ({
    ...spec,
    kind: spec.kind === "echo" || spec.kind === "echoReply" ? "tcp" : spec.kind,
    flags: ack,
    extensions: []
  }))
)
/** Some translations keep the address, or the port, or both. */
const kept = integer(0, 3)
const translation = (spec: PacketSpec, keep: number): PacketSpec => ({
  ...spec,
  other: (keep & 1) === 0 ? spec.other : spec.destination,
  otherPort: (keep & 2) === 0 ? spec.otherPort : spec.sourcePort
})

const follower = Arbitrary.all({
  ttl: byte,
  trafficClass: byte,
  identification: integer(0, 0xffff),
  push: integer(0, 1),
  padding: integer(0, 15),
  payload: bytes(64)
})

describe("a packet train", () => {
  it.prop(
    "rewrites the flow's next packet as it would be rewritten by itself",
    [flow, follower, kept, integer(0, 20)],
    ([drawn, of, keep, before]) => {
      const spec = translation(drawn, keep)
      const { train, view } = begun(build(spec), spec)
      const { push: pushed, ...own } = of
      const next = build({ ...spec, ...own, flags: pushed === 1 ? ack | push : ack })
      const packet = concat([new Uint8Array(before).fill(0xff), next])
      const expected = rewritten(packet, before, spec)

      assert.isTrue(train.next(packet, before, packet.length - before, view))

      assert.deepStrictEqual(packet, expected.copy)
      assert.deepStrictEqual(view, expected.view)
    }
  )

  /** Where anything may stand, and where what a packet says of its own transport header does. */
  const places = {
    "whichever byte is another": (at: number) => at,
    "whatever it says of its transport header": (at: number, spec: PacketSpec) =>
      (spec.v6 ? 40 : 20) + [4, 5, 12, 13][at & 3]!
  }
  for (const [which, place] of Object.entries(places)) {
    it.prop(
      `leaves alone what the ordinary way refuses or would not send the same way, ${which}`,
      [flow, integer(0, 67), byte, kept],
      ([drawn, at, value, keep]) => {
        const spec = translation(drawn, keep)
        const { train, view } = begun(build(spec), spec)
        const packet = build(spec)
        packet[place(at, spec) % packet.length] = value
        const before = packet.slice()
        const viewBefore = structuredClone(view)

        const taken = train.next(packet, 0, packet.length, view)

        if (!taken) {
          assert.deepStrictEqual([packet, view], [before, viewBefore])
          return
        }
        const [first, itself] = [viewOf(build(spec), 0)!, viewOf(before, 0)]
        assert.isDefined(itself)
        for (const field of [
          "version",
          "protocol",
          "source",
          "destination",
          "sourcePort",
          "destinationPort"
        ] as const) {
          assert.deepStrictEqual(itself[field], first[field], field)
        }
        assert.isFalse(itself.fragment)
        assert.strictEqual(itself.tcpFlags & ~push, first.tcpFlags)
        const expected = rewritten(before, 0, spec)
        assert.deepStrictEqual([packet, view], [expected.copy, expected.view])
      }
    )
  }

  it.prop("takes no packet that is cut short", [flow, integer(1, 200)], ([spec, missing]) => {
    const { train, view } = begun(build(spec), spec)
    const packet = build({ ...spec, padding: 0 })
    const length = Math.max(0, packet.length - missing)

    assert.isFalse(train.next(packet, 0, length, view))
  })

  it.prop("is not begun by a connection's first or last packets", [flow, byte], ([drawn, flags]) => {
    const spec: PacketSpec = { ...drawn, kind: "tcp", flags }
    const { train, view } = begun(build(spec), spec)
    const packet = build({ ...spec, flags: ack })

    assert.strictEqual(train.next(packet, 0, packet.length, view), (flags & ~push) === ack)
  })

  it.prop("is not begun by a fragment", [flow], ([drawn]) => {
    const spec: PacketSpec = { ...drawn, kind: "udp", padding: 0, payload: new Uint8Array(16) }
    const packet = build(spec)
    const { destination, source } = spec
    const part = { offset: 0, more: true, identification: 7 }
    const { train, view } = begun(buildIp({ source, destination, fragment: part }, 17, dataOf(packet)), spec)

    assert.isFalse(train.next(packet, 0, packet.length, view))
  })

  it.prop("is not begun by what has neither TCP nor UDP", [flow], ([drawn]) => {
    const spec: PacketSpec = { ...drawn, kind: "echo" }
    const packet = build(spec)
    const { train, view } = begun(packet.slice(), spec)

    assert.isFalse(train.next(packet, 0, packet.length, view))
  })

  it.prop("has an end", [flow], ([spec]) => {
    const packet = build(spec)
    const { train, view } = begun(packet.slice(), spec)
    train.end()

    assert.isFalse(train.next(packet, 0, packet.length, view))
  })
})
