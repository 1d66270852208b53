/**
 * Builds whole IP packets from text addresses, with right checksums, for tests and the demo. Written
 * for clarity and independent of `src/packet` (address text apart), so that it can serve as its oracle.
 */
import { concat } from "../../src/packet/bytes.ts"
import { isIpv4, parseAddress, type Words } from "../../src/packet/address.ts"

export interface Extension {
  /** Next-header number of this extension: 0 hop-by-hop, 43 routing, 60 destination options, 51 authentication. */
  readonly type: number
  /** Everything after the next-header and length bytes; padded with zero to the unit the header needs. */
  readonly body?: Uint8Array
}

interface FragmentField {
  /** In bytes, a multiple of 8. */
  readonly offset: number
  readonly more: boolean
  readonly identification: number
}

export interface IpOptions {
  readonly source: string
  readonly destination: string
  readonly ttl?: number
  /** IPv4 type of service or IPv6 traffic class. */
  readonly trafficClass?: number
  /** IPv4 only; padded with zero (end of options) to a multiple of 4. */
  readonly options?: Uint8Array
  /** IPv6 only, in order; a fragment header comes after them. */
  readonly extensions?: ReadonlyArray<Extension>
  /** IPv4 only. */
  readonly dontFragment?: boolean
  /** IPv4 only; that of `fragment` goes first. */
  readonly identification?: number
  /** IPv6 only. */
  readonly flowLabel?: number
  /** Adds the fragment field (IPv6: header), also for offset 0 without more: an atomic fragment. */
  readonly fragment?: FragmentField
  /** Bytes of zero after the packet's own length, as WireGuard pads. */
  readonly padding?: number
}

export interface Ports {
  readonly sourcePort: number
  readonly destinationPort: number
  readonly payload?: Uint8Array
}

export interface TcpFields extends Ports {
  readonly flags?: number
  readonly sequence?: number
  readonly acknowledgement?: number
  readonly window?: number
  /** The three bits behind the header length, and the fourth that was ECN's nonce. */
  readonly reserved?: number
  readonly urgent?: number
  /** Padded with zero to a multiple of 4. */
  readonly tcpOptions?: Uint8Array
}

export interface EchoFields {
  readonly identifier: number
  readonly sequence?: number
  readonly reply?: boolean
  readonly payload?: Uint8Array
}

export const buildUdp = (o: IpOptions & Ports & { readonly withoutChecksum?: boolean }): Uint8Array => {
  const payload = o.payload ?? new Uint8Array()
  const udp = concat([be16(o.sourcePort), be16(o.destinationPort), be16(8 + payload.length), be16(0), payload])
  if (o.withoutChecksum !== true) put16(udp, 6, transportChecksum(o, 17, udp) || 0xffff)
  return buildIp(o, 17, udp)
}

export const buildTcp = (o: IpOptions & TcpFields): Uint8Array => {
  const options = pad(o.tcpOptions ?? new Uint8Array(), 4)
  const tcp = concat([
    be16(o.sourcePort),
    be16(o.destinationPort),
    be32(o.sequence ?? 1),
    be32(o.acknowledgement ?? 0),
    Uint8Array.of((((20 + options.length) / 4) << 4) | (o.reserved ?? 0), o.flags ?? 0x10),
    be16(o.window ?? 65535),
    be16(0),
    be16(o.urgent ?? 0),
    options,
    o.payload ?? new Uint8Array()
  ])
  put16(tcp, 16, transportChecksum(o, 6, tcp))
  return buildIp(o, 6, tcp)
}

export const buildEcho = (o: IpOptions & EchoFields): Uint8Array => {
  const v4 = isV4(o.source)
  const type = v4 ? (o.reply ? 0 : 8) : o.reply ? 129 : 128
  return buildIcmp({
    ...o,
    type,
    code: 0,
    rest: concat([be16(o.identifier), be16(o.sequence ?? 1)]),
    payload: o.payload ?? new Uint8Array()
  })
}

/** The packet under another traffic class. */
export const withTrafficClass = (packet: Uint8Array, trafficClass: number): Uint8Array => {
  const bytes = packet.slice()
  if (bytes[0]! >>> 4 === 6) {
    bytes[0] = 0x60 | (trafficClass >>> 4)
    bytes[1] = ((trafficClass & 15) << 4) | (bytes[1]! & 15)
    return bytes
  }
  bytes[1] = trafficClass
  put16(bytes, 10, 0)
  put16(bytes, 10, checksum(bytes.subarray(0, (bytes[0]! & 15) << 2)))
  return bytes
}

/** Any ICMP or ICMPv6 message: `rest` is the second word of its header. */
export const buildIcmp = (
  o: IpOptions & {
    readonly type: number
    readonly code: number
    readonly rest?: Uint8Array
    readonly payload: Uint8Array
  }
): Uint8Array => {
  const icmp = concat([Uint8Array.of(o.type, o.code), be16(0), o.rest ?? be32(0), o.payload])
  const v4 = isV4(o.source)
  put16(icmp, 2, v4 ? checksum(icmp) : transportChecksum(o, 58, icmp))
  return buildIp(o, v4 ? 1 : 58, icmp)
}

/** Cuts the payload of an unfragmented packet into fragments of at most `size` bytes (a multiple of 8) each. */
export const buildFragment = (
  o: IpOptions & {
    readonly protocol: number
    readonly data: Uint8Array
    readonly size: number
    readonly identification: number
  }
): Array<Uint8Array> => {
  const fragments: Array<Uint8Array> = []
  for (let at = 0; at < o.data.length; at += o.size) {
    const fragment = { offset: at, more: at + o.size < o.data.length, identification: o.identification }
    fragments.push(buildIp({ ...o, fragment }, o.protocol, o.data.subarray(at, at + o.size)))
  }
  return fragments
}

