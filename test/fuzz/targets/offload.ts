/** Packets joined for the device and cut again: each flow comes out as it went in, whatever stands in the packets. */
import { formatAddress } from "../../../src/packet/address.ts"
import { fold, makeChecksum, pseudoHeaderSum, sumBytes } from "../../../src/packet/checksum.ts"
import { Coalescer } from "../../../src/dataplane/offload/coalescer.ts"
import { Segmenter } from "../../../src/dataplane/offload/segmenter.ts"
import { makePacketView, type PacketView, parsePacket } from "../../../src/packet/packetView.ts"
import { protocolTcp, protocolUdp } from "../../../src/packet/protocols.ts"
import { read16, write16 } from "../../../src/packet/bytes.ts"
import { buildTcp, buildUdp } from "../../support/packets.ts"
import { splitSuper, withoutIdentification } from "../../support/superPackets.ts"
import { invariant, type Target } from "../Target.ts"

const arena = new Uint8Array(1 << 18)
const room = 200_000
const view = makePacketView()
const checksum = makeChecksum(arena)
let written: Array<Uint8Array> = []
const coalescer = new Coalescer(arena, checksum, ({ header, lengths, offsets, parts }) => {
  const pieces = Array.from({ length: parts }, (_, i) => arena.slice(offsets[i], offsets[i]! + lengths[i]!))
  written.push(...splitSuper(new Uint8Array(Buffer.concat(pieces)), { ...header }))
})
const segmenter = new Segmenter(arena, checksum)

/** Packets in hexadecimal, by flow. */
const flowsOf = (packets: ReadonlyArray<Uint8Array>): ReadonlyMap<string, ReadonlyArray<string>> => {
  const flows = new Map<string, Array<string>>()
  for (const packet of packets) {
    const key = parsePacket(packet, 0, packet.length, view) === 0 ? flowOf(view) : "?"
    const flow = flows.get(key) ?? []
    flow.push(Buffer.from(withoutIdentification(packet)).toString("hex"))
    flows.set(key, flow)
  }
  return flows
}

const flowOf = ({ destination, destinationPort, protocol, source, sourcePort }: PacketView): string =>
  [formatAddress(source), formatAddress(destination), protocol, sourcePort, destinationPort].join(" ")

/** Right checksums: only such packets are joined. */
const mend = (packet: Uint8Array): void => {
  if (parsePacket(packet, 0, packet.length, view) !== 0) return
  if (view.version === 4) {
    write16(packet, 10, 0)
    write16(packet, 10, ~sumBytes(packet, 0, view.transport, 0) & 0xffff)
  }
  const field = view.protocol === protocolTcp ? 16 : view.protocol === protocolUdp ? 6 : undefined
  if (view.fragment || field === undefined || view.transportLength < field + 2) return
  write16(packet, view.transport + field, 0)
  const pseudo = pseudoHeaderSum(view.source, view.destination, view.protocol, view.transportLength)
  const sum = ~fold(sumBytes(packet, view.transport, view.transportLength, pseudo)) & 0xffff
  write16(packet, view.transport + field, sum === 0 && field === 6 ? 0xffff : sum)
}

const join = (input: Uint8Array): ReadonlyArray<Uint8Array> => {
  written = []
  const given: Array<Uint8Array> = []
  let out = 0
  for (let at = 0; at + 2 <= input.length && out < room;) {
    const packet = input.slice(at + 2, at + 2 + read16(input, at))
    at += 2 + packet.length
    if (packet.length < 20) continue
    if (packet.at(-1)! % 4 !== 0) mend(packet)
    arena.set(packet, out)
    if (parsePacket(arena, out, packet.length, view) !== 0) continue
    given.push(packet.slice(0, view.length))
    coalescer.add(view)
    out += packet.length
  }
  coalescer.flush()
  return given
}

/** With a header that does not belong to it. */
const cut = (packet: Uint8Array, input: Uint8Array): void => {
  const at = 1_000
  arena.set(packet, at)
  if (parsePacket(arena, at, packet.length, view) !== 0) return
  const kind = ([0, 1, 4, 5] as const)[input[0]! & 3]!
  const segmentSize = input[2]! * (input[3]! & 7)
  const header = { partial: true, kind, headerLength: input[1]!, segmentSize, checksumStart: 20, checksumOffset: 16 }
  if (!segmenter.begin(view, header)) return
  for (let segments = 1; segmenter.next(); segments++) {
    invariant(segments <= packet.length, "segments without end")
    invariant(segmenter.length > 0 && segmenter.offset >= at, "a segment begins inside")
    invariant(segmenter.offset + segmenter.length <= at + packet.length, "a segment ends inside")
  }
}

/** Each packet behind its length. */
const stream = (v6: boolean, build: typeof buildTcp, sizes: ReadonlyArray<number>, sourcePort = 1): Uint8Array => {
  const ends = v6 ? (["fd00:2021:1111::1:1", "fd5a::1"] as const) : (["100.64.1.1", "10.20.0.10"] as const)
  let sequence = 1
  const packets = sizes.flatMap((size, identification) => {
    const payload = new Uint8Array(size).fill(identification)
    const [source, destination] = ends
    const fields = { source, destination, sourcePort, destinationPort: 443, identification, payload }
    const packet = build({ ...fields, sequence, dontFragment: true })
    sequence += size
    return [Uint8Array.of(packet.length >> 8, packet.length), packet]
  })
  return new Uint8Array(Buffer.concat(packets))
}

export const target: Target = {
  seeds: [
    stream(false, buildTcp, [100, 100, 100, 50]),
    stream(true, buildTcp, [60, 60, 20]),
    stream(false, buildUdp, [33, 33, 10]),
    stream(true, buildUdp, [33, 33, 33, 33]),
    new Uint8Array(
      Buffer.concat([
        stream(false, buildTcp, [40, 40]),
        stream(false, buildTcp, [40, 40], 2),
        stream(false, buildUdp, [40, 40], 3)
      ])
    )
  ],
  dictionary: [],
  maxLength: 6_000,
  lifetime: 1,
  bound: 50,
  start: () => (input) => {
    const given = join(input)
    const before = flowsOf(given)
    const after = flowsOf(written)
    invariant(before.size === after.size, "a flow is lost, or a new one appears")
    for (const [flow, packets] of before) {
      invariant(packets.join() === after.get(flow)?.join(), "a flow is not what it was")
    }
    if (given[0] !== undefined) cut(given[0], input)
  }
}
