import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import type { Action } from "../../../src/lab/client/actions.ts"
import { ClientSession } from "../../../src/lab/client/ClientSession.ts"
import { decodeClientMessage, decodeRefusal, decodeReply } from "../../../src/lab/client/portalMessages.ts"
import { decodeMessage, type RequestConnection } from "../../../src/control/firezone/messages.ts"
import * as pushes from "../../../src/control/firezone/pushes.ts"
import type { Command } from "../../../src/dataplane/commands.ts"
import { uuidOf } from "../../../src/lab/devPortal/identity.ts"
import { ClientId } from "../../../src/model/Client.ts"
import { portalWorld } from "../../support/portalWorld.ts"

const gitlab = uuidOf("resource", "gitlab")
const net = uuidOf("resource", "net")
const gatewayIce = { username: "gate", password: "0123456789012345678901" }
const candidate = "candidate:1 1 udp 2130706431 198.51.100.1 52625 typ host"

const onlyNames = `
listen: 127.0.0.1:8081
gateways: { office: { token: gateway-secret } }
clients: { alice: { token: alice-secret } }
resources:
  gitlab: { name: "*.corp.internal" }
`

/** A client session of generation A at the development portal, and a gateway that understands what it is sent. */
const worldA = (options: { readonly file?: string; readonly gateway?: boolean } = {}) => {
  const world = portalWorld(options.file)
  const gateway = options.gateway === false ? undefined : world.connect("gateway")
  let drawn = 0
  const session = new ClientSession({ generation: "A", random: (length) => new Uint8Array(length).fill(++drawn) })
  const peer = world.connect("client")
  const sent = new Map<number, readonly [event: string, payload: unknown]>()
  /** What the client said, in order. */
  const said: Array<readonly [event: string, payload: Record<string, unknown>]> = []
  const commands: Array<Command> = []
  const other: Array<Action> = []
  const perform = (actions: ReadonlyArray<Action>): void => {
    for (const action of actions) {
      if (action._tag === "Send") {
        const { event, payload } = action.message
        said.push([event, payload as Record<string, unknown>])
        sent.set(peer.send(event, payload), [event, payload])
      } else if (action._tag === "Command") commands.push(action.command)
      else other.push(action)
    }
    settle()
  }
  const settle = (): void => {
    for (const { event, payload, ref } of peer.inbox.splice(0)) {
      if (event === "phx_reply") {
        const request = sent.get(Number(ref))
        if (request === undefined) continue
        const refusal = decodeRefusal(request[1], String(payload.response.reason))
        const decoded = decodeReply(...request, payload.response)
        if (payload.status === "error" && refusal !== null) perform(session.handle(refusal, world.now()))
        else if (decoded._tag === "Message") perform(session.handle(decoded.message, world.now()))
        continue
      }
      const decoded = decodeClientMessage(event, payload)
      assert.strictEqual(decoded._tag, "Message", event)
      if (decoded._tag === "Message") perform(session.handle(decoded.message, world.now()))
    }
  }
  settle()
  const id = ClientId.make(gateway?.id ?? "none")
  /** What the gateway makes of the portal's next message of that event. */
  const understood = (event: string) => {
    const decoded = decodeMessage(event, gateway!.take(event))
    if (decoded._tag !== "Message") return assert.fail(JSON.stringify(decoded))
    return decoded.message
  }
  return {
    world,
    gateway: gateway!,
    session,
    said,
    commands,
    other,
    perform,
    settle,
    id,
    understood,
    accept: () => {
      const request = understood("request_connection") as RequestConnection
      const { event, payload } = pushes.connectionAccepted(request.ref, gatewayIce, null)
      gateway!.send(event, payload)
      settle()
      return request
    },
    allowed: () => gateway!.inbox.filter(({ event }) => event === "allow_access").map(({ payload }) => payload.payload),
    ask: (domain: string) => {
      const answer = session.ask(domain, world.now())!
      perform(answer.actions)
      return answer
    },
    connected: () =>
      perform(
        session.notice(
          {
            _tag: "ClientState",
            epoch: 1,
            client: id,
            publicKey: gateway!.publicKey,
            connected: true,
            endpoint: null,
            lastTai64n: null,
            local: null,
            sentTick: 0,
            gatewayKey: null,
            behindMs: 0,
            handshakeAt: null,
            path: "direct"
          },
          world.now()
        )
      ),
    advance: (ms: number) => {
      for (let left = ms; left > 0; left -= 500) {
        world.advance(Math.min(left, 500))
        perform(session.tick(world.now()))
      }
    }
  }
}

const upserts = (commands: ReadonlyArray<Command>) => commands.filter((command) => command._tag === "UpsertClient")

