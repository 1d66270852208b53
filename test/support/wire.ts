/** What system tests look for in captured packets. */
import {
  ascii,
  type CapturedPacket,
  dnsHeader,
  ipView,
  ports,
  tcpData,
  udpData,
  unreachable
} from "../../src/lab/demo/packets.ts"
import { protocolIcmp, protocolIcmpv6, protocolTcp } from "../../src/packet/protocols.ts"

export type Predicate = (packet: CapturedPacket) => boolean

/** The first segment of a TCP connection that a program opens to this address (and port). */
export const isSyn =
  (to: string, port?: number): Predicate =>
  ({ bytes, direction }) => {
    const ip = ipView(bytes)
    if (ip?.protocol !== protocolTcp || ip.destination !== to || direction !== "out") return false
    return (ip.payload[13]! & 0x12) === 0x02 && (port === undefined || ports(ip)?.to === port)
  }

/** A TCP segment with data that comes from this address. */
export const isDataFrom =
  (from: string): Predicate =>
  ({ bytes, direction }) => {
    const ip = ipView(bytes)
    return ip?.protocol === protocolTcp && ip.source === from && direction === "in" && tcpData(ip).length > 0
  }

/** `type/code` of an ICMP destination-unreachable message that is about a packet to this address. */
export const unreachableAbout = ({ bytes, direction }: CapturedPacket, to: string): string | undefined => {
  const ip = ipView(bytes)
  if (ip === undefined || direction !== "in") return undefined
  const message = unreachable(ip)
  return message?.about?.destination === to ? `${message.type}/${message.code}` : undefined
}

export const isUnreachableAbout =
  (to: string): Predicate =>
  (packet) =>
    unreachableAbout(packet, to) !== undefined

/** A DNS message (question or answer) with this name in it. */
export const isDns =
  (name: string, kind: "query" | "response"): Predicate =>
  ({ bytes }) => {
    const ip = ipView(bytes)
    const pair = ip === undefined ? undefined : ports(ip)
    if (ip === undefined || (kind === "query" ? pair?.to : pair?.from) !== 53) return false
    const data = udpData(ip)
    const header = dnsHeader(data)
    if (header === undefined || header.response !== (kind === "response")) return false
    // A server is asked in random case; lengths of labels are no letters.
    return ascii(data)
      .toLowerCase()
      .includes(name.replaceAll(/[^.]+/g, (label) => String.fromCharCode(label.length) + label).replaceAll(".", ""))
  }

/** An echo reply from this address. */
export const isEchoReply =
  (from: string): Predicate =>
  ({ bytes, direction }) => {
    const ip = ipView(bytes)
    if (ip === undefined || direction !== "in" || ip.source !== from) return false
    return (
      (ip.protocol === protocolIcmp && ip.payload[0] === 0) || (ip.protocol === protocolIcmpv6 && ip.payload[0] === 129)
    )
  }
