import { assert, describe, it } from "@effect/vitest"
import { deriveIceCredentials } from "../../../src/lab/devPortal/credentials.ts"
import { uuidOf } from "../../../src/lab/devPortal/identity.ts"
import { key } from "../../config/fixtures.ts"
import { portalFile, portalWorld } from "../../support/portalWorld.ts"

const gitlab = uuidOf("resource", "gitlab")
const net = uuidOf("resource", "net")
const all = uuidOf("resource", "all")
const relayOne = uuidOf("relay", "one")
const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/

const gitlabForGateway = {
  type: "dns",
  id: gitlab,
  name: "gitlab",
  address: "*.corp.internal",
  filters: [
    { protocol: "tcp", port_range_start: 22, port_range_end: 22 },
    { protocol: "udp", port_range_start: 8000, port_range_end: 8100 },
    { protocol: "icmp" }
  ]
}

const status = (world: ReturnType<typeof portalWorld>) =>
  world.command({ command: "status" }) as unknown as {
    devices: Array<Record<string, unknown>>
    authorizations: Array<Record<string, unknown>>
    pending: number
  }

/** A gateway and a client that have their `init`. */
const pair = (world = portalWorld()) => {
  const gateway = world.connect("gateway")
  const client = world.connect("client")
  const inits = { gateway: gateway.take("init"), client: client.take("init") }
  return { world, gateway, client, inits }
}

const flow = (peers: ReturnType<typeof pair>, resource = net) => {
  peers.client.send("create_flow", { resource_id: resource, connected_gateway_ids: [] })
  const request = peers.gateway.take("authorize_flow")
  peers.gateway.send("flow_authorized", { ref: request.ref })
  peers.gateway.take("phx_reply")
  return { request, created: peers.client.take("flow_created") }
}

describe("an upgrade", () => {
  it("needs a token of a group, in the query or in the header", () => {
    const world = portalWorld()
    assert.strictEqual(world.refusal("gateway", { token: "wrong" }).status, 401)
    assert.strictEqual(world.refusal("gateway", { headerToken: "wrong" }).status, 401)
    assert.strictEqual(world.refusal("client", { token: "gateway-secret" }).status, 401)
    world.connect("gateway", { headerToken: "gateway-secret" }).take("init")
    world.connect("gateway", { token: "lab-secret", externalId: "g2" }).take("init")
  })

  it("needs a WireGuard key, an external id and a version in the user agent", () => {
    const world = portalWorld()
    for (const wrong of [
      { publicKey: "AAAA" },
      { publicKey: "" },
      { externalId: "" },
      { externalId: "x".repeat(256) },
      { userAgent: "curl" },
      { userAgent: "Debian/12 gateway/next" }
    ]) {
      assert.strictEqual(world.refusal("gateway", wrong).status, 400, JSON.stringify(wrong))
    }
  })

  it.each([
    "Debian/12 (x86_64;6.1.0;) connlib/1.1.0",
    "Debian/12 connlib/1.3.2 (x86_64; 6.1.0)",
    "Debian/12 gateway/1.5.2 (x86_64; 6.1.0)",
    "Debian/12 headless-client/1.4.4 (x86_64; 6.1.0)"
  ])("takes the user agent %s", (userAgent) => {
    portalWorld().connect("gateway", { userAgent }).take("init")
  })

  it("is refused on command, so many times and only for the role that is meant", () => {
    const world = portalWorld()
    world.command({ command: "refuse", status: 429, times: 2, retry_after: 7, role: "gateway" })
    const refused = world.refusal("gateway")
    assert.deepStrictEqual(
      [refused.status, refused.headers["retry-after"], JSON.parse(refused.body).code],
      [429, "7", "rate_limit"]
    )
    world.connect("client")
    assert.strictEqual(world.refusal("gateway").status, 429)
    world.connect("gateway")
  })

  it("is unknown at another path", () => {
    const world = portalWorld()
    const result = world.portal.check({ url: "/other/websocket?token=x", headers: {}, remote: "" })
    assert.strictEqual(result._tag === "Refused" && result.status, 404)
  })
})

