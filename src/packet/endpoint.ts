/**
 * Where a datagram came from and where it arrived: remote address and port, local address and
 * interface (so that a reply leaves from the address that was addressed). Mutable and reused, since
 * one is filled per datagram; keep one with `copyEndpoint`.
 */
import { formatAddress, isIpv4, type Words, words } from "./address.ts"

export interface Endpoint {
  readonly remote: Words
  port: number
  /** All zero when unknown: the kernel chooses. */
  readonly local: Words
  interfaceIndex: number
}

export const makeEndpoint = (): Endpoint => ({ remote: words(), port: 0, local: words(), interfaceIndex: 0 })

export const copyEndpoint = (from: Readonly<Endpoint>, to: Endpoint): void => {
  copyWords(from.remote, to.remote)
  copyWords(from.local, to.local)
  to.port = from.port
  to.interfaceIndex = from.interfaceIndex
}

/** Same remote address and port; the local side does not count. */
export const sameRemote = (a: Readonly<Endpoint>, b: Readonly<Endpoint>): boolean =>
  a.port === b.port &&
  a.remote.w3 === b.remote.w3 &&
  a.remote.w2 === b.remote.w2 &&
  a.remote.w1 === b.remote.w1 &&
  a.remote.w0 === b.remote.w0

export const formatEndpoint = (e: Readonly<Endpoint>): string =>
  isIpv4(e.remote) ? `${formatAddress(e.remote)}:${e.port}` : `[${formatAddress(e.remote)}]:${e.port}`

const copyWords = (from: Readonly<Words>, to: Words): void => {
  to.w0 = from.w0
  to.w1 = from.w1
  to.w2 = from.w2
  to.w3 = from.w3
}
