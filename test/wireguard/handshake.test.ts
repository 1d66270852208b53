import { assert, describe, it } from "@effect/vitest"
import { blake2s } from "@noble/hashes/blake2.js"
import { HandshakeOutcome } from "../../src/wireguard/receiveCode.ts"
import { carry, Clock, mac, makeConnected, makePair, pass, settle, Side, text } from "./sides.ts"

const psk = new Uint8Array(32).fill(0x5a)
const low = new Uint8Array(32)

describe("a handshake", () => {
  for (const [name, presharedKey] of [
    ["with a preshared key", psk],
    ["without a preshared key", null]
  ] as const) {
    it(`gives both sides a session, ${name}`, () => {
      const { a, b, clock, toA, toB } = makePair({ psk: presharedKey })

      a.initiate(toB)
      const log = settle({ a, b })

      assert.deepStrictEqual(log, ["b:Handled", "b:Answered", "a:Handled", "a:Completed", "b:Keepalive"])
      assert.deepStrictEqual(a.eventNames(), ["HandshakeDone"])
      assert.deepStrictEqual(b.eventNames(), ["EndpointChanged", "HandshakeDone"])
      assert.isTrue(toB.hasSession(clock.now) && toA.hasSession(clock.now))
      assert.strictEqual(toB.lastHandshakeAt, clock.now)
      assert.strictEqual(toA.lastHandshakeAt, clock.now)
      assert.deepStrictEqual(carry(a, toB, b, text("from the initiator")), text("from the initiator"))
      assert.deepStrictEqual(carry(b, toA, a, text("from the responder")), text("from the responder"))
      assert.strictEqual(b.wg.peer, toA)
    })
  }

  it("has messages of the sizes and types of the whitepaper, with zero mac2", () => {
    const { a, b, toB } = makePair()

    a.initiate(toB)
    const [initiation] = a.take()
    b.receive(initiation!.bytes, a.at)
    b.work()
    const [response] = b.take()
    a.receive(response!.bytes, b.at)
    a.work()
    const [keepalive] = a.take()

    assert.deepStrictEqual([initiation!.bytes.length, response!.bytes.length, keepalive!.bytes.length], [148, 92, 32])
    assert.deepStrictEqual(
      [...initiation!.bytes.subarray(0, 4), ...response!.bytes.subarray(0, 4), ...keepalive!.bytes.subarray(0, 4)],
      [1, 0, 0, 0, 2, 0, 0, 0, 4, 0, 0, 0]
    )
    assert.deepStrictEqual(response!.bytes.slice(8, 12), initiation!.bytes.slice(4, 8))
    assert.deepStrictEqual(keepalive!.bytes.slice(4, 8), response!.bytes.slice(4, 8))
    assert.deepStrictEqual(initiation!.bytes.slice(132), new Uint8Array(16))
    assert.strictEqual(initiation!.to, "192.0.2.2:51820")
    assert.strictEqual(response!.to, "192.0.2.1:51820")
  })

  it("fails at the initiator when the preshared keys differ, and changes nothing there", () => {
    const { a, b, clock, toA, toB } = makePair({ psk })
    toA.presharedKey.fill(0x11)

    a.initiate(toB)
    const log = settle({ a, b })

    assert.deepStrictEqual(log, ["b:Handled", "b:Answered", "a:Handled", "a:Forged"])
    assert.isFalse(toB.hasSession(clock.now) || toA.hasSession(clock.now))
    assert.deepStrictEqual(a.eventNames(), [])
  })

  it("lets the responder send only after the initiator's first message", () => {
    const { a, b, clock, toA, toB } = makePair()
    a.initiate(toB)
    b.receive(a.take()[0]!.bytes, a.at)
    b.work()

    assert.isFalse(toA.hasSession(clock.now))
    assert.isUndefined(b.seal(toA, text("too early")))
    a.receive(b.take()[0]!.bytes, b.at)
    a.work()
    assert.isUndefined(b.seal(toA, text("still too early")))
    b.receive(a.take()[0]!.bytes, a.at)
    assert.isDefined(b.seal(toA, text("now")))
  })

  it("sends no keepalive when the engine flushes staged packets at HandshakeDone", () => {
    const { a, b, toB } = makePair()
    const staged: Array<Uint8Array> = []
    a.onEvent = (peer, event) => {
      if (event === "HandshakeDone") staged.push(a.seal(peer, text("staged"))!)
    }
    a.initiate(toB)
    b.receive(a.take()[0]!.bytes, a.at)
    b.work()
    a.receive(b.take()[0]!.bytes, b.at)
    a.work()

    assert.deepStrictEqual(a.take(), [])
    assert.strictEqual(b.receive(staged[0]!, a.at), "Data")
    assert.deepStrictEqual(b.inner.subarray(0, 6), text("staged"))
    assert.deepStrictEqual(b.eventNames(), ["EndpointChanged", "HandshakeDone"])
  })

  it("is counted and answered with nothing when the sender is no peer", () => {
    const { b, clock } = makePair()
    const stranger = new Side({ clock, address: "192.0.2.66" })
    const peer = stranger.meet(b)

    stranger.initiate(peer)
    const code = b.receive(stranger.take()[0]!.bytes, stranger.at)
    const outcomes = b.work()

    assert.strictEqual(code, "Handled")
    assert.deepStrictEqual(outcomes, ["UnknownPeer"])
    assert.strictEqual(b.wg.handshakeCounts[HandshakeOutcome.UnknownPeer], 1)
    assert.deepStrictEqual(b.take(), [])
  })

  it("is refused when it is a replay, also by a responder that was given the last timestamp after a restart", () => {
    const pair = makePair()
    pair.a.initiate(pair.toB)
    const [initiation] = pair.a.take()
    pair.b.receive(initiation!.bytes, pair.a.at)
    pair.b.work()
    pair.clock.advance(1_000)

    pair.b.receive(initiation!.bytes, pair.a.at)
    assert.deepStrictEqual(pair.b.work(), ["Replayed"])

    const restarted = makePair()
    const other = new Side({ clock: pair.clock, address: "192.0.2.2", privateKey: privateKeyOf(pair.b) })
    const peer = other.wg.addPeer({
      publicKey: pair.a.wg.publicKey,
      presharedKey: null,
      keepalive: 0,
      user: 1
    })
    peer.latestTai64n.set(pair.toA.latestTai64n)
    other.receive(initiation!.bytes, pair.a.at)
    assert.deepStrictEqual(other.work(), ["Replayed"])
    assert.deepStrictEqual(restarted.toA.latestTai64n, new Uint8Array(12))
  })

  it("from one peer is accepted at most 50 times a second", () => {
    const { a, b, clock } = makePair()
    const send = (wallStep: number) => {
      clock.wall += wallStep
      a.wg.removePeer(a.wg.findPeer(b.wg.publicKey)!)
      a.initiate(a.meet(b))
      const code = b.receive(a.take()[0]!.bytes, a.at)
      return [code, ...b.work()]
    }

    assert.deepStrictEqual(send(0), ["Handled", "Answered"])
    clock.now += 19
    assert.deepStrictEqual(send(100), ["Handled", "TooFast"])
    clock.now += 1
    assert.deepStrictEqual(send(100), ["Handled", "Answered"])
  })

  it("works when both sides start at once: data flows both ways under either session", () => {
    const { a, b, clock, toA, toB } = makeBothKnown()

    a.initiate(toB)
    b.initiate(toA)
    const log = settle({ a, b })

    assert.notInclude(log.join(), "UnknownReceiver")
    assert.isTrue(toB.hasSession(clock.now) && toA.hasSession(clock.now))
    for (let i = 0; i < 3; i++) {
      assert.deepStrictEqual(carry(a, toB, b, text("one")), text("one"))
      assert.deepStrictEqual(carry(b, toA, a, text("two")), text("two"))
    }
    clock.advance(180_000)
    a.tick()
    b.tick()
    assert.isTrue([...a.keys, ...b.keys].every((key) => key.freed))
  })

  it("with a low-order public key fails at once instead of hanging", () => {
    const clock = new Clock()
    const a = new Side({ clock })
    const peer = a.wg.addPeer({ publicKey: low, presharedKey: null, keepalive: 0, user: 1 })
    peer.hasEndpoint = true

    a.initiate(peer)

    assert.deepStrictEqual(a.eventNames(), ["HandshakeFailed"])
    assert.deepStrictEqual(a.take(), [])
  })

  it("is started once however often it is asked for, and never without an endpoint", () => {
    const { a, toB, b, toA } = makePair()

    a.initiate(toB)
    a.initiate(toB)
    b.initiate(toA)
    assert.isUndefined(b.seal(toA, text("x")))
    b.tick()

    assert.strictEqual(a.take().length, 1)
    assert.strictEqual(b.take().length, 0)
  })

  it("is not started by packets more often than every 5 s", () => {
    const { a, b, clock, toB } = makeConnected()
    a.wg.addPeer({ publicKey: b.wg.publicKey, presharedKey: psk, keepalive: 0, user: 1 })
    clock.advance(4_999)
    a.seal(toB, text("too early"))
    a.tick()
    assert.deepStrictEqual(a.take(), [])

    clock.advance(1)
    a.seal(toB, text("now"))
    a.tick()
    assert.strictEqual(a.take().length, 1)
  })

  it("is not spoilt by a forged response that comes before the real one", () => {
    const { a, b, clock, toB } = makePair()
    a.initiate(toB)
    const [initiation] = a.take()
    b.receive(initiation!.bytes, a.at)
    b.work()
    const response = b.take()[0]!.bytes
    const forged = response.slice()
    forged[50]! ^= 1
    const key = blake2s(Uint8Array.from([...text("mac1----"), ...a.wg.publicKey]))
    forged.set(mac(key, forged.subarray(0, 60)), 60)

    a.receive(forged, b.at)
    a.receive(response, b.at)

    assert.deepStrictEqual(a.work(), ["Completed", "Forged"])
    assert.isTrue(toB.hasSession(clock.now))
  })

  it("is started by the next advance when a packet finds no session", () => {
    const { a, b, clock, toA, toB } = makePair()

    assert.isUndefined(a.seal(toB, text("first packet")))
    assert.strictEqual(a.wg.nextDeadline(), 0)
    a.tick()
    settle({ a, b })

    assert.isTrue(toB.hasSession(clock.now) && toA.hasSession(clock.now))
  })

  it("uses timestamps that grow strictly even when the wall clock stands still or goes back", () => {
    const clock = new Clock()
    const a = new Side({ clock })
    const b = new Side({ clock, address: "192.0.2.2" })
    const toB = a.meet(b)
    b.meet(a)
    const seen: Array<string> = []
    for (const step of [0, 0, -5_000, 1]) {
      clock.wall += step
      clock.now += 1_000
      a.initiate(toB)
      assert.deepStrictEqual(settle({ a, b }).slice(0, 2), ["b:Handled", "b:Answered"])
      seen.push(Buffer.from(b.wg.findPeer(a.wg.publicKey)!.latestTai64n).toString("hex"))
    }

    assert.deepStrictEqual(seen, seen.toSorted())
    assert.strictEqual(new Set(seen).size, 4)
  })
})

