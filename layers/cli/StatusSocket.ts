import * as Fs from "node:fs"
import * as Net from "node:net"
import * as Path from "node:path"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import { StatusClient, StatusError } from "../../src/cli/StatusClient.ts"
import { StatusReport } from "../../src/cli/statusReport.ts"
import { makeDirectory } from "../host/makeDirectory.ts"

/** At most this many readers at once; more are turned away. */
const maxReaders = 16
/** A reader that does not take its report, and a gateway that does not answer, are given up. */
const timeoutMs = 5000
/** Far above the largest report. */
const maxReportLength = 64 << 20

/**
 * Serves `report` at a Unix socket that only its owner may open: each connection gets one JSON document and a newline.
 * The socket of a dead gateway is replaced; that of a living one is an error. Closes with the scope.
 */
export const serve = Effect.fn("StatusSocket.serve")(function* (
  path: string,
  report: Effect.Effect<StatusReport>
): Effect.fn.Return<void, StatusError, Scope.Scope> {
  yield* makeRoom(path)
  const server = yield* Effect.acquireRelease(listen(path), (server) =>
    Effect.callback<void>((resume) => {
      for (const socket of server.open) socket.destroy()
      Fs.rmSync(path, { force: true })
      server.net.close(() => resume(Effect.void))
    })
  )
  const run = Effect.runForkWith(yield* Effect.context())
  const answer = (socket: Net.Socket) => {
    const fiber = run(
      Effect.map(report, (value) => {
        socket.end(`${JSON.stringify(value)}\n`)
      })
    )
    // A report that dies leaves nothing to say: the reader sees the end.
    fiber.addObserver((exit) => exit._tag === "Failure" && socket.destroy())
    socket.once("close", () => run(Fiber.interrupt(fiber)))
  }
  server.net.on("connection", answer)
  yield* Effect.addFinalizer(() => Effect.sync(() => server.net.off("connection", answer)))
})

/** The client side, for `sallyport status`. */
export const layerClient: Layer.Layer<StatusClient> = Layer.succeed(StatusClient, {
  fetch: (path) => Effect.flatMap(read(path), decode)
})

interface Listening {
  readonly net: Net.Server
  readonly open: Set<Net.Socket>
}

/**
 * Binds in a fresh directory of mode 0700 and renames the socket into place once it is 0600: nobody else can connect in
 * between, and a dead socket is replaced in one step.
 */
const listen = (path: string): Effect.Effect<Listening, StatusError> =>
  Effect.callback((resume) => {
    const open = new Set<Net.Socket>()
    const net = Net.createServer({ allowHalfOpen: true }, (socket) => {
      open.add(socket)
      socket.once("close", () => open.delete(socket))
      socket.on("error", () => socket.destroy())
      socket.setTimeout(timeoutMs, () => socket.destroy())
      socket.resume()
    })
    net.maxConnections = maxReaders
    let directory: string | undefined
    const clean = () => directory !== undefined && Fs.rmSync(directory, { recursive: true, force: true })
    const fail = (error: unknown) => {
      clean()
      net.close()
      resume(cannotServe(path, error))
    }
    try {
      makeDirectory(Path.dirname(path), 0o755)
      directory = Fs.mkdtempSync(Path.join(Path.dirname(path), ".s-"))
      const bound = Path.join(directory, "s")
      net.once("error", fail)
      net.listen(bound, () => {
        try {
          Fs.chmodSync(bound, 0o600)
          Fs.renameSync(bound, path)
          net.off("error", fail)
          clean()
          resume(Effect.succeed({ net, open }))
        } catch (error) {
          fail(error)
        }
      })
    } catch (error) {
      fail(error)
    }
  })

/** Fails when something lives at the path, or when it is no socket. */
export const makeRoom = (path: string): Effect.Effect<void, StatusError> =>
  Effect.suspend(() => {
    const there = Fs.lstatSync(path, { throwIfNoEntry: false })
    if (there === undefined) return Effect.void
    if (!there.isSocket()) {
      const message = `${path} is not a socket — remove it, or set control_socket to another path`
      return new StatusError({ message })
    }
    return Effect.callback<void, StatusError>((resume) => {
      const socket = Net.connect(path)
      const living = () => {
        socket.destroy()
        const message = `a gateway is already running (it listens at ${path}) — stop it, or set control_socket to another path`
        resume(new StatusError({ message }))
      }
      socket.setTimeout(timeoutMs, living)
      socket.once("connect", living)
      socket.once("error", (error) => {
        const gone = errorCode(error) === "ECONNREFUSED" || errorCode(error) === "ENOENT"
        resume(gone ? Effect.void : cannotServe(path, error))
      })
      return Effect.sync(() => socket.destroy())
    })
  }).pipe(Effect.catchDefect((error) => cannotServe(path, error)))

const read = (path: string): Effect.Effect<string, StatusError> =>
  Effect.callback<string, StatusError>((resume) => {
    const chunks: Array<Buffer> = []
    let length = 0
    const fail = (message: string) => {
      socket.destroy()
      resume(new StatusError({ message }))
    }
    const socket = Net.connect(path)
    socket.on("data", (chunk: Buffer) => {
      chunks.push(chunk)
      length += chunk.length
      if (length > maxReportLength) fail(`what listens at ${path} is no gateway — check the path`)
    })
    socket.once("end", () => {
      socket.destroy()
      resume(Effect.succeed(Buffer.concat(chunks).toString("utf8")))
    })
    socket.once("error", (error) => fail(cannotAsk(path, error)))
    return Effect.sync(() => socket.destroy())
  }).pipe(
    Effect.timeoutOrElse({
      duration: timeoutMs,
      orElse: () => new StatusError({ message: `the gateway at ${path} does not answer — look at its log` })
    })
  )

const decodeReport = Schema.decodeEffect(Schema.fromJsonString(StatusReport))

const decode = (text: string): Effect.Effect<StatusReport, StatusError> =>
  Effect.suspend(() => {
    if (text === "") {
      return new StatusError({ message: "the gateway gave no answer — it is stopping or busy; try again" })
    }
    const message = "the gateway's answer is of another version — use the sallyport that the gateway runs"
    return Effect.mapError(decodeReport(text), () => new StatusError({ message }))
  })

const errorCode = (error: unknown): string =>
  typeof error === "object" && error !== null && "code" in error ? String(error.code) : String(error)

const cannotAsk = (path: string, error: unknown): string => {
  switch (errorCode(error)) {
    case "ENOENT":
      return `no gateway is running (nothing at ${path}) — start it, or name its socket with --socket`
    case "ECONNREFUSED":
      return `no gateway is running (a dead socket at ${path}) — start it with sallyport up`
    case "EACCES":
    case "EPERM":
      return `${path} may not be opened — run as the gateway's user`
    default:
      return `the gateway at ${path} cannot be asked (${errorCode(error)}) — check the path`
  }
}

const cannotServe = (path: string, error: unknown): StatusError => {
  const code = errorCode(error)
  const fix =
    code === "EACCES" || code === "EPERM" || code === "EROFS"
      ? "run as root, or set control_socket to a path that may be written"
      : "set control_socket to another path"
  return new StatusError({ message: `the control socket ${path} cannot be made (${code}) — ${fix}` })
}