describe("a device", () => {
  it("gets what is its own with init: gateways", () => {
    const { inits, gateway, world } = pair()
    const device = status(world).devices.find(({ id }) => id === gateway.id)!
    assert.match(gateway.id, uuid)
    assert.deepStrictEqual(inits.gateway, {
      interface: { ipv4: device["ipv4"], ipv6: device["ipv6"] },
      config: { ipv4_masquerade_enabled: true, ipv6_masquerade_enabled: true },
      relays: ["192.0.2.1:3478", "[2001:db8::1]:3478"].map((addr) => ({
        id: relayOne,
        type: "turn",
        addr,
        username: "u",
        password: "p",
        expires_at: world.now() / 1000 + 14 * 86_400
      })),
      account_slug: "dev",
      authorizations: []
    })
  })

  it("gets what is its own with init: clients, with only the resources they may reach", () => {
    const { inits } = pair()
    const office = [{ id: uuidOf("site", "office"), name: "office" }]
    const { interface: network, relays, resources } = inits.client
    assert.deepStrictEqual(network.upstream_dns, [{ protocol: "ip_port", address: "192.0.2.53:53" }])
    assert.strictEqual(relays.length, 2)
    assert.deepStrictEqual(
      // oxlint-disable-next-line typescript/no-explicit-any
      resources.map((r: any) => [r.type, r.id, r.name, r.address, r.address_description, r.gateway_groups]),
      [
        ["dns", gitlab, "gitlab", "*.corp.internal", null, office],
        ["cidr", net, "net", "10.20.0.0/16", null, office]
      ]
    )
  })

  it("keeps its id and addresses when it comes again with another key, also at a new portal", () => {
    const { inits, gateway, world } = pair()
    world.close(gateway)
    const again = world.connect("gateway", { publicKey: key(9) })
    const elsewhere = portalWorld().connect("gateway", { publicKey: key(8) })
    assert.deepStrictEqual([again.id, elsewhere.id], [gateway.id, gateway.id])
    assert.deepStrictEqual(again.take("init").interface, inits.gateway.interface)
    assert.deepStrictEqual(elsewhere.take("init").interface, inits.gateway.interface)
  })

  it("has addresses of its own", () => {
    const world = portalWorld()
    const seen = new Set<string>()
    for (let i = 0; i < 200; i++) {
      const { interface: network } = world.connect("client", { externalId: `c${i}` }).take("init")
      seen.add(network.ipv4).add(network.ipv6)
    }
    assert.strictEqual(seen.size, 400)
  })

  it("replaces its older socket", () => {
    const { gateway, world } = pair()
    world.connect("gateway")
    assert.deepStrictEqual(gateway.closed, { code: 1000, reason: "replaced" })
  })

  it("has heartbeats answered, before and after it joined", () => {
    const world = portalWorld()
    const gateway = world.connect("gateway", { join: false })
    const ref = gateway.send("heartbeat", {}, "phoenix")
    assert.deepStrictEqual(gateway.inbox, [
      { topic: "phoenix", event: "phx_reply", payload: { status: "ok", response: {} }, ref }
    ])
  })

  it("is cut after 37 s of silence and not before", () => {
    const { gateway, client, world } = pair()
    for (let i = 0; i < 3; i++) {
      world.advance(12_000)
      client.send("heartbeat", {}, "phoenix")
    }
    assert.strictEqual(gateway.closed, null)
    world.advance(2_000)
    assert.deepStrictEqual(gateway.closed, { code: 1001, reason: "idle" })
    assert.strictEqual(client.closed, null)
  })

  it("is told unmatched topic before it joined, for another topic, and after its channel died", () => {
    const { client, world } = pair()
    const gateway = world.connect("gateway", { join: false, externalId: "g2", name: "g2" })
    gateway.send("flow_authorized", { ref: "x" })
    assert.deepStrictEqual(gateway.take("phx_reply").response, { reason: "unmatched topic" })
    client.send("create_flow", { resource_id: net }, "gateway")
    assert.deepStrictEqual(client.take("phx_reply").response, { reason: "unmatched topic" })
    world.command({ command: "crash", device: "client-one" })
    client.take("phx_error")
    client.send("create_flow", { resource_id: net })
    assert.deepStrictEqual(client.take("phx_reply").response, { reason: "unmatched topic" })
    client.send("phx_join", null)
    client.take("init")
  })

  it("is cut when it floods", () => {
    const { client } = pair()
    for (let i = 0; i < 9000 && client.closed === null; i++) client.send("heartbeat", {}, "phoenix")
    assert.deepStrictEqual(client.closed, { code: 1008, reason: "rate limit" })
  })
})