describe("a client of generation A", () => {
  it("asks which gateway serves a network, asks that for a connection, and makes it with what both have drawn", () => {
    const client = worldA()
    assert.deepStrictEqual(
      client.said.map(([event]) => event),
      ["prepare_connection", "request_connection"]
    )
    assert.deepStrictEqual(upserts(client.commands), [])

    const request = client.accept()

    assert.deepInclude(request, { name: null })
    assert.strictEqual(request.resource.id, net)
    assert.strictEqual(request.client.presharedKey, Buffer.alloc(32, 1).toString("base64"))
    const [upsert] = upserts(client.commands)
    assert.deepInclude(upsert, {
      client: client.id,
      publicKey: client.gateway.publicKey,
      presharedKey: request.client.presharedKey,
      ice: { local: request.remote, remote: gatewayIce, role: "controlling" }
    })
    assert.notDeepEqual(request.remote, gatewayIce)
    assert.isTrue(client.commands.some((c) => c._tag === "SetResource" && c.network === "10.20.0.0/16"))
  })

  it("asks with the name and its proxy IPs; the name is ready as soon as there is a tunnel", () => {
    const client = worldA({ file: onlyNames })
    const { proxyIps, ready } = client.ask("git.corp.internal")
    assert.isFalse(ready)
    const request = client.accept()
    assert.deepStrictEqual(request.name, { _tag: "Assigned", domain: "git.corp.internal", proxyIps })
    assert.isFalse(client.other.some(({ _tag }) => _tag === "Ready"))
    client.connected()
    assert.deepInclude(client.other.at(-1), { _tag: "Ready", domain: "git.corp.internal" })
    assert.isTrue(client.ask("git.corp.internal").ready)
    assert.deepStrictEqual(client.allowed(), [])
    assert.isFalse(client.commands.some(({ _tag }) => _tag === "SendControl"))
  })

  it("reuses the connection for other resources and for each other name", () => {
    const client = worldA()
    client.ask("git.corp.internal")
    client.accept()
    assert.deepStrictEqual(client.allowed(), [])
    client.connected()
    const second = client.ask("svn.corp.internal")
    assert.deepStrictEqual(client.allowed(), [
      { name: "git.corp.internal", proxy_ips: client.ask("git.corp.internal").proxyIps },
      { name: "svn.corp.internal", proxy_ips: second.proxyIps }
    ])
    const allow = client.understood("allow_access")
    assert.deepInclude(allow, { _tag: "AllowAccess" })
    assert.strictEqual(allow._tag === "AllowAccess" ? String(allow.resource.id) : "", gitlab)
    assert.strictEqual(upserts(client.commands).length, 1)
  })

  it("says a name again when it is asked for again, every 2 s at most", () => {
    const client = worldA({ file: onlyNames })
    client.ask("git.corp.internal")
    client.accept()
    client.connected()
    client.advance(1_500)
    client.ask("git.corp.internal")
    assert.lengthOf(client.allowed(), 0)
    client.advance(500)
    client.ask("git.corp.internal")
    assert.lengthOf(client.allowed(), 1)
  })

  it("waits 20 s for a gateway's answer, then asks anew with other credentials; an answer too many changes nothing", () => {
    const client = worldA()
    const requests = () => client.gateway.inbox.filter(({ event }) => event === "request_connection")
    client.advance(19_500)
    assert.lengthOf(requests(), 1)
    client.advance(500)
    assert.lengthOf(requests(), 2)
    const [first, second] = requests().map(({ payload }) => payload.client.peer.preshared_key as string)
    assert.notStrictEqual(first, second)
    client.understood("request_connection")
    const request = client.accept()
    assert.strictEqual(request.client.presharedKey, second)
    assert.strictEqual(upserts(client.commands).length, 1)
    const again = { _tag: "ConnectionAccepted", resource: request.resource.id, gateway: client.id } as const
    const actions = client.session.handle({ ...again, publicKey: "", remote: gatewayIce }, client.world.now())
    assert.deepStrictEqual(actions, [])
  })

  it("keeps a gateway's candidates that come before its answer, unless they are taken back", () => {
    const client = worldA()
    const other = candidate.replace("198.51.100.1", "198.51.100.2")
    const tell = (_tag: "Candidates" | "InvalidatedCandidates", candidates: ReadonlyArray<string>) =>
      client.perform(client.session.handle({ _tag, gateway: client.id, candidates }, client.world.now()))
    tell("Candidates", [candidate, other])
    tell("InvalidatedCandidates", [other])
    assert.isFalse(client.commands.some(({ _tag }) => _tag === "AddCandidate"))
    client.accept()
    assert.deepStrictEqual(
      client.commands.filter(({ _tag }) => _tag === "AddCandidate"),
      [{ _tag: "AddCandidate", client: client.id, candidate }]
    )
  })

  it("asks again for a network 2 s after the portal had no gateway for it", () => {
    const client = worldA({ gateway: false })
    assert.lengthOf(client.said, 1)
    client.advance(1_500)
    assert.lengthOf(client.said, 1)
    client.advance(500)
    assert.lengthOf(client.said, 2)
  })

  it("connects anew when the connection is lost, with the names of interest", () => {
    const client = worldA({ file: onlyNames })
    client.ask("git.corp.internal")
    client.accept()
    client.connected()
    client.advance(3_000)
    client.perform(
      client.session.notice(
        { _tag: "ConnectionLost", epoch: 1, client: client.id, order: 1, reason: "IceFailed" },
        client.world.now()
      )
    )
    client.advance(2_000)
    const request = client.accept()
    assert.strictEqual(request.name?.domain, "git.corp.internal")
    assert.notStrictEqual(request.client.presharedKey, Buffer.alloc(32, 1).toString("base64"))
    assert.strictEqual(upserts(client.commands).length, 2)
  })

  it.prop("reads or skips any reply", [Schema.Json, Schema.Json], ([request, response]) => {
    const session = new ClientSession({ generation: "A", random: (length) => new Uint8Array(length) })
    for (const event of ["prepare_connection", "request_connection", "reuse_connection"]) {
      const decoded = decodeReply(event, request, response)
      if (decoded._tag === "Message") session.handle(decoded.message, 0)
    }
    const refusal = decodeRefusal(request, "offline")
    if (refusal !== null) session.handle(refusal, 0)
  })
})
