/**
 * What the kernel does with a super-packet, written from its sources (`virtio_net_hdr_to_skb`, `tcp_gso_segment`,
 * `__udp_gso_segment`) and independent of `src/dataplane/offload`: the oracle of the offloads' tests.
 */
import type { VirtioHeader } from "../../src/dataplane/offload/virtioHeader.ts"

/** The packets that the kernel makes of it. Throws when the kernel would refuse it, or its header lies. */
export const splitSuper = (bytes: Uint8Array, header: Readonly<VirtioHeader>): ReadonlyArray<Uint8Array> => {
  if (header.kind === 0) {
    check(!header.partial, "only super-packets are written with a partial checksum")
    return [bytes]
  }
  const v4 = bytes[0]! >>> 4 === 4
  const tcp = header.kind !== 5
  check(header.kind === 5 || header.kind === (v4 ? 1 : 4), "kind and version")
  check(header.partial, "a super-packet has a partial checksum")
  const ip = v4 ? (bytes[0]! & 15) * 4 : 40
  check(bytes[v4 ? 9 : 6] === (tcp ? 6 : 17), "protocol")
  check(header.checksumStart === ip && header.checksumOffset === (tcp ? 16 : 6), "place of the checksum")
  const headers = ip + (tcp ? (bytes[ip + 12]! >>> 4) * 4 : 8)
  check(header.headerLength === headers, "header length")
  const claimed = v4 ? get16(bytes, 2) : 40 + get16(bytes, 4)
  check(claimed === bytes.length && bytes.length <= 65_535, "length field")
  if (v4) check(internetSum(bytes.subarray(0, ip)) === 0xffff, "IPv4 header checksum")
  if (!tcp) check(get16(bytes, ip + 4) === bytes.length - ip, "UDP length")
  check(get16(bytes, ip + header.checksumOffset) === pseudoSum(bytes, ip), "partial checksum")
  const { segmentSize } = header
  const payload = bytes.length - headers
  check(segmentSize > 0 && payload > segmentSize, "more than one segment")
  check(Math.ceil(payload / segmentSize) <= 64, "at most 64 segments")

  const segments: Array<Uint8Array> = []
  for (let at = 0; at < payload; at += segmentSize) {
    const data = bytes.subarray(headers + at, Math.min(headers + at + segmentSize, bytes.length))
    const segment = new Uint8Array(headers + data.length)
    segment.set(bytes.subarray(0, headers))
    segment.set(data, headers)
    if (v4) {
      put16(segment, 2, segment.length)
      put16(segment, 4, (get16(bytes, 4) + segments.length) % 65_536)
      fixIpv4(segment)
    } else {
      put16(segment, 4, segment.length - 40)
    }
    if (tcp) {
      const sequence = new DataView(segment.buffer)
      sequence.setUint32(ip + 4, sequence.getUint32(ip + 4) + at)
      const last = at + segmentSize >= payload
      if (!last) segment[ip + 13]! &= 0xf6
      if (at > 0) segment[ip + 13]! &= 0x7f
    } else {
      put16(segment, ip + 4, segment.length - ip)
    }
    fixTransport(segment, ip, tcp ? 16 : 6)
    segments.push(segment)
  }
  return segments
}

/** A whole packet as the kernel hands it over before it is cut: partial checksum and the header that says so. */
export const asSuper = (
  packet: Uint8Array,
  segmentSize: number,
  kind?: VirtioHeader["kind"]
): { readonly bytes: Uint8Array; readonly header: VirtioHeader } => {
  const bytes = packet.slice()
  const v4 = bytes[0]! >>> 4 === 4
  const ip = v4 ? (bytes[0]! & 15) * 4 : 40
  const tcp = bytes[v4 ? 9 : 6] === 6
  const offset = tcp ? 16 : 6
  put16(bytes, ip + offset, pseudoSum(bytes, ip))
  return {
    bytes,
    header: {
      partial: true,
      kind: kind ?? (tcp ? (v4 ? 1 : 4) : 5),
      headerLength: ip + (tcp ? (bytes[ip + 12]! >>> 4) * 4 : 8),
      segmentSize,
      checksumStart: ip,
      checksumOffset: offset
    }
  }
}

/** Without the identification, which has no meaning in a packet that must not be fragmented (RFC 6864). */
export const withoutIdentification = (packet: Uint8Array): Uint8Array => {
  if (packet[0]! >>> 4 !== 4 || (packet[6]! & 0x40) === 0) return packet
  const copy = packet.slice()
  const right = internetSum(copy.subarray(0, (copy[0]! & 15) * 4)) === 0xffff
  put16(copy, 4, 0)
  if (right) fixIpv4(copy)
  return copy
}

/** Whether IPv4 header and transport checksums are right (IPv6 without extensions). */
export const checksumsOk = (packet: Uint8Array): boolean => {
  const v4 = packet[0]! >>> 4 === 4
  const ip = v4 ? (packet[0]! & 15) * 4 : 40
  const sum = internetSum(packet.subarray(ip)) + pseudoSum(packet, ip)
  return (!v4 || internetSum(packet.subarray(0, ip)) === 0xffff) && (sum > 0xffff ? (sum & 0xffff) + 1 : sum) === 0xffff
}

const fixIpv4 = (packet: Uint8Array): void => {
  put16(packet, 10, 0)
  put16(packet, 10, 0xffff - internetSum(packet.subarray(0, (packet[0]! & 15) * 4)))
}

const fixTransport = (packet: Uint8Array, ip: number, offset: number): void => {
  put16(packet, ip + offset, 0)
  const sum = internetSum(packet.subarray(ip)) + pseudoSum(packet, ip)
  const value = 0xffff - (sum > 0xffff ? (sum & 0xffff) + 1 : sum)
  put16(packet, ip + offset, value === 0 && offset === 6 ? 0xffff : value)
}

/** Folded, not inverted. */
const pseudoSum = (packet: Uint8Array, ip: number): number => {
  const v4 = packet[0]! >>> 4 === 4
  const addresses = v4 ? packet.subarray(12, 20) : packet.subarray(8, 40)
  let sum = internetSum(addresses) + packet[v4 ? 9 : 6]! + (packet.length - ip)
  while (sum > 0xffff) sum = (sum & 0xffff) + Math.floor(sum / 65_536)
  return sum
}

const internetSum = (bytes: Uint8Array): number => {
  let sum = 0
  for (let i = 0; i < bytes.length; i++) sum += i % 2 === 0 ? bytes[i]! * 256 : bytes[i]!
  while (sum > 0xffff) sum = (sum % 65_536) + Math.floor(sum / 65_536)
  return sum
}

const check = (fact: boolean, what: string): void => {
  if (!fact) throw new Error(`the kernel would not take this super-packet: ${what}`)
}

const get16 = (bytes: Uint8Array, at: number): number => bytes[at]! * 256 + bytes[at + 1]!

const put16 = (bytes: Uint8Array, at: number, value: number): void => {
  bytes[at] = value >>> 8
  bytes[at + 1] = value & 255
}