describe("generation B", () => {
  it("authorizes a flow at the gateway and tells the client, with the credentials of the pair", () => {
    const peers = pair()
    const { client, gateway, world, inits } = peers
    const { request, created } = flow(peers, gitlab)
    const ice = deriveIceCredentials(
      { id: client.id, publicKey: client.publicKey },
      { id: gateway.id, publicKey: gateway.publicKey }
    )
    const { ref, flow_id, client: told, ...rest } = request
    assert.match(flow_id, uuid)
    assert.isAtLeast(ref.length, 20)
    assert.deepStrictEqual(rest, {
      actor: { id: uuidOf("user", "alice") },
      resource: gitlabForGateway,
      client_ice_credentials: ice.client,
      gateway_ice_credentials: ice.gateway,
      subject: { actor_id: uuidOf("user", "alice"), actor_name: "alice" },
      expires_at: world.now() / 1000 + 3600
    })
    assert.deepStrictEqual(told, {
      id: client.id,
      public_key: client.publicKey,
      preshared_key: created.preshared_key,
      ipv4: inits.client.interface.ipv4,
      ipv6: inits.client.interface.ipv6,
      version: "1.4.19"
    })
    assert.deepStrictEqual(created, {
      resource_id: gitlab,
      gateway_id: gateway.id,
      gateway_group_id: uuidOf("site", "office"),
      gateway_public_key: gateway.publicKey,
      gateway_ipv4: inits.gateway.interface.ipv4,
      gateway_ipv6: inits.gateway.interface.ipv6,
      preshared_key: created.preshared_key,
      client_ice_credentials: ice.client,
      gateway_ice_credentials: ice.gateway
    })
    assert.strictEqual(Buffer.from(created.preshared_key, "base64").length, 32)
  })

  it("gives the same credentials for a second resource, and others after a key changed", () => {
    const peers = pair()
    const first = flow(peers, gitlab).created
    const second = flow(peers, net).created
    assert.deepStrictEqual({ ...second, resource_id: gitlab }, first)
    const client = peers.world.connect("client", { publicKey: key(5) })
    const third = flow({ ...peers, client }, net).created
    assert.notStrictEqual(third.preshared_key, first.preshared_key)
    assert.notDeepEqual(third.client_ice_credentials, first.client_ice_credentials)
  })

  it("prefers a gateway that the client is connected to, whatever the dice say", () => {
    const { client, world } = pair()
    const others = ["g2", "g3", "g4"].map((externalId) => world.connect("gateway", { externalId }))
    for (let i = 0; i < 20; i++) {
      client.send("create_flow", { resource_id: net, connected_gateway_ids: [others[1]!.id] })
      others[1]!.take("authorize_flow")
    }
  })

  it("says not_found, forbidden and offline", () => {
    const { client, gateway, world } = pair()
    const ask = (resource_id: string) => {
      client.send("create_flow", { resource_id, connected_gateway_ids: [] })
      return client.take("flow_creation_failed")
    }
    const unknown = uuidOf("resource", "nothing")
    const failed = (resource_id: string, reason: string) => ({ resource_id, reason, violated_properties: [] })
    assert.deepStrictEqual(ask(unknown), failed(unknown, "not_found"))
    assert.deepStrictEqual(ask(all), failed(all, "forbidden"))
    world.close(gateway)
    assert.deepStrictEqual(ask(net), failed(net, "offline"))
  })

  it("forwards candidates both ways, between those who have to do with each other only", () => {
    const peers = pair()
    const { client, gateway, world } = peers
    const stranger = world.connect("gateway", { externalId: "g2", token: "lab-secret" })
    flow(peers)
    const candidates = ["candidate:1 1 udp 2130706431 198.51.100.1 52625 typ host"]
    client.send("broadcast_ice_candidates", { gateway_ids: [gateway.id, stranger.id, gateway.id], candidates })
    gateway.send("broadcast_ice_candidates", { client_ids: [client.id], candidates })
    gateway.send("broadcast_invalidated_ice_candidates", { client_ids: [client.id], candidates })
    stranger.send("broadcast_ice_candidates", { client_ids: [client.id], candidates })
    assert.deepStrictEqual(gateway.take("ice_candidates"), { client_id: client.id, candidates })
    assert.deepStrictEqual(client.take("ice_candidates"), { gateway_id: gateway.id, candidates })
    assert.deepStrictEqual(client.take("invalidate_ice_candidates"), { gateway_id: gateway.id, candidates })
    stranger.take("init")
    assert.deepStrictEqual([gateway.inbox, client.inbox, stranger.inbox], [[], [], []])
  })

  it("refuses an answer with a ref that it did not give to that gateway", () => {
    const { client, gateway, world } = pair()
    const other = world.connect("gateway", { externalId: "g2", token: "lab-secret" })
    client.send("create_flow", { resource_id: net })
    const { ref } = gateway.take("authorize_flow")
    for (const [peer, payload] of [[other, { ref }] as const, [gateway, { ref: "forged" }] as const]) {
      peer.send("flow_authorized", payload)
      assert.deepStrictEqual(peer.take("phx_reply").response, { reason: "invalid_ref" })
    }
    gateway.send("connection_ready", {
      ref,
      gateway_payload: { ConnectionAccepted: { ice_parameters: { username: "a", password: "b" } } }
    })
    assert.deepStrictEqual(gateway.take("phx_reply").response, { reason: "invalid_ref" })
    assert.deepStrictEqual(client.inbox, [])
    gateway.send("flow_authorized", { ref })
    client.take("flow_created")
  })

  it("withdraws what a gateway does not answer within 15 s, and tells the client", () => {
    const { client, gateway, world } = pair()
    client.send("create_flow", { resource_id: net })
    gateway.take("authorize_flow")
    world.advance(14_000)
    assert.deepStrictEqual(client.inbox, [])
    world.advance(1_000)
    assert.deepStrictEqual(gateway.take("reject_access"), { client_id: client.id, resource_id: net })
    assert.strictEqual(client.take("flow_creation_failed").reason, "offline")
    assert.deepStrictEqual(status(world).authorizations, [])
  })

  it("does not withdraw what a later request was answered for", () => {
    const peers = pair()
    const { client, gateway, world } = peers
    client.send("create_flow", { resource_id: net })
    gateway.take("authorize_flow")
    world.advance(2_000)
    flow(peers)
    world.advance(14_000)
    assert.deepStrictEqual(
      gateway.inbox.filter(({ event }) => event === "reject_access"),
      []
    )
    assert.strictEqual(status(world).authorizations.length, 1)
  })

  it("drops the answer for a client's older socket", () => {
    const { client, gateway, world } = pair()
    client.send("create_flow", { resource_id: net })
    const { ref } = gateway.take("authorize_flow")
    const again = world.connect("client")
    again.take("init")
    gateway.send("flow_authorized", { ref })
    assert.deepStrictEqual([again.inbox, gateway.take("phx_reply").status], [[], "ok"])
  })
})

