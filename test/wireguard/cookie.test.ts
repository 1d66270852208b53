import { assert, describe, it } from "@effect/vitest"
import { makeNodePrimitives } from "../../layers/dataplane/nodePrimitives.ts"
import { CookieHolder, CookieIssuer } from "../../src/wireguard/cookie.ts"
import { defaultLimits, SourceBuckets } from "../../src/wireguard/handshakeLimits.ts"
import { integer } from "../support/packetArbitraries.ts"
import { carry, Clock, endpoint, makeConnected, makePair, settle, Side, text } from "./sides.ts"
import { range } from "../support/bytes.ts"

const p = makeNodePrimitives(new Uint8Array(0))
const key = range(100, 132)
const here = endpoint("192.0.2.1", 1000)

/** A signed message of an initiation's size. */
const signed = (holder: CookieHolder, now = 0): Uint8Array => {
  const message = range(0, 148)
  holder.sign(message, now)
  return message
}

describe("the MACs of a handshake message", () => {
  it("are BLAKE2s-128, keyed", () => {
    // Computed with Python's hashlib.
    assert.strictEqual(
      Buffer.from(signed(new CookieHolder(p, key)).subarray(116, 132)).toString("hex"),
      "0796e99ab4a35fd0152f18e04aeaf791"
    )
  })

  it.prop("cover every byte before them", [integer(0, 131), integer(1, 255)], ([position, flip]) => {
    const issuer = new CookieIssuer(p, key)
    const message = signed(new CookieHolder(p, key))
    assert.isTrue(issuer.hasMac1(message))

    message[position]! ^= flip

    assert.isFalse(issuer.hasMac1(message))
  })

  it("are those of one receiver", () => {
    assert.isFalse(new CookieIssuer(p, range(1, 33)).hasMac1(signed(new CookieHolder(p, key))))
  })
})

describe("a cookie", () => {
  const make = () => {
    const issuer = new CookieIssuer(p, key)
    const holder = new CookieHolder(p, key)
    const reply = issuer.reply(signed(holder), here, 77, 0)
    return { issuer, holder, reply }
  }

  it("proves the address it was issued to, and no other address or port", () => {
    const { holder, issuer, reply } = make()
    assert.isFalse(issuer.hasMac2(signed(new CookieHolder(p, key)), here, 0))

    assert.isTrue(holder.accept(reply, 0))
    const message = signed(holder, 1)

    assert.isTrue(issuer.hasMac1(message))
    assert.isTrue(issuer.hasMac2(message, here, 1))
    assert.isFalse(issuer.hasMac2(message, endpoint("192.0.2.1", 1001), 1))
    assert.isFalse(issuer.hasMac2(message, endpoint("192.0.2.2", 1000), 1))
    assert.isFalse(issuer.hasMac2(message, endpoint("::c000:201", 1000), 1))
    message[3]! ^= 1
    assert.isFalse(issuer.hasMac2(message, here, 1))
  })

  it("is refused once the secret behind it is two minutes old, and not used that long", () => {
    const { holder, issuer, reply } = make()
    holder.accept(reply, 0)

    assert.isTrue(issuer.hasMac2(signed(holder, 114_999), here, 119_999))
    assert.isFalse(issuer.hasMac2(signed(holder, 114_999), here, 120_000))
    assert.deepStrictEqual(signed(holder, 115_000).subarray(132), range(132, 148))
  })

  it.prop("that was bent on the way is not taken", [integer(8, 63), integer(1, 255)], ([position, flip]) => {
    const { holder, reply } = make()
    reply[position]! ^= flip

    assert.isFalse(holder.accept(reply, 0))
  })

  it("is looked for in so many replies to a message only", () => {
    const { holder, reply } = make()
    const bent = reply.slice()
    bent[40]! ^= 1
    for (let i = 0; i < 8; i++) assert.isFalse(holder.accept(bent, 0))

    assert.isFalse(holder.accept(reply, 0))
    signed(holder)
    assert.isTrue(holder.accept(reply, 0))
  })

  it("is taken only by whom it answers, and once", () => {
    const { holder, reply } = make()
    const other = new CookieHolder(p, key)

    assert.isFalse(other.accept(reply, 0))
    signed(other)
    other.sign(range(1, 149), 0)
    assert.isFalse(other.accept(reply, 0))
    assert.isTrue(holder.accept(reply, 0))
    assert.isFalse(holder.accept(reply, 0))
  })
})

