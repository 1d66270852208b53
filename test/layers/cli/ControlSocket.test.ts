import * as Fs from "node:fs"
import * as Net from "node:net"
import * as Os from "node:os"
import * as Path from "node:path"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Schema, Scope } from "effect"
import type { HttpServerRequest } from "effect/http"
import { ControlClient, ControlError, askGateway } from "../../../src/cli/ControlClient.ts"
import { fetchStatus as fetch } from "../../../src/cli/fetchStatus.ts"
import { type StatusReport, statusVersion } from "../../../src/cli/statusReport.ts"
import * as ControlClientLive from "../../../layers/cli/ControlClient.ts"
import { jsonRoute } from "../../../layers/cli/controlRoute.ts"
import * as ControlSocket from "../../../layers/cli/ControlSocket.ts"
import { report } from "../../cli/fixtures.ts"

const inDirectory = <A, E>(use: (directory: string) => Effect.Effect<A, E, ControlClient | Scope.Scope>) =>
  Effect.gen(function* () {
    const directory = yield* Effect.acquireRelease(
      Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "status-"))),
      (path) => Effect.sync(() => Fs.rmSync(path, { recursive: true, force: true }))
    )
    return yield* use(directory)
  }).pipe(Effect.scoped, Effect.provide(ControlClientLive.layer))

const serve = (path: string, answer: Effect.Effect<unknown, ControlError> = Effect.succeed(report)) =>
  Effect.flatMap(
    Effect.all([jsonRoute("GET", "/v1/status", () => answer), jsonRoute("POST", "/v1/echo", readAll)]),
    (routes) => ControlSocket.serve(path, routes)
  )

const readAll = (request: HttpServerRequest.HttpServerRequest) =>
  Effect.mapError(request.text, () => new ControlError({ message: "too long" }))

/** A socket whose owner is gone: bound, then its process ended without removing it. */
const deadSocket = (path: string) =>
  Effect.callback<void>((resume) => {
    const server = Net.createServer()
    server.listen(`${path}.live`, () => {
      Fs.renameSync(`${path}.live`, path)
      server.close(() => resume(Effect.void))
    })
  })

describe("the control socket", () => {
  it.live("gives each reader the report of now", () =>
    inDirectory((directory) =>
      Effect.gen(function* () {
        let epoch = 0
        const path = `${directory}/run/s.sock`
        yield* serve(
          path,
          Effect.sync((): StatusReport => ({ ...report, gateway: { ...report.gateway, workerEpoch: ++epoch } }))
        )
        const first = yield* fetch(path)
        const second = yield* fetch(path)
        assert.deepStrictEqual(first, { ...report, gateway: { ...report.gateway, workerEpoch: 1 } })
        assert.strictEqual(second.gateway.workerEpoch, 2)
      })
    )
  )

  it.live("may be opened by its owner only, and leaves nothing behind", () =>
    inDirectory((directory) =>
      Effect.gen(function* () {
        const path = `${directory}/s.sock`
        const scope = yield* Scope.make()
        yield* serve(path).pipe(Scope.provide(scope))
        assert.strictEqual(Fs.statSync(path).mode & 0o777, 0o600)
        assert.deepStrictEqual(Fs.readdirSync(directory), ["s.sock"])
        yield* Scope.close(scope, Exit.void)
        assert.deepStrictEqual(Fs.readdirSync(directory), [])
      })
    )
  )

  it.live("replaces the socket of a dead gateway", () =>
    inDirectory((directory) =>
      Effect.gen(function* () {
        const path = `${directory}/s.sock`
        yield* deadSocket(path)
        assert.isTrue(Fs.lstatSync(path).isSocket())
        yield* serve(path)
        assert.strictEqual((yield* fetch(path)).gateway.publicKey, report.gateway.publicKey)
      })
    )
  )

  it.live("leaves the socket of a living gateway alone", () =>
    inDirectory((directory) =>
      Effect.gen(function* () {
        const path = `${directory}/s.sock`
        yield* serve(path)
        const error = yield* Effect.flip(serve(path))
        assert.strictEqual(
          error.message,
          `a gateway is already running (it listens at ${path}) — stop it, or set control_socket to another path`
        )
        assert.strictEqual((yield* fetch(path)).version, statusVersion)
      })
    )
  )

  it.live("never removes a file that is no socket", () =>
    inDirectory((directory) =>
      Effect.gen(function* () {
        Fs.writeFileSync(`${directory}/precious`, "data")
        const error = yield* Effect.flip(serve(`${directory}/precious`))
        assert.match(error.message, /is not a socket — remove it, or set control_socket/)
        assert.strictEqual(Fs.readFileSync(`${directory}/precious`, "utf8"), "data")
      })
    )
  )

  it.live("says why it cannot be made", () =>
    inDirectory((directory) =>
      Effect.gen(function* () {
        Fs.writeFileSync(`${directory}/file`, "")
        const error = yield* Effect.flip(serve(`${directory}/file/s.sock`))
        assert.match(
          error.message,
          /^the control socket .* cannot be made \(E\w+\) — set control_socket to another path$/
        )
      })
    )
  )

  it.live("turns away readers beyond its bound and serves again when they are gone", () =>
    inDirectory((directory) =>
      Effect.gen(function* () {
        const path = `${directory}/s.sock`
        yield* serve(path, Effect.never)
        const idle = Array.from({ length: 16 }, () => Net.connect(path).on("error", () => {}))
        yield* Effect.sleep(50)
        const refused = yield* Effect.flip(fetch(path))
        assert.match(refused.message, /gave no answer|ECONNRESET|EPIPE/)
        for (const socket of idle) socket.destroy()
      })
    )
  )
})

