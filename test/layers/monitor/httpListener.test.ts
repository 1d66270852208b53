import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Logger, Metric, Schedule } from "effect"
import { PrometheusMetrics } from "effect/observability"
import { connect, createServer, type AddressInfo } from "node:net"
import { listen, type Routes } from "../../../layers/monitor/httpListener.ts"

const feed: Routes[string] = {
  answer: Effect.succeed({ type: "text/event-stream", next: Effect.delay(Effect.succeed("data: 1\n\n"), 5) })
}
const routes: Routes = {
  "/": { answer: Effect.succeed({ type: "text/html; charset=utf-8", body: "<p>page" }) },
  "/big": { answer: Effect.sync(() => ({ type: "text/plain", body: "x".repeat(64 << 20) })) },
  "/healthz": { anyHost: true, answer: Effect.succeed({ type: "text/plain", body: "" }) },
  "/broken": { answer: Effect.die(new Error("secret")) },
  "/flood": { answer: Effect.succeed({ type: "text/plain", next: Effect.sync(() => "x".repeat(1 << 20)) }) },
  "/feed": feed,
  "/few": { ...feed, atMost: 1 }
}

const start = Effect.gen(function* () {
  const state = yield* listen({ host: "127.0.0.1", port: 0 }, "listen_http", routes)
  return (yield* state).port!
})

/** Everything that comes until the peer ends, for what is written at once. */
const raw = (port: number, request: string): Effect.Effect<string> =>
  Effect.callback((resume) => {
    let text = ""
    const socket = connect(port, "127.0.0.1", () => socket.write(request))
    socket.on("data", (data) => (text += data.toString()))
    socket.on("error", () => {})
    socket.on("close", () => resume(Effect.succeed(text)))
    return Effect.sync(() => socket.destroy())
  })
const statusOf = (text: string) => Number(/^HTTP\/1\.1 (\d+)/.exec(text)?.[1] ?? 0)
const get = (port: number, path: string, host = "localhost", method = "GET") =>
  raw(port, `${method} ${path} HTTP/1.1\r\nHost: ${host}\r\n\r\n`)

