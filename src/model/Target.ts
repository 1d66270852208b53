import type { Words } from "../packet/address.ts"

/** Where a packet is to go, as people write it: a name or an address, and what kind of packet it is. */
export interface Target {
  /** A name in lower case without a trailing dot, or a canonical address. */
  readonly host: string
  /** `undefined`: the host is a name. */
  readonly address: Words | undefined
  /** `null`: any. */
  readonly protocol: "tcp" | "udp" | "icmp" | null
  /** `null`: any, or a protocol without ports. */
  readonly port: number | null
}

/** `gitlab.corp.internal:443`, `10.20.0.5:53/udp`, `[fd00::1]:22`, `gitlab.corp.internal/icmp`; TCP where a port has no protocol. */
export const formatTarget = ({ address, host, port, protocol }: Target): string => {
  const isBracketed = address !== undefined && host.includes(":") && port !== null
  const at = port === null ? host : `${isBracketed ? `[${host}]` : host}:${port}`
  return protocol === null || (protocol === "tcp" && port !== null) ? at : `${at}/${protocol}`
}

/** `tcp/443`, `udp`, `icmp`; `null`: any packet. */
export const formatPacket = ({ port, protocol }: Target): string | null =>
  protocol === null ? null : port === null ? protocol : `${protocol}/${port}`
