/** What the development portal says is what the gateway's side of the protocol understands, and the other way about. */
import { assert, describe, it } from "@effect/vitest"
import { Channel } from "../../../src/control/firezone/channel.ts"
import { handshakeOf } from "../../../src/control/firezone/handshake.ts"
import { decodeMessage, type PortalMessage } from "../../../src/control/firezone/messages.ts"
import * as pushes from "../../../src/control/firezone/pushes.ts"
import { uuidOf } from "../../../src/lab/devPortal/identity.ts"
import { ClientId } from "../../../src/model/Client.ts"
import { ResourceId } from "../../../src/model/Resource.ts"
import { key } from "../../config/fixtures.ts"
import { type Peer, portalWorld } from "../../support/portalWorld.ts"

const gitlab = uuidOf("resource", "gitlab")
const net = uuidOf("resource", "net")
const all = uuidOf("resource", "all")

/** What the gateway's code makes of the next message of that event. */
const understood = (peer: Peer, event: string): PortalMessage => {
  const decoded = decodeMessage(event, peer.take(event))
  if (decoded._tag !== "Message") return assert.fail(`${event}: ${JSON.stringify(decoded)}`)
  assert.strictEqual(decoded.skipped, 0, event)
  return decoded.message
}

const is = <T extends PortalMessage["_tag"]>(tag: T, message: PortalMessage) => {
  assert.strictEqual(message._tag, tag)
  return message as Extract<PortalMessage, { readonly _tag: T }>
}

