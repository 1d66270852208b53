import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import type { Action } from "../../../src/lab/client/actions.ts"
import { ClientSession } from "../../../src/lab/client/ClientSession.ts"
import { readDomainStatus } from "../../../src/lab/client/domainStatus.ts"
import { decodeClientMessage } from "../../../src/lab/client/portalMessages.ts"
import { ProxyPool } from "../../../src/lab/client/ProxyPool.ts"
import type { Command } from "../../../src/dataplane/commands.ts"
import { uuidOf } from "../../../src/lab/devPortal/identity.ts"
import { ClientId } from "../../../src/model/Client.ts"
import { ResourceId } from "../../../src/model/Resource.ts"
import { key } from "../../config/fixtures.ts"
import { portalFile, portalWorld } from "../../support/portalWorld.ts"

const maxNames = 4_096
const gitlab = uuidOf("resource", "gitlab")
const net = uuidOf("resource", "net")

/** A client session at the development portal, with a gateway that authorizes what it is asked. */
const clientWorld = (
  options: { readonly gateway?: boolean; readonly internet?: boolean; readonly file?: string } = {}
) => {
  const world = portalWorld(...(options.file === undefined ? [] : [options.file]))
  const gateway = options.gateway === false ? undefined : world.connect("gateway")
  const session = new ClientSession(options.internet === undefined ? {} : { internet: options.internet })
  const peer = world.connect("client")
  const commands: Array<Command> = []
  const other: Array<Action> = []
  let held = false
  const perform = (actions: ReadonlyArray<Action>): void => {
    for (const action of actions) {
      if (action._tag === "Send") peer.send(action.message.event, action.message.payload)
      else if (action._tag === "Command") commands.push(action.command)
      else other.push(action)
    }
    settle()
  }
  const settle = (): void => {
    const requests = held ? 0 : (gateway?.inbox.filter(({ event }) => event === "authorize_flow").length ?? 0)
    for (let i = 0; i < requests; i++) {
      gateway?.send("flow_authorized", { ref: gateway.take("authorize_flow").ref })
    }
    for (const message of peer.inbox.splice(0)) {
      const decoded = decodeClientMessage(message.event, message.payload)
      if (decoded._tag === "Message") perform(session.handle(decoded.message, world.now()))
      else if (message.event !== "phx_reply") assert.fail(`${message.event}: ${JSON.stringify(decoded)}`)
    }
  }
  settle()
  const id = ClientId.make(gateway?.id ?? "none")
  const state = (connected: boolean) =>
    perform(
      session.notice(
        {
          _tag: "ClientState",
          epoch: 1,
          client: id,
          publicKey: gateway?.publicKey ?? "",
          connected,
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
    )
  return {
    world,
    gateway: gateway!,
    session,
    commands,
    other,
    perform,
    settle,
    state,
    id,
    hold: (on: boolean) => {
      held = on
      settle()
    },
    ask: (domain: string) => {
      const answer = session.ask(domain, world.now())
      perform(answer?.actions ?? [])
      return answer
    },
    tell: (event: number, content: unknown) => {
      const payload = typeof content === "string" ? content : JSON.stringify(content)
      const control = {
        _tag: "Control",
        epoch: 1,
        client: id,
        event,
        payload: new TextEncoder().encode(payload)
      } as const
      perform(session.notice(control, world.now()))
    },
    advance: (ms: number) => {
      for (let left = ms; left > 0; left -= 500) {
        world.advance(Math.min(left, 500))
        perform(session.tick(world.now()))
      }
    },
    /** Takes the commands of that kind. */
    took: <T extends Command["_tag"]>(tag: T) => {
      const taken = commands.filter((command) => command._tag === tag) as Array<Extract<Command, { _tag: T }>>
      commands.splice(0, commands.length, ...commands.filter((command) => command._tag !== tag))
      return taken
    },
    assigned: () =>
      commands
        .splice(0)
        .flatMap((command) =>
          command._tag === "SendControl" && command.event === 0
            ? [JSON.parse(new TextDecoder().decode(command.payload)) as Record<string, unknown>]
            : []
        )
  }
}

describe("a client at a portal", () => {
  it("routes its networks and asks for a gateway to them at once", () => {
    const { commands, gateway, id, other, world } = clientWorld()
    const configure = other.find(({ _tag }) => _tag === "Configure")
    assert.deepInclude(configure, { networks: ["100.96.0.0/11", "fd00:2021:1111:8000::/107", "10.20.0.0/16"] })
    const upserts = commands.filter(({ _tag }) => _tag === "UpsertClient")
    assert.strictEqual(upserts.length, 1)
    assert.deepInclude(upserts[0], { client: id, publicKey: gateway.publicKey, keepalive: 0, initiate: true })
    assert.isTrue(commands.some((c) => c._tag === "SetResource" && c.network === "10.20.0.0/16" && c.client === id))
    const relays = commands.filter((c) => c._tag === "SetRelays")
    assert.deepStrictEqual([relays.length, relays[0]!.relays[0]!.addresses.length], [1, 2])
    assert.strictEqual(world.logs.filter((line) => line.includes("asks for net")).length, 1)
  })

  it("is the controlling side, with the credentials the right way round", () => {
    const { commands } = clientWorld()
    const upsert = commands.find((c) => c._tag === "UpsertClient")!
    const peer = clientWorld()
    peer.hold(true)
    peer.world.command({ command: "revoke", client: "client-one" })
    peer.ask("git.corp.internal")
    const request = peer.gateway.take("authorize_flow")
    assert.deepStrictEqual(upsert._tag === "UpsertClient" && upsert.ice, {
      role: "controlling",
      local: request.client_ice_credentials,
      remote: request.gateway_ice_credentials
    })
    assert.strictEqual(upsert._tag === "UpsertClient" && upsert.presharedKey, request.client.preshared_key)
  })

  it("gives a name proxy IPs at once, tells the gateway once there is a tunnel, and says when it is ready", () => {
    const client = clientWorld()
    const answer = client.ask("Git.corp.internal.")!
    assert.deepStrictEqual(answer.proxyIps, [
      ...[1, 2, 3, 4].map((n) => `100.96.0.${n}`),
      ...[1, 2, 3, 4].map((n) => `fd00:2021:1111:8000::${n}`)
    ])
    assert.isFalse(answer.ready)
    const routes = client.took("SetResource").map(({ network }) => network)
    assert.includeMembers(routes, [...answer.proxyIps])
    assert.deepStrictEqual(client.assigned(), [])
    client.state(true)
    assert.deepStrictEqual(client.assigned(), [
      { resource: gitlab, domain: "git.corp.internal", proxy_ips: answer.proxyIps }
    ])
    client.tell(1, { status: "Active", resource: gitlab, domain: "git.corp.internal" })
    assert.deepInclude(client.other.at(-1), { _tag: "Ready", domain: "git.corp.internal" })
    assert.isTrue(client.ask("git.corp.internal")?.ready)
    assert.deepStrictEqual(client.ask("other.corp.internal")?.proxyIps[0], "100.96.0.5")
  })

  it("repeats AssignedIps every 2 s while the gateway says nothing, and not sooner", () => {
    const client = clientWorld()
    client.ask("git.corp.internal")
    client.state(true)
    assert.strictEqual(client.assigned().length, 1)
    client.ask("git.corp.internal")
    client.advance(1_500)
    assert.strictEqual(client.assigned().length, 0)
    client.advance(500)
    assert.strictEqual(client.assigned().length, 1)
    client.tell(1, { status: "Active", resource: gitlab, domain: "git.corp.internal" })
    client.advance(10_000)
    assert.strictEqual(client.assigned().length, 0)
    client.ask("git.corp.internal")
    assert.strictEqual(client.assigned().length, 1)
  })

  it("asks for a flow again every 2 s while none comes", () => {
    const client = clientWorld()
    client.hold(true)
    const asked = () => client.gateway.inbox.splice(0).filter(({ event }) => event === "authorize_flow").length
    client.ask("git.corp.internal")
    client.ask("svn.corp.internal")
    assert.strictEqual(asked(), 1)
    client.advance(1_500)
    assert.strictEqual(asked(), 0)
    client.advance(4_500)
    assert.strictEqual(asked(), 3)
  })

  it("gets another flow when the gateway does not serve the name any more", () => {
    const client = clientWorld()
    client.ask("git.corp.internal")
    client.state(true)
    client.tell(1, { status: "Active", resource: gitlab, domain: "git.corp.internal" })
    client.advance(3_000)
    client.assigned()
    const before = client.world.logs.length
    client.tell(1, { status: "Inactive", resource: gitlab, domain: "git.corp.internal" })
    assert.strictEqual(client.world.logs.slice(before).filter((line) => line.includes("asks for gitlab")).length, 1)
    assert.strictEqual(client.assigned().length, 1)
  })

  it("tells a gateway that refused a name nothing more about it until there is another flow", () => {
    const client = clientWorld()
    client.ask("git.corp.internal")
    client.state(true)
    client.advance(3_000)
    client.assigned()
    client.hold(true)
    client.tell(1, { status: "Inactive", resource: gitlab, domain: "git.corp.internal" })
    client.advance(5_000)
    assert.deepStrictEqual(client.assigned(), [])
    client.hold(false)
    assert.strictEqual(client.assigned().length, 1)
  })

  it("connects anew after Goodbye, a lost connection, and to the gateway's new key", () => {
    const client = clientWorld()
    client.ask("git.corp.internal")
    client.state(true)
    client.advance(3_000)
    client.commands.length = 0
    client.tell(2, "")
    assert.deepStrictEqual(
      client.took("RemoveClient").map(({ client }) => client),
      [client.id]
    )
    assert.strictEqual(client.took("UpsertClient").length, 1)
    client.advance(3_000)
    client.took("UpsertClient")
    client.perform(
      client.session.notice(
        { _tag: "ConnectionLost", epoch: 1, client: client.id, order: 1, reason: "IceFailed" },
        client.world.now()
      )
    )
    assert.strictEqual(client.took("UpsertClient").length, 1)
  })

  it("keeps its connections when init comes again, and drops what is no longer listed", () => {
    const client = clientWorld()
    client.ask("git.corp.internal")
    client.state(true)
    client.commands.length = 0
    client.world.command({ command: "init" })
    client.settle()
    assert.deepStrictEqual(client.commands, [])
    client.perform(
      client.session.handle(
        { _tag: "Init", tunnel4: "100.64.0.1", tunnel6: "fd00:2021:1111::1", resources: [], relays: [] },
        client.world.now()
      )
    )
    const revoked = client.took("RevokeResource").map(({ resource }) => resource as string)
    assert.includeMembers(revoked, [net, "100.96.0.1", "fd00:2021:1111:8000::4"])
    assert.isNull(client.ask("git.corp.internal"))
  })

  it("tells candidates of both sides, of its gateways only", () => {
    const client = clientWorld()
    const candidate = "candidate:1 1 udp 2130706431 198.51.100.1 52625 typ host"
    for (const who of [client.id, ClientId.make(net)]) {
      const found = { _tag: "CandidateFound", epoch: 1, client: who, candidate } as const
      client.perform(client.session.notice(found, client.world.now()))
    }
    assert.deepStrictEqual(client.gateway.take("ice_candidates").candidates, [candidate])
    client.gateway.send("broadcast_ice_candidates", { client_ids: [client.world.connect("client").id], candidates: [] })
    client.perform(
      client.session.handle({ _tag: "Candidates", gateway: client.id, candidates: [candidate] }, client.world.now())
    )
    client.perform(
      client.session.handle(
        { _tag: "Candidates", gateway: ClientId.make(net), candidates: [candidate] },
        client.world.now()
      )
    )
    assert.deepStrictEqual(client.took("AddCandidate"), [{ _tag: "AddCandidate", client: client.id, candidate }])
  })

  it("asks again for networks when no gateway was there", () => {
    const client = clientWorld({ gateway: false })
    assert.strictEqual(client.took("UpsertClient").length, 0)
    const gateway = client.world.connect("gateway", { publicKey: key(6) })
    client.advance(1_500)
    assert.isFalse(gateway.inbox.some(({ event }) => event === "authorize_flow"))
    client.advance(500)
    gateway.send("flow_authorized", { ref: gateway.take("authorize_flow").ref })
    client.settle()
    assert.strictEqual(client.took("UpsertClient")[0]!.publicKey, key(6))
  })

  it("asks again for a network that the gateway prohibits: at once, then every 10 s at most", () => {
    const client = clientWorld()
    client.state(true)
    const asked = () => client.world.logs.filter((line) => line.includes("asks for net")).length
    const prohibited = (resource = net, gateway = client.id) =>
      client.perform(
        client.session.notice(
          { _tag: "Prohibited", epoch: 1, client: gateway, resource: ResourceId.make(resource) },
          client.world.now()
        )
      )
    client.advance(3_000)
    client.commands.length = 0

    prohibited()
    assert.strictEqual(asked(), 2)
    assert.deepStrictEqual(client.took("SetResource").at(-1)?.resource, ResourceId.make(net))
    prohibited()
    client.advance(9_000)
    prohibited()
    assert.strictEqual(asked(), 2)
    client.advance(1_500)
    assert.strictEqual(asked(), 3)
    // Of no concern: another gateway's word.
    client.advance(20_000)
    prohibited(net, ClientId.make(net))
    assert.strictEqual(asked(), 3)
    assert.deepStrictEqual(client.took("RemoveClient"), [])
  })

  it("asks again for the resource of a name that the gateway prohibits, and does not announce a confirmed name again", () => {
    const client = clientWorld()
    const [proxy] = client.ask("git.corp.internal")!.proxyIps
    client.state(true)
    client.tell(1, { status: "Active", resource: gitlab, domain: "git.corp.internal" })
    client.advance(3_000)
    client.assigned()
    const asked = () => client.world.logs.filter((line) => line.includes("asks for gitlab")).length
    const before = asked()
    const prohibited = () =>
      client.perform(
        client.session.notice(
          { _tag: "Prohibited", epoch: 1, client: client.id, resource: ResourceId.make(proxy!) },
          client.world.now()
        )
      )
    client.hold(true)
    for (let i = 0; i < 20; i++) prohibited()
    client.hold(false)
    assert.strictEqual(asked(), before + 1)
    client.advance(5_000)
    assert.deepStrictEqual(client.assigned(), [])
    assert.strictEqual(asked(), before + 1)
  })

  it("routes the Internet to the gateway of that resource, and takes it back with the resource", () => {
    const file = portalFile.replace("all: { internet: true, gateways: [lab], allow: [bob] }", "all: { internet: true }")
    const all = uuidOf("resource", "all")
    const idle = clientWorld({ file })
    const client = clientWorld({ file, internet: true })
    const networks = (world: typeof client) =>
      world.other.findLast((action) => action._tag === "Configure")?.networks ?? []

    assert.notInclude(networks(idle), "0.0.0.0/0")
    assert.strictEqual(idle.commands.filter((c) => c._tag === "SetResource" && c.kind === "internet").length, 0)
    assert.includeMembers([...networks(client)], ["0.0.0.0/0", "::/0", "10.20.0.0/16"])
    const routed = client.took("SetResource").find(({ kind }) => kind === "internet")
    assert.deepStrictEqual([routed?.client, routed?.resource, routed?.network], [client.id, ResourceId.make(all), null])
    const deleted = { _tag: "ResourceDeleted", resource: ResourceId.make(all) } as const
    client.perform(client.session.handle(deleted, client.world.now()))
    assert.deepStrictEqual(
      client.took("RevokeResource").map(({ resource }) => resource as string),
      [all]
    )
    assert.notInclude(networks(client), "0.0.0.0/0")
  })

  it("holds a bounded number of names", () => {
    const client = clientWorld()
    for (let i = 0; i < maxNames; i++) assert.isNotNull(client.session.ask(`n${i}.corp.internal`, 0))
    assert.isNull(client.session.ask("more.corp.internal", 0))
    assert.isNotNull(client.session.ask("n1.corp.internal", 0))
    assert.isNull(client.session.ask("example.com", 0))
  })
})

describe("proxy IPs of a client", () => {
  it("leave out the addresses of clients' own DNS servers, and end", () => {
    const pool = new ProxyPool()
    const all: Array<string> = []
    for (let four = pool.take(); four !== undefined; four = pool.take()) all.push(four[0]!, four[3]!)
    assert.isFalse(all.some((address) => address.startsWith("100.100.111.")))
    assert.isTrue(all.includes("100.100.110.253") || all.includes("100.100.110.255"))
    assert.isFalse(all.some((address) => Number(address.split(".")[1]) > 127))
    assert.isUndefined(pool.take())
  })
})

describe("what a client is told", () => {
  it.prop("is read or skipped, any JSON and any bytes", [Schema.String, Schema.Json], ([text, json]) => {
    const session = new ClientSession()
    for (const event of [
      "init",
      "flow_created",
      "resource_deleted",
      "ice_candidates",
      "relays_presence",
      "disconnect"
    ]) {
      const decoded = decodeClientMessage(event, json)
      if (decoded._tag === "Message") session.handle(decoded.message, 0)
    }
    const payload = new TextEncoder().encode(text)
    readDomainStatus(payload)
    session.notice({ _tag: "Control", epoch: 1, client: ClientId.make("g"), event: 1, payload }, 0)
  })
})