describe("generation C", () => {
  it("uses its names and adds its fields at the v2 endpoints", () => {
    const world = portalWorld()
    const gateway = world.connect("gateway", { endpoint: 2 })
    const client = world.connect("client", { endpoint: 2 })
    assert.deepStrictEqual(Object.keys(gateway.take("init").flow_logs), [
      "api_url",
      "upload_interval_secs",
      "upload_batch_size"
    ])
    const { account_slug, actor_name, flow_logs } = client.take("init")
    assert.deepStrictEqual([account_slug, actor_name, Object.keys(flow_logs).length], ["dev", "alice", 3])
    gateway.send("set_snownet_capabilities", { iceless: true })
    client.send("request_authorization", { resource_id: net })
    const request = gateway.take("create_authorization")
    assert.deepStrictEqual([request.use_iceless, request.client.name], [false, "client-one"])
    gateway.send("authorization_created", { ref: request.ref })
    const created = client.take("authorization_created")
    assert.deepStrictEqual([created.use_iceless, created.gateway_id], [false, gateway.id])
    for (const [token, role, device] of [
      [request.flow_logs_ingest_token, "responder", gateway.id],
      [created.flow_logs_ingest_token, "initiator", client.id]
    ]) {
      const [header, claims, signature, ...rest] = token.split(".")
      const read = (part: string) => JSON.parse(Buffer.from(part, "base64url").toString("utf8"))
      assert.deepStrictEqual(read(header), { alg: "HS256", typ: "JWT" })
      assert.deepInclude(read(claims), {
        role,
        device_id: device,
        policy_authorization_id: request.flow_id,
        resource_id: net,
        resource_name: "net",
        actor_id: uuidOf("user", "alice"),
        actor_name: "alice",
        uploads_enabled: false,
        authorized_at: "2027-01-15T08:00:00.000Z",
        authorization_expires_at: "2027-01-15T09:00:00.000Z",
        iat: world.now() / 1000,
        exp: request.expires_at + 30 * 86_400
      })
      assert.containsAllKeys(read(claims), ["account_id", "policy_id"])
      assert.deepStrictEqual([Buffer.from(signature, "base64url").length, rest.length], [32, 0])
      assert.match(token, /^[A-Za-z0-9_.-]+$/)
    }
    client.send("request_authorization", { resource_id: all })
    client.take("authorization_creation_failed")
  })

  it.each([1, 2] as const)("takes the words of clients from 1.5.7 on at endpoint v%s", (endpoint) => {
    const world = portalWorld()
    const gateway = world.connect("gateway")
    const client = world.connect("client", { endpoint, userAgent: "Debian/12 headless-client/1.5.11 (x86_64; 6.1.0)" })
    const candidates = ["candidate:1 1 udp 2130706431 198.51.100.1 52625 typ host"]
    client.send("set_snownet_capabilities", { iceless: true })
    client.send("create_flow", { resource_id: net })
    gateway.send("flow_authorized", { ref: gateway.take("authorize_flow").ref })

    client.send("new_gateway_ice_candidates", { gateway_id: gateway.id, candidates })
    client.send("invalidate_gateway_ice_candidates", { gateway_id: gateway.id, candidates })
    client.send("request_device_access", { ipv4: "100.64.0.9" })

    assert.deepStrictEqual(gateway.take("ice_candidates"), { client_id: client.id, candidates })
    assert.deepStrictEqual(gateway.take("invalidate_ice_candidates"), { client_id: client.id, candidates })
    assert.deepStrictEqual(client.take("client_device_access_denied"), { ipv4: "100.64.0.9", reason: "disabled" })
    assert.deepStrictEqual(
      client.inbox.filter(({ event }) => event === "phx_reply"),
      []
    )
    assert.notInclude(world.logs.join("\n"), "unknown or malformed")
  })
})

