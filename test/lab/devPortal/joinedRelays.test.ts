/** Relays that join the development portal by themselves. */
import { assert, describe, it } from "@effect/vitest"
import { createHash } from "node:crypto"
import { portalFile, portalWorld } from "../../support/portalWorld.ts"

const file = `${portalFile}relay_token: relay-secret\n`
const query = { token: "relay-secret", ipv4: "192.0.2.7", ipv6: "2001:db8::7" }
const digest = (text: string) => createHash("sha256").update(text).digest("base64").replaceAll("=", "")

describe("a relay", () => {
  it("is told to every device once it has joined, with credentials from its own secret", () => {
    const world = portalWorld(file)
    const gateway = world.connect("gateway")
    const relay = world.connectRelay(query)
    const early = gateway.inbox.some(({ event }) => event === "relays_presence")

    relay.send("phx_join", { stamp_secret: "north" })

    assert.isFalse(early)
    assert.deepStrictEqual(relay.take("phx_reply").status, "ok")
    assert.deepStrictEqual(relay.take("init"), {})
    const { connected, disconnected_ids } = gateway.take("relays_presence")
    const salt = digest(gateway.publicKey)
    assert.deepStrictEqual(disconnected_ids, [])
    assert.deepStrictEqual(
      connected,
      ["192.0.2.7:3478", "[2001:db8::7]:3478"].map((addr) => ({
        id: relay.id,
        type: "turn",
        addr,
        username: `2145916800:${salt}`,
        password: digest(`2145916800:north:${salt}`),
        expires_at: 2_145_916_800
      }))
    )
  })

  it("is in the init of devices that come later, until it leaves", () => {
    const world = portalWorld(file)
    const relay = world.connectRelay(query)
    relay.send("phx_join", { stamp_secret: "north" })
    const client = world.connect("client")
    const ids = client.take("init").relays.map(({ id }: { id: string }) => id)

    world.close(relay)

    assert.include(ids, relay.id)
    assert.deepStrictEqual(client.take("relays_presence"), { disconnected_ids: [relay.id], connected: [] })
    const later = world.connect("client", { externalId: "later" }).take("init").relays
    assert.notInclude(
      later.map(({ id }: { id: string }) => id),
      relay.id
    )
  })

  it("that comes again takes the place of its older socket, and a silent one is cut", () => {
    const world = portalWorld(file)
    const gateway = world.connect("gateway")
    const first = world.connectRelay(query)
    first.send("phx_join", { stamp_secret: "north" })
    gateway.take("relays_presence")

    const second = world.connectRelay(query)
    second.send("phx_join", { stamp_secret: "south" })

    assert.deepStrictEqual(first.closed, { code: 1000, reason: "replaced" })
    assert.deepStrictEqual(gateway.take("relays_presence").disconnected_ids, [second.id])
    assert.lengthOf(gateway.take("relays_presence").connected, 2)
    second.send("heartbeat", {}, "phoenix")
    assert.strictEqual(second.take("phx_reply").status, "ok")
    world.advance(38_000)
    assert.deepStrictEqual(second.closed, { code: 1001, reason: "idle" })
  })

  it("needs the token of relays and an address", () => {
    assert.strictEqual(portalWorld().relayRefusal(query).status, 401)
    const world = portalWorld(file)
    for (const [wrong, status] of [
      [{ ...query, token: "gateway-secret" }, 401],
      [{ token: query.token }, 400],
      [{ ...query, ipv4: "2001:db8::7" }, 400],
      [{ ...query, ipv6: "nowhere" }, 400],
      [{ ...query, port: "70000" }, 400]
    ] as const) {
      assert.strictEqual(world.relayRefusal(wrong).status, status, JSON.stringify(wrong))
    }
  })

  it("without a secret in its join is not told to anybody", () => {
    const world = portalWorld(file)
    const gateway = world.connect("gateway")
    const relay = world.connectRelay(query)
    for (const payload of [null, {}, { stamp_secret: 1 }]) {
      relay.send("phx_join", payload)
      assert.strictEqual(relay.take("phx_reply").status, "error")
    }
    world.close(relay)
    assert.isFalse(gateway.inbox.some(({ event }) => event === "relays_presence"))
  })
})