describe("the queue of handshakes", () => {
  it("works off two messages a turn and says whether more wait", () => {
    const clock = new Clock()
    const b = new Side({ clock })
    for (let i = 0; i < 5; i++) {
      const a = new Side({ clock, address: `192.0.2.${i + 10}` })
      b.meet(a)
      a.initiate(a.meet(b))
      assert.strictEqual(b.receive(a.take()[0]!.bytes, a.at), "Handled")
    }

    assert.strictEqual(b.wg.nextDeadline(), 0)
    const turns = [1, 2, 3].map(() => [b.wg.workHandshakes(clock.now), b.take().length])

    assert.deepStrictEqual(turns, [
      [true, 2],
      [true, 2],
      [false, 1]
    ])
  })

  it("is bounded: what does not fit is dropped even when its source is proven", () => {
    const clock = new Clock()
    const b = new Side({ clock, limits: { queue: 3, loadMark: 0, burst: 1_000 } })
    const a = new Side({ clock, address: "192.0.2.9" })
    a.initiate(a.meet(b))
    assert.strictEqual(b.receive(a.take()[0]!.bytes, a.at), "CookieSent")
    a.receive(b.take()[0]!.bytes, b.at)
    const codes: Array<string> = []
    for (let i = 0; i < 5; i++) {
      clock.advance(6_000)
      a.tick()
      codes.push(b.receive(a.take()[0]!.bytes, a.at))
    }

    assert.deepStrictEqual(codes, ["Handled", "Handled", "Handled", "QueueFull", "QueueFull"])
    assert.deepStrictEqual(b.work(), ["UnknownPeer", "UnknownPeer", "UnknownPeer"])
  })

  it("starts at most two handshakes a turn of its own", () => {
    const clock = new Clock()
    const a = new Side({ clock })
    for (let i = 0; i < 5; i++) {
      const peer = a.meet(new Side({ clock, address: `192.0.2.${i + 10}` }))
      a.seal(peer, text("wake up"))
    }

    const sent = [1, 2, 3].map(() => {
      a.tick()
      return a.take().length
    })

    assert.deepStrictEqual(sent, [2, 2, 1])
  })

  it("drops a response whose handshake was given up while it waited", () => {
    const { a, b, toB } = makePair()
    a.initiate(toB)
    b.receive(a.take()[0]!.bytes, a.at)
    b.work()
    a.receive(b.take()[0]!.bytes, b.at)
    a.wg.removePeer(toB)

    assert.deepStrictEqual(a.work(), ["GivenUp"])
  })
})

