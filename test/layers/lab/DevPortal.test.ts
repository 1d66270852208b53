import * as Fs from "node:fs"
import * as Http from "node:http"
import * as Net from "node:net"
import * as Os from "node:os"
import * as Path from "node:path"
import * as NodeWS from "@effect/platform-node/NodeWS"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Logger, Scope } from "effect"
import * as DevPortal from "../../../layers/lab/devPortalServer.ts"
import type { Command } from "../../../src/lab/devPortal/commands.ts"
import { uuidOf } from "../../../src/lab/devPortal/identity.ts"
import { key } from "../../config/fixtures.ts"
import { portalConfig } from "../../support/portalWorld.ts"

const directory = Effect.acquireRelease(
  Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "portal-"))),
  (path) => Effect.sync(() => Fs.rmSync(path, { recursive: true, force: true }))
)

const config = (path: string) => ({
  ...portalConfig(),
  listen: { host: "127.0.0.1", port: 0 },
  adminSocket: Path.join(path, "admin.sock"),
  stateFile: Path.join(path, "state.json")
})

// oxlint-disable-next-line typescript/no-explicit-any
type Message = { event: string; payload: any; ref: number | null }

const tokens = { gateway: "gateway", client: "alice", relay: "relay" } as const

class Peer {
  private readonly socket: NodeWS.WebSocket
  private readonly inbox: Array<Message> = []
  private readonly waiting: Array<() => void> = []
  readonly closed: Promise<number>
  private readonly role: string
  constructor(url: string, role: "gateway" | "client" | "relay", token = `${tokens[role]}-secret`) {
    const query = new URLSearchParams({
      ipv4: "192.0.2.7",
      public_key: key(role === "gateway" ? 1 : 2),
      external_id: "device",
      name: `my-${role}`
    })
    this.role = role
    this.socket = new NodeWS.WebSocket(`${url}/${role}/websocket?${query.toString()}`, {
      headers: { "x-authorization": `Bearer ${token}`, "user-agent": "Debian/12 gateway/1.4.19 (x86_64; 6.1.0)" }
    })
    this.socket.on("error", () => undefined)
    this.socket.on("message", (data) => {
      this.inbox.push(JSON.parse((data as Buffer).toString()) as Message)
      for (const wake of this.waiting.splice(0)) wake()
    })
    this.closed = new Promise((resolve) => this.socket.once("close", resolve))
  }

  readonly refused = (): Promise<Http.IncomingMessage> =>
    new Promise((resolve) => this.socket.once("unexpected-response", (_request, response) => resolve(response)))

  send(event: string, payload: unknown) {
    const text = JSON.stringify({ topic: this.role, event, payload, ref: 1 })
    if (this.socket.readyState === NodeWS.WebSocket.OPEN) this.socket.send(text)
    else this.socket.once("open", () => this.socket.send(text))
  }

  async take(event: string): Promise<Message["payload"]> {
    for (;;) {
      const at = this.inbox.findIndex((message) => message.event === event)
      if (at >= 0) return this.inbox.splice(at, 1)[0]!.payload
      await new Promise<void>((resolve) => this.waiting.push(resolve))
    }
  }

  raw(data: string | Buffer) {
    this.socket.send(data)
  }

  end() {
    this.socket.terminate()
  }
}

const admin = (path: string, body: Command | string) =>
  Effect.promise(
    () =>
      new Promise<{ status: number; body: Record<string, unknown> }>((resolve, reject) => {
        const request = Http.request({ socketPath: path, method: "POST" }, (response) => {
          const chunks: Array<Buffer> = []
          response.on("data", (chunk: Buffer) => chunks.push(chunk))
          response.on("end", () =>
            resolve({
              status: response.statusCode ?? 0,
              body: JSON.parse(Buffer.concat(chunks).toString()) as Record<string, unknown>
            })
          )
        })
        request.on("error", reject)
        request.end(typeof body === "string" ? body : JSON.stringify(body))
      })
  )

const quiet = Logger.layer([])
const net = uuidOf("resource", "net")