describe("generation A", () => {
  const ice_parameters = { username: "abcd", password: "0123456789012345678901" }
  const proxies = { name: "git.corp.internal", proxy_ips: ["100.96.0.1", "fd00:2021:1111:8000::1"] }

  it("prepares, requests and reuses a connection; replies carry the original ref", () => {
    const { client, gateway, world, inits } = pair()
    const prepare = client.send("prepare_connection", { resource_id: gitlab, connected_gateway_ids: [] })
    assert.deepStrictEqual(client.take("phx_reply"), {
      ref: prepare,
      status: "ok",
      response: {
        resource_id: gitlab,
        gateway_group_id: uuidOf("site", "office"),
        gateway_id: gateway.id,
        gateway_remote_ip: "198.51.100.9"
      }
    })

    const request = client.send("request_connection", {
      gateway_id: gateway.id,
      resource_id: gitlab,
      client_preshared_key: key(7),
      client_payload: { ice_parameters, domain: proxies }
    })
    const { ref, flow_id, ...asked } = gateway.take("request_connection")
    assert.match(flow_id, uuid)
    assert.deepStrictEqual(asked, {
      actor: { id: uuidOf("user", "alice") },
      resource: gitlabForGateway,
      client: {
        id: client.id,
        peer: {
          persistent_keepalive: 25,
          public_key: client.publicKey,
          preshared_key: key(7),
          ipv4: inits.client.interface.ipv4,
          ipv6: inits.client.interface.ipv6
        },
        payload: { ice_parameters, domain: proxies }
      },
      expires_at: world.now() / 1000 + 3600
    })
    assert.deepStrictEqual(client.inbox, [])
    const accepted = { ConnectionAccepted: { ice_parameters, domain_response: null } }
    gateway.send("connection_ready", { ref, gateway_payload: accepted })
    assert.strictEqual(gateway.take("phx_reply").status, "ok")
    assert.deepStrictEqual(client.take("phx_reply"), {
      ref: request,
      status: "ok",
      response: {
        resource_id: gitlab,
        persistent_keepalive: 25,
        gateway_public_key: gateway.publicKey,
        gateway_payload: accepted
      }
    })

    const reuse = client.send("reuse_connection", {
      gateway_id: gateway.id,
      resource_id: gitlab,
      payload: "git.corp.internal"
    })
    const allow = gateway.take("allow_access")
    assert.deepStrictEqual(
      [allow.client_id, allow.payload, allow.client_ipv4, allow.resource, allow.expires_at],
      [client.id, "git.corp.internal", inits.client.interface.ipv4, gitlabForGateway, world.now() / 1000 + 3600]
    )
    const resource = { ResourceAccepted: { domain_response: { domain: "git.corp.internal", address: [] } } }
    gateway.send("connection_ready", { ref: allow.ref, gateway_payload: resource })
    const answer = client.take("phx_reply")
    assert.deepStrictEqual([answer.ref, answer.response.gateway_payload], [reuse, resource])
  })

  it("replies with the error when it cannot be", () => {
    const { client, gateway } = pair()
    client.send("prepare_connection", { resource_id: all })
    assert.deepStrictEqual(client.take("phx_reply").response, { reason: "forbidden" })
    client.send("reuse_connection", { gateway_id: client.id, resource_id: net, payload: null })
    assert.deepStrictEqual(client.take("phx_reply").response, { reason: "offline" })
    client.send("request_connection", { gateway_id: gateway.id, resource_id: net, client_preshared_key: "short" })
    assert.deepStrictEqual(client.take("phx_reply").response, { reason: "unknown_message" })
  })

  it("keeps the authorization when the gateway, as newer ones do, never answers allow_access", () => {
    const { client, gateway, world } = pair()
    client.send("reuse_connection", { gateway_id: gateway.id, resource_id: net, payload: null })
    gateway.take("allow_access")
    world.advance(20_000)
    assert.deepStrictEqual(gateway.inbox, [])
    assert.strictEqual(status(world).pending, 0)
    assert.strictEqual(status(world).authorizations.length, 1)
  })
})

