import { createServer, type IncomingMessage, type Server } from "node:http"
import type { AddressInfo } from "node:net"
import { WebSocketServer, type WebSocket } from "@effect/platform-node/NodeWS"
import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Redacted } from "effect"
import * as PortalSocketLive from "../../../layers/host/PortalSocket.ts"
import { PortalSocket } from "../../../src/control/firezone/PortalSocket.ts"

const token = "t0ken-secret"

interface LocalPortal {
  readonly url: string
  readonly requests: Array<IncomingMessage>
  /** The latest connection. */
  readonly socket: Promise<WebSocket>
}

/** Refuses every upgrade with `status` unless it is `null`. */
const localPortal = (status: number | null = null, headers: Record<string, string> = {}) =>
  Effect.acquireRelease(
    Effect.promise(
      () =>
        new Promise<LocalPortal & { readonly server: Server; readonly sockets: WebSocketServer }>((resolve) => {
          const server = createServer()
          const sockets = new WebSocketServer({ noServer: true })
          const requests: Array<IncomingMessage> = []
          const socket = new Promise<WebSocket>((open) => sockets.on("connection", open))
          server.on("upgrade", (request, stream, head) => {
            requests.push(request)
            if (status === null)
              return sockets.handleUpgrade(request, stream, head, (ws) => sockets.emit("connection", ws))
            const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`)
            stream.end(`HTTP/1.1 ${status} No\r\n${lines.join("")}Content-Length: 2\r\n\r\nno`)
          })
          server.listen(0, "127.0.0.1", () =>
            resolve({
              url: `ws://127.0.0.1:${(server.address() as AddressInfo).port}`,
              requests,
              socket,
              server,
              sockets
            })
          )
        })
    ),
    ({ server, sockets }) =>
      Effect.promise(() => {
        for (const socket of sockets.clients) socket.terminate()
        server.closeAllConnections()
        return new Promise<void>((done) => server.close(() => done()))
      })
  )

const connect = (url: string, legacy = false) =>
  Effect.flatMap(PortalSocket, (socket) => socket.connect(legacy)).pipe(
    Effect.provide(
      PortalSocketLive.layer({
        apiUrl: url,
        endpoint: "v1",
        version: "1.5.2",
        token: Redacted.make(token),
        publicKey: `${"A".repeat(43)}=`,
        firezoneId: "id",
        name: "gw",
        host: { os: "Linux", osVersion: "6.1", arch: "x86_64", kernel: "6.1" }
      })
    )
  )