describe("the portal and the gateway's code", () => {
  it.each([1, 2] as const)("agree on init, requests and what follows at endpoint v%s", (endpoint) => {
    const world = portalWorld()
    const gateway = world.connect("gateway", { endpoint })
    const client = world.connect("client")
    const init = is("Init", understood(gateway, "init"))
    assert.deepStrictEqual(
      init.relays.map(({ addresses, username, password }) => [addresses.length, username, password]),
      [[2, "u", "p"]]
    )
    assert.deepStrictEqual(init.authorizations, [])

    client.send("create_flow", { resource_id: gitlab, connected_gateway_ids: [] })
    const event = endpoint === 2 ? "create_authorization" : "authorize_flow"
    const flow = is("AuthorizeFlow", understood(gateway, event))
    assert.strictEqual(flow.generation, endpoint === 2 ? "C" : "B")
    assert.strictEqual(flow.client.id, client.id)
    assert.strictEqual(flow.client.publicKey, client.publicKey)
    assert.deepStrictEqual(flow.resource, {
      id: ResourceId.make(gitlab),
      kind: "dns",
      pattern: "*.corp.internal",
      resolver: "system",
      allow: [],
      filters: [{ protocol: "tcp", from: 22, to: 22 }, { protocol: "udp", from: 8000, to: 8100 }, { protocol: "icmp" }]
    })
    assert.strictEqual(flow.expiresAt, world.now() + 3_600_000)
    const answer = flow.generation === "C" ? pushes.authorizationCreated(flow.ref) : pushes.flowAuthorized(flow.ref)
    gateway.send(answer.event, answer.payload)
    const created = client.take("flow_created")
    assert.deepStrictEqual(
      [created.client_ice_credentials, created.gateway_ice_credentials, created.preshared_key],
      [flow.remote, flow.local, flow.client.presharedKey]
    )

    const candidates = ["candidate:1 1 udp 2130706431 198.51.100.1 52625 typ host"]
    client.send("broadcast_ice_candidates", { gateway_ids: [gateway.id], candidates })
    assert.deepInclude(understood(gateway, "ice_candidates"), { candidates })
    for (const said of [
      pushes.broadcastCandidates(ClientId.make(client.id), candidates),
      pushes.broadcastInvalidated(ClientId.make(client.id), candidates)
    ]) {
      gateway.send(said.event, said.payload)
    }
    assert.deepStrictEqual(client.take("ice_candidates"), { gateway_id: gateway.id, candidates })
    assert.deepStrictEqual(client.take("invalidate_ice_candidates"), { gateway_id: gateway.id, candidates })

    world.command({ command: "expire", client: "client-one", resource: "gitlab", at: 1_900_000_000 })
    const expiry = is("ExpiryUpdated", understood(gateway, "access_authorization_expiry_updated"))
    assert.strictEqual(expiry.expiresAt, 1_900_000_000_000)
    world.command({ command: "update", resource: "gitlab", ports: [{ protocol: "icmp" }] })
    const updated = is("ResourceUpdated", understood(gateway, "resource_updated"))
    assert.deepStrictEqual(updated.resource.filters, [{ protocol: "icmp" }])
    world.command({ command: "init" })
    const again = is("Init", understood(gateway, "init"))
    assert.deepStrictEqual(again.authorizations, [
      { client: ClientId.make(client.id), resource: updated.resource.id, expiresAt: 1_900_000_000_000 }
    ])
    world.command({ command: "revoke", client: "client-one" })
    is("RejectAccess", understood(gateway, "reject_access"))
    world.command({ command: "relays", relays: {} })
    assert.strictEqual(is("RelaysPresence", understood(gateway, "relays_presence")).disconnected.length, 1)
    gateway.send(pushes.noRelays.event, pushes.noRelays.payload)
    understood(gateway, "relays_presence")
    world.command({ command: "disconnect", device: "gateway-one" })
    assert.strictEqual(is("Disconnect", understood(gateway, "disconnect")).reason, "token_expired")
  })

  it("agree on generation A", () => {
    const world = portalWorld()
    const gateway = world.connect("gateway")
    const client = world.connect("client")
    const ice_parameters = { username: "abcd", password: "0123456789012345678901" }
    client.send("request_connection", {
      gateway_id: gateway.id,
      resource_id: gitlab,
      client_preshared_key: key(7),
      client_payload: { ice_parameters, domain: { name: "git.corp.internal", proxy_ips: ["100.96.0.1"] } }
    })
    const request = is("RequestConnection", understood(gateway, "request_connection"))
    assert.deepStrictEqual(
      [request.name, request.remote, request.client.presharedKey],
      [{ _tag: "Assigned", domain: "git.corp.internal", proxyIps: ["100.96.0.1"] }, ice_parameters, key(7)]
    )
    const accepted = pushes.connectionAccepted(request.ref, ice_parameters, null)
    gateway.send(accepted.event, accepted.payload)
    assert.strictEqual(client.take("phx_reply").response.gateway_public_key, gateway.publicKey)

    client.send("reuse_connection", { gateway_id: gateway.id, resource_id: net, payload: "old.corp.internal" })
    const allow = is("AllowAccess", understood(gateway, "allow_access"))
    assert.deepStrictEqual(allow.resource, {
      id: ResourceId.make(net),
      kind: "cidr",
      network: "10.20.0.0/16",
      filters: [],
      allow: []
    })
    const resource = pushes.resourceAccepted(allow.ref, "old.corp.internal")
    gateway.send(resource.event, resource.payload)
    assert.deepStrictEqual(client.take("phx_reply").response.gateway_payload, {
      ResourceAccepted: { domain_response: { domain: "old.corp.internal", address: [] } }
    })
  })

  it("agree on the Internet resource", () => {
    const world = portalWorld()
    const gateway = world.connect("gateway", { token: "lab-secret" })
    const client = world.connect("client", { token: "bob-secret" })
    client.send("create_flow", { resource_id: all })
    assert.strictEqual(is("AuthorizeFlow", understood(gateway, "authorize_flow")).resource.kind, "internet")
  })

  it("agree on the upgrade and the channel, legacy portals' ways as well", () => {
    const { portal } = portalWorld()
    for (const role of ["gateway", "client"] as const) {
      for (const legacy of [false, true]) {
        const { headers, url } = handshakeOf({
          role,
          apiUrl: "ws://portal.test/",
          endpoint: "v1",
          token: role === "gateway" ? "gateway-secret" : "alice-secret",
          publicKey: key(3),
          firezoneId: "device",
          name: "my device",
          host: { os: "Linux", osVersion: "6.1", arch: "x86_64", kernel: "6.1.0-1" },
          version: "1.5.2",
          legacy
        })
        const lower = Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value])
        const { pathname, search } = new URL(url)
        const ticket = portal.check({ url: pathname + search, headers: Object.fromEntries(lower), remote: "::1" })
        if (ticket._tag !== "Ticket") return assert.fail(JSON.stringify(ticket))
        assert.strictEqual(ticket.peer.device.name, "my device")
        portal.take()
        const socket = portal.open(ticket, 0)
        const channel = new Channel({ topic: role, answers: false })
        channel.open(0)
        for (const frame of channel.takeFrames()) portal.receive(socket, frame, 0)
        const events = portal
          .take()
          .flatMap((action) => (action._tag === "Send" ? channel.receive(action.text, 0) : []))
          .map((event) => (event._tag === "Message" ? event.event : event._tag))
        assert.deepStrictEqual(events, ["Joined", "init"])
        channel.tick(10_000)
        for (const frame of channel.takeFrames()) portal.receive(socket, frame, 10_000)
        for (const action of portal.take()) if (action._tag === "Send") channel.receive(action.text, 10_000)
        for (let at = 20_000; at < 200_000; at += 10_000) {
          assert.deepStrictEqual(channel.tick(at), [])
          for (const frame of channel.takeFrames()) portal.receive(socket, frame, at)
          for (const action of portal.take()) if (action._tag === "Send") channel.receive(action.text, at)
        }
      }
    }
  })
})
