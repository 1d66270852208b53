import type * as net from "node:net"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"
import type { DnsSocketError } from "../../src/host/DnsSockets.ts"
import type { SocketAddress } from "../../src/model/SocketAddress.ts"

export const defaultTcpLimits = {
  maxConnections: 1_024,
  maxPerSource: 128,
  /** Without a whole query for so long, and none being answered, a connection is closed. */
  idleMs: 10_000,
  /** Queries of one connection that wait or are answered at a time; then its reading pauses. */
  maxPipelined: 128,
  /** Of all connections of a source, but for one of each. */
  maxPending: 256,
  maxQueryBytes: 4096,
  /** Of answers that a source's connections have not read. */
  maxUnreadBytes: 4 * 1024 * 1024
}

export type TcpLimits = Readonly<typeof defaultTcpLimits>

/** One that nothing is asked on just now may be closed for another: clients expect that (RFC 7766 §6.2.3). */
interface Connection {
  readonly socket: net.Socket
  readonly source: Source
  /** Queries that wait or are answered: bounded, since reading stops at the limit. */
  pending: number
}

interface Source {
  readonly address: string
  connections: number
  pending: number
  unreadBytes: number
}

/**
 * DNS over TCP (RFC 7766): two bytes of length before each message; answers in the order they are ready. A source has no
 * more connections than its limit and than there is room for beside it. Beyond, its longest idle one makes room for a new
 * one, or anybody's when it has none; only where all are at work is a new one refused.
 */
export const dnsTcpServer = Effect.fnUntraced(function* (options: {
  readonly listen: Effect.Effect<net.Server, DnsSocketError, Scope.Scope>
  readonly handler: (bytes: Uint8Array, source: SocketAddress) => Effect.Effect<Uint8Array | null>
  readonly limits: TcpLimits
  readonly counters: {
    tcp_queries: number
    tcp_connections: number
    tcp_refused: number
    tcp_closed_idle: number
    tcp_closed_for_new: number
    tcp_closed_oversize: number
    tcp_closed_unread: number
    tcp_closed_unanswered: number
  }
}) {
  const { counters, handler, limits } = options
  const server = yield* options.listen
  const fibers = yield* FiberSet.make<void>()
  const run = yield* FiberSet.runtime(fibers)()
  const sources = new Map<string, Source>()
  let connections = 0
  /** Longest idle first. */
  const idle = new Set<Connection>()

  /** What gets no answer is garbage or part of a flood: with the connection goes all that is sent on it. */
  const hangUp = (socket: net.Socket): Effect.Effect<void> =>
    Effect.sync(() => {
      if (!socket.destroyed) counters.tcp_closed_unanswered++
      socket.destroy()
    })

  const cutOff = (socket: net.Socket): void => {
    if (!socket.destroyed) counters.tcp_closed_unread++
    socket.destroy()
  }

  /** Waits until the kernel has the bytes; a peer that does not read for that long, or leaves too much unread, is cut off. */
  const write = ({ socket, source }: Connection, reply: Uint8Array): Effect.Effect<void> =>
    Effect.callback<void>((resume) => {
      if (!socket.writable) return resume(Effect.void)
      const framed = Buffer.concat([Buffer.from([reply.length >>> 8, reply.length & 255]), reply])
      source.unreadBytes += framed.length
      if (source.unreadBytes > limits.maxUnreadBytes) cutOff(socket)
      socket.write(framed, () => {
        source.unreadBytes -= framed.length
        resume(Effect.void)
      })
    }).pipe(
      Effect.timeoutOrElse({
        duration: limits.idleMs,
        orElse: () => Effect.sync(() => cutOff(socket))
      })
    )

  const serve = Effect.fnUntraced(function* (own: Connection, source: SocketAddress) {
    const { socket } = own
    const queries = yield* Queue.unbounded<Uint8Array>()
    const answering = yield* FiberSet.make<void>()
    const runAnswer = yield* FiberSet.runtime(answering)()
    let received = Buffer.alloc(0)
    const closed = yield* Deferred.make<void>()
    let ended = false
    const endWhenAnswered = (): void => {
      if (ended && own.pending === 0) Deferred.doneUnsafe(closed, Effect.void)
    }
    socket.once("close", () => Deferred.doneUnsafe(closed, Effect.void))
    socket.once("end", () => {
      ended = true
      endWhenAnswered()
    })
    const mayRead = (): boolean =>
      own.pending === 0 || (own.pending < limits.maxPipelined && own.source.pending < limits.maxPending)
    const readFrames = (): void => {
      while (mayRead() && received.length >= 2) {
        const length = received.readUInt16BE(0)
        if (length > limits.maxQueryBytes) {
          counters.tcp_closed_oversize++
          socket.destroy()
          return
        }
        if (received.length < 2 + length) break
        own.pending++
        own.source.pending++
        idle.delete(own)
        counters.tcp_queries++
        Queue.offerUnsafe(queries, Uint8Array.from(received.subarray(2, 2 + length)))
        received = received.subarray(2 + length)
      }
      if (!mayRead()) socket.pause()
      else if (socket.isPaused()) socket.resume()
    }
    const answer = (query: Uint8Array): Effect.Effect<void> =>
      handler(query, source).pipe(
        Effect.flatMap((reply) => (reply === null ? hangUp(socket) : write(own, reply))),
        Effect.ensuring(
          Effect.sync(() => {
            own.pending--
            own.source.pending--
            readFrames()
            if (own.pending === 0 && !socket.destroyed) idle.add(own)
            endWhenAnswered()
          })
        )
      )
    socket.on("data", (chunk: Buffer) => {
      received = Buffer.concat([received, chunk])
      readFrames()
    })
    const loop = Effect.gen(function* () {
      for (;;) {
        const query = yield* Queue.take(queries).pipe(Effect.timeoutOption(limits.idleMs))
        if (Option.isSome(query)) runAnswer(answer(query.value))
        else if (own.pending === 0) {
          counters.tcp_closed_idle++
          return
        }
      }
    })
    yield* Effect.raceFirst(loop, Deferred.await(closed))
  })

  const ended = ({ pending, socket, source }: Connection): void => {
    socket.destroy()
    connections--
    source.pending -= pending
    source.connections--
    if (source.connections === 0) sources.delete(source.address)
  }

  /** Closes the longest idle connection of the source, or of anybody when that one may have more. */
  const makeRoom = (source: Source): boolean => {
    const all = [...idle]
    const own = all.find((connection) => connection.source === source)
    const closing = own ?? (source.connections < limits.maxPerSource ? all[0] : undefined)
    if (closing === undefined) return false
    idle.delete(closing)
    counters.tcp_closed_for_new++
    closing.socket.destroy()
    return true
  }

  const accept = (socket: net.Socket): void => {
    socket.on("error", () => socket.destroy())
    const { remoteAddress: address = "", remotePort: port = 0 } = socket
    const source = sources.get(address) ?? { address, connections: 0, pending: 0, unreadBytes: 0 }
    const full = source.connections >= Math.min(limits.maxPerSource, limits.maxConnections - connections)
    // Without an address it is closed already.
    if (address === "" || (full && !makeRoom(source))) {
      counters.tcp_refused++
      socket.destroy()
      return
    }
    counters.tcp_connections++
    connections++
    source.connections++
    sources.set(address, source)
    const own = { socket, source, pending: 0 }
    idle.add(own)
    socket.once("close", () => idle.delete(own))
    run(serve(own, { address, port }).pipe(Effect.scoped, Effect.ensuring(Effect.sync(() => ended(own)))))
  }
  server.on("connection", accept)
  return server
})
