/** What the story reads in captured packets: plain views over the first bytes of an IP packet. */
import { formatAddress, words } from "../../packet/address.ts"
import { protocolIcmp, protocolIcmpv6, protocolTcp, protocolUdp } from "../../packet/protocols.ts"

export interface CapturedPacket {
  /** Epoch milliseconds by the kernel's time stamp, to the microsecond. */
  readonly at: number
  readonly device: string
  readonly direction: "in" | "out"
  /** Length on the wire from the IP header on; `bytes` holds at most the first 256. */
  readonly length: number
  readonly bytes: Uint8Array
}

export interface IpView {
  readonly version: 4 | 6
  readonly protocol: number
  readonly source: string
  readonly destination: string
  /** The transport header and what follows, as far as captured. */
  readonly payload: Uint8Array
}

/** Reads the IP header; `undefined` for anything that is not a whole one. */
export const ipView = (bytes: Uint8Array): IpView | undefined => {
  const first = bytes[0] ?? 0
  if (first >>> 4 === 4) {
    const header = (first & 15) * 4
    if (header < 20 || bytes.length < header) return undefined
    return {
      version: 4,
      protocol: bytes[9]!,
      source: bytes.subarray(12, 16).join("."),
      destination: bytes.subarray(16, 20).join("."),
      payload: bytes.subarray(header)
    }
  }
  if (first >>> 4 !== 6 || bytes.length < 40) return undefined
  return {
    version: 6,
    protocol: bytes[6]!,
    source: ipv6Text(bytes, 8),
    destination: ipv6Text(bytes, 24),
    payload: bytes.subarray(40)
  }
}

/** Source and destination port of a TCP or UDP packet. */
export const ports = (ip: IpView): { readonly from: number; readonly to: number } | undefined =>
  (ip.protocol === protocolTcp || ip.protocol === protocolUdp) && ip.payload.length >= 4
    ? { from: word(ip.payload, 0), to: word(ip.payload, 2) }
    : undefined

/** What a TCP segment carries, as far as captured; empty for a bare segment. */
export const tcpData = (ip: IpView): Uint8Array => {
  if (ip.protocol !== protocolTcp || ip.payload.length < 20) return new Uint8Array()
  return ip.payload.subarray((ip.payload[12]! >>> 4) * 4)
}

export const udpData = (ip: IpView): Uint8Array =>
  ip.protocol === protocolUdp ? ip.payload.subarray(8) : new Uint8Array()

/** An ICMP destination-unreachable message (RFC 792, RFC 4443 §3.1) and what it is about. */
export interface Unreachable {
  readonly type: number
  readonly code: number
  readonly about: IpView | undefined
}

export const unreachable = (ip: IpView): Unreachable | undefined => {
  const type = ip.payload[0] ?? -1
  const wanted = (ip.protocol === protocolIcmp && type === 3) || (ip.protocol === protocolIcmpv6 && type === 1)
  if (!wanted || ip.payload.length < 8) return undefined
  return { type, code: ip.payload[1]!, about: ipView(ip.payload.subarray(8)) }
}

/** WireGuard message type of a UDP datagram with the length that goes with it: 1 initiation, 2 response. */
export const handshakeMessage = (packet: CapturedPacket): 1 | 2 | undefined => {
  const ip = ipView(packet.bytes)
  if (ip === undefined || ip.protocol !== protocolUdp) return undefined
  const type = udpData(ip)[0]
  const length = ip.payload.length < 6 ? 0 : word(ip.payload, 4) - 8
  if (type === 1 && length === 148) return 1
  return type === 2 && length === 92 ? 2 : undefined
}

/** DNS id, whether it is a response, and how many answers: enough to pair a query with its reply. */
export const dnsHeader = (data: Uint8Array): { id: number; response: boolean; answers: number } | undefined =>
  data.length < 12 ? undefined : { id: word(data, 0), response: (data[2]! & 0x80) !== 0, answers: word(data, 6) }

/** The printable text in some bytes, for finding a marker or a header line. */
export const ascii = (bytes: Uint8Array): string => {
  let text = ""
  for (const byte of bytes) text += String.fromCharCode(byte)
  return text
}

const word = (bytes: Uint8Array, offset: number): number => (bytes[offset]! << 8) | bytes[offset + 1]!

const ipv6Text = (bytes: Uint8Array, offset: number): string =>
  formatAddress(words(quad(bytes, offset), quad(bytes, offset + 4), quad(bytes, offset + 8), quad(bytes, offset + 12)))

const quad = (bytes: Uint8Array, offset: number): number => (word(bytes, offset) << 16) | word(bytes, offset + 2)
