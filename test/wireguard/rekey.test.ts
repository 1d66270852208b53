import { assert, describe, it } from "@effect/vitest"
import { integer } from "../support/packetArbitraries.ts"
import { Arbitrary } from "effect"
import { carry, makeConnected, makePair, pass, settle, text } from "./sides.ts"

const jitter = 334

describe("the initiator", () => {
  it("rekeys with the first packet it sends at 120 s, not before and not by itself", () => {
    const pair = makeConnected()
    const { a, b, clock, toB } = pair

    clock.advance(119_999)
    carry(a, toB, b, text("young"))
    a.tick()
    assert.deepStrictEqual(a.take(), [])
    clock.advance(1)
    a.tick()
    assert.deepStrictEqual(a.take(), [])
    carry(a, toB, b, text("old"))
    a.tick()
    assert.strictEqual(a.wire[0]?.bytes[0], 1)
    settle(pair)

    assert.strictEqual(toB.current!.createdAt, clock.now)
    assert.deepStrictEqual(a.eventNames(), ["HandshakeDone"])
    assert.deepStrictEqual(b.eventNames(), ["HandshakeDone"])
  })

  it("that only receives rekeys once at 165 s, before its key is too old to answer with", () => {
    const pair = makeConnected()
    const { a, b, clock, toA, toB } = pair
    clock.advance(164_999)
    carry(b, toA, a, text("x"))
    a.tick()
    assert.deepStrictEqual(a.take(), [])
    clock.advance(1)
    carry(b, toA, a, text("x"))
    carry(b, toA, a, text("x"))
    a.tick()

    assert.deepStrictEqual(
      a.take().map(({ bytes }) => bytes[0]),
      [1]
    )
    assert.isTrue(toB.hasSession(clock.now))
  })

  it("sends the initiation again every 5 s with jitter, each time anew, and gives up after 90 s", () => {
    const { a, clock, toB } = makePair()
    const start = clock.now
    a.initiate(toB)
    const sent: Array<{ at: number; bytes: Uint8Array }> = [{ at: 0, bytes: a.take()[0]!.bytes }]
    while (!a.events.some(([, event]) => event === "HandshakeFailed")) {
      clock.advance(1)
      a.tick()
      for (const { bytes } of a.take()) sent.push({ at: clock.now - start, bytes })
    }

    const gaps = sent.slice(1).map(({ at }, i) => at - sent[i]!.at)
    assert.isTrue(gaps.every((gap) => gap >= 5_000 && gap < 5_000 + jitter))
    assert.isAbove(new Set(gaps).size, 5)
    assert.strictEqual(
      new Set(sent.map(({ bytes }) => Buffer.from(bytes.subarray(8, 40)).toString("hex"))).size,
      sent.length
    )
    const told = a.eventNames()
    assert.strictEqual(told.length, sent.length)
    assert.deepStrictEqual(new Set(told.slice(0, -1)), new Set(["HandshakeUnanswered"]))
    assert.strictEqual(told.at(-1), "HandshakeFailed")
    assert.isTrue(clock.now - start >= 90_000 && clock.now - start < 95_334)
    assert.strictEqual(a.wg.nextDeadline(), Number.POSITIVE_INFINITY)
    assert.isTrue(a.secrets.slice(1).every(({ freed, given }) => freed && given.every((byte) => byte === 0)))

    assert.isUndefined(a.seal(toB, text("try again")))
    a.tick()
    assert.strictEqual(a.take().length, 1)
  })

  it("that lost the answer gets a session by the next initiation", () => {
    const pair = makePair()
    const { a, b, clock, toB } = pair
    a.initiate(toB)
    b.receive(a.take()[0]!.bytes, a.at)
    b.work()
    assert.strictEqual(b.take().length, 1)

    pass(pair, 5_400)

    assert.isTrue(toB.hasSession(clock.now))
    assert.deepStrictEqual(carry(a, toB, b, text("through")), text("through"))
  })
})

describe("the responder", () => {
  it("never rekeys because of age", () => {
    const { a, b, clock, toA } = makeConnected()
    clock.advance(150_000)
    carry(b, toA, a, text("x"))
    b.tick()

    assert.deepStrictEqual(b.take(), [])
  })

  it("starts a handshake itself when its session is too old and it has something to send", () => {
    const pair = makeConnected()
    const { b, clock, toA } = pair
    clock.advance(180_000)

    assert.isUndefined(b.seal(toA, text("late")))
    b.tick()
    settle(pair)

    assert.isTrue(toA.hasSession(clock.now))
    assert.isTrue(toA.current!.initiator)
  })
})

