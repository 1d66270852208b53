/**
 * Joins consecutive packets of a flow into super-packets for the TUN device (what GRO does), without copying: a
 * super-packet is the first packet and the payloads of those behind it, written in one call. Several flows are collected
 * at a time; within a flow order is kept. Only what the kernel would split back into exactly the same packets is joined
 * (the identification of an IPv4 packet that must not be fragmented apart: RFC 6864 §4.1 gives it no meaning), and only
 * after its checksums were found right, since the kernel will not look at them again.
 */
import { read16, read32, write16 } from "../../packet/bytes.ts"
import {
  type Checksum,
  fold,
  ipv4HeaderChecksumOk,
  pseudoHeaderSum,
  transportChecksumOk
} from "../../packet/checksum.ts"
import type { PacketView } from "../../packet/packetView.ts"
import { protocolTcp, protocolUdp, tcpAck, tcpPsh } from "../../packet/protocols.ts"
import { copyWords, equal, type Words, words } from "../../packet/address.ts"
import { gsoNone, gsoTcp4, gsoTcp6, gsoUdp, makeVirtioHeader, type VirtioHeader } from "./virtioHeader.ts"

/** Flows collected at a time, and packets in one super-packet. */
const maxGroups = 16
export const maxParts = 64
/** An IP packet's length field; the kernel refuses more. */
const maxTotal = 65_535
/** In the byte of the IPv4 header that holds the flags. */
const dontFragment = 0x40

/** Longest headers that are joined: IPv6 and TCP with all its options. */
const maxHeader = 100

/** Where a super-packet (or a single packet) goes: `parts` ranges of the array, described by the header. */
export interface Gathered {
  readonly header: VirtioHeader
  readonly offsets: Int32Array
  readonly lengths: Int32Array
  /** The first packet's own header, which gave way to that of the whole. */
  readonly first: Uint8Array
  parts: number
}

/**
 * Undoes the joining for a system that does not take the whole: `write` gets each packet as it came, in order. Returns how
 * many it took; when it does not take the first, the others are not tried.
 */
export const takeApart = (
  bytes: Uint8Array,
  { first, header, lengths, offsets, parts }: Readonly<Gathered>,
  write: (offset: number, length: number) => boolean
): number => {
  bytes.set(first.subarray(0, header.headerLength), offsets[0])
  if (!write(offsets[0]!, lengths[0]!)) return 0
  let written = 1
  for (let i = 1; i < parts; i++) {
    // A packet's own header still stands before its payload.
    if (write(offsets[i]! - header.headerLength, lengths[i]! + header.headerLength)) written++
  }
  return written
}

export class Coalescer {
  private readonly bytes: Uint8Array
  private readonly checksum: Checksum
  private readonly write: (gathered: Readonly<Gathered>) => void
  private readonly groups: ReadonlyArray<Group>
  private open = 0
  private readonly single: Gathered = makeGathered(1)
  /** Joining UDP can be switched off at run time: kernels before 6.2 do not take it. */
  udp = true
  /** Packets that went into a super-packet behind its first. */
  joined = 0

  constructor(bytes: Uint8Array, checksum: Checksum, write: (gathered: Readonly<Gathered>) => void) {
    this.bytes = bytes
    this.checksum = checksum
    this.write = write
    this.groups = Array.from({ length: maxGroups }, () => new Group())
  }

  /** Takes a packet whose bytes stay untouched until `flush`. */
  add(view: Readonly<PacketView>): void {
    // A later fragment does not tell its flow.
    if (view.fragment) this.flush()
    const group = this.find(view)
    if (!this.fits(view)) {
      // Whatever it is, it must not overtake its own flow.
      if (group !== undefined) this.finish(group)
      return this.alone(view)
    }
    if (group !== undefined) {
      if (group.takes(this.bytes, view)) {
        group.append(view)
        this.joined++
        if (group.closed) this.finish(group)
        return
      }
      this.finish(group)
    }
    if (this.open === maxGroups) this.finish(this.groups[0]!)
    const fresh = this.groups[this.open++]!
    fresh.begin(this.bytes, view)
    if (fresh.closed) this.finish(fresh)
  }

