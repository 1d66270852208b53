import { assert, describe, it } from "@effect/vitest"
import { blake2s } from "@noble/hashes/blake2.js"
import { rejectAfterMessages, writeCounter } from "../../src/wireguard/protocol.ts"
import { bytes, integer } from "../support/packetArbitraries.ts"
import { carry, endpoint, formatEndpoint, mac, makeConnected, makePair, settle, Side, text } from "./sides.ts"

describe("transport data", () => {
  it.prop("comes out as it went in, padded with zeros to 16 bytes", [bytes(1420)], ([inner]) => {
    const { a, b, toB } = connected

    const datagram = a.seal(toB, inner)!
    const code = b.receive(datagram, a.at)

    assert.strictEqual(datagram.length, Math.min(Math.ceil(inner.length / 16) * 16, 1420) + 32)
    assert.strictEqual(code, inner.length === 0 ? "Keepalive" : "Data")
    assert.deepStrictEqual(b.inner.subarray(0, inner.length), inner)
    assert.isTrue(b.inner.subarray(inner.length).every((byte) => byte === 0))
  })

  it("never grows a packet beyond the MTU", () => {
    const { a, toB } = connected

    const sizes = [1280, 1281, 1408, 1409, 1419, 1420, 1500].map(
      (length) => a.seal(toB, new Uint8Array(length).fill(1))!.length - 32
    )

    assert.deepStrictEqual(sizes, [1280, 1296, 1408, 1420, 1420, 1420, 1500])
  })

  it("may be sealed in place, behind room for the header", () => {
    const { a, b, clock, toB } = makeConnected()
    const base = a.arena.reserve(256)
    a.arena.bytes.fill(0xee, base, base + 256)
    a.arena.bytes.set(text("twenty-one bytes here"), base + 16)

    const length = a.wg.seal(toB, base + 16, 21, base, clock.now)

    assert.strictEqual(length, 64)
    assert.strictEqual(b.receive(a.arena.bytes.slice(base, base + length), a.at), "Data")
    assert.deepStrictEqual(b.inner, Uint8Array.from([...text("twenty-one bytes here"), ...new Uint8Array(11)]))
    assert.strictEqual(a.arena.bytes[base + length], 0xee)
  })

  it("that was not padded by its sender is accepted", () => {
    const { a, b, toB } = makeConnected()
    const key = toB.current!
    const at = a.arena.reserve(64)
    const datagram = a.seal(toB, text("0123456789abcdef"))!
    a.arena.bytes.set(text("odd"), at)
    key.sending.seal(key.counter, at, 3, at)
    writeCounter(datagram, 8, key.counter)
    const unpadded = Uint8Array.from([...datagram.subarray(0, 16), ...a.arena.bytes.subarray(at, at + 19)])

    assert.strictEqual(b.receive(unpadded, a.at), "Data")
    assert.deepStrictEqual(b.inner, text("odd"))
  })

  it("is accepted once, in any order within the window", () => {
    const { a, b, toB } = makeConnected()
    const datagrams = Array.from({ length: 40 }, (_, i) => a.seal(toB, Uint8Array.of(i + 1))!)
    const shuffled = datagrams.toSorted((x, y) => x[20]! - y[20]!)

    assert.isTrue(shuffled.every((d) => b.receive(d, a.at) === "Data"))
    assert.isTrue(shuffled.every((d) => b.receive(d, a.at) === "Replayed"))
  })

  it("at the message limit is refused, sending and receiving", () => {
    const { a, b, clock, toB } = makeConnected()
    const datagram = a.seal(toB, text("x"))!

    for (const counter of [rejectAfterMessages, rejectAfterMessages + 1, 2 ** 60, 2 ** 64 - 2048]) {
      writeCounter(datagram, 8, counter)
      assert.strictEqual(b.receive(datagram, a.at), "SessionExpired")
    }
    writeCounter(datagram, 8, rejectAfterMessages - 1)
    assert.strictEqual(b.receive(datagram, a.at), "Forged")

    toB.current!.counter = rejectAfterMessages - 1
    assert.strictEqual(b.receive(a.seal(toB, text("the last one"))!, a.at), "Data")
    assert.isFalse(toB.hasSession(clock.now))
    assert.isUndefined(a.seal(toB, text("one too many")))
  })

  it("counts the bytes of datagrams in both directions", () => {
    const { a, b, toA, toB } = makeConnected()
    assert.deepStrictEqual([toB.txBytes, toB.rxBytes, toA.txBytes, toA.rxBytes], [180, 92, 92, 180])

    carry(a, toB, b, new Uint8Array(100))

    assert.deepStrictEqual([toB.txBytes, toB.rxBytes, toA.txBytes, toA.rxBytes], [324, 92, 92, 324])
  })
})

