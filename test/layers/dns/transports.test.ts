/** Servers over TCP, TLS and HTTPS: connections that are kept, and who is believed to be the server. */
import type * as http from "node:http"
import * as http2 from "node:http2"
import * as https from "node:https"
import * as net from "node:net"
import * as os from "node:os"
import * as tls from "node:tls"
import { assert, beforeAll, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"
import { decode } from "../../../src/dns/decode.ts"
import { isMalformed } from "../../../src/dns/message.ts"
import { recordType } from "../../../src/dns/registry.ts"
import { frame, StreamFrames } from "../../../src/dns/streamFrames.ts"
import { Upstream } from "../../../src/dns/Upstream.ts"
import { formatServer, type ResolverServer, type ServerIdentity } from "../../../src/model/ResolverSet.ts"
import { SetProbe } from "../../../src/resolution/SetProbe.ts"
import { StreamConnections, streamLimits } from "../../../layers/dns/StreamConnections.ts"
import { layer as setProbe } from "../../../layers/dns/setProbe.ts"
import * as UpstreamLive from "../../../layers/dns/Upstream.ts"
import { type Certificate, certificateAuthority } from "../../support/certificates.ts"
import { replyTo } from "../../support/oddDnsServer.ts"

/** Of an authority that this process knows, of one that it does not, and one for another name. */
let known: Certificate
let stranger: Certificate
let other: Certificate

beforeAll(() =>
  Effect.runPromise(
    Effect.scoped(
      Effect.gen(function* () {
        const authority = yield* certificateAuthority
        const unknown = yield* certificateAuthority
        known = yield* Effect.promise(() => authority.issue("DNS:dns.test,IP:127.0.0.1"))
        other = yield* Effect.promise(() => authority.issue("DNS:elsewhere.test"))
        stranger = yield* Effect.promise(() => unknown.issue("DNS:dns.test,IP:127.0.0.1"))
        tls.setDefaultCACertificates([...tls.getCACertificates("bundled"), authority.cert])
      })
    )
  )
)

const named = (name: string): ServerIdentity => ({ _tag: "Name", name })

const using =
  (servers: ReadonlyArray<ResolverServer>, options: Partial<UpstreamLive.UpstreamOptions> = {}) =>
  <A, E>(body: Effect.Effect<A, E, Upstream>): Effect.Effect<A, E> =>
    Effect.provide(
      body,
      UpstreamLive.layer({ sets: { corp: { servers, order: "fallback" } }, resolvConf: os.devNull, ...options })
    )

const ask = (domain = "app.test") =>
  Upstream.use((upstream) => upstream.exchange("corp", { domain, type: recordType.A })).pipe(
    Effect.map((message) => message.answers.map(({ data, name }) => [name, data._tag === "Address" && data.address]))
  )

const good = (domain = "app.test") => [[domain, "10.0.0.1"]]

const failureOf = (servers: ReadonlyArray<ResolverServer>) =>
  ask().pipe(
    Effect.flip,
    Effect.map(({ reason }) => ("detail" in reason ? `${reason._tag}: ${reason.detail}` : reason._tag)),
    using(servers)
  )

interface StreamServer {
  readonly port: number
  readonly asked: ReadonlyArray<string>
  readonly connections: () => number
  readonly opened: () => number
}

/** A server over TCP, or over TLS with a certificate. `answer` gets each question with the means to answer it. */
const streamServer = (
  certificate: Certificate | null,
  answer: (question: {
    readonly name: string
    readonly n: number
    readonly reply: () => void
    readonly close: () => void
  }) => void = ({ reply }) => reply()
): Effect.Effect<StreamServer, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.promise(async () => {
      const asked: Array<string> = []
      const sockets = new Set<net.Socket>()
      let opened = 0
      const serve = (socket: net.Socket): void => {
        opened++
        sockets.add(socket)
        socket.on("close", () => sockets.delete(socket))
        socket.on("error", () => socket.destroy())
        const frames = new StreamFrames()
        let n = 0
        socket.on("data", (chunk: Buffer) => {
          for (const bytes of frames.push(chunk) ?? []) {
            const query = decode(bytes)
            if (isMalformed(query)) continue
            const name = query.questions[0]!.name.toLowerCase()
            asked.push(name)
            answer({ name, n: n++, reply: () => socket.write(frame(replyTo(query))), close: () => socket.destroy() })
          }
        })
      }
      const server = certificate === null ? net.createServer(serve) : tls.createServer(certificate, serve)
      server.on("tlsClientError", () => undefined)
      await new Promise<void>((resolve) => {
        server.listen(0, "127.0.0.1", resolve)
      })
      const { port } = server.address() as net.AddressInfo
      const close = (): void => {
        for (const socket of sockets) socket.destroy()
        server.close()
      }
      return { port, asked, connections: () => sockets.size, opened: () => opened, close }
    }),
    ({ close }) => Effect.sync(close)
  )

