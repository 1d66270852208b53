/** `PortalSocket` over the `ws` package: headers, the status of a refused upgrade, and reads that can be paused. */
import { WebSocket } from "@effect/platform-node/NodeWS"
import * as Cause from "effect/Cause"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import * as Redacted from "effect/Redacted"
import { tlsProblems } from "./tlsProblems.ts"
import { handshakeOf, type HandshakeRequest } from "../../src/control/firezone/handshake.ts"
import {
  PortalClosed,
  type PortalConnection,
  PortalSocket,
  PortalUnreachable
} from "../../src/control/firezone/PortalSocket.ts"
import { maxFrame } from "../../src/control/firezone/wire.ts"

export interface PortalSocketOptions extends Omit<HandshakeRequest, "legacy" | "token"> {
  readonly token: Redacted.Redacted
}

/** TCP, TLS and upgrade. */
const handshakeTimeout = 15_000
/** Frames read ahead, and characters of them; then the portal has to wait. */
const maxWaitingFrames = 64
const maxWaitingLength = 2 * maxFrame
/** Bytes that the portal has not taken: it is of no more use. */
const maxUnsent = 4 * 1024 * 1024
const normalClosure = 1_000
/** A portal that does not answer the closing gets this long. */
const closeMs = 1_000

export const layer = (options: PortalSocketOptions): Layer.Layer<PortalSocket> =>
  Layer.succeed(PortalSocket, {
    connect: (legacy) =>
      Effect.gen(function* () {
        const token = Redacted.value(options.token)
        const frames = yield* Queue.unbounded<string, PortalClosed>()
        const { date, socket } = yield* Effect.acquireRelease(open({ ...options, token, legacy }), ({ socket }) =>
          close(socket)
        )
        return { ...connection(socket, frames, token), date }
      })
  })

interface Opened {
  readonly socket: WebSocket
  readonly date: number | null
}

const open = (request: HandshakeRequest): Effect.Effect<Opened, PortalUnreachable> =>
  Effect.callback((resume) => {
    const refuse = (detail: string, status: number | null = null, retryAfter: string | null = null) =>
      resume(Effect.fail(new PortalUnreachable({ status, retryAfter, detail })))
    let socket: WebSocket
    try {
      const { headers, url } = handshakeOf(request)
      socket = new WebSocket(url, {
        headers: { ...headers },
        handshakeTimeout,
        maxPayload: maxFrame,
        perMessageDeflate: false,
        followRedirects: false
      })
    } catch {
      // The message would show the URL, and with it perhaps the token.
      return refuse("the portal's URL cannot be used")
    }
    // Stays for good: an error after this must not be unhandled.
    socket.on("error", (error) => refuse(explain(error, request)))
    socket.once("unexpected-response", (sent, answer) => {
      const { "retry-after": retryAfter = null } = answer.headers
      const status = answer.statusCode ?? 0
      answer.destroy()
      sent.destroy()
      refuse(`the portal answered with HTTP status ${status}`, status, retryAfter)
    })
    let date: number | null = null
    socket.once("upgrade", ({ headers }) => {
      date =
        headers.date === undefined
          ? null
          : Option.getOrNull(Option.map(DateTime.make(headers.date), DateTime.toEpochMillis))
    })
    socket.once("open", () => {
      // Nothing is read before somebody listens.
      socket.pause()
      resume(Effect.succeed({ socket, date }))
    })
    return Effect.sync(() => socket.terminate())
  })

const connection = (
  socket: WebSocket,
  frames: Queue.Queue<string, PortalClosed>,
  token: string
): Omit<PortalConnection, "date"> => {
  let waiting = 0
  let waitingLength = 0
  const end = (detail: string) =>
    void Queue.failCauseUnsafe(frames, Cause.fail(new PortalClosed({ detail: detail.replaceAll(token, "…") })))
  socket.on("message", (data, isBinary) => {
    if (isBinary) return
    const text = textOf(data)
    Queue.offerUnsafe(frames, text)
    waitingLength += text.length
    if (++waiting >= maxWaitingFrames || waitingLength >= maxWaitingLength) socket.pause()
  })
  socket.on("error", (error) => end(error.message))
  socket.on("close", (code, reason) => {
    const why = reason.toString("utf8").slice(0, 100)
    end(`the portal closed the connection (${code}${why === "" ? "" : `, ${JSON.stringify(why)}`})`)
  })
  socket.resume()
  return {
    localAddress: addressOf(socket, "localAddress"),
    remoteAddress: addressOf(socket, "remoteAddress"),
    receive: Effect.tap(Queue.take(frames), ({ length }) =>
      Effect.sync(() => {
        waiting--
        waitingLength -= length
        const calm = waiting <= maxWaitingFrames >> 1 && waitingLength <= maxWaitingLength >> 1
        if (calm && socket.isPaused) socket.resume()
      })
    ),
    send: (text) => {
      if (socket.readyState !== WebSocket.OPEN) return
      if (socket.bufferedAmount + text.length > maxUnsent) {
        end("the portal takes nothing any more")
        return socket.terminate()
      }
      socket.send(text, () => {})
    }
  }
}

const close = (socket: WebSocket): Effect.Effect<void> =>
  Effect.callback<void>((resume) => {
    if (socket.readyState === WebSocket.CLOSED) return resume(Effect.void)
    socket.once("close", () => resume(Effect.void))
    // A paused socket would never see the answer.
    if (socket.isPaused) socket.resume()
    socket.close(normalClosure)
  }).pipe(Effect.timeoutOption(closeMs), Effect.andThen(Effect.sync(() => socket.terminate())))

const textOf = (data: unknown): string =>
  Buffer.isBuffer(data) ? data.toString("utf8") : Array.isArray(data) ? Buffer.concat(data).toString("utf8") : ""

/** `ws` keeps its socket to itself, but it is there. */
const addressOf = (socket: WebSocket, which: "localAddress" | "remoteAddress"): string | null => {
  const inner: unknown = Reflect.get(socket, "_socket")
  const address: unknown = typeof inner === "object" && inner !== null ? Reflect.get(inner, which) : null
  return typeof address === "string" ? address.replace(/^::ffff:/, "") : null
}

const explain = (error: Error, request: HandshakeRequest): string => {
  const code: unknown = "code" in error ? error.code : undefined
  const host = URL.parse(request.apiUrl)?.host ?? "the portal"
  if (typeof code === "string") return `${causes[code] ?? code}: ${host}`
  return `${error.message.replaceAll(request.token, "…").slice(0, 200)}: ${host}`
}

const causes: Readonly<Record<string, string>> = {
  ECONNREFUSED: "connection refused",
  ENOTFOUND: "the name does not exist",
  EAI_AGAIN: "the name cannot be looked up",
  ETIMEDOUT: "no answer",
  EHOSTUNREACH: "host unreachable",
  ENETUNREACH: "no route",
  EADDRNOTAVAIL: "this host has no address of its family",
  EAFNOSUPPORT: "this host has no IPv6",
  ECONNRESET: "connection reset",
  ...tlsProblems
}