describe("asking the gateway", () => {
  it.live("tells in the gateway's words why it refuses", () =>
    inDirectory((directory) =>
      Effect.gen(function* () {
        const path = `${directory}/s.sock`
        yield* serve(path, new ControlError({ message: "not today — come tomorrow" }))
        assert.strictEqual((yield* Effect.flip(fetch(path))).message, "not today — come tomorrow")
      })
    )
  )

  it.live("sends a body up to a bound", () =>
    inDirectory((directory) =>
      Effect.gen(function* () {
        const path = `${directory}/s.sock`
        yield* serve(path)
        const echo = (body: string) => askGateway(path, { method: "POST", path: "/v1/echo", body }, Schema.String)
        assert.strictEqual(yield* echo("hello"), "hello")
        assert.strictEqual((yield* Effect.flip(echo("x".repeat(70_000)))).message, "too long")
      })
    )
  )

  it.live("knows a gateway that does not know the request as one of another version", () =>
    inDirectory((directory) =>
      Effect.gen(function* () {
        const path = `${directory}/s.sock`
        yield* serve(path)
        const error = yield* Effect.flip(askGateway(path, { method: "POST", path: "/v1/nothing" }, Schema.String))
        assert.match(error.message, /is of another version/)
      })
    )
  )

  it.live("does not call a file a dead socket", () =>
    inDirectory((directory) =>
      Effect.gen(function* () {
        Fs.writeFileSync(`${directory}/file`, "")
        const error = yield* Effect.flip(fetch(`${directory}/file`))
        assert.strictEqual(error.message, `${directory}/file is not a socket — name the gateway's control socket`)
      })
    )
  )

  it.live("says that no gateway runs when there is no socket, or a dead one", () =>
    inDirectory((directory) =>
      Effect.gen(function* () {
        yield* deadSocket(`${directory}/dead`)
        yield* serve(`${directory}/living`)
        const none = yield* Effect.flip(fetch(`${directory}/none`))
        const dead = yield* Effect.flip(fetch(`${directory}/dead`))
        const { isListening } = yield* ControlClient
        const listening = yield* Effect.forEach(["none", "dead", "living"], (name) =>
          isListening(`${directory}/${name}`)
        )
        assert.match(
          none.message,
          /^no gateway is running \(nothing at .*\) — start it, or name its socket with --socket$/
        )
        assert.match(dead.message, /^no gateway is running \(a dead socket at .*\) — start it with sallyport up$/)
        assert.deepStrictEqual(listening, [false, false, true])
      })
    )
  )

  it.live("does not take any other text for a report", () =>
    inDirectory((directory) =>
      Effect.gen(function* () {
        const path = `${directory}/other`
        const server = Net.createServer((socket) => socket.end('{"version":1}\n'))
        yield* Effect.acquireRelease(
          Effect.callback<void>((resume) => void server.listen(path, () => resume(Effect.void))),
          () => Effect.sync(() => server.close())
        )
        const error = yield* Effect.flip(fetch(path))
        assert.match(error.message, /is of another version/)
      })
    )
  )
})