describe("authorizations", () => {
  it("are listed in the gateway's next init until they end", () => {
    const peers = pair()
    const { client, gateway, world } = peers
    flow(peers)
    const again = world.connect("gateway")
    const end = world.now() / 1000 + 3600
    assert.deepStrictEqual(again.take("init").authorizations, [
      { client_id: client.id, resource_id: net, expires_at: end }
    ])
    for (let i = 0; i < 3600; i += 30) {
      world.advance(30_000)
      again.send("heartbeat", {}, "phoenix")
    }
    world.command({ command: "init", device: gateway.id })
    assert.deepStrictEqual(again.take("init").authorizations, [])
  })

  it("are not listed by a portal that does not reconcile", () => {
    const world = portalWorld(`${portalFile}reconcile: false\n`)
    assert.notProperty(world.connect("gateway").take("init"), "authorizations")
  })

  it("survive a portal that is told the saved ones", () => {
    const peers = pair()
    flow(peers)
    const next = portalWorld(portalFile, peers.world.portal.saved.authorizations)
    assert.strictEqual(next.connect("gateway").take("init").authorizations.length, 1)
  })

  it("are revoked on command, one or all", () => {
    const peers = pair()
    const { client, gateway, world } = peers
    flow(peers, net)
    flow(peers, gitlab)
    assert.deepStrictEqual(world.command({ command: "revoke", client: "client-one", resource: "net" }), {
      ok: true,
      affected: 1
    })
    assert.deepStrictEqual(gateway.take("reject_access"), { client_id: client.id, resource_id: net })
    assert.deepStrictEqual(world.command({ command: "revoke", client: client.id }), { ok: true, affected: 1 })
    assert.deepStrictEqual(gateway.take("reject_access"), { client_id: client.id, resource_id: gitlab })
    assert.isFalse(world.command({ command: "revoke", client: "nobody" }).ok)
  })

  it("get another end on command", () => {
    const peers = pair()
    const { client, gateway, world } = peers
    flow(peers)
    world.command({ command: "expire", client: "client-one", resource: "net", at: 1_800_000_060 })
    assert.deepStrictEqual(gateway.take("access_authorization_expiry_updated"), {
      client_id: client.id,
      resource_id: net,
      expires_at: 1_800_000_060
    })
  })
})

