/** An IP address as canonical text, with a port. (Beside the packet path; there it is a `TransportAddress`.) */
export interface SocketAddress {
  readonly address: string
  readonly port: number
  /** Of a link-local address: the interface that it is meant at. */
  readonly interfaceIndex?: number
}