describe("the endpoint", () => {
  it("follows every authentic packet, and the answer goes there", () => {
    const { a, b, toA, toB } = makeConnected()
    const moved = endpoint("2001:db8::7", 4242)
    moved.interfaceIndex = 3

    b.receive(a.seal(toB, text("roaming"))!, moved)

    assert.strictEqual(formatEndpoint(toA.endpoint), "[2001:db8::7]:4242")
    assert.strictEqual(toA.endpoint.interfaceIndex, 3)
    assert.deepStrictEqual(b.eventNames(), ["EndpointChanged"])
    b.receive(a.seal(toB, text("again"))!, moved)
    assert.deepStrictEqual(b.eventNames(), ["EndpointChanged"])
  })

  it("follows the local side, and tells: calls leave from the address that was dialled", () => {
    const { a, b, toA, toB } = makeConnected()
    const arrived = endpoint("192.0.2.1", 51820)
    arrived.local.w3 = 0x0a00_0001

    b.receive(a.seal(toB, text("x"))!, arrived)

    assert.strictEqual(toA.endpoint.local.w3, 0x0a00_0001)
    assert.deepStrictEqual(b.eventNames(), ["EndpointChanged"])
  })

  it("follows an initiation and a response", () => {
    const { a, b, clock, toA, toB } = makeConnected()
    clock.advance(1_000)
    const movedA = endpoint("198.51.100.1", 1)
    const movedB = endpoint("198.51.100.2", 2)
    a.initiate(toB)
    b.receive(a.take()[0]!.bytes, movedA)
    b.work()
    a.receive(b.take()[0]!.bytes, movedB)
    a.work()

    assert.strictEqual(formatEndpoint(toA.endpoint), "198.51.100.1:1")
    assert.strictEqual(formatEndpoint(toB.endpoint), "198.51.100.2:2")
  })
})

