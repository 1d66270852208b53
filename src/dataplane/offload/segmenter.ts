/**
 * Cuts a super-packet into the packets that it stands for (what a network card does for TSO and USO), in place: each
 * segment's header is written just before its payload, over the payload of the segment before, which has been sealed by
 * then. No byte of payload is copied.
 */
import { read16, read32, write16, write32 } from "../../packet/bytes.ts"
import { type Checksum, pseudoHeaderSum } from "../../packet/checksum.ts"
import type { PacketView } from "../../packet/packetView.ts"
import { protocolTcp, protocolUdp, tcpFin, tcpPsh } from "../../packet/protocols.ts"
import { gsoNone, gsoUdp, type VirtioHeader } from "./virtioHeader.ts"

/** Longest header that is handled: IPv4 with options or IPv6 with extensions, and TCP with options. */
const maxHeader = 256
const tcpCwr = 0x80

export class Segmenter {
  /** The current segment, after `next` has returned true. */
  offset = 0
  length = 0
  private readonly bytes: Uint8Array
  private readonly checksum: Checksum
  private readonly header = new Uint8Array(maxHeader)
  private headerLength = 0
  private transport = 0
  private version = 4
  private tcp = true
  private pseudo = 0
  private sequence = 0
  private flags = 0
  private identification = 0
  private size = 0
  private payload = 0
  private done = 0
  private start = 0
  private index = 0

  constructor(bytes: Uint8Array, checksum: Checksum) {
    this.bytes = bytes
    this.checksum = checksum
  }

  /**
   * Prepares the super-packet in `view` (parsed, translated). False when header and packet do not fit together; then
   * the packet has to be dropped.
   */
  begin(view: Readonly<PacketView>, virtio: Readonly<VirtioHeader>): boolean {
    const { bytes } = this
    const tcp = view.protocol === protocolTcp
    if (virtio.kind === gsoNone || virtio.segmentSize === 0 || view.fragment) return false
    if (virtio.kind === gsoUdp ? view.protocol !== protocolUdp : !tcp) return false
    const transport = view.transport - view.offset
    const transportHeader = tcp ? (bytes[view.transport + 12]! >>> 4) << 2 : 8
    const headerLength = transport + transportHeader
    if (headerLength > maxHeader || headerLength >= view.length) return false
    for (let i = 0; i < headerLength; i++) this.header[i] = bytes[view.offset + i]!
    this.headerLength = headerLength
    this.transport = transport
    this.version = view.version
    this.tcp = tcp
    this.pseudo = pseudoHeaderSum(view.source, view.destination, view.protocol, 0)
    this.sequence = tcp ? read32(bytes, view.transport + 4) : 0
    this.flags = view.tcpFlags
    this.identification = view.version === 4 ? read16(bytes, view.offset + 4) : 0
    this.size = virtio.segmentSize
    this.payload = view.length - headerLength
    this.start = view.offset
    this.done = 0
    this.index = 0
    return true
  }

  /** Whether `next` will find another segment. */
  get more(): boolean {
    return this.done < this.payload
  }

  /** Writes the next segment and tells where it is; false when there is none left. */
  next(): boolean {
    const { bytes, done, headerLength, payload } = this
    if (done >= payload) return false
    const size = payload - done < this.size ? payload - done : this.size
    const at = this.start + done
    if (done > 0) for (let i = 0; i < headerLength; i++) bytes[at + i] = this.header[i]!
    const last = done + size >= payload
    const length = headerLength + size
    if (this.version === 4) {
      write16(bytes, at + 2, length)
      write16(bytes, at + 4, (this.identification + this.index) & 0xffff)
      write16(bytes, at + 10, 0)
      write16(bytes, at + 10, ~this.checksum(at, (this.header[0]! & 15) << 2, 0) & 0xffff)
    } else {
      write16(bytes, at + 4, length - 40)
    }
    this.writeTransport(at + this.transport, length - this.transport, last)
    this.offset = at
    this.length = length
    this.done = done + size
    this.index++
    return true
  }

  private writeTransport(at: number, length: number, last: boolean): void {
    const { bytes } = this
    if (this.tcp) {
      write32(bytes, at + 4, (this.sequence + this.done) | 0)
      let { flags } = this
      if (!last) flags &= ~(tcpFin | tcpPsh)
      if (this.index > 0) flags &= ~tcpCwr
      bytes[at + 13] = flags
      write16(bytes, at + 16, 0)
      write16(bytes, at + 16, ~this.checksum(at, length, this.pseudo + length) & 0xffff)
      return
    }
    write16(bytes, at + 4, length)
    write16(bytes, at + 6, 0)
    const sum = ~this.checksum(at, length, this.pseudo + length) & 0xffff
    write16(bytes, at + 6, sum === 0 ? 0xffff : sum)
  }
}