  /** Writes everything that was collected. To be called before the packets' bytes are used again. */
  flush(): void {
    while (this.open > 0) this.finish(this.groups[0]!)
  }

  private find(view: Readonly<PacketView>): Group | undefined {
    for (let i = 0; i < this.open; i++) if (this.groups[i]!.sameFlow(view)) return this.groups[i]
    return undefined
  }

  private fits(view: Readonly<PacketView>): boolean {
    const { bytes } = this
    if (view.fragment || view.transport - view.offset !== (view.version === 4 ? 20 : 40)) return false
    if (view.protocol === protocolTcp) {
      if ((view.tcpFlags & ~tcpPsh) !== tcpAck) return false
      if (view.transportLength <= (bytes[view.transport + 12]! >>> 4) << 2) return false
    } else if (view.protocol === protocolUdp) {
      if (!this.udp || view.transportLength <= 8 || read16(bytes, view.transport + 6) === 0) return false
      if (read16(bytes, view.transport + 4) !== view.transportLength) return false
    } else {
      return false
    }
    return ipv4HeaderChecksumOk(bytes, view) && transportChecksumOk(bytes, view, this.checksum)
  }

  private alone(view: Readonly<PacketView>): void {
    const { single } = this
    single.offsets[0] = view.offset
    single.lengths[0] = view.length
    single.parts = 1
    this.write(single)
  }

  /** Writes the group and takes it out; the others keep their order. */
  private finish(group: Group): void {
    group.complete(this.bytes)
    this.write(group.gathered)
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the array is ours; only the field's type forbids it
    const groups = this.groups as Array<Group>
    let i = 0
    while (groups[i] !== group) i++
    this.open--
    for (; i < this.open; i++) groups[i] = groups[i + 1]!
    groups[this.open] = group
  }
}

class Group {
  readonly gathered: Gathered = makeGathered(maxParts)
  closed = false
  private push = false
  private readonly source: Words = words()
  private readonly destination: Words = words()
  private protocol = 0
  private ports = 0
  private version: 4 | 6 = 4
  private head = 0
  private transport = 0
  private headerLength = 0
  private size = 0
  private total = 0
  private sequence = 0

  begin(bytes: Uint8Array, view: Readonly<PacketView>): void {
    const { gathered } = this
    copyWords(view.source, this.source)
    copyWords(view.destination, this.destination)
    this.protocol = view.protocol
    this.ports = (view.sourcePort << 16) | view.destinationPort
    this.version = view.version
    this.head = view.offset
    this.transport = view.transport - view.offset
    this.headerLength = this.transport + transportHeader(bytes, view)
    this.size = view.length - this.headerLength
    this.total = view.length
    this.sequence = view.protocol === protocolTcp ? (read32(bytes, view.transport + 4) + this.size) | 0 : 0
    this.push = false
    this.closed = (view.tcpFlags & tcpPsh) !== 0
    gathered.offsets[0] = view.offset
    gathered.lengths[0] = view.length
    gathered.parts = 1
  }

  sameFlow(view: Readonly<PacketView>): boolean {
    return (
      this.protocol === view.protocol &&
      this.ports === ((view.sourcePort << 16) | view.destinationPort) &&
      equal(this.destination, view.destination) &&
      equal(this.source, view.source)
    )
  }