describe("the monitor's listener", () => {
  it.live("answers its paths to its own names, with nothing that a page of elsewhere could use", () =>
    Effect.gen(function* () {
      const port = yield* start
      const page = yield* get(port, "/?x=1")

      assert.strictEqual(statusOf(page), 200)
      assert.match(page, /\r\n\r\n<p>page$/)
      for (const header of [
        "Content-Security-Policy: default-src 'none'",
        "Cache-Control: no-store",
        "X-Content-Type-Options: nosniff",
        "Cross-Origin-Resource-Policy: same-origin"
      ]) {
        assert.include(page, header)
      }
      assert.notMatch(page, /access-control|unsafe-inline/i)
      assert.match(yield* get(port, "/", "localhost", "HEAD"), /Content-Length: 7\r\n[^]*\r\n\r\n$/)
    }).pipe(Effect.scoped)
  )

  it.live("refuses foreign names, odd paths and other methods; health asks for no name", () =>
    Effect.gen(function* () {
      const port = yield* start

      for (const host of ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example"]) {
        const page = yield* get(port, "/", host)
        assert.strictEqual(statusOf(page), 421, host)
        assert.notInclude(page, "<p>")
        assert.strictEqual(statusOf(yield* get(port, "/healthz", host)), 200)
      }
      assert.strictEqual(statusOf(yield* raw(port, "GET / HTTP/1.1\r\n\r\n")), 400)
      assert.strictEqual(statusOf(yield* raw(port, "GET / HTTP/1.0\r\n\r\n")), 421)
      for (const path of [
        "/../etc/passwd",
        "/%2e%2e/etc/passwd",
        "//healthz",
        "/healthz/",
        "/HEALTHZ",
        "/constructor",
        "/__proto__",
        "/\\..\\",
        "http://evil.example/",
        "/feed%00",
        "*"
      ]) {
        assert.strictEqual(statusOf(yield* get(port, path)), 404, path)
      }
      for (const method of ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH"]) {
        assert.strictEqual(statusOf(yield* get(port, "/", "localhost", method)), 405, method)
      }
      assert.strictEqual(statusOf(yield* get(port, `/${"x".repeat(20_000)}`)), 0)
      const broken = yield* get(port, "/broken")
      assert.notInclude(broken, "secret")
      assert.strictEqual(statusOf(yield* get(port, "/")), 200)
    }).pipe(Effect.scoped)
  )

  for (const [version, head] of [
    ["1.1", "GET /counted HTTP/1.1\r\nHost: localhost\r\n\r\n"],
    ["1.0", "GET /counted HTTP/1.0\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\n"]
  ] as const) {
    it.live(`makes one page for a connection, however many questions of HTTP/${version} come by it at once`, () =>
      Effect.gen(function* () {
        let made = 0
        const answer = Effect.gen(function* () {
          made++
          yield* Effect.sleep(20)
          return { type: "text/plain", body: "page" }
        })
        const counted: Routes = { "/counted": { answer } }
        const state = yield* listen({ host: "127.0.0.1", port: 0 }, "listen_http", counted)

        yield* raw((yield* state).port!, head.repeat(1_500))

        assert.strictEqual(made, 1)
        assert.match(yield* PrometheusMetrics.format(), /^sallyport_http_events_total\{key="pipelined"\} \d{2,}$/m)
      }).pipe(Effect.scoped, Effect.provideService(Metric.MetricRegistry, new Map()))
    )
  }

  it.live(
    "ends peers that send or read too slowly, and serves others meanwhile",
    () =>
      Effect.gen(function* () {
        const port = yield* start
        const slow = yield* Effect.forkChild(
          Effect.all(
            ["", "GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nHost: localhost\r\nX: "].map((text) => raw(port, text)),
            { concurrency: "unbounded" }
          )
        )
        const unread = yield* Effect.forkChild(
          Effect.all([readLate(port, "/big"), readLate(port, "/flood")], { concurrency: "unbounded" })
        )
        yield* Effect.yieldNow

        assert.strictEqual(statusOf(yield* get(port, "/healthz")), 200)
        // Each ends: the test would wait for ever else.
        assert.deepStrictEqual(
          (yield* Fiber.join(slow)).map(statusOf).filter((status) => status === 200),
          []
        )
        for (const bytes of yield* Fiber.join(unread)) assert.isBelow(bytes, 64 << 20)
        assert.strictEqual(statusOf(yield* get(port, "/healthz")), 200)
      }).pipe(Effect.scoped),
    60_000
  )

  it.live("answers no more at a time than a path may have, and more once one is gone", () =>
    Effect.gen(function* () {
      const port = yield* start
      const watch = raw(port, "GET /few HTTP/1.1\r\nHost: localhost\r\n\r\n")
      const watching = yield* Effect.forkChild(watch)
      const status = Effect.map(get(port, "/few", "localhost", "HEAD"), statusOf)

      yield* Effect.repeat(status, { until: (code) => code === 503 })
      yield* Fiber.interrupt(watching)
      yield* Effect.repeat(status, { until: (code) => code === 200 })
    }).pipe(Effect.scoped)
  )

  it.live(
    "says that its port is taken, harms nothing, and serves when it is free",
    () =>
      Effect.gen(function* () {
        const other = createServer()
        yield* Effect.callback<void>((resume) => void other.listen(0, "127.0.0.1", () => resume(Effect.void)))
        const { port } = other.address() as AddressInfo
        const lines: Array<string> = []
        const logger = Logger.map(Logger.formatLogFmt, (line) => void lines.push(line))
        const state = yield* listen({ host: "127.0.0.1", port }, "listen_http", routes).pipe(
          Effect.provide(Logger.layer([logger]))
        )

        assert.strictEqual((yield* state).wrong?.why, "EADDRINUSE")
        assert.match(
          lines.join("\n"),
          /level=WARN .*nothing is served at 127\.0\.0\.1:\d+ \(EADDRINUSE\).*set listen_http/
        )
        other.close()
        yield* Effect.repeat(state, { until: ({ wrong }) => wrong === null, schedule: Schedule.spaced("50 millis") })
        assert.strictEqual(statusOf(yield* get(port, "/")), 200)
      }).pipe(Effect.scoped),
    60_000
  )
})

/** How many bytes there are for a peer that begins to read after ten seconds. */
const readLate = (port: number, path: string): Effect.Effect<number> =>
  Effect.gen(function* () {
    let bytes = 0
    const socket = connect(port, "127.0.0.1", () => socket.write(`GET ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`))
    socket.on("error", () => {})
    socket.once("connect", () => socket.pause())
    yield* Effect.sleep("10 seconds")
    yield* Effect.callback<void>((resume) => {
      socket.on("data", (data) => (bytes += data.length))
      socket.on("close", () => resume(Effect.void))
      socket.resume()
    })
    return bytes
  })
