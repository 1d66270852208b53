/** Why `parsePacket` refused a packet. */
export const ParseReason = {
  Truncated: 1,
  BadVersion: 2,
  BadHeaderLength: 3,
  BadLength: 4,
  TransportTruncated: 5,
  TooManyExtensions: 6,
  /** A header in a place where RFC 8200 §4.1 does not allow it, or malformed IPv4 options. */
  BadExtension: 7,
  /** Asks to be sent on elsewhere (IPv4 source routes, IPv6 routing headers with segments left): would evade policy. */
  SourceRouted: 8,
  /** An IPv6 header with an IPv4-mapped address would be taken for the IPv4 host of that address. */
  MappedAddress: 9,
  /** A fragment that ends beyond the largest packet, or not the last one and of no multiple of 8 bytes (RFC 791, RFC 8200). */
  BadFragment: 10
} as const
