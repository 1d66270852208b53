/** `GET /healthz` and `/readyz` for whatever watches the process. */
import { createServer, type Server } from "node:http"
import * as Effect from "effect/Effect"
import type { HostPort } from "../../src/config/GatewayConfig.ts"
import { version } from "./version.ts"

const maxConnections = 64

/**
 * Serves until the scope closes, and yields the port. A port that is taken costs the health service and a warning, not the
 * gateway. `ready`: whether the portal was heard of at all; its absence later is no reason to restart anything.
 */
export const serveHealth = Effect.fnUntraced(function* (at: HostPort, ready: () => boolean) {
  const server = createServer(
    { requestTimeout: 5_000, headersTimeout: 5_000, maxHeaderSize: 8_192 },
    (request, answer) => {
      request.resume()
      const path = (request.url ?? "").split("?", 1)[0]
      const known = request.method === "GET" || request.method === "HEAD"
      answer.setHeader("Connection", "close")
      if (known && path === "/healthz") answer.writeHead(200).end()
      else if (known && path === "/readyz") answer.writeHead(ready() ? 200 : 503).end(JSON.stringify({ version }))
      else answer.writeHead(404).end()
    }
  )
  server.maxConnections = maxConnections
  const listening = yield* Effect.acquireRelease(listen(server, at), () => stop(server))
  if (typeof listening === "number") return listening
  yield* Effect.logWarning(
    `no health service at ${at.host}:${at.port} (${listening}): set HEALTH_CHECK_ADDR to a free address`
  )
  return null
})

/** The port, or why there is none. */
const listen = (server: Server, { host, port }: HostPort): Effect.Effect<number | string> =>
  Effect.callback((resume) => {
    server.once("error", (error) => resume(Effect.succeed("code" in error ? String(error.code) : error.message)))
    server.listen(port, host, () => {
      const address = server.address()
      server.on("error", () => {})
      resume(Effect.succeed(typeof address === "object" && address !== null ? address.port : port))
    })
  })

const stop = (server: Server): Effect.Effect<void> =>
  Effect.callback((resume) => {
    server.close(() => resume(Effect.void))
    server.closeAllConnections()
  })