describe("a loaded responder", () => {
  it("demands a cookie before any public-key work; the next initiation with it goes through", () => {
    const pair = makePair({ limits: { loadMark: 0 } })
    const { a, b, clock, toB } = pair
    a.initiate(toB)

    assert.deepStrictEqual(settle(pair), ["b:CookieSent", "a:Handled"])
    assert.isFalse(toB.hasSession(clock.now))
    assert.deepStrictEqual(b.wg.handshakeCounts, new Float64Array(b.wg.handshakeCounts.length))
    clock.advance(5_400)
    a.tick()
    assert.deepStrictEqual(settle(pair), ["b:Handled", "b:Answered", "a:Handled", "a:Completed", "b:Keepalive"])
  })

  it("answers with fewer bytes than it got, to where they came from, and keeps no peer state", () => {
    const { a, b, toA, toB } = makePair({ limits: { loadMark: 0 } })
    a.initiate(toB)

    b.receive(a.take()[0]!.bytes, endpoint("203.0.113.5", 999))

    const [reply] = b.take()
    assert.strictEqual(reply!.to, "203.0.113.5:999")
    assert.strictEqual(reply!.bytes.length, 64)
    assert.isFalse(toA.hasEndpoint)
    assert.strictEqual(toA.rxBytes, 0)
  })

  it("refuses a cookie that comes from another source than it was issued to", () => {
    const pair = makePair({ limits: { loadMark: 0 } })
    const { a, b, clock, toB } = pair
    a.initiate(toB)
    settle(pair)
    clock.advance(5_400)
    a.tick()
    const initiation = a.take()[0]!.bytes

    assert.strictEqual(b.receive(initiation, endpoint("192.0.2.1", 51821)), "CookieSent")
    assert.strictEqual(b.receive(initiation, a.at), "Handled")
  })

  it("demands cookies of responses too", () => {
    const clock = new Clock()
    const a = new Side({ clock, address: "192.0.2.1", limits: { loadMark: 0 } })
    const b = new Side({ clock, address: "192.0.2.2" })
    const toB = a.meet(b)
    b.meet(a)
    a.initiate(toB)

    assert.deepStrictEqual(settle({ a, b }), ["b:Handled", "b:Answered", "a:CookieSent", "b:Handled"])
    clock.advance(5_400)
    a.tick()
    assert.include(settle({ a, b }), "a:Completed")
  })

  it("is one above 1,000 handshakes in a second, for a second after", () => {
    const clock = new Clock()
    const b = new Side({ clock, limits: { queue: 100_000, burst: 100_000 } })
    const a = new Side({ clock, address: "192.0.2.2" })
    a.initiate(a.meet(b))
    const initiation = a.take()[0]!.bytes
    const codes = Array.from({ length: 1_001 }, () => b.receive(initiation, a.at))

    assert.deepStrictEqual(new Set(codes.slice(0, 1_000)), new Set(["Handled"]))
    assert.strictEqual(codes[1_000], "CookieSent")
    clock.advance(999)
    assert.strictEqual(b.receive(initiation, a.at), "CookieSent")
    clock.advance(1_001)
    assert.strictEqual(b.receive(initiation, a.at), "Handled")
  })

  it("is one when the queue is an eighth full", () => {
    const clock = new Clock()
    const b = new Side({ clock, limits: { queue: 64, burst: 1_000 } })
    const a = new Side({ clock, address: "192.0.2.2" })
    a.initiate(a.meet(b))
    const initiation = a.take()[0]!.bytes
    const codes = Array.from({ length: 9 }, () => b.receive(initiation, a.at))

    assert.deepStrictEqual(codes, [...Array.from({ length: 8 }, () => "Handled"), "CookieSent"])
  })

  const underLoad = (b: Side, initiation: Uint8Array) => {
    for (let i = 0; i < 4_000; i++) b.receive(initiation, endpoint(`198.18.0.${i % 250}`, 1_000))
    b.work()
  }

  it("lets a source that was quiet in without a cookie, twice, while the flood's sources have to prove theirs", () => {
    const clock = new Clock()
    const b = new Side({ clock, limits: { cookieReplies: 1_000_000 } })
    const a = new Side({ clock, address: "192.0.2.2" })
    a.initiate(a.meet(b))
    const initiation = a.take()[0]!.bytes
    underLoad(b, initiation)

    const codes = [1, 2, 3].map(() => b.receive(initiation, a.at))

    assert.deepStrictEqual(codes, ["Handled", "Handled", "CookieSent"])
    assert.strictEqual(b.receive(initiation, endpoint("198.18.0.7", 1_000)), "CookieSent")
    clock.advance(500)
    underLoad(b, initiation)
    clock.advance(500)
    underLoad(b, initiation)
    assert.strictEqual(b.receive(initiation, a.at), "CookieSent")
  })

  it("spends no more on quiet sources than the mark, however many a forger makes up", () => {
    const clock = new Clock()
    const b = new Side({ clock })
    const a = new Side({ clock, address: "192.0.2.2" })
    a.initiate(a.meet(b))
    const initiation = a.take()[0]!.bytes
    const handledEachSecond = Array.from({ length: 3 }, (_, second) => {
      let handled = 0
      for (let i = 0; i < 4_000; i++) {
        const forged = endpoint(`10.${second}.${i >>> 8}.${i & 255}`, 1_000)
        if (b.receive(initiation, forged) === "Handled") handled++
        if (i % 4 === 0) b.work()
        if (i % 4 === 0) clock.advance(1)
      }
      return handled
    })

    assert.isAtMost(Math.max(...handledEachSecond.slice(1)), 1_000)
    assert.isAtMost(handledEachSecond[0]!, 2_000)
  })

  it("lets nobody in without a cookie while the queue is an eighth full", () => {
    const clock = new Clock()
    const b = new Side({ clock, limits: { queue: 64 } })
    const a = new Side({ clock, address: "192.0.2.2" })
    a.initiate(a.meet(b))
    const initiation = a.take()[0]!.bytes
    for (let i = 0; i < 8; i++) b.receive(initiation, endpoint(`198.18.0.${i}`, 1_000))

    assert.strictEqual(b.receive(initiation, a.at), "CookieSent")
    b.work()
    assert.strictEqual(b.receive(initiation, a.at), "Handled")
  })

  it("sends a bounded number of cookie replies a second, the whole second long", () => {
    const clock = new Clock()
    const b = new Side({ clock, limits: { loadMark: 0, cookieReplies: 100 } })
    const a = new Side({ clock, address: "192.0.2.2" })
    a.initiate(a.meet(b))
    const initiation = a.take()[0]!.bytes

    const replies = Array.from({ length: 10 }, () => {
      clock.advance(100)
      return Array.from({ length: 40 }, () => b.receive(initiation, a.at)).filter((code) => code === "CookieSent")
        .length
    })

    assert.deepStrictEqual(replies, [5, 5, 5, 5, 5, 5, 5, 5, 5, 5])
    assert.strictEqual(b.receive(initiation, a.at), "RateLimited")
  })

  it("looks at a bounded number of handshake messages a turn, fewer when they keep it from the rest, and at all data", () => {
    const { a, b, clock, toB } = makeConnected({ limits: { seenPerTurn: 3, seenBehind: 1, loadMark: 6 } })
    const at = endpoint("198.51.100.7", 7)
    const junk = [1, 2, 3].map((type) => Uint8Array.of(type, ...new Uint8Array([148, 92, 64][type - 1]! - 1)))
    const turn = (behind: boolean) => {
      b.wg.beginTurn(behind, clock.now)
      return [...junk, ...junk].map((message) => b.receive(message, at))
    }
    const codes = ["BadMac1", "UnknownReceiver", "UnknownReceiver", "OverBudget", "OverBudget", "OverBudget"]

    const fewer = ["BadMac1", ...Array.from({ length: 5 }, () => "OverBudget")]

    assert.deepStrictEqual(turn(true), codes)
    assert.strictEqual(carry(a, toB, b, text("data")).toString(), text("data").toString())
    assert.deepStrictEqual(turn(true), fewer)
    assert.deepStrictEqual(turn(false), codes)
    clock.advance(1_001)
    assert.deepStrictEqual(turn(true), codes)
  })
})

