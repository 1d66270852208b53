/** A small HTTP server that only tells: GET and HEAD, exact paths, everything that a peer can make it hold bounded. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http"
import type { Socket } from "node:net"
import { hostname } from "node:os"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Metric from "effect/Metric"
import * as Ref from "effect/Ref"
import type * as Scope from "effect/Scope"
import type { HostPort } from "../../src/config/GatewayConfig.ts"
import { monotonicMillis } from "../../src/loops/monotonic.ts"
import { families } from "../../src/monitor/metricFamilies.ts"
import { isOwnHost } from "../../src/monitor/ownHost.ts"
import { formatHostPort } from "../../src/packet/endpoint.ts"

export interface Page {
  readonly status?: number
  readonly type: string
  readonly body: string
}

/** Pieces of a page that never ends; the next one is asked for when the peer has taken the last one. */
export interface Feed {
  readonly type: string
  readonly next: Effect.Effect<string>
}

interface Route {
  readonly answer: Effect.Effect<Page | Feed, never, Scope.Scope>
  /** Answers in the making or under way at a time; who comes then is told to come later. */
  readonly atMost?: number
  /** Under whatever `Host`: what is told is no secret, and probes choose their own. */
  readonly anyHost?: boolean
}

/** By path. */
export interface Routes {
  readonly [path: string]: Route
}

/** How it is with a listener that is to be. */
export interface ListenerState {
  readonly at: HostPort
  /** The port in use; `null`: none. */
  readonly port: number | null
  /** Why it does not listen, and since when (monotonic milliseconds). */
  readonly wrong: { readonly why: string; readonly since: number } | null
}

const maxConnections = 64
/** A request has this long to come, an answer to be taken; a peer of a feed, to take a piece. */
const timeoutMs = 5_000
const retryEvery = "5 seconds"

/** What a peer was refused, or why its connection was ended. */
type HttpEvent =
  | "connections_full"
  | "timed_out"
  | "malformed"
  | "upgrade"
  | "pipelined"
  | "method"
  | "foreign_host"
  | "not_found"
  | "unread"
  | "route_full"

const events = Metric.frequency("sallyport_http_events_total", {
  description: families.sallyport_http_events_total.help
})
/** From the callbacks of Node too. */
type Count = (event: HttpEvent) => void

const headers = {
  Connection: "close",
  "Cache-Control": "no-store",
  "Content-Security-Policy":
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Resource-Policy": "same-origin",
  "Referrer-Policy": "no-referrer",
  "X-Content-Type-Options": "nosniff"
} as const

const text = (status: number, body: string): Page => ({ status, type: "text/plain; charset=utf-8", body: `${body}\n` })

/**
 * Serves until the scope closes. A port that cannot be had costs a warning, not the gateway, and is tried again.
 *
 * @param setting what an operator sets to have it elsewhere
 */
export const listen = Effect.fnUntraced(function* (at: HostPort, setting: string, routes: Routes) {
  const context = yield* Effect.context()
  const run = Effect.runForkWith(context)
  const count: Count = (event) => events.updateUnsafe(event, context)
  const names = [hostname().toLowerCase(), at.host]
  const busy = new Map<Route, number>()
  /** Taken until the answer's scope closes. */
  const place = (route: Route) =>
    Effect.acquireRelease(
      Effect.sync(() => {
        const taken = busy.get(route) ?? 0
        busy.set(route, taken + 1)
        return taken < (route.atMost ?? Infinity)
      }),
      () => Effect.sync(() => busy.set(route, busy.get(route)! - 1))
    )
  const full = Effect.sync(() => {
    count("route_full")
    return text(503, "too many ask for this already")
  })
  const routeOf = (request: IncomingMessage): Effect.Effect<Page | Feed, never, Scope.Scope> => {
    const path = (request.url ?? "").split("?", 1)[0]!
    const route = Object.hasOwn(routes, path) ? routes[path] : undefined
    if (request.method !== "GET" && request.method !== "HEAD") {
      count("method")
      return Effect.succeed(text(405, "only GET and HEAD"))
    }
    if (route?.anyHost !== true && !isOwnHost(request.headers.host, names)) {
      count("foreign_host")
      return Effect.succeed(text(421, "ask by an address of this host, by localhost or by its host name"))
    }
    if (route !== undefined) return Effect.flatMap(place(route), (free) => (free ? route.answer : full))
    count("not_found")
    return Effect.succeed(text(404, "nothing here"))
  }
  const answer = (request: IncomingMessage, response: ServerResponse): void => {
    const fiber = run(
      Effect.scoped(
        Effect.flatMap(routeOf(request), (page) => write(page, request.method === "HEAD", response, count))
      ).pipe(
        Effect.tapCause((cause) =>
          Cause.hasInterruptsOnly(cause) ? Effect.void : Effect.logError("a page could not be made", cause)
        ),
        Effect.ensuring(Effect.sync(() => response.destroy()))
      )
    )
    response.once("close", () => run(Fiber.interrupt(fiber)))
  }
  const state = yield* Ref.make<ListenerState>({ at, port: null, wrong: null })
  const opened = yield* open(at, answer, count)
  if (typeof opened === "number") {
    yield* Ref.set(state, { at, port: opened, wrong: null })
  } else {
    yield* Ref.set(state, { at, port: null, wrong: { why: opened, since: yield* monotonicMillis } })
    const where = formatHostPort(at.host, at.port)
    yield* Effect.logWarning(
      `nothing is served at ${where} (${opened}), which is tried again: set ${setting} to a free address`
    )
    const again = Effect.andThen(Effect.sleep(retryEvery), open(at, answer, count))
    yield* Effect.repeat(again, { until: (port) => typeof port === "number" }).pipe(
      Effect.flatMap((port) => Ref.set(state, { at, port, wrong: null })),
      Effect.andThen(Effect.logInfo(`${where} is served now`)),
      Effect.forkScoped
    )
  }
  return Ref.get(state)
})

