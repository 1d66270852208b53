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
  maxConnections: 64,
  maxPerSource: 8,
  /** Without a whole query for so long, and none being answered, a connection is closed. */
  idleMs: 10_000,
  /** Queries of one connection that wait or are answered at a time; then its reading pauses. */
  maxPipelined: 8,
  maxQueryBytes: 4096
}

export type TcpLimits = Readonly<typeof defaultTcpLimits>

/** DNS over TCP (RFC 7766): two bytes of length before each message; answers in the order they are ready. */
export const dnsTcpServer = Effect.fnUntraced(function* (options: {
  readonly listen: Effect.Effect<net.Server, DnsSocketError, Scope.Scope>
  readonly handler: (bytes: Uint8Array, source: SocketAddress) => Effect.Effect<Uint8Array | null>
  readonly limits: TcpLimits
  readonly counters: {
    tcp_queries: number
    tcp_connections: number
    tcp_refused: number
    tcp_closed_idle: number
    tcp_closed_oversize: number
  }
}) {
  const { counters, handler, limits } = options
  const server = yield* options.listen
  const fibers = yield* FiberSet.make<void>()
  const run = yield* FiberSet.runtime(fibers)()
  const perSource = new Map<string, number>()
  let connections = 0

  const serve = Effect.fnUntraced(function* (socket: net.Socket, source: SocketAddress) {
    const queries = yield* Queue.unbounded<Uint8Array>()
    const answering = yield* FiberSet.make<void>()
    const runAnswer = yield* FiberSet.runtime(answering)()
    /** Queued or being answered: bounded, since reading stops at the limit. */
    let pending = 0
    let received = Buffer.alloc(0)
    const closed = yield* Deferred.make<void>()
    let ended = false
    const endWhenAnswered = (): void => {
      if (ended && pending === 0) Deferred.doneUnsafe(closed, Effect.void)
    }
    socket.once("close", () => Deferred.doneUnsafe(closed, Effect.void))
    socket.once("end", () => {
      ended = true
      endWhenAnswered()
    })
    const readFrames = (): void => {
      while (pending < limits.maxPipelined && received.length >= 2) {
        const length = received.readUInt16BE(0)
        if (length > limits.maxQueryBytes) {
          counters.tcp_closed_oversize++
          socket.destroy()
          return
        }
        if (received.length < 2 + length) break
        pending++
        counters.tcp_queries++
        Queue.offerUnsafe(queries, Uint8Array.from(received.subarray(2, 2 + length)))
        received = received.subarray(2 + length)
      }
      if (pending >= limits.maxPipelined) socket.pause()
      else if (socket.isPaused()) socket.resume()
    }
    const answer = (query: Uint8Array): Effect.Effect<void> =>
      handler(query, source).pipe(
        Effect.flatMap((reply) => (reply === null ? Effect.void : write(socket, reply, limits.idleMs))),
        Effect.ensuring(
          Effect.sync(() => {
            pending--
            readFrames()
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
        else if (pending === 0) {
          counters.tcp_closed_idle++
          return
        }
      }
    })
    yield* Effect.raceFirst(loop, Deferred.await(closed))
  })

  const connection = (socket: net.Socket, source: SocketAddress): Effect.Effect<void> =>
    serve(socket, source).pipe(
      Effect.scoped,
      Effect.ensuring(
        Effect.sync(() => {
          socket.destroy()
          connections--
          const left = (perSource.get(source.address) ?? 1) - 1
          if (left > 0) perSource.set(source.address, left)
          else perSource.delete(source.address)
        })
      )
    )

  const accept = (socket: net.Socket): void => {
    socket.on("error", () => socket.destroy())
    const { remoteAddress: address, remotePort: port } = socket
    const used = perSource.get(address ?? "") ?? 0
    if (address === undefined || connections >= limits.maxConnections || used >= limits.maxPerSource) {
      counters.tcp_refused++
      socket.destroy()
      return
    }
    counters.tcp_connections++
    connections++
    perSource.set(address, used + 1)
    run(connection(socket, { address, port: port ?? 0 }))
  }
  server.on("connection", accept)
  return server
})

/** Waits until the kernel has the bytes; a peer that does not read for that long is cut off. */
const write = (socket: net.Socket, reply: Uint8Array, withinMs: number): Effect.Effect<void> =>
  Effect.callback<void>((resume) => {
    if (!socket.writable) return resume(Effect.void)
    const framed = Buffer.concat([Buffer.from([reply.length >>> 8, reply.length & 255]), reply])
    socket.write(framed, () => resume(Effect.void))
  }).pipe(
    Effect.timeoutOrElse({
      duration: withinMs,
      orElse: () =>
        Effect.sync(() => {
          socket.destroy()
        })
    })
  )
