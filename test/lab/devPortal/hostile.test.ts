import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import { uuidOf } from "../../../src/lab/devPortal/identity.ts"
import { key } from "../../config/fixtures.ts"
import { portalWorld } from "../../support/portalWorld.ts"

const events = [
  "phx_join",
  "phx_leave",
  "create_flow",
  "prepare_connection",
  "request_connection",
  "reuse_connection",
  "flow_authorized",
  "authorization_created",
  "connection_ready",
  "broadcast_ice_candidates",
  "broadcast_invalidated_ice_candidates",
  "no_relays",
  "set_snownet_capabilities",
  "init",
  "__proto__"
] as const

/** Right in parts: what gets past the first checks of a handler. */
const Value = Schema.Union([
  Schema.Literals([uuidOf("resource", "net"), uuidOf("gateway", "office:gateway-1"), key(1), "", "null"]),
  Schema.Json
])
const Payload = Schema.Union([
  Schema.Json,
  Schema.Struct({
    resource_id: Value,
    gateway_id: Value,
    connected_gateway_ids: Value,
    client_preshared_key: Value,
    client_payload: Value,
    payload: Value,
    ref: Value,
    gateway_payload: Value,
    client_ids: Schema.Array(Value),
    gateway_ids: Schema.Array(Value),
    candidates: Schema.Array(Value)
  })
])
const Hostile = Schema.Struct({
  topic: Schema.Literals(["gateway", "client", "phoenix", "other"]),
  event: Schema.Literals(events),
  payload: Payload,
  ref: Schema.NullOr(Schema.Int)
})

/** An honest pair still gets a flow through. */
const assertServing = (world: ReturnType<typeof portalWorld>) => {
  const gateway = world.connect("gateway", { externalId: "honest" })
  const client = world.connect("client", { externalId: "honest" })
  client.send("create_flow", { resource_id: uuidOf("resource", "net"), connected_gateway_ids: [gateway.id] })
  const { ref } = gateway.take("authorize_flow")
  gateway.send("flow_authorized", { ref })
  assert.strictEqual(client.take("flow_created").gateway_id, gateway.id)
}

describe("the development portal under attack", () => {
  it.prop("serves others whatever text one peer sends", [Schema.Array(Schema.String)], ([texts]) => {
    const world = portalWorld()
    const peer = world.connect("client")
    for (const text of [...texts, "null", "[]", "{}", '{"topic":1}', "[".repeat(100_000), "x".repeat(2 << 20)]) {
      peer.raw(text)
    }
    assertServing(world)
  })

  it.prop(
    "serves others whatever frames gateways and clients send",
    [Schema.Array(Hostile)],
    ([frames]) => {
      const world = portalWorld()
      for (const role of ["gateway", "client"] as const) {
        const peer = world.connect(role)
        for (const frame of frames) peer.raw(JSON.stringify(frame))
        for (const event of events) for (const { payload } of frames) peer.send(event, payload)
      }
      world.advance(20_000)
      assertServing(world)
    },
    { arbitrary: { runs: 200 } }
  )

  it.prop("never lets anyone in for any header or query", [Schema.String, Schema.String], ([text, header]) => {
    const { portal } = portalWorld()
    for (const url of [
      text,
      `/gateway/websocket?${text}`,
      `/client/websocket?${new URLSearchParams({ token: text }).toString()}`
    ]) {
      const result = portal.check({
        url,
        headers: { "x-authorization": header, "user-agent": header },
        remote: "192.0.2.9"
      })
      assert.strictEqual(result._tag, "Refused")
    }
  })

  it("holds a bounded number of unanswered requests and serves again when they are over", () => {
    const world = portalWorld()
    const gateway = world.connect("gateway")
    const client = world.connect("client")
    let refused = 0
    for (let i = 0; i < 9; i++) {
      for (let n = 0; n < 1000; n++) client.send("create_flow", { resource_id: uuidOf("resource", "net") })
      refused += client.inbox.splice(0).filter(({ event }) => event === "flow_creation_failed").length
      gateway.inbox.length = 0
      world.advance(1000)
    }
    assert.strictEqual(refused, 9000 - 8192)
    world.advance(20_000)
    assertServing(world)
  })
})