describe("commands", () => {
  it("update a resource: ports in place, another address by withdrawing", () => {
    const peers = pair()
    const { client, gateway, world } = peers
    flow(peers)
    world.command({ command: "update", resource: "net", ports: [{ protocol: "tcp", from: 80, to: 80 }] })
    const filters = [{ protocol: "tcp", port_range_start: 80, port_range_end: 80 }]
    assert.deepStrictEqual(gateway.take("resource_updated"), {
      type: "cidr",
      id: net,
      name: "net",
      address: "10.20.0.0/16",
      filters
    })
    assert.deepStrictEqual(client.take("resource_created_or_updated").filters, filters)
    world.command({ command: "update", resource: "net", address: "10.30.0.0/16" })
    gateway.take("reject_access")
    assert.strictEqual(client.take("resource_created_or_updated").address, "10.30.0.0/16")
    assert.isFalse(world.command({ command: "update", resource: "net", address: "10.30.0.1/16" }).ok)
  })

  it("set relays: what went and what came, to everyone", () => {
    const { client, gateway, world } = pair()
    world.command({
      command: "relays",
      relays: { two: { addresses: [{ address: "192.0.2.2", port: 3478 }], secret: "north", lifetime: 60 } }
    })
    for (const peer of [client, gateway]) {
      const { connected, disconnected_ids } = peer.take("relays_presence")
      assert.deepStrictEqual(disconnected_ids, [relayOne])
      assert.deepStrictEqual(
        [connected.length, connected[0].id, connected[0].addr, connected[0].username],
        [1, uuidOf("relay", "two"), "192.0.2.2:3478", `${world.now() / 1000 + 60}:${peer.id}`]
      )
    }
    gateway.send("no_relays", {})
    assert.strictEqual(gateway.take("relays_presence").connected.length, 1)
  })

  it("disconnect, close and mute a device", () => {
    const { client, gateway, world } = pair()
    world.command({ command: "mute", device: "gateway-one", on: true })
    gateway.send("heartbeat", {}, "phoenix")
    assert.deepStrictEqual(gateway.inbox, [])
    world.command({ command: "mute", device: "gateway-one", on: false })
    world.command({ command: "disconnect", device: "gateway-one", reason: "token_expired" })
    assert.deepStrictEqual(gateway.take("disconnect"), { reason: "token_expired" })
    assert.strictEqual(gateway.closed?.code, 1000)
    assert.deepStrictEqual(world.command({ command: "close" }), { ok: true, affected: 1 })
    assert.strictEqual(client.closed?.code, 1011)
  })
})