describe("forged and foreign bytes", () => {
  it.prop(
    "never throw and never change a peer, however a valid message was bent",
    [integer(0, 4), integer(0, 200), integer(1, 255), integer(0, 3), integer(0, 60)],
    ([which, position, flip, way, cut]) => {
      const { a, b, clock, toA, toB } = makePair()
      a.initiate(toB)
      const initiation = a.take()[0]!.bytes
      b.receive(initiation, a.at)
      b.work()
      const response = b.take()[0]!.bytes
      const victim = which === 1 ? a : b
      const from = endpoint("203.0.113.66", 666)
      let message = which === 0 ? initiation : response
      if (which >= 2) {
        a.receive(response, b.at)
        a.work()
        b.receive(a.take()[0]!.bytes, a.at)
        message = which === 2 ? a.seal(toB, text("data"))! : which === 3 ? a.seal(toB, text(""))! : cookieFor(a, b)
      }
      const peer = victim === a ? toB : toA
      const bent = bend(message, position, flip, way, cut)
      const before = snapshot(peer)
      victim.events.length = 0
      clock.advance(50)

      victim.receive(bent, from)
      victim.work()

      if (Buffer.from(bent).equals(message) || isSameMeaning(bent, message)) return
      assert.deepStrictEqual(snapshot(peer), before)
      assert.deepStrictEqual(victim.events, [])
    },
    { arbitrary: { runs: 400 } }
  )

  it.prop(
    "with a correct mac1 (anyone who knows the public key can make one) change nothing either",
    [integer(0, 1), integer(4, 115), integer(1, 255)],
    ([role, position, flip]) => {
      const { a, b, clock, toA, toB } = makePair()
      a.initiate(toB)
      const initiation = a.take()[0]!.bytes
      if (role === 1) {
        b.receive(initiation, a.at)
        b.work()
      }
      const victim = role === 1 ? a : b
      const message = role === 1 ? b.take()[0]!.bytes : initiation
      const body = message.length - 32
      const at = 4 + ((position - 4) % (body - 4))
      message[at]! ^= flip
      message.set(
        mac(blake2s(Uint8Array.from([...text("mac1----"), ...victim.wg.publicKey])), message.subarray(0, body)),
        body
      )
      const before = snapshot(role === 1 ? toB : toA)
      clock.advance(50)

      const code = victim.receive(message, endpoint("203.0.113.66", 666))
      const outcomes = victim.work()

      // The sender index alone is only covered by mac1: whoever changes it makes the answer useless, nothing more.
      if (role === 0 && at < 8) return assert.deepStrictEqual(outcomes, ["Answered"])
      if (role === 1 && at < 8) return assert.deepStrictEqual(outcomes, ["Completed"])
      if (code === "UnknownReceiver") assert.isTrue(role === 1 && at < 12)
      else assert.deepStrictEqual(outcomes, ["Forged"])
      assert.deepStrictEqual(snapshot(role === 1 ? toB : toA), before)
    },
    { arbitrary: { runs: 150 } }
  )

  it.prop("never throw, whatever they are", [bytes(200), integer(0, 5)], ([noise, type]) => {
    const { a, b, toA } = connected
    const before = snapshot(toA)
    const message = Uint8Array.from([type, 0, 0, 0, ...noise])

    const code = b.receive(message, a.at)

    assert.include(["Malformed", "UnknownReceiver", "BadMac1"], code)
    assert.deepStrictEqual(snapshot(toA), before)
  })

  it("get a reason each", () => {
    const { a, b, toB } = makeConnected()
    const data = a.seal(toB, text("data"))!
    const with_ = (change: (bytes: Uint8Array) => void) => {
      const copy = data.slice()
      change(copy)
      return b.receive(copy, a.at)
    }

    assert.strictEqual(
      with_((d) => (d[1] = 1)),
      "Malformed"
    )
    assert.strictEqual(
      with_((d) => (d[0] = 5)),
      "Malformed"
    )
    assert.strictEqual(b.receive(data.subarray(0, 31), a.at), "Malformed")
    assert.strictEqual(b.receive(new Uint8Array(0), a.at), "Malformed")
    assert.strictEqual(
      with_((d) => (d[4]! ^= 1)),
      "UnknownReceiver"
    )
    assert.strictEqual(
      with_((d) => (d[8]! ^= 2)),
      "Forged"
    )
    assert.strictEqual(
      with_((d) => (d[40]! ^= 1)),
      "Forged"
    )
    assert.strictEqual(
      with_(() => {}),
      "Data"
    )
    assert.strictEqual(
      with_(() => {}),
      "Replayed"
    )
    a.initiate(toB)
    const initiation = a.take()[0]!.bytes
    initiation[20]! ^= 1
    assert.strictEqual(b.receive(initiation, a.at), "BadMac1")
    assert.strictEqual(b.receive(initiation.subarray(0, 147), a.at), "Malformed")
  })

  it("with a forged counter do not move the replay window", () => {
    const { a, b, toB } = makeConnected()
    const first = a.seal(toB, text("first"))!
    const forged = a.seal(toB, text("forged"))!
    writeCounter(forged, 8, 1_000_000)

    assert.strictEqual(b.receive(forged, a.at), "Forged")
    assert.strictEqual(b.receive(first, a.at), "Data")
  })
})

