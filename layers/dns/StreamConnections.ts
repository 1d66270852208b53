import * as crypto from "node:crypto"
import * as net from "node:net"
import * as Effect from "effect/Effect"
import type { ResolverServer } from "../../src/model/ResolverSet.ts"
import { frame, StreamFrames } from "../../src/dns/streamFrames.ts"
import { connectTls } from "./tlsSocket.ts"

export interface StreamCounters {
  /** Connections made, TCP and TLS, also HTTPS. */
  stream_connections: number
  /** Questions sent again since a connection that had been of use was closed under them. */
  stream_reconnects: number
  /** Questions that found all connections full. */
  stream_full: number
}

/** Of one server. */
export const streamLimits = {
  /** Some servers answer the questions of a connection one after the other. */
  maxConnections: 4,
  maxWaiting: 64,
  /** Nothing in flight and nothing said for so long: closed (RFC 7766 §6.2.3). */
  idleMs: 5_000
}

export type StreamLimits = Readonly<typeof streamLimits>

interface Waiting {
  readonly query: Uint8Array
  readonly resume: (answer: Effect.Effect<Uint8Array, string>) => void
  /** The last one that it was given to. */
  connection: Connection | null
  /** Of the connection, when this was sent. */
  receivedBefore: number
  retried: boolean
}

interface Connection {
  readonly socket: net.Socket
  readonly waiting: Map<number, Waiting>
  /** Questions that the server still has although nobody waits: it may answer one after the other. */
  abandoned: number
  ready: boolean
  /** Chunks that came. */
  received: number
  cause: string | null
}

/**
 * DNS over TCP (RFC 7766) and TLS (RFC 7858) to one server: connections are kept open for the next questions, several
 * at a time share one, answers come in any order.
 */
export class StreamConnections {
  readonly #server: ResolverServer
  readonly #counters: StreamCounters
  readonly #limits: StreamLimits
  readonly #connections = new Set<Connection>()
  #ended = false

  constructor(server: ResolverServer, counters: StreamCounters, limits: StreamLimits = streamLimits) {
    this.#server = server
    this.#limits = limits
    this.#counters = counters
  }

  /** The answer's bytes, under the query's id. Fails with a cause. */
  exchange(query: Uint8Array, withinMs: number): Effect.Effect<Uint8Array, string> {
    return Effect.suspend(() => {
      let mine: Waiting | null = null
      return Effect.callback<Uint8Array, string>((resume) => {
        mine = { query, resume, connection: null, receivedBefore: 0, retried: false }
        this.#send(mine)
        return Effect.sync(() => forget(mine!))
      }).pipe(
        Effect.timeoutOrElse({
          duration: withinMs,
          orElse: () => {
            // A connection on which nothing comes is dead: the next question takes a new one.
            const connection = mine?.connection
            if (connection && connection.received === mine!.receivedBefore) connection.socket.destroy()
            return Effect.fail(`no answer within ${withinMs} ms`)
          }
        })
      )
    })
  }

  close(): void {
    this.#ended = true
    for (const { socket } of this.#connections) socket.destroy()
  }

  #send(waiting: Waiting): void {
    const connection = this.#choose()
    if (connection === null) {
      this.#counters.stream_full++
      return waiting.resume(Effect.fail("too many questions wait for it"))
    }
    let id = crypto.randomInt(0x10000)
    while (connection.waiting.has(id)) id = crypto.randomInt(0x10000)
    waiting.connection = connection
    waiting.receivedBefore = connection.received
    connection.waiting.set(id, waiting)
    if (connection.ready) write(connection, id, waiting)
  }

  /** One without work, else a new one, else the one with the least. */
  #choose(): Connection | null {
    let best: Connection | null = null
    for (const connection of this.#connections) {
      if (best === null || workOf(connection) < workOf(best)) best = connection
    }
    if (best === null || (workOf(best) > 0 && this.#connections.size < this.#limits.maxConnections)) {
      return this.#open()
    }
    return best.waiting.size < this.#limits.maxWaiting ? best : null
  }

  #open(): Connection {
    this.#counters.stream_connections++
    const server = this.#server
    const onReady = (): void => {
      connection.ready = true
      socket.setTimeout(this.#limits.idleMs, () => {
        if (connection.waiting.size === 0) socket.destroy()
      })
      for (const [id, waiting] of connection.waiting) write(connection, id, waiting)
    }
    const socket =
      server.transport === "tls"
        ? connectTls(server, ["dot"], onReady)
        : net.connect({ host: server.address, port: server.port, noDelay: true }, onReady)
    const connection: Connection = { socket, waiting: new Map(), abandoned: 0, ready: false, received: 0, cause: null }
    const frames = new StreamFrames()
    this.#connections.add(connection)
    socket.setNoDelay(true)
    socket.on("error", (error: NodeJS.ErrnoException) => {
      connection.cause = error.code ?? error.message
    })
    socket.on("data", (chunk: Buffer) => {
      connection.received++
      const messages = frames.push(chunk)
      if (messages === null) {
        connection.cause = "what it sends is no DNS"
        socket.destroy()
        return
      }
      for (const message of messages) take(connection, message)
    })
    socket.on("end", () => socket.destroy())
    socket.on("close", () => this.#closed(connection))
    return connection
  }

  #closed(connection: Connection): void {
    this.#connections.delete(connection)
    const left = [...connection.waiting.values()]
    connection.waiting.clear()
    for (const waiting of left) {
      // A server may close what it finds idle at the moment in which a question is under way (RFC 7766 §6.2.4).
      if (connection.received > 0 && !waiting.retried && !this.#ended) {
        waiting.retried = true
        this.#counters.stream_reconnects++
        this.#send(waiting)
      } else waiting.resume(Effect.fail(connection.cause ?? "connection closed without an answer"))
    }
  }
}

const write = ({ socket }: Connection, id: number, { query }: Waiting): void => {
  const message = query.slice()
  message[0] = id >>> 8
  message[1] = id
  socket.write(frame(message))
}

const take = (connection: Connection, message: Uint8Array): void => {
  const id = (message[0]! << 8) | message[1]!
  const waiting = connection.waiting.get(id)
  // Of a question that nobody waits for any more.
  if (waiting === undefined) {
    connection.abandoned = Math.max(0, connection.abandoned - 1)
    return
  }
  connection.waiting.delete(id)
  message.set(waiting.query.subarray(0, 2))
  waiting.resume(Effect.succeed(message))
}

const forget = (waiting: Waiting): void => {
  const { connection } = waiting
  if (connection === null) return
  for (const [id, other] of connection.waiting) {
    if (other !== waiting) continue
    connection.waiting.delete(id)
    if (connection.ready) connection.abandoned++
  }
}

const workOf = ({ abandoned, waiting }: Connection): number => waiting.size + abandoned
