import * as dgram from "node:dgram"
import * as net from "node:net"
import type { ResolverServer } from "../../src/model/ResolverSet.ts"

export interface DnsUdpSocket {
  /** Sends, now or as soon as the socket is connected. Problems go to `onProblem`. */
  readonly send: (bytes: Uint8Array) => void
  readonly close: () => void
}

/**
 * A UDP socket on a fresh port that the kernel picks at random, connected: only datagrams of that server arrive, and
 * an ICMP error ends up in `onProblem` (with the error's code). Neither is called before this returns.
 */
export const openUdp = (
  server: Pick<ResolverServer, "address" | "port">,
  onDatagram: (bytes: Uint8Array) => void,
  onProblem: (cause: string) => void
): DnsUdpSocket => {
  const type = net.isIPv6(server.address) ? "udp6" : "udp4"
  const socket = dgram.createSocket({ type, lookup: addressItself })
  const waiting: Array<Uint8Array> = []
  let connected = false
  let closed = false
  const problem = (error: NodeJS.ErrnoException): void => {
    if (!closed) onProblem(error.code ?? error.message)
  }
  const transmit = (bytes: Uint8Array): void =>
    socket.send(bytes, (error) => (error === null ? undefined : problem(error)))
  // That no port can be had is met during this very call.
  socket.on("error", (error) => queueMicrotask(() => problem(error)))
  socket.on("message", (bytes, from) => {
    // What came between bind and connect is not filtered by the kernel.
    if (from.port === server.port && withoutZone(from.address) === withoutZone(server.address)) onDatagram(bytes)
  })
  socket.once("connect", () => {
    // It is told of in a later turn.
    if (closed) return
    connected = true
    for (const bytes of waiting.splice(0)) transmit(bytes)
  })
  // By itself `connect` binds, too, but what could not be bound could not be closed either.
  socket.once("listening", () => socket.connect(server.port, server.address))
  socket.bind({ port: 0, exclusive: true })
  return {
    send: (bytes) => {
      if (connected) transmit(bytes)
      else waiting.push(bytes)
    },
    close: () => {
      if (closed) return
      closed = true
      socket.close()
    }
  }
}

/** For sockets that send to addresses only: Node would take each for a name, and go on in a later turn. */
export const addressItself: dgram.SocketOptions["lookup"] = (address, _, callback) =>
  callback(null, address, address.includes(":") ? 6 : 4)

const withoutZone = (address: string): string => address.split("%")[0]!