describe("retired keys", () => {
  const freed = (side: Side) => side.keys.filter((record) => record.freed).length

  it("are zeroed when the peer is removed, with every handshake secret", () => {
    const { a, b, clock, toB } = makeConnected()
    a.initiate(toB)
    const ephemeral = a.secrets.at(-1)!
    assert.isFalse(ephemeral.freed)

    a.wg.removePeer(toB)

    assert.strictEqual(freed(a), a.keys.length)
    assert.isTrue(ephemeral.freed)
    assert.isFalse(toB.hasSession(clock.now))
    assert.isUndefined(a.seal(toB, text("x")))
    assert.isUndefined(a.wg.findPeer(b.wg.publicKey))
    assert.strictEqual(a.wg.nextDeadline(), Number.POSITIVE_INFINITY)
  })

  it("are zeroed on close, our own private key included", () => {
    const { a, b, toA } = makeConnected()
    b.wg.close()

    assert.strictEqual(freed(b), b.keys.length)
    assert.strictEqual(b.wg.findPeer(a.wg.publicKey), undefined)
    assert.isAbove(b.secrets.length, 1)
    for (const secret of b.secrets) assert.isTrue(secret.freed)
    assert.isTrue(toA.presharedKey.every((byte) => byte === 0))
  })

  it("are the ephemeral one right after a handshake, and sessions at the second rekey after them", () => {
    const pair = makeConnected()
    const { a, b, toB } = pair
    for (const side of [a, b]) {
      assert.isAbove(side.secrets.length, 1)
      for (const { freed, given } of side.secrets.slice(1)) {
        assert.isTrue(freed)
        assert.isTrue(given.every((byte) => byte === 0))
      }
      assert.isAbove(side.fieldKeys.length, 2)
      for (const key of side.fieldKeys) assert.isTrue(key.every((byte) => byte === 0))
    }
    const first = toB.current!

    for (let i = 0; i < 2; i++) {
      pair.clock.advance(6_000)
      a.initiate(toB)
      settle(pair)
    }

    const old = a.keys.filter((record) => record.key === first.sending || record.key === first.receiving)
    assert.deepStrictEqual(
      old.map((record) => record.freed),
      [true, true]
    )
    assert.strictEqual(a.keys.length - freed(a), 4)
    assert.strictEqual(b.keys.length - freed(b), 4)
  })

  it("go when an event handler removes the peer in the middle of a handshake", () => {
    for (const at of ["EndpointChanged", "HandshakeDone"] as const) {
      const { a, b, toB } = makePair()
      b.onEvent = (peer, event) => {
        if (event === at) b.wg.removePeer(peer)
      }
      a.initiate(toB)
      settle({ a, b })

      assert.strictEqual(freed(b), b.keys.length)
      assert.strictEqual(b.wg.nextDeadline(), Number.POSITIVE_INFINITY)
    }
  })
})

const connected = makeConnected()

/** Ways a message may differ from a valid one: a bit, its end cut off, bytes behind it, another type. */
const bend = (message: Uint8Array, position: number, flip: number, way: number, cut: number): Uint8Array => {
  const bent = message.slice()
  if (way === 1) return bent.subarray(0, Math.max(0, bent.length - 1 - cut))
  if (way === 2) return Uint8Array.from([...bent, ...new Uint8Array(1 + cut)])
  if (way === 3) bent[0] = flip
  else bent[position % bent.length]! ^= flip
  return bent
}

/** mac2 is ignored while there is no load, and so are replays of a message that was accepted before. */
const isSameMeaning = (bent: Uint8Array, message: Uint8Array): boolean =>
  bent.length === message.length &&
  message[0] === 2 &&
  Buffer.from(bent.subarray(0, bent.length - 16)).equals(message.subarray(0, message.length - 16))

/** A cookie reply that A would issue to B's next initiation. */
const cookieFor = (a: Side, b: Side): Uint8Array => {
  const issuer = new Side({ clock: a.clock, address: "192.0.2.77", limits: { loadMark: 0 } })
  const peer = b.meet(issuer)
  b.initiate(peer)
  issuer.receive(b.take()[0]!.bytes, b.at)
  return issuer.take()[0]!.bytes
}

const snapshot = (peer: ReturnType<Side["meet"]>) => ({
  endpoint: formatEndpoint(peer.endpoint),
  tai: [...peer.latestTai64n],
  rx: peer.rxBytes,
  tx: peer.txBytes,
  handshake: peer.lastHandshakeAt,
  sessions: [peer.previous?.index, peer.current?.index, peer.next?.index],
  outgoing: peer.outgoing?.index,
  timers: [peer.retransmitAt, peer.keepaliveAt, peer.handshakeAt, peer.persistentAt, peer.expireAt]
})
