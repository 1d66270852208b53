/** HTTP over a Unix socket that only its owner may open: how the commands of an operator reach the running gateway. */
import * as Fs from "node:fs"
import * as Http from "node:http"
import * as Net from "node:net"
import * as Path from "node:path"
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as Effect from "effect/Effect"
import * as ByteSize from "effect/ByteSize"
import * as HttpIncomingMessage from "effect/http/HttpIncomingMessage"
import * as HttpMiddleware from "effect/http/HttpMiddleware"
import * as HttpRouter from "effect/http/HttpRouter"
import type * as Scope from "effect/Scope"
import { ControlError } from "../../src/cli/ControlClient.ts"
import { makeDirectory } from "../host/makeDirectory.ts"
import type { ControlRoute } from "./controlRoute.ts"
import { errorCode } from "./errorCode.ts"

/** At most this many connections at once; more are turned away. */
const maxReaders = 16
/** A request that is not there by then is given up. */
const requestMs = 5_000
/** A connection on which nothing moves is given up; an answer that goes on for longer sends an empty line now and then. */
const silentMs = 30_000
const maxHeaderSize = 8_192
const maxBodySize = ByteSize.kibibytes(64)

/**
 * Serves the routes until the scope closes. The socket of a dead gateway is replaced; that of a living one is an error.
 */
export const serve = Effect.fn("ControlSocket.serve")(function* (
  path: string,
  routes: ReadonlyArray<ControlRoute>
): Effect.fn.Return<void, ControlError, Scope.Scope> {
  yield* makeRoom(path)
  const server = yield* Effect.acquireRelease(listen(path), stop(path))
  const app = yield* HttpRouter.toHttpEffect(HttpRouter.addAll(routes))
  const handler = yield* NodeHttpServer.makeHandler(app, { scope: yield* Effect.scope }).pipe(
    Effect.provideService(HttpIncomingMessage.MaxBodySize, maxBodySize),
    Effect.provideService(HttpMiddleware.TracerDisabledWhen, () => true)
  )
  server.on("request", handler)
})

const stop = (path: string) => (server: Http.Server) =>
  Effect.callback<void>((resume) => {
    Fs.rmSync(path, { force: true })
    server.close(() => resume(Effect.void))
    server.closeAllConnections()
  })

/**
 * Binds in a fresh directory of mode 0700 and renames the socket into place once it is 0600: nobody else can connect in
 * between, and a dead socket is replaced in one step.
 */
const listen = (path: string): Effect.Effect<Http.Server, ControlError> =>
  Effect.callback((resume) => {
    const server = Http.createServer({
      requestTimeout: requestMs,
      headersTimeout: requestMs,
      connectionsCheckingInterval: 1_000,
      maxHeaderSize
    })
    server.setTimeout(silentMs)
    server.maxConnections = maxReaders
    let directory: string | undefined
    const clean = () => directory !== undefined && Fs.rmSync(directory, { recursive: true, force: true })
    const fail = (error: unknown) => {
      clean()
      server.close()
      resume(cannotServe(path, error))
    }
    try {
      makeDirectory(Path.dirname(path), 0o755)
      directory = Fs.mkdtempSync(Path.join(Path.dirname(path), ".s-"))
      const bound = Path.join(directory, "s")
      server.once("error", fail)
      server.listen(bound, () => {
        try {
          Fs.chmodSync(bound, 0o600)
          Fs.renameSync(bound, path)
          server.off("error", fail)
          clean()
          resume(Effect.succeed(server))
        } catch (error) {
          fail(error)
        }
      })
    } catch (error) {
      fail(error)
    }
  })

/** Fails when something lives at the path, or when it is no socket. */
export const makeRoom = (path: string): Effect.Effect<void, ControlError> =>
  Effect.suspend(() => {
    const there = Fs.lstatSync(path, { throwIfNoEntry: false })
    if (there === undefined) return Effect.void
    if (!there.isSocket()) {
      const message = `${path} is not a socket — remove it, or set control_socket to another path`
      return new ControlError({ message })
    }
    return Effect.callback<void, ControlError>((resume) => {
      const socket = Net.connect(path)
      const living = () => {
        socket.destroy()
        const message = `a gateway is already running (it listens at ${path}) — stop it, or set control_socket to another path`
        resume(new ControlError({ message }))
      }
      socket.setTimeout(requestMs, living)
      socket.once("connect", living)
      socket.once("error", (error) => {
        const gone = errorCode(error) === "ECONNREFUSED" || errorCode(error) === "ENOENT"
        resume(gone ? Effect.void : cannotServe(path, error))
      })
      return Effect.sync(() => socket.destroy())
    })
  }).pipe(Effect.catchDefect((error) => cannotServe(path, error)))

const cannotServe = (path: string, error: unknown): ControlError => {
  const code = errorCode(error)
  const fix =
    code === "EACCES" || code === "EPERM" || code === "EROFS"
      ? "run as root, or set control_socket to a path that may be written"
      : "set control_socket to another path"
  return new ControlError({ message: `the control socket ${path} cannot be made (${code}) — ${fix}` })
}
