import * as dgram from "node:dgram"
import * as net from "node:net"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { formatHostPort } from "../../src/packet/endpoint.ts"

export interface DnsServerAddress {
  /** An address text; link-local ones with their zone. */
  readonly address: string
  readonly port: number
}

export const formatServer = (server: DnsServerAddress): string => formatHostPort(server.address, server.port)

export interface DnsUdpSocket {
  /** Sends, now or as soon as the socket is connected. Problems go to `onProblem`. */
  readonly send: (bytes: Uint8Array) => void
}

/**
 * A UDP socket on a fresh port that the kernel picks at random, connected: only datagrams of that server arrive, and
 * an ICMP error ends up in `onProblem` (with the error's code). Closed with the scope.
 */
export const openUdp = (
  server: DnsServerAddress,
  onDatagram: (bytes: Uint8Array) => void,
  onProblem: (cause: string) => void
): Effect.Effect<DnsUdpSocket, never, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(
      Effect.sync(() => {
        const socket = dgram.createSocket(net.isIPv6(server.address) ? "udp6" : "udp4")
        const waiting: Array<Uint8Array> = []
        let connected = false
        let closed = false
        const problem = (error: NodeJS.ErrnoException): void => onProblem(error.code ?? error.message)
        const transmit = (bytes: Uint8Array): void =>
          socket.send(bytes, (error) => (error === null || closed ? undefined : problem(error)))
        socket.on("error", problem)
        socket.on("message", (bytes, from) => {
          // What came between bind and connect is not filtered by the kernel.
          if (from.port === server.port && withoutZone(from.address) === withoutZone(server.address)) onDatagram(bytes)
        })
        socket.once("connect", () => {
          connected = true
          for (const bytes of waiting.splice(0)) transmit(bytes)
        })
        socket.connect(server.port, server.address)
        return {
          send: (bytes: Uint8Array): void => {
            if (connected) transmit(bytes)
            else waiting.push(bytes)
          },
          close: (): void => {
            closed = true
            socket.close()
          }
        }
      }),
      (socket) => Effect.sync(socket.close)
    ),
    ({ send }) => ({ send })
  )

/** One query over a TCP connection of its own (RFC 7766). Reads one framed answer, at most 64 KiB; fails with a cause. */
export const exchangeTcp = (
  server: DnsServerAddress,
  query: Uint8Array,
  withinMs: number
): Effect.Effect<Uint8Array, string> =>
  Effect.callback<Uint8Array, string>((resume) => {
    const socket = net.connect({ host: server.address, port: server.port, noDelay: true })
    let received = Buffer.alloc(0)
    socket.on("error", (error: NodeJS.ErrnoException) => resume(Effect.fail(error.code ?? error.message)))
    socket.on("connect", () =>
      socket.write(Buffer.concat([Buffer.from([query.length >>> 8, query.length & 255]), query]))
    )
    socket.on("data", (chunk: Buffer) => {
      received = Buffer.concat([received, chunk])
      if (received.length < 2) return
      const length = received.readUInt16BE(0)
      if (received.length < 2 + length) return
      socket.destroy()
      resume(Effect.succeed(Uint8Array.from(received.subarray(2, 2 + length))))
    })
    socket.on("close", () => resume(Effect.fail("connection closed without an answer")))
    return Effect.sync(() => {
      socket.destroy()
    })
  }).pipe(
    Effect.timeoutOrElse({ duration: withinMs, orElse: () => Effect.fail(`no answer over TCP within ${withinMs} ms`) })
  )

const withoutZone = (address: string): string => address.split("%")[0]!
