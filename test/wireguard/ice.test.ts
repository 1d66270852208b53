/** WireGuard where ICE finds the path: who starts, how long it tries, what a foreign preshared key does. */
import { randomBytes } from "node:crypto"
import { assert, describe, it } from "@effect/vitest"
import type { PeerEvent } from "../../src/wireguard/WireGuard.ts"
import { Clock, endpoint, Side } from "./sides.ts"

const pair = (options: { readonly clientPsk?: Uint8Array } = {}) => {
  const clock = new Clock()
  const gateway = new Side({ clock, address: "192.0.2.1" })
  const client = new Side({ clock, address: "192.0.2.2" })
  const psk = new Uint8Array(32).fill(7)
  const toClient = gateway.wg.addPeer({
    publicKey: client.wg.publicKey,
    presharedKey: psk,
    keepalive: 0,
    user: 1,
    ice: "controlled"
  })
  const toGateway = client.wg.addPeer({
    publicKey: gateway.wg.publicKey,
    presharedKey: options.clientPsk ?? psk,
    keepalive: 0,
    user: 1,
    ice: "controlling"
  })
  client.wg.setEndpoint(toGateway, gateway.at)
  return { client, clock, gateway, toClient, toGateway }
}

type Pair = ReturnType<typeof pair>

/** Carries what is on both wires until nothing is. */
const settle = ({ client, gateway }: Pair): void => {
  for (let busy = true; busy;) {
    const toGateway = client.take()
    const toClient = gateway.take()
    busy = toGateway.length + toClient.length > 0
    for (const { bytes } of toGateway) gateway.receive(bytes, client.at)
    for (const { bytes } of toClient) client.receive(bytes, gateway.at)
    gateway.work()
    client.work()
  }
}

const connect = (p: Pair): void => {
  p.client.initiate(p.toGateway)
  settle(p)
}

const events = (side: Side): ReadonlyArray<PeerEvent> => side.events.map(([, event]) => event)

const packet = new Uint8Array(20).fill(0x45)