  /** Whether the packet is the flow's next and its header says nothing new. */
  takes(bytes: Uint8Array, view: Readonly<PacketView>): boolean {
    const { head } = this
    const payload = view.length - this.headerLength
    if (view.transport - view.offset + transportHeader(bytes, view) !== this.headerLength) return false
    if (payload > this.size || this.total + payload > maxTotal || this.gathered.parts >= maxParts) return false
    if (this.version === 4) {
      // Type of service, time to live, flags: byte 1, 8 and the upper bits of 6.
      if (bytes[head + 1] !== bytes[view.offset + 1] || bytes[head + 8] !== bytes[view.offset + 8]) return false
      const flags = bytes[view.offset + 6]!
      if (bytes[head + 6] !== flags) return false
      // The kernel numbers the packets that it cuts; without "don't fragment" the numbers matter.
      const next = (read16(bytes, head + 4) + this.gathered.parts) & 0xffff
      if ((flags & dontFragment) === 0 && read16(bytes, view.offset + 4) !== next) return false
    } else if (read32(bytes, head) !== read32(bytes, view.offset) || bytes[head + 7] !== bytes[view.offset + 7]) {
      // Traffic class and flow label, hop limit.
      return false
    }
    if (this.protocol === protocolUdp) return true
    const first = head + this.transport
    const { transport } = view
    if (read32(bytes, transport + 4) !== this.sequence) return false
    if (read32(bytes, transport + 8) !== read32(bytes, first + 8)) return false
    // Reserved bits behind the header length (one of them may be ECN's), window, urgent pointer.
    if (bytes[transport + 12] !== bytes[first + 12]) return false
    if (read16(bytes, transport + 14) !== read16(bytes, first + 14)) return false
    if (read16(bytes, transport + 18) !== read16(bytes, first + 18)) return false
    for (let at = 20; at < this.headerLength - this.transport; at += 4) {
      if (read32(bytes, transport + at) !== read32(bytes, first + at)) return false
    }
    return true
  }

  append(view: Readonly<PacketView>): void {
    const { gathered } = this
    const payload = view.length - this.headerLength
    gathered.offsets[gathered.parts] = view.offset + this.headerLength
    gathered.lengths[gathered.parts] = payload
    gathered.parts++
    this.total += payload
    this.sequence = (this.sequence + payload) | 0
    if ((view.tcpFlags & tcpPsh) !== 0) {
      this.push = true
      this.closed = true
    }
    // A short packet can only be the last of a super-packet.
    if (payload < this.size || gathered.parts === maxParts) this.closed = true
  }

  /** Makes the first packet's header that of the whole. */
  complete(bytes: Uint8Array): void {
    const { gathered, head } = this
    const { header } = gathered
    if (gathered.parts === 1) {
      header.partial = false
      header.kind = gsoNone
      header.headerLength = header.segmentSize = header.checksumStart = header.checksumOffset = 0
      return
    }
    for (let i = 0; i < this.headerLength; i++) gathered.first[i] = bytes[head + i]!
    const tcp = this.protocol === protocolTcp
    if (this.push) bytes[head + this.transport + 13]! |= tcpPsh
    const transportLength = this.total - this.transport
    if (this.version === 4) {
      write16(bytes, head + 2, this.total)
      write16(bytes, head + 10, 0)
      write16(bytes, head + 10, ~headerSum(bytes, head) & 0xffff)
    } else {
      write16(bytes, head + 4, transportLength)
    }
    const pseudo = pseudoHeaderSum(this.source, this.destination, this.protocol, transportLength)
    if (tcp) {
      write16(bytes, head + this.transport + 16, pseudo)
    } else {
      write16(bytes, head + this.transport + 4, transportLength)
      write16(bytes, head + this.transport + 6, pseudo)
    }
    header.partial = true
    header.kind = tcp ? (this.version === 4 ? gsoTcp4 : gsoTcp6) : gsoUdp
    header.headerLength = this.headerLength
    header.segmentSize = this.size
    header.checksumStart = this.transport
    header.checksumOffset = tcp ? 16 : 6
  }
}

const makeGathered = (parts: number): Gathered => ({
  header: makeVirtioHeader(),
  offsets: new Int32Array(parts),
  lengths: new Int32Array(parts),
  first: new Uint8Array(maxHeader),
  parts: 0
})

const transportHeader = (bytes: Uint8Array, view: Readonly<PacketView>): number =>
  view.protocol === protocolTcp ? (bytes[view.transport + 12]! >>> 4) << 2 : 8

/** Sum of a 20-byte IPv4 header. */
const headerSum = (bytes: Uint8Array, at: number): number => {
  let sum = 0
  for (let i = 0; i < 20; i += 2) sum += (bytes[at + i]! << 8) | bytes[at + i + 1]!
  return fold(sum)
}