const eventually = (condition: () => boolean): Effect.Effect<void> =>
  Effect.gen(function* () {
    for (let i = 0; !condition(); i++) {
      assert.isBelow(i, 4_000, "within 20 s")
      yield* Effect.sleep(5)
    }
  })

const over = (transport: "tcp" | "tls", port: number): ResolverServer =>
  transport === "tcp"
    ? { transport, address: "127.0.0.1", port }
    : { transport, address: "127.0.0.1", port, identity: named("dns.test") }

for (const transport of ["tcp", "tls"] as const) {
  const certificate = () => (transport === "tcp" ? null : known)

  describe(`${transport}://`, () => {
    it.live("questions one after the other share a connection, which closes with the gateway", () =>
      Effect.gen(function* () {
        const server = yield* streamServer(certificate())
        yield* Effect.gen(function* () {
          for (let i = 0; i < 10; i++) assert.deepStrictEqual(yield* ask(`n${i}.test`), good(`n${i}.test`))
          assert.strictEqual(server.connections(), 1)
        }).pipe(using([over(transport, server.port)]))
        assert.strictEqual(server.opened(), 1)
        yield* eventually(() => server.connections() === 0)
      })
    )

    it.live("a hundred at once share four, and answers may come in any order", () =>
      Effect.gen(function* () {
        const held: Array<() => void> = []
        const server = yield* streamServer(certificate(), ({ reply }) => {
          held.push(reply)
          if (held.length === 100) for (const answer of held.toReversed()) answer()
        })
        const names = Array.from({ length: 100 }, (_, i) => `n${i}.test`)
        const answers = yield* Effect.forEach(names, (name) => ask(name), { concurrency: "unbounded" }).pipe(
          using([over(transport, server.port)])
        )
        assert.deepStrictEqual(answers, names.map(good))
        assert.strictEqual(server.opened(), 4)
      })
    )

    it.live("a connection that is closed under a question is made again, once", () =>
      Effect.gen(function* () {
        const server = yield* streamServer(certificate(), ({ close, n, reply }) => (n === 0 ? reply() : close()))
        yield* Effect.gen(function* () {
          for (let i = 0; i < 4; i++) assert.deepStrictEqual(yield* ask(), good())
          assert.strictEqual((yield* (yield* Upstream).counters)["stream_reconnects"], 3)
        }).pipe(using([over(transport, server.port)]))
      })
    )

    it.live("a question that hangs holds up no later one, although a server may answer one after the other", () =>
      Effect.gen(function* () {
        const server = yield* streamServer(certificate(), ({ n, reply }) => (n === 0 ? reply() : undefined))
        yield* Effect.gen(function* () {
          yield* ask()
          const hung = { domain: "hung.test", type: recordType.A }
          const failure = yield* Effect.flip((yield* Upstream).exchange("corp", hung, 200))
          assert.strictEqual(failure.reason._tag, "Timeout")
          assert.deepStrictEqual(yield* ask(), good())
        }).pipe(using([over(transport, server.port)]))
        assert.strictEqual(server.opened(), 2)
      })
    )

    it.live("one that never answers anything is no DNS server", () =>
      Effect.gen(function* () {
        const server = yield* streamServer(certificate(), ({ close }) => close())
        assert.match(yield* failureOf([over(transport, server.port)]), /^NoResolver: .*closed without an answer$/)
        assert.strictEqual(server.opened(), 1)
      })
    )

    it.live("nobody listening, and silence, lead to the next server", () =>
      Effect.gen(function* () {
        const silent = yield* streamServer(certificate(), () => undefined)
        const closed = yield* Effect.scoped(streamServer(certificate()))
        const server = yield* streamServer(certificate())
        const servers = [closed, silent, server].map(({ port }) => over(transport, port))
        assert.deepStrictEqual(yield* ask().pipe(using(servers)), good())
        assert.strictEqual(
          yield* failureOf([servers[0]!]),
          `NoResolver: ${formatServer(servers[0]!)}: no DNS server listens there (ECONNREFUSED)`
        )
      })
    )

    it.live("an idle connection is closed, one with a question is not", () =>
      Effect.gen(function* () {
        let answer: (() => void) | null = null
        const server = yield* streamServer(certificate(), ({ n, reply }) => {
          if (n === 0) reply()
          else answer = reply
        })
        const counters = { stream_connections: 0, stream_reconnects: 0, stream_full: 0 }
        const connections = new StreamConnections(over(transport, server.port), counters, {
          ...streamLimits,
          idleMs: 100
        })
        const query = Uint8Array.from([0, 9, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 97, 0, 0, 1, 0, 1])
        yield* connections.exchange(query, 20_000)
        yield* eventually(() => server.connections() === 0)

        yield* connections.exchange(query, 20_000)
        const waiting = yield* Effect.forkChild(connections.exchange(query, 20_000), { startImmediately: true })
        yield* eventually(() => answer !== null)
        yield* Effect.sleep(300)
        assert.strictEqual(server.connections(), 1)
        answer!()
        assert.deepStrictEqual([...(yield* Fiber.join(waiting)).subarray(0, 2)], [0, 9])
        connections.close()
      })
    )
  })
}