/** An in-tunnel control message. */
export const controlPacket = (event: number, payload: Uint8Array = new Uint8Array(), extensions?: [{ type: number }]) =>
  buildIp(
    { source: "::", destination: "::", ttl: 0, ...(extensions === undefined ? {} : { extensions }) },
    255,
    Uint8Array.of(event, 0, 0, 0, 0, 0, 0, 0, ...payload)
  )

/** An IP header (with options, extensions, fragment field) before `data`. */
export const buildIp = (o: IpOptions, protocol: number, data: Uint8Array): Uint8Array =>
  concat([isV4(o.source) ? buildIpv4(o, protocol, data) : buildIpv6(o, protocol, data), zeros(o.padding ?? 0)])

/** The bytes after the IP header (20 bytes without options, or 40 without extensions) of a built packet. */
export const dataOf = (packet: Uint8Array): Uint8Array => packet.slice(packet[0]! >>> 4 === 4 ? 20 : 40)

/** RFC 1071 read literally: 16-bit words added, carries added back, complement. */
export const checksum = (bytes: Uint8Array): number => {
  let sum = 0n
  const even = pad(bytes, 2)
  for (let i = 0; i < even.length; i += 2) sum += BigInt(even[i]! * 256 + even[i + 1]!)
  while (sum > 0xffffn) sum = (sum % 0x10000n) + sum / 0x10000n
  return 0xffff - Number(sum)
}

/** Checksum of a transport header plus data whose own checksum field is zero. */
export const transportChecksum = (o: IpOptions, protocol: number, data: Uint8Array): number =>
  checksum(concat([pseudoHeader(o, protocol, data.length), data]))

/** Folded, not inverted: what the kernel leaves in the field of a packet that needs its checksum completed. */
export const partialChecksum = (o: IpOptions, protocol: number, length: number): number =>
  0xffff - checksum(pseudoHeader(o, protocol, length))

export const addressBytes = (text: string): Uint8Array => {
  const a = addressWords(text)
  const all = concat([be32(a.w0), be32(a.w1), be32(a.w2), be32(a.w3)])
  return isIpv4(a) && !text.includes(":") ? all.slice(12) : all
}

/** Address words of text that is known to be right. */
export const addressWords = (text: string): Words => {
  const a = parseAddress(text)
  if (a === undefined) throw new Error(`not an address: ${text}`)
  return a
}

const isV4 = (text: string): boolean => !text.includes(":")

const pseudoHeader = (o: IpOptions, protocol: number, length: number): Uint8Array =>
  concat([addressBytes(o.source), addressBytes(o.destination), be32(length), be32(protocol)])

const buildIpv4 = (o: IpOptions, protocol: number, data: Uint8Array): Uint8Array => {
  const options = pad(o.options ?? new Uint8Array(), 4)
  const f = o.fragment ?? { offset: 0, more: false, identification: o.identification ?? 0 }
  const header = concat([
    Uint8Array.of(0x40 | ((20 + options.length) / 4), o.trafficClass ?? 0),
    be16(20 + options.length + data.length),
    be16(f.identification),
    be16((o.dontFragment ? 0x4000 : 0) | (f.more ? 0x2000 : 0) | (f.offset / 8)),
    Uint8Array.of(o.ttl ?? 64, protocol),
    be16(0),
    addressBytes(o.source),
    addressBytes(o.destination),
    options
  ])
  put16(header, 10, checksum(header))
  return concat([header, data])
}

const buildIpv6 = (o: IpOptions, protocol: number, data: Uint8Array): Uint8Array => {
  const chain = [...(o.extensions ?? []), ...(o.fragment === undefined ? [] : [{ type: 44 }])]
  const headers = chain.map((extension, i) => {
    const next = chain[i + 1]?.type ?? protocol
    const f = o.fragment
    if (extension.type === 44 && f !== undefined) {
      return concat([Uint8Array.of(next, 0), be16(f.offset | (f.more ? 1 : 0)), be32(f.identification)])
    }
    const whole = pad(concat([Uint8Array.of(next, 0), extension.body ?? zeros(6)]), 8)
    whole[1] = extension.type === 51 ? whole.length / 4 - 2 : whole.length / 8 - 1
    return whole
  })
  const rest = concat([...headers, data])
  return concat([
    be32(0x60000000 | ((o.trafficClass ?? 0) << 20) | (o.flowLabel ?? 0)),
    be16(rest.length),
    Uint8Array.of(chain[0]?.type ?? protocol, o.ttl ?? 64),
    addressBytes(o.source),
    addressBytes(o.destination),
    rest
  ])
}

const zeros = (n: number): Uint8Array => new Uint8Array(n)

const pad = (bytes: Uint8Array, unit: number): Uint8Array =>
  concat([bytes, zeros((unit - (bytes.length % unit)) % unit)])

const be16 = (n: number): Uint8Array => Uint8Array.of((n >>> 8) & 255, n & 255)

const be32 = (n: number): Uint8Array => Uint8Array.of((n >>> 24) & 255, (n >>> 16) & 255, (n >>> 8) & 255, n & 255)

const put16 = (bytes: Uint8Array, at: number, value: number): void => bytes.set(be16(value), at)