describe("the development portal on a socket", () => {
  it.live("takes a gateway and a client through a flow", () =>
    Effect.gen(function* () {
      const { url } = yield* DevPortal.serve(config(yield* directory))
      yield* Effect.promise(async () => {
        const gateway = new Peer(url, "gateway")
        const client = new Peer(url, "client")
        gateway.send("phx_join", null)
        client.send("phx_join", null)
        await Promise.all([gateway.take("init"), client.take("init")])
        client.send("create_flow", { resource_id: net, connected_gateway_ids: [] })
        const { ref } = await gateway.take("authorize_flow")
        gateway.send("flow_authorized", { ref })
        assert.strictEqual((await client.take("flow_created")).gateway_public_key, key(1))
        gateway.end()
        client.end()
      })
    }).pipe(Effect.scoped, Effect.provide(quiet))
  )

  it.live("tells devices of a relay that joins, and of its end", () =>
    Effect.gen(function* () {
      const { url } = yield* DevPortal.serve({ ...config(yield* directory), relayToken: "relay-secret" })
      yield* Effect.promise(async () => {
        const gateway = new Peer(url, "gateway")
        gateway.send("phx_join", null)
        await gateway.take("init")
        const relay = new Peer(url, "relay")
        relay.send("phx_join", { stamp_secret: "north" })
        await relay.take("init")
        const { connected } = await gateway.take("relays_presence")
        relay.end()
        const { disconnected_ids } = await gateway.take("relays_presence")

        assert.strictEqual(connected[0].addr, "192.0.2.7:3478")
        assert.deepStrictEqual(disconnected_ids, [connected[0].id])
        gateway.end()
      })
    }).pipe(Effect.scoped, Effect.provide(quiet))
  )

  it.live("answers an upgrade with the status that it was told, with Retry-After, and then serves", () =>
    Effect.gen(function* () {
      const { url, command } = yield* DevPortal.serve(config(yield* directory))
      for (const status of [429, 503]) {
        command({ command: "refuse", status, retry_after: 3 })
        const response = yield* Effect.promise(() => new Peer(url, "gateway").refused())
        assert.deepStrictEqual([response.statusCode, response.headers["retry-after"]], [status, "3"])
      }
      const wrong = yield* Effect.promise(() => new Peer(url, "gateway", "wrong").refused())
      assert.strictEqual(wrong.statusCode, 401)
      yield* Effect.promise(async () => {
        const gateway = new Peer(url, "gateway")
        gateway.send("phx_join", null)
        await gateway.take("init")
        gateway.end()
      })
    }).pipe(Effect.scoped, Effect.provide(quiet))
  )

  it.live("obeys commands on its socket, which only the owner may open", () =>
    Effect.gen(function* () {
      const path = yield* directory
      const { url } = yield* DevPortal.serve(config(path))
      const socket = Path.join(path, "admin.sock")
      assert.strictEqual(Fs.statSync(socket).mode & 0o777, 0o600)
      const gateway = new Peer(url, "gateway")
      gateway.send("phx_join", null)
      yield* Effect.promise(() => gateway.take("init"))
      const { body } = yield* admin(socket, { command: "status" })
      assert.strictEqual((body["devices"] as Array<{ name: string }>)[0]!.name, "my-gateway")
      const relays = '{"command":"relays","relays":{"b":{"addresses":["192.0.2.5:3478"],"secret":"s"}}}'
      assert.strictEqual((yield* admin(socket, relays)).status, 200)
      assert.strictEqual(
        (yield* Effect.promise(() => gateway.take("relays_presence"))).connected[0].addr,
        "192.0.2.5:3478"
      )
      const wrong = yield* admin(socket, '{"command":"nonsense"}')
      assert.strictEqual(wrong.status, 400)
      assert.strictEqual(wrong.body["ok"], false)
      yield* admin(socket, { command: "close", device: "my-gateway" })
      assert.strictEqual(yield* Effect.promise(() => gateway.closed), 1011)
    }).pipe(Effect.scoped, Effect.provide(quiet))
  )

  it.live("still knows what it granted after it was started again", () =>
    Effect.gen(function* () {
      const path = yield* directory
      const first = yield* Scope.make()
      const { url } = yield* DevPortal.serve(config(path)).pipe(Scope.provide(first))
      const gateway = new Peer(url, "gateway")
      const client = new Peer(url, "client")
      yield* Effect.promise(async () => {
        gateway.send("phx_join", null)
        client.send("phx_join", null)
        await Promise.all([gateway.take("init"), client.take("init")])
        client.send("create_flow", { resource_id: net })
        gateway.send("flow_authorized", { ref: (await gateway.take("authorize_flow")).ref })
        await client.take("flow_created")
      })
      yield* Scope.close(first, Exit.void)
      assert.strictEqual(yield* Effect.promise(() => gateway.closed), 1006)
      const second = yield* DevPortal.serve(config(path))
      const again = new Peer(second.url, "gateway")
      again.send("phx_join", null)
      const { authorizations } = yield* Effect.promise(() => again.take("init"))
      // oxlint-disable-next-line typescript/no-explicit-any
      assert.deepStrictEqual(
        authorizations.map((a: any) => a.resource_id),
        [net]
      )
      again.end()
    }).pipe(Effect.scoped, Effect.provide(quiet))
  )

  it.live("is not harmed by garbage before, in and instead of an upgrade", () =>
    Effect.gen(function* () {
      const { url } = yield* DevPortal.serve(config(yield* directory))
      const port = Number(new URL(url).port)
      yield* Effect.promise(async () => {
        for (const text of [
          "\0\0\0\n\n",
          "GET / HTTP/1.1\r\n\r\n",
          "GET /gateway/websocket HTTP/1.1\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n"
        ]) {
          await new Promise<void>((resolve) => {
            const socket = Net.connect(port, "127.0.0.1", () => socket.end(text))
            socket.on("error", () => undefined)
            socket.on("close", () => resolve())
            socket.resume()
          })
        }
        const peer = new Peer(url, "client")
        peer.send("phx_join", null)
        await peer.take("init")
        peer.raw(Buffer.from([1, 2, 3]))
        peer.raw("{")
        peer.raw("x".repeat((1 << 20) + 1))
        assert.strictEqual(await peer.closed, 1009)
        const next = new Peer(url, "client")
        next.send("phx_join", null)
        await next.take("init")
        next.end()
      })
    }).pipe(Effect.scoped, Effect.provide(quiet))
  )

  it.live("says in one line that its port is taken", () =>
    Effect.gen(function* () {
      const { url } = yield* DevPortal.serve(config(yield* directory))
      const port = Number(new URL(url).port)
      const error = yield* Effect.flip(DevPortal.serve({ ...portalConfig(), listen: { host: "127.0.0.1", port } }))
      assert.strictEqual(
        error.message,
        `the portal cannot listen at 127.0.0.1:${port} (EADDRINUSE) — stop what listens there, or choose another`
      )
    }).pipe(Effect.scoped, Effect.provide(quiet))
  )
})