describe("keys", () => {
  it("rotate without losing a packet that was under way", () => {
    const pair = makeConnected()
    const { a, b, clock, toA, toB } = pair
    const oldFromA = a.seal(toB, text("old from a"))!
    const oldFromB = b.seal(toA, text("old from b"))!
    clock.advance(120_000)
    a.initiate(toB)
    b.receive(a.take()[0]!.bytes, a.at)
    b.work()
    const between = b.seal(toA, text("b still uses the old key"))!
    a.receive(b.take()[0]!.bytes, b.at)
    a.work()
    const newFromA = a.seal(toB, text("new"))!

    assert.strictEqual(a.receive(between, b.at), "Data")
    assert.strictEqual(b.receive(newFromA, a.at), "Data")
    assert.strictEqual(b.receive(oldFromA, a.at), "Data")
    assert.strictEqual(a.receive(oldFromB, b.at), "Data")
    assert.deepStrictEqual(carry(b, toA, a, text("b uses the new key")), text("b uses the new key"))
    assert.isNull(toA.next)
  })

  it("survive initiations that a lost answer leaves unconfirmed", () => {
    const pair = makeConnected()
    const { a, b, clock, toA, toB } = pair
    for (let i = 0; i < 4; i++) {
      clock.advance(5_400)
      a.tick()
      a.initiate(toB)
      for (const { bytes } of a.take()) b.receive(bytes, a.at)
      b.work()
      b.take()
      assert.deepStrictEqual(carry(a, toB, b, text("x")), text("x"))
      assert.deepStrictEqual(carry(b, toA, a, text("y")), text("y"))
    }
  })

  it("are refused 180 s after their handshake, and then zeroed, with the event Expired", () => {
    const { a, b, clock, toA, toB } = makeConnected()
    const inFlight = a.seal(toB, text("x"))!
    const second = a.seal(toB, text("y"))!

    clock.advance(179_999)
    assert.isTrue(toB.hasSession(clock.now))
    assert.strictEqual(b.receive(inFlight, a.at), "Data")
    clock.advance(1)
    assert.isFalse(toB.hasSession(clock.now))
    assert.strictEqual(b.receive(second, a.at), "SessionExpired")
    assert.isUndefined(a.seal(toB, text("z")))
    assert.isFalse(a.keys.every((key) => key.freed))
    a.tick()
    b.tick()

    assert.deepStrictEqual(a.eventNames(), ["Expired"])
    assert.deepStrictEqual(b.eventNames(), ["Expired"])
    assert.isTrue(a.keys.every((key) => key.freed) && b.keys.every((key) => key.freed))
    assert.strictEqual(b.receive(second, a.at), "UnknownReceiver")
    assert.isNull(toA.current)
  })

  it("that expire behind a newer session make no event", () => {
    const pair = makeConnected()
    pair.clock.advance(60_000)
    pair.a.initiate(pair.toB)
    settle(pair)
    pair.a.events.length = 0

    pass(pair, 121_000, 1_000)

    assert.deepStrictEqual(pair.a.eventNames(), [])
    assert.isNull(pair.toB.previous)
    assert.isNotNull(pair.toB.current)
  })
})

describe("keepalives", () => {
  it("answer data after 10 s of silence, once, and never a keepalive", () => {
    const pair = makeConnected()
    carry(pair.a, pair.toB, pair.b, text("question"))

    assert.deepStrictEqual(pass(pair, 9_999, 1_000), [])
    assert.deepStrictEqual(pass(pair, 1), ["a:Keepalive"])
    assert.deepStrictEqual(pass(pair, 60_000), [])
  })

  it("come twice when more data came while the first was due", () => {
    const pair = makeConnected()
    carry(pair.a, pair.toB, pair.b, text("one"))
    pass(pair, 5_000)
    carry(pair.a, pair.toB, pair.b, text("two"))

    assert.deepStrictEqual(pass(pair, 5_000), ["a:Keepalive"])
    assert.deepStrictEqual(pass(pair, 9_900), [])
    assert.deepStrictEqual(pass(pair, 100), ["a:Keepalive"])
  })

  it("are not sent when an answer was", () => {
    const pair = makeConnected()
    carry(pair.a, pair.toB, pair.b, text("question"))
    pair.clock.advance(5_000)
    carry(pair.b, pair.toA, pair.a, text("answer"))

    assert.deepStrictEqual(pass(pair, 9_900), [])
    assert.deepStrictEqual(pass(pair, 100), ["b:Keepalive"])
  })

  it("of the persistent kind come every so many seconds of silence, in either direction", () => {
    const pair = makeConnected({ keepalive: 25 })

    assert.deepStrictEqual(pass(pair, 24_900), [])
    assert.deepStrictEqual(pass(pair, 100), ["b:Keepalive"])
    pass(pair, 20_000)
    carry(pair.a, pair.toB, pair.b, text("traffic"))
    const keepalives = pass(pair, 24_900)
    assert.deepStrictEqual(keepalives, ["a:Keepalive"])
    assert.deepStrictEqual(pass(pair, 10_000), [])
    assert.deepStrictEqual(pass(pair, 100), ["b:Keepalive"])
  })

  it("of the persistent kind keep a session alive for ever", () => {
    const pair = makeConnected({ keepalive: 25 })

    pass(pair, 1_000_000, 500)

    assert.isTrue(pair.toB.hasSession(pair.clock.now) && pair.toA.hasSession(pair.clock.now))
    assert.notInclude(pair.a.eventNames(), "Expired")
  })
})

