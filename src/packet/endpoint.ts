/**
 * Where a datagram came from and where it arrived: remote address and port, local address and
 * interface (so that a reply leaves from the address that was addressed). Mutable and reused, since
 * one is filled per datagram; keep one with `copyEndpoint`.
 */
import { copyWords, equal, type Words, words } from "./address.ts"

export interface Endpoint {
  readonly remote: Words
  port: number
  /** All zero when unknown: the kernel chooses. */
  readonly local: Words
  interfaceIndex: number
  /**
   * 0: reached directly. Else the handle of a relay's channel: `remote` is then the peer behind the relay, `local` our
   * address at the relay, and datagrams travel as ChannelData (RFC 8656 §12) to and from the relay itself. Below 0: by
   * another gateway of the site, which has `local` (`HandOver`).
   */
  channel: number
}

export const makeEndpoint = (): Endpoint => ({
  remote: words(),
  port: 0,
  local: words(),
  interfaceIndex: 0,
  channel: 0
})

export const copyEndpoint = (from: Readonly<Endpoint>, to: Endpoint): void => {
  copyWords(from.remote, to.remote)
  copyWords(from.local, to.local)
  to.port = from.port
  to.interfaceIndex = from.interfaceIndex
  to.channel = from.channel
}

/** Same remote address and port on the same way, directly or by the same channel; the local address does not count. */
export const sameRemote = (a: Readonly<Endpoint>, b: Readonly<Endpoint>): boolean =>
  a.port === b.port && a.channel === b.channel && equal(a.remote, b.remote)

/** `host:port` of a name or an address text, IPv6 in brackets. */
export const formatHostPort = (host: string, port: number): string =>
  host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`