describe("who a server over TLS is", () => {
  const tlsServer = (port: number, identity: ServerIdentity): ResolverServer => ({
    transport: "tls",
    address: "127.0.0.1",
    port,
    identity
  })

  it.live("is proved by name, by address or by the pin of its key, whoever signed it", () =>
    Effect.gen(function* () {
      const server = yield* streamServer(known)
      const pinned = yield* streamServer(stranger)
      for (const identity of [named("dns.test"), named("127.0.0.1")]) {
        assert.deepStrictEqual(yield* ask().pipe(using([tlsServer(server.port, identity)])), good())
      }
      const pin = { _tag: "Pin", sha256: stranger.pin } as const
      assert.deepStrictEqual(yield* ask().pipe(using([tlsServer(pinned.port, pin)])), good())
    })
  )

  it.live("a set whose only server proves nothing does not live", () =>
    Effect.gen(function* () {
      const lives = Effect.flatMap(SetProbe, (probe) => probe("corp")).pipe(Effect.provide(setProbe))
      const wrong = yield* streamServer(other)
      assert.isFalse(yield* lives.pipe(using([tlsServer(wrong.port, named("dns.test"))])))
    })
  )

  it.live("another name, an unknown authority and another key are refused before anything is asked", () =>
    Effect.gen(function* () {
      const wrong = yield* streamServer(other)
      const unknown = yield* streamServer(stranger)
      const cases = [
        [wrong, named("dns.test"), /^NoResolver: .*its certificate is for another name/],
        [wrong, named("127.0.0.1"), /^NoResolver: .*its certificate is for another name/],
        [unknown, named("dns.test"), /^NoResolver: .*its authority is unknown/],
        [unknown, { _tag: "Pin", sha256: known.pin }, /^NoResolver: .*its key is not the pinned one \(it has sha256\//]
      ] as const
      for (const [server, identity, failure] of cases) {
        assert.match(yield* failureOf([tlsServer(server.port, identity)]), failure)
        assert.deepStrictEqual(server.asked, [])
      }
    })
  )
})

interface HttpServer {
  readonly port: number
  readonly asked: ReadonlyArray<string>
  readonly opened: () => number
  readonly hangUp: () => void
}

type Respond = (request: http2.Http2ServerRequest, response: http2.Http2ServerResponse, reply: Uint8Array) => void

const respondWell: Respond = (_request, response, reply) => {
  response.writeHead(200, { "content-type": "application/dns-message" })
  response.end(reply)
}

const httpsServer = (
  version: "h2" | "http/1.1",
  respond: Respond = respondWell,
  certificate: Certificate = known
): Effect.Effect<HttpServer, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.promise(async () => {
      const asked: Array<string> = []
      const sockets = new Set<net.Socket>()
      let opened = 0
      const serve = (request: http2.Http2ServerRequest, response: http2.Http2ServerResponse): void => {
        const chunks: Array<Buffer> = []
        request.on("data", (chunk: Buffer) => chunks.push(chunk))
        request.on("end", () => {
          const query = decode(Buffer.concat(chunks))
          if (isMalformed(query)) return
          const { "content-type": type, host, ":authority": authority } = request.headers
          asked.push(`${request.method} ${String(authority ?? host)} ${request.url} ${type}`)
          respond(request, response, replyTo(query))
        })
      }
      const server =
        version === "h2"
          ? http2.createSecureServer(certificate, serve)
          : https.createServer(certificate, serve as unknown as http.RequestListener)
      server.on("secureConnection", (socket: tls.TLSSocket) => {
        opened++
        sockets.add(socket)
        socket.on("close", () => sockets.delete(socket))
        socket.on("error", () => undefined)
      })
      server.on("sessionError", () => undefined)
      await new Promise<void>((resolve) => {
        server.listen(0, "127.0.0.1", resolve)
      })
      const { port } = server.address() as net.AddressInfo
      const hangUp = (): void => {
        for (const socket of sockets) socket.destroy()
      }
      const close = (): void => {
        hangUp()
        server.close()
      }
      return { port, asked, opened: () => opened, hangUp, close }
    }),
    ({ close }) => Effect.sync(close)
  )

for (const version of ["h2", "http/1.1"] as const) {
  describe(`https:// by ${version}`, () => {
    const at = ({ port }: HttpServer, identity = named("dns.test")): ResolverServer => ({
      transport: "https",
      address: "127.0.0.1",
      port,
      identity,
      path: "/dns-query"
    })

    it.live("posts the question to the path under the server's name, and keeps the connection", () =>
      Effect.gen(function* () {
        const server = yield* httpsServer(version)
        yield* Effect.gen(function* () {
          for (let i = 0; i < 5; i++) assert.deepStrictEqual(yield* ask(`n${i}.test`), good(`n${i}.test`))
        }).pipe(using([at(server)]))
        assert.strictEqual(server.asked[0], `POST dns.test:${server.port} /dns-query application/dns-message`)
        // The first connection finds out which version is spoken.
        assert.isAtMost(server.opened(), version === "h2" ? 1 : 2)
      })
    )

    it.live("fifty at once are all answered, over one connection or four", () =>
      Effect.gen(function* () {
        const server = yield* httpsServer(version)
        const names = Array.from({ length: 50 }, (_, i) => `n${i}.test`)
        const answers = yield* Effect.forEach(names, (name) => ask(name), { concurrency: "unbounded" }).pipe(
          using([at(server)])
        )
        assert.deepStrictEqual(answers, names.map(good))
        assert.isAtMost(server.opened(), version === "h2" ? 1 : 5)
      })
    )

    it.live("a connection that was closed meanwhile is made again", () =>
      Effect.gen(function* () {
        const server = yield* httpsServer(version)
        yield* Effect.gen(function* () {
          for (let i = 0; i < 3; i++) {
            assert.deepStrictEqual(yield* ask(), good())
            server.hangUp()
          }
        }).pipe(using([at(server)]))
      })
    )

    it.live("what is no DNS answer is a failure that says what came", () =>
      Effect.gen(function* () {
        const answers: ReadonlyArray<readonly [Respond, RegExp]> = [
          [(_, response) => response.writeHead(503).end("busy"), /HTTP status 503/],
          [
            (_, response) => response.writeHead(200, { "content-type": "text/html" }).end("<p>"),
            /no DNS message but text\/html/
          ],
          [
            (_, response, reply) => {
              response.writeHead(200, { "content-type": "application/dns-message" })
              response.end(Buffer.concat([reply, Buffer.alloc(70_000)]))
            },
            /longer than 64 KiB/
          ],
          [(request) => request.socket.destroy(), /./]
        ]
        for (const [respond, failure] of answers) {
          const server = yield* httpsServer(version, respond)
          const told = yield* failureOf([at(server)])
          assert.match(told, failure)
          assert.match(told, /^NoResolver: /)
        }
      })
    )

    it.live("a server that proves another name or key is not asked", () =>
      Effect.gen(function* () {
        const server = yield* httpsServer(version, respondWell, stranger)
        assert.match(yield* failureOf([at(server)]), /its authority is unknown/)
        assert.match(yield* failureOf([at(server, { _tag: "Pin", sha256: known.pin })]), /is not the pinned one/)
        assert.deepStrictEqual(server.asked, [])
        const pinned = at(server, { _tag: "Pin", sha256: stranger.pin })
        assert.deepStrictEqual(yield* ask().pipe(using([pinned])), good())
      })
    )
  })
}
