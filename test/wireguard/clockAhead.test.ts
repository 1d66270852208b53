import { assert, describe, it } from "vitest"
import { HandshakeOutcome } from "../../src/wireguard/receiveCode.ts"
import { millisOf, tai64nLength, tickOf, writeTick } from "../../src/wireguard/tai64n.ts"
import { carry, endpoint, formatEndpoint, makeConnected, type Pair, pass, settle, text } from "./sides.ts"

const year = 365 * 86_400_000

/** A pair whose A was connected while its clock was ahead, and whose clock is right now. */
const afterAhead = (aheadMs = year): Pair => {
  const pair = makeConnected()
  const { a, clock, toB } = pair
  clock.wall += aheadMs
  clock.advance(6_000)
  a.initiate(toB)
  settle(pair)
  clock.wall -= aheadMs
  // Most clients stamp by their clock alone.
  toB.lastTick = 0
  clock.advance(6_000)
  a.events.length = 0
  pair.b.events.length = 0
  return pair
}

/** What of the peer a replay must leave alone. */
const stateOf = ({ toA }: Pair) => ({
  current: toA.current,
  next: toA.next,
  previous: toA.previous,
  endpoint: formatEndpoint(toA.endpoint),
  latest: millisOf(toA.latestTai64n),
  handshakeAt: toA.lastHandshakeAt,
  rx: toA.rxBytes,
  tx: toA.txBytes,
  timers: [toA.retransmitAt, toA.keepaliveAt, toA.handshakeAt, toA.persistentAt]
})

describe("a peer whose clock was ahead", () => {
  it.each([10_000, 60_000, 3_600_000, year])("by %s ms is connected again by its next handshake", (ahead) => {
    const pair = afterAhead(ahead)
    pair.a.initiate(pair.toB)
    const log = settle(pair)
    assert.deepInclude(log, "b:Unproven")
    assert.deepInclude(log, "a:Completed")
    assert.deepStrictEqual(pair.b.eventNames(), ["HandshakeDone"])
    assert.approximately(pair.toA.behindMs, ahead - 6_000, 20)
    assert.deepStrictEqual(carry(pair.a, pair.toB, pair.b, text("there")), text("there"))
    assert.deepStrictEqual(carry(pair.b, pair.toA, pair.a, text("back")), text("back"))
  })

  it("stays connected over all later handshakes, and from another address", () => {
    const pair = afterAhead()
    for (let i = 0; i < 3; i++) {
      pass(pair, 130_000)
      Object.assign(pair.a.at, endpoint("192.0.2.77", 1_000 + i))
      pair.a.initiate(pair.toB)
      settle(pair)
      assert.deepStrictEqual(carry(pair.a, pair.toB, pair.b, text("there")), text("there"))
      assert.strictEqual(formatEndpoint(pair.toA.endpoint), `192.0.2.77:${1_000 + i}`)
    }
  })

  it("is in step again once its timestamps grow", () => {
    const pair = afterAhead(60_000)
    pair.a.initiate(pair.toB)
    settle(pair)
    pair.clock.advance(120_000)
    pair.a.initiate(pair.toB)
    assert.deepInclude(settle(pair), "b:Answered")
    assert.strictEqual(pair.toA.behindMs, 0)
  })

  it("is found out by a gateway that was given the timestamp after its restart", () => {
    const pair = makeConnected()
    writeTick(tickOf(pair.clock.wall + year), pair.toA.latestTai64n, 0)
    pair.clock.advance(6_000)
    pair.a.initiate(pair.toB)
    settle(pair)
    assert.deepStrictEqual(carry(pair.a, pair.toB, pair.b, text("there")), text("there"))
  })
})

describe("a recorded initiation", () => {
  /** Everything that A said until now, and a pair that has gone on since. */
  const recorded = () => {
    const pair = makeConnected()
    pair.clock.advance(6_000)
    pair.a.initiate(pair.toB)
    const [initiation] = pair.a.wire
    settle(pair)
    pair.clock.advance(6_000)
    pair.a.initiate(pair.toB)
    settle(pair)
    pair.clock.advance(6_000)
    pair.b.events.length = 0
    return { pair, initiation: initiation!.bytes }
  }
  const attacker = endpoint("203.0.113.66", 666)

  it("changes nothing of its peer; who sends it gets an answer that is shorter and of no use", () => {
    const { initiation, pair } = recorded()
    const before = stateOf(pair)
    pair.b.receive(initiation, attacker)
    assert.deepStrictEqual(pair.b.work(), ["Unproven"])
    assert.deepStrictEqual(stateOf(pair), before)
    assert.deepStrictEqual(pair.b.events, [])
    const [answer] = pair.b.take()
    assert.strictEqual(answer!.to, formatEndpoint(attacker))
    assert.isBelow(answer!.bytes.length, initiation.length)
    assert.deepStrictEqual(carry(pair.b, pair.toA, pair.a, text("x")), text("x"))
    assert.deepStrictEqual(carry(pair.a, pair.toB, pair.b, text("x")), text("x"))
  })

  it("is answered 50 times a second at most, and never when it is the last accepted one", () => {
    const { initiation, pair } = recorded()
    for (let ms = 0; ms < 1_000; ms++) {
      pair.clock.advance(1)
      pair.b.receive(initiation, endpoint("203.0.113.66", ms))
      pair.b.work()
    }
    assert.isAtMost(pair.b.wg.handshakeCounts[HandshakeOutcome.Unproven]!, 50)
    pair.clock.advance(6_000)
    pair.a.initiate(pair.toB)
    const [last] = pair.a.wire
    settle(pair)
    pair.clock.advance(1_000)
    pair.b.receive(last!.bytes, attacker)
    assert.deepStrictEqual(pair.b.work(), ["Replayed"])
  })

  it("does not disturb a handshake that is under way", () => {
    const { initiation, pair } = recorded()
    pair.a.initiate(pair.toB)
    const [fresh] = pair.a.take()
    pair.b.receive(fresh!.bytes, pair.a.at)
    pair.b.work()
    pair.b.receive(initiation, attacker)
    pair.b.work()
    const answer = pair.b.take().find(({ to }) => to === formatEndpoint(pair.a.at))
    pair.a.receive(answer!.bytes, pair.b.at)
    assert.deepStrictEqual(pair.a.work(), ["Completed"])
    settle(pair)
    assert.deepStrictEqual(carry(pair.a, pair.toB, pair.b, text("x")), text("x"))
  })

  it("leaves no key behind once its time is over", () => {
    const { initiation, pair } = recorded()
    pair.b.receive(initiation, attacker)
    pair.b.work()
    pair.b.take()
    const unproven = pair.toA.unproven
    pair.clock.advance(180_000)
    pair.b.tick()
    assert.isNotNull(unproven)
    assert.isNull(pair.toA.unproven)
  })
})

describe("our own timestamps", () => {
  it("stay above the last one that was sent before a restart, whatever the clock says now", () => {
    const pair = makeConnected()
    pair.toB.lastTick = tickOf(pair.clock.wall + year)
    pair.clock.advance(6_000)
    pair.a.initiate(pair.toB)
    const expected = new Uint8Array(tai64nLength)
    writeTick(tickOf(pair.clock.wall - 6_000 + year) + 1, expected, 0)
    settle(pair)
    assert.deepStrictEqual(pair.toA.latestTai64n, expected)
  })
})