describe("a dead other side", () => {
  it("is noticed 15 s after data that nothing answered: a handshake starts", () => {
    const { a, clock, toB } = makeConnected()
    a.seal(toB, text("into the void"))

    clock.advance(14_999)
    a.tick()
    assert.deepStrictEqual(a.take(), [])
    clock.advance(1 + jitter)
    a.tick()
    assert.strictEqual(a.take()[0]?.bytes[0], 1)
  })

  it("is counted from the first unanswered packet, and forgotten with any answer", () => {
    const { a, b, clock, toA, toB } = makeConnected()
    a.seal(toB, text("one"))
    clock.advance(10_000)
    a.seal(toB, text("two"))
    clock.advance(4_000)
    carry(b, toA, a, text(""))
    clock.advance(30_000)
    a.tick()
    assert.deepStrictEqual(a.take(), [])

    a.seal(toB, text("three"))
    clock.advance(10_000)
    a.seal(toB, text("four"))
    clock.advance(5_000 + jitter)
    a.tick()
    assert.strictEqual(a.take()[0]?.bytes[0], 1)
  })

  it("is tried for 90 s, then again with the next packet", () => {
    const { a, clock, toB } = makeConnected()
    a.seal(toB, text("x"))
    let initiations = 0
    for (let i = 0; i < 1_300; i++) {
      clock.advance(100)
      a.tick()
      initiations += a.take().length
    }

    assert.deepStrictEqual(
      a.eventNames().filter((name) => name !== "HandshakeUnanswered"),
      ["HandshakeFailed"]
    )
    assert.isTrue(initiations >= 17 && initiations <= 18, `${initiations} initiations`)
  })
})

describe("the next deadline", () => {
  it("is never later than what is really due, whatever happens", () => {
    const pair = makeConnected({ keepalive: 25 })
    const { a, b, clock, toA, toB } = pair
    for (let i = 0; i < 400; i++) {
      if (i % 7 === 0) carry(a, toB, b, text("x"))
      if (i % 50 === 0) carry(b, toA, a, text("y"))
      const due = Math.min(a.wg.nextDeadline(), b.wg.nextDeadline())
      clock.advance(Math.max(0, Math.min(due - clock.now, 3_000)))
      const idle = due > clock.now
      a.tick()
      b.tick()
      const sent = a.wire.length + b.wire.length
      if (idle) assert.strictEqual(sent, 0)
      settle(pair)
      assert.isAbove(Math.min(a.wg.nextDeadline(), b.wg.nextDeadline()), clock.now)
    }
    assert.isTrue(toB.hasSession(clock.now))
  })
})

const Step = Arbitrary.all([integer(0, 5), integer(0, 8)])
const pauses = [0, 1, 4_999, 5_334, 9_999, 15_334, 60_000, 119_999, 180_000]

it.prop(
  "any schedule of traffic, loss and time leaves two sides that can talk again",
  [Arbitrary.array(Step, { maxLength: 40 })],
  ([steps]) => {
    const pair = makePair()
    const { a, b, clock, toA, toB } = pair
    for (const [what, pause] of steps) {
      clock.advance(pauses[pause]!)
      a.tick()
      b.tick()
      if (what === 0) carry(a, toB, b, text("a"))
      if (what === 1) carry(b, toA, a, text("b"))
      if (what === 2) a.initiate(toB)
      if (what === 3) b.initiate(toA)
      if (what === 4) a.take()
      if (what === 5) b.take()
      else settle(pair)
    }
    settle(pair)

    carry(a, toB, b, text("wake up"))
    pass(pair, 6_000)
    carry(a, toB, b, text("wake up"))
    pass(pair, 6_000)
    assert.deepStrictEqual(carry(a, toB, b, text("from a")), text("from a"))
    assert.deepStrictEqual(carry(b, toA, a, text("from b")), text("from b"))
  },
  { arbitrary: { runs: 100 } }
)