/** The port, or why there is none; open until the scope closes. */
const open = (at: HostPort, answer: Answer, count: Count) =>
  Effect.suspend(() => bind(makeServer(answer, count), at)).pipe(
    Effect.flatMap((opened): Effect.Effect<number | string, never, Scope.Scope> => {
      // Each try would leave its end in the scope.
      if (typeof opened === "string") return Effect.succeed(opened)
      const address = opened.address()
      const port = typeof address === "object" && address !== null ? address.port : at.port
      return Effect.as(Effect.acquireRelease(Effect.succeed(opened), stop), port)
    }),
    Effect.uninterruptible
  )

type Answer = (request: IncomingMessage, response: ServerResponse) => void

const makeServer = (answer: Answer, count: Count): Server => {
  const server = createServer(
    {
      requestTimeout: timeoutMs,
      headersTimeout: timeoutMs,
      connectionsCheckingInterval: 1_000,
      maxHeaderSize: 8_192
    },
    (request, response) => {
      // One chunk can be a thousand questions, which come here before the first one is answered. Node's own bound
      // (`maxRequestsPerSocket`) knows HTTP/1.1 only.
      if (!waiting.delete(request.socket)) {
        count("pipelined")
        response.writeHead(503).end()
        return
      }
      // What somebody sends with a question is not read.
      if (request.headers["content-length"] !== undefined || request.headers["transfer-encoding"] !== undefined) {
        request.resume()
      }
      answer(request, response)
    }
  )
  /** Connections without a whole request, the oldest first: who only holds one makes room for the next. */
  const waiting = new Set<Socket>()
  let connections = 0
  server.on("connection", (socket) => {
    connections++
    waiting.add(socket)
    socket.once("close", () => {
      connections--
      waiting.delete(socket)
    })
    if (connections <= maxConnections) return
    count("connections_full")
    const [oldest = socket] = waiting
    oldest.destroy()
  })
  server.setTimeout(timeoutMs, (socket) => {
    count("timed_out")
    socket.destroy()
  })
  server.on("clientError", (error: NodeJS.ErrnoException, socket) => {
    if (error.code === "ERR_HTTP_REQUEST_TIMEOUT") count("timed_out")
    else if (error.code?.startsWith("HPE_") === true) count("malformed")
    socket.destroy()
  })
  server.on("upgrade", (_request, socket) => {
    count("upgrade")
    socket.destroy()
  })
  return server
}

const bind = (server: Server, { host, port }: HostPort): Effect.Effect<Server | string> =>
  Effect.callback((resume) => {
    server.once("error", (error) => resume(Effect.succeed("code" in error ? String(error.code) : error.message)))
    server.listen({ host, port }, () => {
      server.on("error", () => {})
      resume(Effect.succeed(server))
    })
  })

const stop = (server: Server): Effect.Effect<void> =>
  Effect.callback((resume) => {
    server.close(() => resume(Effect.void))
    server.closeAllConnections()
  })

/** Ends when the peer has everything, is gone, or takes nothing. */
const write = Effect.fnUntraced(function* (
  page: Page | Feed,
  headOnly: boolean,
  response: ServerResponse,
  count: Count
) {
  const taken = (send: (done: (error?: Error | null) => void) => unknown) =>
    Effect.callback<boolean>((resume) => {
      send((error) => resume(Effect.succeed(error === undefined || error === null)))
    }).pipe(
      Effect.timeoutOrElse({
        duration: timeoutMs,
        orElse: () =>
          Effect.as(
            Effect.sync(() => count("unread")),
            false
          )
      })
    )
  if ("body" in page) {
    const body = Buffer.from(page.body)
    response.writeHead(page.status ?? 200, { ...headers, "Content-Type": page.type, "Content-Length": body.length })
    yield* taken((done) => response.end(headOnly ? undefined : body, done))
    return
  }
  response.writeHead(200, { ...headers, "Content-Type": page.type })
  if (headOnly) {
    yield* taken((done) => response.end(done))
    return
  }
  let alive = true
  while (alive) {
    const piece = yield* page.next
    alive = yield* taken((done) => response.write(piece, done))
  }
})
