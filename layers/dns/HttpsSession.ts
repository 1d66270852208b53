import * as http from "node:http"
import * as http2 from "node:http2"
import type * as stream from "node:stream"
import type * as tls from "node:tls"
import * as Effect from "effect/Effect"
import type { ResolverServer } from "../../src/model/ResolverSet.ts"
import { formatHostPort } from "../../src/packet/endpoint.ts"
import { streamLimits, type StreamCounters } from "./StreamConnections.ts"
import { connectTls } from "./tlsSocket.ts"

type HttpsServer = Extract<ResolverServer, { readonly transport: "https" }>

/** The largest DNS message. */
const maxBodyBytes = 0xffff

const mediaType = "application/dns-message"

/** One question under way. `finish` may be called more than once; the first call counts. */
interface Exchange {
  readonly query: Uint8Array
  readonly finish: (answer: Effect.Effect<Uint8Array, string>) => void
  retried: boolean
  cancel: () => void
}

/**
 * DNS over HTTPS (RFC 8484, POST) to one server: over one HTTP/2 session with many streams, or, where the server does
 * not speak that, over a few HTTP/1.1 connections that are kept.
 */
export class HttpsSession {
  readonly #server: HttpsServer
  readonly #counters: StreamCounters
  readonly #authority: string
  /** Made for HTTP/1.1 servers at their first connection. */
  #agent: http.Agent | null = null
  /** HTTP/1.1 requests under way, each of which needs a connection; an agent whose sockets take time counts them late. */
  #requests = 0
  #session: http2.ClientHttp2Session | null = null
  /** Whether the session has answered anything. */
  #answered = false
  #connecting: tls.TLSSocket | null = null
  #waiting: Array<Exchange> = []
  #ended = false

  constructor(server: HttpsServer, counters: StreamCounters) {
    this.#server = server
    this.#counters = counters
    const { address, identity, port } = server
    const host = identity._tag === "Name" ? identity.name : address
    this.#authority = port === 443 ? formatHost(host) : formatHostPort(host, port)
  }

  exchange(query: Uint8Array, withinMs: number): Effect.Effect<Uint8Array, string> {
    return Effect.callback<Uint8Array, string>((resume) => {
      const exchange: Exchange = { query, finish: resume, retried: false, cancel: () => undefined }
      this.#send(exchange)
      return Effect.sync(() => {
        this.#waiting = this.#waiting.filter((other) => other !== exchange)
        exchange.cancel()
      })
    }).pipe(
      Effect.timeoutOrElse({
        duration: withinMs,
        orElse: () => Effect.fail(`no answer within ${withinMs} ms`)
      })
    )
  }

  close(): void {
    this.#ended = true
    this.#connecting?.destroy()
    this.#session?.destroy()
    this.#agent?.destroy()
  }

