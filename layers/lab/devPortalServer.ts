/** The development portal behind real sockets. */
import * as Crypto from "node:crypto"
import * as Fs from "node:fs"
import * as Http from "node:http"
import type * as Net from "node:net"
import * as Path from "node:path"
import type { Duplex } from "node:stream"
import * as NodeWS from "@effect/platform-node/NodeWS"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as SchemaParser from "effect/SchemaParser"
import type * as Scope from "effect/Scope"
import { superviseForever } from "../../src/loops/superviseForever.ts"
import { formatHostPort } from "../../src/packet/endpoint.ts"
import { type Command, type CommandResult, decodeCommand } from "../../src/lab/devPortal/commands.ts"
import { DevPortal } from "../../src/lab/devPortal/DevPortal.ts"
import { maxFrameLength } from "../../src/lab/devPortal/frame.ts"
import type { PortalConfig } from "../../src/lab/devPortal/PortalConfig.ts"
import type { Authorization } from "../../src/lab/devPortal/portalState.ts"
import type { Refused } from "../../src/lab/devPortal/upgrade.ts"

/** One line: what failed, why, and the fix. */
export class DevPortalError extends Schema.TaggedError<DevPortalError>()("DevPortalError", {
  message: Schema.String
}) {}

export interface RunningPortal {
  /** `ws://host:port`, what gateways and clients take as FIREZONE_API_URL. */
  readonly url: string
  readonly command: (command: Command) => CommandResult
}

/** A peer that does not take what it is sent. */
const maxUnsent = 16 << 20
const maxCommand = 1 << 20
const maxSaved = 64 << 20

/** Listens until the scope closes; open sockets are cut then, as when a portal dies. */
export const serve = Effect.fn("DevPortal.serve")(function* (
  config: PortalConfig
): Effect.fn.Return<RunningPortal, DevPortalError, Scope.Scope> {
  const saved = config.stateFile === null ? [] : yield* readSaved(config.stateFile)
  const portal = new DevPortal(config, (length) => new Uint8Array(Crypto.randomBytes(length)), saved)
  const logger = Effect.runForkWith(yield* Effect.context())
  const sockets = new Map<number, NodeWS.WebSocket>()

  const carryOut = () => {
    for (const action of portal.take()) {
      if (action._tag === "Log") {
        logger(Effect.logWithLevel(action.level)(action.message))
        continue
      }
      const socket = sockets.get(action.socket)
      if (socket === undefined) continue
      if (action._tag === "Close") {
        sockets.delete(action.socket)
        socket.close(action.code, action.reason)
      } else if (socket.bufferedAmount > maxUnsent) {
        socket.terminate()
      } else {
        socket.send(action.text)
      }
    }
  }

  const upgrades = new NodeWS.WebSocketServer({ noServer: true, perMessageDeflate: false, maxPayload: maxFrameLength })
  const upgrade = (request: Http.IncomingMessage, stream: Duplex, head: Buffer) => {
    stream.on("error", () => stream.destroy())
    const result = portal.check({
      url: request.url ?? "/",
      headers: request.headers,
      remote: addressOf(request.socket.remoteAddress)
    })
    carryOut()
    if (result._tag === "Refused") return refuse(stream, result)
    upgrades.handleUpgrade(request, stream, head, (socket) => {
      const id = portal.open(result, Date.now())
      sockets.set(id, socket)
      socket.on("message", (data, binary) => {
        if (!binary) portal.receive(id, textOf(data), Date.now())
        carryOut()
      })
      socket.on("error", () => socket.terminate())
      socket.on("close", () => {
        sockets.delete(id)
        portal.closed(id, Date.now())
        carryOut()
      })
      carryOut()
    })
  }

  const server = Http.createServer({ requestTimeout: 10_000, headersTimeout: 10_000 }, (_request, response) => {
    response.writeHead(426, { "content-type": "text/plain" }).end("a WebSocket upgrade is needed\n")
  })
  server.on("upgrade", upgrade)
  const address = yield* listen(server, { host: config.listen.host, port: config.listen.port }, () => {
    for (const socket of upgrades.clients) socket.terminate()
    for (const socket of sockets.values()) socket.terminate()
  })
  const command = (command: Command): CommandResult => {
    const result = portal.command(command, Date.now())
    carryOut()
    return result
  }
  if (config.adminSocket !== null) yield* serveAdmin(config.adminSocket, command)

  const tick = Effect.map(Clock.currentTimeMillis, (now) => {
    portal.tick(now)
    carryOut()
  })
  yield* Effect.forkScoped(superviseForever("DevPortal.tick", Effect.andThen(tick, Effect.sleep("1 second"))))
  if (config.stateFile !== null) yield* keepSaved(config.stateFile, portal)

  const port = typeof address === "object" && address !== null ? address.port : config.listen.port
  return { url: `ws://${formatHostPort(config.listen.host, port)}`, command }
})

