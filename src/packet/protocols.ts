/** IP protocol numbers the gateway knows (IANA protocol-numbers registry). */
export const protocolIcmp = 1
export const protocolTcp = 6
export const protocolUdp = 17
export const protocolIcmpv6 = 58

/** TCP flag bits as they stand in `PacketView.tcpFlags` (RFC 9293 §3.1). */
export const tcpFin = 0x01
export const tcpSyn = 0x02
export const tcpRst = 0x04
export const tcpPsh = 0x08
export const tcpAck = 0x10

/** Largest IP packet there is without IPv6 jumbograms, which are refused. */
export const maxPacketLength = 65535
