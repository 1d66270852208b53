/** IP packets of strangers: read, rewritten, answered by ICMP errors. Nothing outside the packet is touched. */
import { clampMss, rewriteDestination, rewriteSource } from "../../../src/packet/rewrite.ts"
import { controlPayload, isControl, isWholeControl } from "../../../src/packet/controlPacket.ts"
import { ipv4HeaderChecksumOk, sumBytes, transportChecksumOk } from "../../../src/packet/checksum.ts"
import { makePacketView, parsePacket, parseTruncated } from "../../../src/packet/packetView.ts"
import { networkUnreachable, parseQuoted, prohibited, writeUnreachable } from "../../../src/packet/icmp.ts"
import { ParseReason } from "../../../src/packet/parseReason.ts"
import { protocolIcmp, protocolIcmpv6, protocolTcp, protocolUdp, tcpSyn } from "../../../src/packet/protocols.ts"
import { rewriteQuoted } from "../../../src/packet/rewriteQuoted.ts"
import { words } from "../../../src/packet/address.ts"
import { packetSeeds } from "../packetSeeds.ts"
import { invariant, type Target } from "../Target.ts"

const start = 128
const guard = 16
const errorAt = 40_000
const bytes = new Uint8Array(70_000)
const view = makePacketView()
const other = makePacketView()
const checksum = (offset: number, length: number, initial: number): number => sumBytes(bytes, offset, length, initial)
const new4 = [words(0, 0, 0xffff, 0x0a14000a), words(0, 0, 0xffff, -1), words(0, 0, 0xffff, 0)]
const new6 = [words(0xfd5a0020 | 0, 0, 0, 16), words(-1, -1, -1, -1), words(0, 0, 0, 1)]

const newAddress = (version: number, choice: number) => (version === 4 ? new4 : new6)[choice % 3]!

const rewrite = (length: number): void => {
  const { protocol, version } = view
  const headerRight = ipv4HeaderChecksumOk(bytes, view)
  const whole = !view.fragment
  const right = whole && transportChecksumOk(bytes, view, checksum)
  const before = view.length
  const rewriteEnd = length % 2 === 0 ? rewriteDestination : rewriteSource
  const done = rewriteEnd(bytes, view, newAddress(version, length), 1 + ((length * 77) % 65_535))
  invariant(view.length === before, "rewriting changes the length")
  if (!done) return
  invariant(parsePacket(bytes, start, length, other) === 0, "a rewritten packet cannot be read")
  invariant(ipv4HeaderChecksumOk(bytes, other) === headerRight, "IPv4 checksum after rewriting")
  invariant(view.sourcePort === other.sourcePort && view.destinationPort === other.destinationPort, "ports differ")
  const sums = [protocolTcp, protocolUdp, version === 4 ? protocolIcmp : protocolIcmpv6]
  // ICMP of IPv4 does not cover addresses: rewriting an identifier mends nothing and breaks nothing.
  if (!whole || !sums.includes(protocol) || (!right && protocol === protocolIcmp)) return
  invariant(transportChecksumOk(bytes, other, checksum) === right, `checksum of protocol ${protocol} after rewriting`)
}

const clamp = (): void => {
  if (view.protocol !== protocolTcp || (view.tcpFlags & tcpSyn) === 0 || view.fragmentOffset !== 0) return
  const right = !view.fragment && transportChecksumOk(bytes, view, checksum)
  clampMss(bytes, view, 1_280)
  if (!view.fragment) invariant(transportChecksumOk(bytes, view, checksum) === right, "checksum after clamping")
}

const answer = (): void => {
  for (const kind of [networkUnreachable, prohibited]) {
    const length = writeUnreachable(bytes, errorAt, view, view.destination, kind)
    if (length <= 0) continue
    invariant(length <= 1_280, "an ICMP error is too long")
    const read = parsePacket(bytes, errorAt, length, other)
    // It quotes, and answers from, what the client has written.
    if (read === ParseReason.MappedAddress) continue
    invariant(read === 0, "an ICMP error of ours cannot be read")
    invariant(other.icmpError, "an ICMP error is one")
    invariant(ipv4HeaderChecksumOk(bytes, other), "IPv4 checksum of an ICMP error")
    invariant(transportChecksumOk(bytes, other, checksum), "checksum of an ICMP error")
  }
}

const quoted = (length: number): void => {
  if (!parseQuoted(bytes, view, other)) return
  invariant(other.offset + other.length <= start + view.length, "the quoted packet ends inside")
  if (other.version !== view.version) return
  const address = newAddress(other.version, length)
  rewriteQuoted(bytes, view, other, address, address, 4_242)
}

export const target: Target = {
  seeds: packetSeeds,
  dictionary: [],
  maxLength: 1_600,
  lifetime: 1,
  bound: 20,
  start: () => (input) => {
    const { length } = input
    bytes.fill(0xa5, start - guard, start)
    bytes.set(input, start)
    bytes.fill(0x5a, start + length, start + length + guard)
    if (parsePacket(bytes, start, length, view) === 0) {
      invariant(view.offset === start && view.length >= 20 && view.length <= length, "length")
      invariant(view.transport >= start + 20, "the transport begins behind the header")
      invariant(view.transport + view.transportLength === start + view.length, "the transport ends with the packet")
      if (length % 4 < 2) rewrite(length)
      else if (length % 4 === 2) clamp()
      else if (view.icmpError) quoted(length)
      else answer()
      if (isControl(view) && isWholeControl(view)) controlPayload(bytes, view)
    }
    if (parseTruncated(bytes, start, length, view) === 0) {
      invariant(view.offset + view.length <= start + length, "a cut packet ends inside")
      invariant(view.transportLength <= 0 || view.transport + view.transportLength <= start + length, "cut transport")
    }
    for (let i = 0; i < guard; i++) {
      invariant(bytes[start - guard + i] === 0xa5, "bytes before the packet have changed")
      invariant(bytes[start + length + i] === 0x5a, "bytes after the packet have changed")
    }
  }
}