describe("adding a peer again", () => {
  it("keeps its session, and drops it when the preshared key changed", () => {
    const { a, b, clock, toA, toB } = makeConnected({ psk })
    const config = { publicKey: b.wg.publicKey, keepalive: 0, user: 12 }

    const same = a.wg.addPeer({ ...config, presharedKey: psk })
    assert.strictEqual(same, toB)
    assert.strictEqual(same.user, 12)
    assert.isTrue(same.hasSession(clock.now))
    assert.deepStrictEqual(carry(a, toB, b, text("kept")), text("kept"))

    a.wg.addPeer({ ...config, presharedKey: null })
    assert.isFalse(toB.hasSession(clock.now))
    assert.strictEqual(carry(b, toA, a, text("old key")), "UnknownReceiver")
  })

  it("starts and stops the persistent keepalive", () => {
    const pair = makeConnected()
    const config = { publicKey: pair.b.wg.publicKey, presharedKey: null, user: 1 }

    pair.a.wg.addPeer({ ...config, keepalive: 20 })
    assert.deepStrictEqual(pass(pair, 100), ["b:Keepalive"])
    assert.deepStrictEqual(pass(pair, 60_000), ["b:Keepalive", "b:Keepalive", "b:Keepalive"])
    pair.a.wg.addPeer({ ...config, keepalive: 0 })
    assert.deepStrictEqual(pass(pair, 60_000), [])
  })
})

const makeBothKnown = () => {
  const pair = makePair()
  pair.b.meet(pair.a)
  return pair
}

const privateKeyOf = (side: Side): Uint8Array => side.secrets[0]!.given
