/**
 * Packets of one flow come in trains (R. Jain, 1986): of one write of a program, of one batch of datagrams. Where the
 * first of them went and how it was rewritten holds for those right behind it, as long as neither time nor state go on
 * in between. Of them only what is a packet's own is read: lengths, numbers, checksums, flags of TCP.
 */
import { copyWords, equal, type Words, words, writeAddress } from "./address.ts"
import { read16, read32, write16 } from "./bytes.ts"
import { delta16 } from "./checksum.ts"
import type { PacketView } from "./packetView.ts"
import { protocolTcp, protocolUdp, tcpAck, tcpPsh } from "./protocols.ts"
import { addressDelta, fixIpv4Header, fixTransport } from "./rewrite.ts"

export class PacketTrain {
  private running = false
  /** As the packets come. */
  private readonly destination: Words = words()
  private ports = 0
  private headerLength: 20 | 40 = 20
  /** What becomes of them. */
  private readdressed = false
  private renumbered = false
  private addressDelta = 0
  private portDelta = 0

  /** Nothing that was found out holds any more. */
  end(): void {
    this.running = false
  }

  /**
   * The packet goes to `destination` with this source port: so do those behind it, until `end`. Called before it is
   * rewritten; until `end` the view must be left to `next`.
   */
  begin(bytes: Uint8Array, view: Readonly<PacketView>, destination: Readonly<Words>, sourcePort: number): void {
    const headerLength = view.version === 4 ? 20 : 40
    this.running =
      !view.fragment && view.transport - view.offset === headerLength && isOrdinary(view.protocol, view.tcpFlags)
    if (!this.running) return
    this.headerLength = headerLength
    copyWords(view.destination, this.destination)
    this.ports = read32(bytes, view.transport)
    this.readdressed = !equal(view.destination, destination)
    this.renumbered = view.sourcePort !== sourcePort
    this.addressDelta = this.readdressed ? addressDelta(view.destination, destination) : 0
    this.portDelta = this.renumbered ? delta16(view.sourcePort, sourcePort) : 0
  }

  /**
   * Whether bytes[offset, offset + length) are the next packet of the train (padding may follow). Then it is rewritten as
   * the first was, and `view`, which still tells of the one before it, tells of it; else nothing is changed.
   */
  next(bytes: Uint8Array, offset: number, length: number, view: PacketView): boolean {
    const { headerLength } = this
    if (!this.running) return false
    const four = headerLength === 20
    if (!(four ? this.isNext4(bytes, offset, view) : this.isNext6(bytes, offset, view))) return false
    const transport = offset + headerLength
    if (read32(bytes, transport) !== this.ports) return false
    const total = four ? read16(bytes, offset + 2) : headerLength + read16(bytes, offset + 4)
    const transportLength = total - headerLength
    if (total > length) return false
    if (view.protocol === protocolTcp) {
      const tcpFlags = bytes[transport + 13]!
      const tcpHeader = (bytes[transport + 12]! >>> 4) << 2
      if (!isOrdinary(protocolTcp, tcpFlags) || tcpHeader < 20 || tcpHeader > transportLength) return false
      view.tcpFlags = tcpFlags
    } else {
      const udpLength = read16(bytes, transport + 4)
      if (udpLength < 8 || udpLength > transportLength) return false
    }
    view.offset = offset
    view.length = total
    view.transport = transport
    view.transportLength = transportLength
    if (four) view.identification = read16(bytes, offset + 4)
    this.rewrite(bytes, view)
    return true
  }

  /** No options, no fragment; the same protocol and addresses. */
  private isNext4(bytes: Uint8Array, offset: number, view: Readonly<PacketView>): boolean {
    return (
      bytes[offset] === 0x45 &&
      (read16(bytes, offset + 6) & 0x3fff) === 0 &&
      bytes[offset + 9] === view.protocol &&
      read32(bytes, offset + 16) === this.destination.w3 &&
      read32(bytes, offset + 12) === view.source.w3
    )
  }

  /** No extension headers; the same protocol and addresses. */
  private isNext6(bytes: Uint8Array, offset: number, view: Readonly<PacketView>): boolean {
    return (
      bytes[offset]! >>> 4 === 6 &&
      bytes[offset + 6] === view.protocol &&
      isAt(bytes, offset + 24, this.destination) &&
      isAt(bytes, offset + 8, view.source)
    )
  }

  private rewrite(bytes: Uint8Array, view: Readonly<PacketView>): void {
    if (this.readdressed) {
      writeAddress(bytes, view.transport - (view.version === 4 ? 4 : 16), view.destination)
      fixIpv4Header(bytes, view, this.addressDelta)
    }
    if (this.renumbered) write16(bytes, view.transport, view.sourcePort)
    if (this.readdressed || this.renumbered) fixTransport(bytes, view, this.addressDelta, this.portDelta, false)
  }
}

/** UDP, or what TCP sends between a connection's beginning and its end. */
const isOrdinary = (protocol: number, tcpFlags: number): boolean =>
  protocol === protocolUdp || (protocol === protocolTcp && (tcpFlags & ~tcpPsh) === tcpAck)

const isAt = (bytes: Uint8Array, at: number, address: Readonly<Words>): boolean =>
  read32(bytes, at + 12) === address.w3 &&
  read32(bytes, at + 8) === address.w2 &&
  read32(bytes, at + 4) === address.w1 &&
  read32(bytes, at) === address.w0