/** Commands as JSON in the body of any POST; the answer is JSON. Only the owner may open the socket. */
const serveAdmin = (path: string, run: (command: Command) => CommandResult) =>
  Effect.gen(function* () {
    const server = Http.createServer((request, response) => {
      const chunks: Array<Buffer> = []
      let length = 0
      request.on("data", (chunk: Buffer) => {
        length += chunk.length
        if (length > maxCommand) request.destroy()
        else chunks.push(chunk)
      })
      request.on("error", () => response.destroy())
      request.on("end", () => {
        const command = decodeCommand(Buffer.concat(chunks).toString("utf8"))
        const result: CommandResult = Result.isSuccess(command)
          ? run(command.success)
          : { ok: false, error: `not a command: ${command.failure.message}` }
        response.writeHead(result.ok ? 200 : 400, { "content-type": "application/json" })
        response.end(`${JSON.stringify(result)}\n`)
      })
    })
    // Bound where nobody else may look, and moved into place once it is the owner's only.
    const bound = yield* Effect.try({
      try: () => {
        if (Fs.lstatSync(path, { throwIfNoEntry: false })?.isSocket() === true) Fs.rmSync(path)
        return Path.join(Fs.mkdtempSync(Path.join(Path.dirname(path), ".p-")), "s")
      },
      catch: (error) => cannotListen(path, error)
    })
    const clean = Effect.sync(() => Fs.rmSync(Path.dirname(bound), { recursive: true, force: true }))
    yield* Effect.addFinalizer(() => Effect.sync(() => Fs.rmSync(path, { force: true })))
    yield* listen(server, { path: bound }, () => server.closeAllConnections()).pipe(
      Effect.andThen(
        Effect.try({
          try: () => {
            Fs.chmodSync(bound, 0o600)
            Fs.renameSync(bound, path)
          },
          catch: (error) => cannotListen(path, error)
        })
      ),
      Effect.ensuring(clean)
    )
  })

const listen = (server: Http.Server, where: Net.ListenOptions, cut: () => void) =>
  Effect.acquireRelease(
    Effect.callback<ReturnType<Http.Server["address"]>, DevPortalError>((resume) => {
      const refused = (error: Error) =>
        resume(Effect.fail(cannotListen(where.path ?? `${where.host}:${where.port}`, error)))
      server.once("error", refused)
      server.listen(where, () => {
        server.off("error", refused)
        server.on("error", () => undefined)
        resume(Effect.succeed(server.address()))
      })
    }),
    () =>
      Effect.callback<void>((resume) => {
        server.close(() => resume(Effect.void))
        cut()
        server.closeAllConnections()
      })
  )

const cannotListen = (where: string, error: unknown): DevPortalError => {
  const code = error instanceof Error && "code" in error ? String(error.code) : String(error)
  const fix = code === "EADDRINUSE" ? "stop what listens there, or choose another" : "choose another in the file"
  return new DevPortalError({ message: `the portal cannot listen at ${where} (${code}) — ${fix}` })
}

const refuse = (stream: Duplex, { body, headers, status }: Refused): void => {
  const lines = Object.entries({ ...headers, "content-length": String(Buffer.byteLength(body)), connection: "close" })
  const head = lines.map(([name, value]) => `${name}: ${value}\r\n`).join("")
  stream.end(`HTTP/1.1 ${status} ${Http.STATUS_CODES[status] ?? "Refused"}\r\n${head}\r\n${body}`)
}

const textOf = (data: NodeWS.RawData): string =>
  Array.isArray(data) ? Buffer.concat(data).toString("utf8") : Buffer.from(data as Buffer).toString("utf8")

/** Without the prefix of an IPv4 address on an IPv6 socket. */
const addressOf = (address: string | undefined): string => (address ?? "").replace(/^::ffff:/, "")

const Saved = Schema.fromJsonString(
  Schema.Array(
    Schema.Struct({
      client: Schema.String,
      resource: Schema.String,
      gateway: Schema.String,
      expiresAt: Schema.NullOr(Schema.Finite),
      answeredAt: Schema.NullOr(Schema.Finite)
    })
  )
)
const decodeSaved = SchemaParser.decodeUnknownResult(Saved)

const readSaved = (path: string): Effect.Effect<ReadonlyArray<Authorization>, DevPortalError> =>
  Effect.suspend(() => {
    const info = Fs.statSync(path, { throwIfNoEntry: false })
    if (info === undefined) return Effect.succeed([])
    const decoded = info.size > maxSaved ? null : decodeSaved(Fs.readFileSync(path, "utf8"))
    return decoded !== null && Result.isSuccess(decoded)
      ? Effect.succeed(decoded.success)
      : Effect.fail(
          new DevPortalError({ message: `${path} is no state of a portal — remove it, or name another file` })
        )
  }).pipe(
    Effect.catchDefect((error) =>
      Effect.fail(new DevPortalError({ message: `${path} cannot be read (${String(error)}) — check state_file` }))
    )
  )

/** Writes the authorizations soon after they change, and at the end. */
const keepSaved = (path: string, portal: DevPortal) =>
  Effect.gen(function* () {
    let written = portal.saved.revision
    const write = Effect.try({
      try: () => {
        const { authorizations, revision } = portal.saved
        if (revision === written) return
        Fs.writeFileSync(`${path}.new`, JSON.stringify(authorizations), { mode: 0o600 })
        Fs.renameSync(`${path}.new`, path)
        written = revision
      },
      catch: String
    }).pipe(Effect.catch((error) => Effect.logWarning(`the portal's state cannot be written: ${error}`)))
    yield* Effect.addFinalizer(() => write)
    yield* write.pipe(Effect.repeat(Schedule.spaced("250 millis")), Effect.forkScoped)
  })
