/** An address and a UDP port, for everything beside the packet path: immutable, compared by value. */
import { equal, formatAddress, parseAddress, type Words } from "./address.ts"
import { formatHostPort } from "./endpoint.ts"

export interface TransportAddress {
  readonly address: Readonly<Words>
  readonly port: number
}

/** `undefined` when `text` is no IP address or `port` no port. */
export const transportAddress = (text: string, port: number): TransportAddress | undefined => {
  const address = parseAddress(text)
  return address === undefined || !Number.isInteger(port) || port < 0 || port > 65_535 ? undefined : { address, port }
}

export const sameTransport = (a: TransportAddress, b: TransportAddress): boolean =>
  a.port === b.port && equal(a.address, b.address)

/** `1.2.3.4:5`, `[::1]:5`. */
export const formatTransport = (a: TransportAddress): string => formatHostPort(formatAddress(a.address), a.port)