describe("the WebSocket to the portal", () => {
  it.live("sends the token in a header, carries texts both ways, and closes normally", () =>
    Effect.gen(function* () {
      const portal = yield* localPortal()
      const { closed } = yield* Effect.gen(function* () {
        const connection = yield* connect(portal.url)
        const server = yield* Effect.promise(() => portal.socket)
        const heard = new Promise<string>((resolve) =>
          server.once("message", (data: Buffer) => resolve(data.toString("utf8")))
        )
        const closed = new Promise<number>((resolve) => server.once("close", resolve))
        connection.send("to the portal")
        assert.strictEqual(yield* Effect.promise(() => heard), "to the portal")
        server.send("one")
        server.send(Buffer.from("binary is skipped"))
        server.send("two")
        assert.strictEqual(yield* connection.receive, "one")
        assert.strictEqual(yield* connection.receive, "two")
        assert.deepStrictEqual([connection.localAddress, connection.remoteAddress], ["127.0.0.1", "127.0.0.1"])
        return { closed }
      }).pipe(Effect.scoped)
      assert.strictEqual(yield* Effect.promise(() => closed), 1000)
      const [request] = portal.requests
      assert.strictEqual(request?.headers["x-authorization"], `Bearer ${token}`)
      assert.match(request?.headers["user-agent"] ?? "", /^Linux\/6\.1 gateway\/1\.5\.2 \(x86_64; 6\.1\)$/)
      assert.notInclude(request?.url, token)
      assert.include(request?.url, "/gateway/websocket?")
    }).pipe(Effect.scoped)
  )

  it.live("puts the token into the query only for a portal of 2024", () =>
    Effect.gen(function* () {
      const portal = yield* localPortal()
      yield* Effect.scoped(connect(portal.url, true))
      assert.include(portal.requests[0]?.url, `token=${token}`)
    }).pipe(Effect.scoped)
  )

  it.live("tells the status of a refused upgrade, and how long to wait", () =>
    Effect.gen(function* () {
      for (const [status, headers] of [
        [401, {}],
        [429, { "Retry-After": "7" }],
        [503, { "Retry-After": "Thu, 01 Jan 2026 00:00:30 GMT" }],
        [302, { Location: "http://127.0.0.1:1/" }]
      ] as ReadonlyArray<readonly [number, Record<string, string>]>) {
        const portal = yield* localPortal(status, headers)
        const error = yield* Effect.flip(Effect.scoped(connect(portal.url, true)))
        assert.deepInclude(error, { status, retryAfter: headers["Retry-After"] ?? null })
        assert.notInclude(JSON.stringify(error), token)
      }
    }).pipe(Effect.scoped)
  )

  it.live("says in words why there is no connection", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(Effect.scoped(connect("ws://127.0.0.1:1")))
      assert.deepInclude(error, { status: null, detail: "connection refused: 127.0.0.1:1" })
    })
  )

  it.live("ends with the portal's words when it closes or is cut", () =>
    Effect.gen(function* () {
      for (const how of [(s: WebSocket) => s.close(4001, "bye"), (s: WebSocket) => s.terminate()]) {
        const portal = yield* localPortal()
        const connection = yield* connect(portal.url)
        how(yield* Effect.promise(() => portal.socket))
        const error = yield* Effect.flip(connection.receive)
        assert.match(error.detail, /^the portal closed the connection \((4001, "bye"|1006)\)$/)
      }
    }).pipe(Effect.scoped)
  )

  it.live("ends when a frame is larger than any message may be", () =>
    Effect.gen(function* () {
      const portal = yield* localPortal()
      const connection = yield* connect(portal.url)
      const server = yield* Effect.promise(() => portal.socket)
      server.on("error", () => {})
      server.send("x".repeat(9 * 1024 * 1024))
      const error = yield* Effect.flip(connection.receive)
      assert.match(error.detail, /payload|closed/i)
    }).pipe(Effect.scoped)
  )

  it.live("makes a portal wait that sends faster than it is read, and loses nothing", () =>
    Effect.gen(function* () {
      const portal = yield* localPortal()
      const connection = yield* connect(portal.url)
      const server = yield* Effect.promise(() => portal.socket)
      const text = "x".repeat(64 * 1024)
      for (let n = 0; n < 600; n++) server.send(`${n} ${text}`)
      yield* Effect.sleep("300 millis")
      assert.isAbove(server.bufferedAmount, 10 * 1024 * 1024, "everything was read ahead")
      for (let n = 0; n < 600; n++) assert.isTrue((yield* connection.receive).startsWith(`${n} `))
    }).pipe(Effect.scoped)
  )

  it.live("makes a portal wait after a few of the largest messages", () =>
    Effect.gen(function* () {
      const portal = yield* localPortal()
      const connection = yield* connect(portal.url)
      const server = yield* Effect.promise(() => portal.socket)
      const text = "x".repeat(4 * 1024 * 1024)
      for (let n = 0; n < 20; n++) server.send(`${n} ${text}`)
      yield* Effect.sleep("500 millis")
      assert.isAbove(server.bufferedAmount, 40 * 1024 * 1024, "everything was read ahead")
      for (let n = 0; n < 20; n++) assert.isTrue((yield* connection.receive).startsWith(`${n} `))
    }).pipe(Effect.scoped)
  )

  it.live("gives up a portal that takes nothing any more", () =>
    Effect.gen(function* () {
      const portal = yield* localPortal()
      const connection = yield* connect(portal.url)
      const server = yield* Effect.promise(() => portal.socket)
      server.pause()
      const text = "x".repeat(256 * 1024)
      for (let n = 0; n < 200; n++) connection.send(text)
      const error = yield* connection.receive.pipe(Effect.flip, Effect.timeout(Duration.seconds(5)))
      assert.include(error.detail, "takes nothing")
    }).pipe(Effect.scoped)
  )
})