  #send(exchange: Exchange): void {
    if (this.#ended) return exchange.finish(Effect.fail("closed"))
    if (this.#session !== null) return this.#overHttp2(this.#session, exchange)
    if (this.#agent !== null && this.#requests < streamLimits.maxConnections) {
      return this.#overHttp1(this.#agent, exchange)
    }
    if (this.#waiting.length >= streamLimits.maxWaiting) {
      this.#counters.stream_full++
      return exchange.finish(Effect.fail("too many questions wait for it"))
    }
    this.#waiting.push(exchange)
    if (this.#agent !== null) return
    this.#connecting ??= this.#connect(["h2", "http/1.1"], (socket) => {
      if (socket.alpnProtocol === "h2") this.#session = this.#open(socket)
      else {
        socket.destroy()
        this.#agent = this.#makeAgent()
      }
      for (const waiting of this.#waiting.splice(0)) this.#send(waiting)
    })
  }

  #connect(protocols: ReadonlyArray<string>, onReady: (socket: tls.TLSSocket) => void): tls.TLSSocket {
    this.#counters.stream_connections++
    const socket = connectTls(this.#server, protocols, (ready) => {
      this.#connecting = null
      onReady(ready)
    })
    let cause = "connection closed"
    socket.once("error", (error: NodeJS.ErrnoException) => {
      cause = error.code ?? error.message
    })
    socket.once("close", () => {
      if (this.#connecting !== socket) return
      this.#connecting = null
      for (const waiting of this.#waiting.splice(0)) waiting.finish(Effect.fail(cause))
    })
    return socket
  }

  #open(socket: tls.TLSSocket): http2.ClientHttp2Session {
    const session = http2.connect(`https://${this.#authority}`, { createConnection: () => socket })
    this.#answered = false
    // Its streams are told of it.
    session.on("error", () => undefined)
    const gone = (): void => {
      if (this.#session === session) this.#session = null
    }
    session.on("goaway", gone)
    session.on("close", gone)
    session.setTimeout(streamLimits.idleMs, () => {
      gone()
      session.destroy()
    })
    return session
  }

  #overHttp2(session: http2.ClientHttp2Session, exchange: Exchange): void {
    const request = session.request({
      ":method": "POST",
      ":path": this.#server.path,
      ":authority": this.#authority,
      "content-type": mediaType,
      accept: mediaType,
      "content-length": String(exchange.query.length)
    })
    exchange.cancel = () => request.close(http2.constants.NGHTTP2_CANCEL)
    let responded = false
    let cause: string | null = null
    request.on("response", (headers) => {
      responded = true
      readBody(request, exchange, () => this.#checkHead(headers[":status"] ?? 0, headers["content-type"]))
    })
    request.on("error", (error: NodeJS.ErrnoException) => {
      cause = error.code ?? error.message
    })
    request.on("close", () => {
      if (!responded && this.#answered && this.#retry(exchange)) {
        if (this.#session === session) this.#session = null
        this.#send(exchange)
      } else exchange.finish(Effect.fail(cause ?? "connection closed without an answer"))
    })
    request.end(exchange.query)
  }

  #overHttp1(agent: http.Agent, exchange: Exchange): void {
    this.#requests++
    const request = http.request({
      agent,
      method: "POST",
      path: this.#server.path,
      headers: {
        host: this.#authority,
        "content-type": mediaType,
        accept: mediaType,
        "content-length": exchange.query.length
      }
    })
    exchange.cancel = () => request.destroy()
    request.on("response", (response) => {
      readBody(response, exchange, () => this.#checkHead(response.statusCode ?? 0, response.headers["content-type"]))
    })
    request.on("error", (error: NodeJS.ErrnoException) => {
      if (request.reusedSocket && this.#retry(exchange)) this.#send(exchange)
      else exchange.finish(Effect.fail(error.code ?? error.message))
    })
    request.on("close", () => {
      this.#requests--
      const next = this.#waiting.shift()
      if (next !== undefined) this.#send(next)
    })
    request.end(exchange.query)
  }

  /** Once: the server closed what it found idle at the moment in which the question was sent. */
  #retry(exchange: Exchange): boolean {
    if (exchange.retried || this.#ended) return false
    exchange.retried = true
    this.#counters.stream_reconnects++
    return true
  }

  #checkHead(status: number, type: string | undefined): string | null {
    this.#answered = true
    if (status !== 200) return `HTTP status ${status}`
    return type?.split(";")[0]?.trim().toLowerCase() === mediaType ? null : `no DNS message but ${type ?? "nothing"}`
  }

  /** Its sockets are verified before anything is written to them. */
  #makeAgent(): http.Agent {
    const agent = new http.Agent({
      keepAlive: true,
      maxSockets: streamLimits.maxConnections,
      timeout: streamLimits.idleMs
    })
    agent.createConnection = (_options, callback) => {
      this.#counters.stream_connections++
      const socket = connectTls(this.#server, ["http/1.1"], (ready) => {
        socket.off("error", failed)
        callback?.(null, ready)
      })
      const failed = (error: Error): void => callback?.(error, socket)
      socket.once("error", failed)
      return undefined
    }
    return agent
  }
}

/** Hands the whole body over, at most 64 KiB. */
const readBody = (body: stream.Readable, exchange: Exchange, check: () => string | null): void => {
  const chunks: Array<Uint8Array> = []
  let length = 0
  body.on("data", (chunk: Buffer) => {
    length += chunk.length
    if (length > maxBodyBytes) {
      exchange.finish(Effect.fail("its answer is longer than 64 KiB"))
      body.destroy()
    } else chunks.push(chunk)
  })
  body.on("end", () => {
    const problem = check()
    exchange.finish(problem === null ? Effect.succeed(Buffer.concat(chunks)) : Effect.fail(problem))
  })
}

const formatHost = (host: string): string => (host.includes(":") ? `[${host}]` : host)
