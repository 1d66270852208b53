/** An IP address as canonical text, with a port. (Beside the packet path; there it is a `TransportAddress`.) */
export interface SocketAddress {
  readonly address: string
  readonly port: number
}