describe("a peer whose path ICE finds", () => {
  it("waits for the client's first handshake, even with a path and packets for it", () => {
    const p = pair()
    p.gateway.wg.setEndpoint(p.toClient, p.client.at)
    assert.isUndefined(p.gateway.seal(p.toClient, packet))
    p.clock.advance(30_000)
    p.gateway.tick()
    assert.deepStrictEqual(p.gateway.take(), [])
    connect(p)
    assert.isTrue(p.toClient.hasSession(p.clock.now))
  })

  it("may be called once it has had a session", () => {
    const p = pair()
    connect(p)
    p.clock.advance(200_000)
    p.gateway.tick()
    assert.isFalse(p.toClient.hasSession(p.clock.now))
    assert.isUndefined(p.gateway.seal(p.toClient, packet))
    p.gateway.tick()
    assert.deepStrictEqual(
      p.gateway.take().map(({ bytes }) => bytes[0]),
      [1]
    )
  })

  it("is given up after 20 s without an answer", () => {
    const p = pair()
    p.client.initiate(p.toGateway)
    for (let s = 0; s < 19; s++) {
      p.clock.advance(1_000)
      p.client.tick()
    }
    assert.notInclude(events(p.client), "HandshakeFailed")
    for (let s = 0; s < 7; s++) {
      p.clock.advance(1_000)
      p.client.tick()
    }
    assert.strictEqual(events(p.client).at(-1), "HandshakeFailed")
  })

  it("is given up at once when its answer proves another preshared key", () => {
    const p = pair({ clientPsk: randomBytes(32) })
    connect(p)
    assert.deepStrictEqual(events(p.client), ["EndpointChanged", "HandshakeFailed"])
    p.clock.advance(10_000)
    p.client.tick()
    assert.deepStrictEqual(p.client.take(), [])
  })

  it("keeps a session that works when an answer does not authenticate: anybody can make one", () => {
    const p = pair()
    connect(p)
    p.clock.advance(60_000)
    // The same that somebody without keys would write: right on the outside, with a wrong tag inside.
    p.gateway.wg.addPeer({
      publicKey: p.client.wg.publicKey,
      presharedKey: randomBytes(32),
      keepalive: 0,
      user: 1,
      ice: "controlled"
    })
    p.client.initiate(p.toGateway)
    for (const { bytes } of p.client.take()) p.gateway.receive(bytes, p.client.at)
    p.gateway.work()
    const [forged] = p.gateway.take()
    p.client.receive(forged!.bytes, p.gateway.at)
    assert.deepStrictEqual(p.client.work(), ["Forged"])
    assert.notInclude(events(p.client), "HandshakeFailed")
    assert.isTrue(p.toGateway.hasSession(p.clock.now))
  })

  it("is ignored after a reset, and starts anew once added again: no session, no endpoint, silent again; but an old initiation stays refused", () => {
    const p = pair()
    p.client.initiate(p.toGateway)
    const [recorded] = p.client.wire
    settle(p)
    p.gateway.wg.resetPeer(p.toClient)
    p.clock.advance(6_000)
    p.client.initiate(p.toGateway)
    settle(p)
    assert.isFalse(p.toClient.hasSession(p.clock.now))
    assert.isFalse(p.toClient.hasEndpoint)
    p.gateway.wg.addPeer({
      publicKey: p.client.wg.publicKey,
      presharedKey: new Uint8Array(32).fill(7),
      keepalive: 0,
      user: 1,
      ice: "controlled"
    })
    assert.deepStrictEqual([p.toClient.hasSession(p.clock.now), p.toClient.hasEndpoint], [false, false])
    p.gateway.receive(recorded!.bytes, p.client.at)
    assert.deepStrictEqual(p.gateway.work(), ["Replayed"])
    p.gateway.wg.setEndpoint(p.toClient, p.client.at)
    assert.isUndefined(p.gateway.seal(p.toClient, packet))
    p.gateway.tick()
    assert.deepStrictEqual(p.gateway.take(), [])
    p.clock.advance(6_000)
    p.client.wg.resetPeer(p.toGateway)
    p.client.wg.setEndpoint(p.toGateway, p.gateway.at)
    connect(p)
    assert.isTrue(p.toClient.hasSession(p.clock.now))
  })

  it("is sent to by the channel that its last authentic message came by", () => {
    const p = pair()
    connect(p)
    const relayed = endpoint("198.51.100.7", 50_000)
    relayed.channel = 9
    p.gateway.receive(p.client.seal(p.toGateway, packet)!, relayed)
    assert.strictEqual(p.toClient.endpoint.channel, 9)
    const other = endpoint("198.51.100.7", 50_000)
    p.gateway.receive(p.client.seal(p.toGateway, packet)!, other)
    assert.strictEqual(p.toClient.endpoint.channel, 0)
    assert.deepStrictEqual(events(p.gateway), [
      "EndpointChanged",
      "HandshakeDone",
      "EndpointChanged",
      "EndpointChanged"
    ])
  })
})

describe("a plain peer", () => {
  it("tries on when an answer does not authenticate: anybody could have sent it", () => {
    const clock = new Clock()
    const gateway = new Side({ clock, address: "192.0.2.1" })
    const client = new Side({ clock, address: "192.0.2.2" })
    gateway.meet(client, randomBytes(32))
    const toGateway = client.meet(gateway, randomBytes(32))
    settle({ client, gateway, clock, toClient: toGateway, toGateway })
    client.initiate(toGateway)
    settle({ client, gateway, clock, toClient: toGateway, toGateway })
    assert.deepStrictEqual(events(client), [])
    clock.advance(6_000)
    client.tick()
    assert.deepStrictEqual(
      client.take().map(({ bytes }) => bytes[0]),
      [1]
    )
  })
})