describe("a source", () => {
  const burst = (b: Side, initiation: Uint8Array, from: string, count: number) => {
    const codes = Array.from({ length: count }, (_, i) => b.receive(initiation, endpoint(from, 1_000 + i)))
    return codes.filter((code) => code === "Handled").length
  }
  const make = () => {
    const clock = new Clock()
    const b = new Side({ clock })
    const a = new Side({ clock, address: "192.0.2.2" })
    a.initiate(a.meet(b))
    return { a, b, clock, initiation: a.take()[0]!.bytes }
  }

  it("has 40 handshakes at once and 20 a second, then must prove its address", () => {
    const { b, clock, initiation } = make()

    assert.strictEqual(burst(b, initiation, "192.0.2.2", 60), 40)
    assert.strictEqual(b.receive(initiation, endpoint("192.0.2.2", 1)), "CookieSent")
    clock.advance(1_000)
    assert.strictEqual(burst(b, initiation, "192.0.2.2", 60), 20)
    clock.advance(60_000)
    b.work()
    assert.strictEqual(burst(b, initiation, "192.0.2.2", 60), 40)
  })

  it("is one IPv4 address", () => {
    const { b, initiation } = make()
    burst(b, initiation, "192.0.2.2", 41)

    assert.strictEqual(b.receive(initiation, endpoint("192.0.2.3", 1)), "Handled")
  })

  it("is an IPv6 /64", () => {
    const { b, initiation } = make()
    assert.strictEqual(burst(b, initiation, "2001:db8:0:1::1", 20), 20)
    assert.strictEqual(burst(b, initiation, "2001:db8:0:1:ffff::2", 30), 20)

    assert.strictEqual(b.receive(initiation, endpoint("2001:db8:0:2::1", 1)), "Handled")
    assert.strictEqual(b.receive(initiation, endpoint("2001:db9:0:1::1", 1)), "Handled")
  })

  it("that proved its address is not hurt by who forges it, and is limited itself", () => {
    const { a, b, clock, initiation } = make()
    burst(b, initiation, "192.0.2.2", 60)
    b.work()
    b.take()
    assert.strictEqual(b.receive(initiation, a.at), "CookieSent")
    a.receive(b.take()[0]!.bytes, b.at)
    clock.advance(5_400)
    a.tick()
    const proven = a.take()[0]!.bytes
    burst(b, initiation, "192.0.2.2", 200)
    b.work()
    b.take()

    const codes = Array.from({ length: 41 }, () => b.receive(proven, a.at))

    assert.strictEqual(codes.filter((code) => code === "Handled").length, 40)
    assert.strictEqual(codes[40], "RateLimited")
  })

  it("is limited in a table of fixed size: among 100,000 others each still has its burst", () => {
    const buckets = new SourceBuckets(defaultLimits, p)
    const from = endpoint("10.0.0.0", 1)
    for (let i = 0; i < 100_000; i++) {
      from.remote.w3 = i
      assert.isTrue(buckets.take(from, false, 0))
    }
    from.remote.w3 = -1

    const taken = Array.from({ length: 60 }, () => buckets.take(from, false, 0))

    assert.strictEqual(taken.filter(Boolean).length, 40)
  })

  it("that is busy is not displaced by quiet ones", () => {
    const buckets = new SourceBuckets(defaultLimits, p)
    const busy = endpoint("192.0.2.2", 1)
    const quiet = endpoint("10.0.0.0", 1)
    let admitted = 0
    for (let i = 0; i < 60_000; i++) {
      quiet.remote.w3 = i
      buckets.take(quiet, false, i)
      if (buckets.take(busy, false, i)) admitted++
    }

    assert.isAtMost(admitted, 40 + 1_200)
  })
})
