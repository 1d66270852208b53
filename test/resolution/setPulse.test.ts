/** Whether a resolver set lives, as far as packets that wait for a lookup go. */
import { assert, describe, it } from "@effect/vitest"
import { makeTimers } from "../support/timers.ts"
import { type Awaited, SetPulse } from "../../src/resolution/setPulse.ts"

const makePulse = () => {
  const timers = makeTimers()
  const told = { pings: 0, longer: new Array<Awaited>() }
  const pulse = new SetPulse<Awaited>({
    ...timers,
    ping: () => void told.pings++,
    holdLonger: (lookup) => void told.longer.push(lookup)
  })
  return {
    ...timers,
    pulse,
    told,
    begin: (client = "a"): Awaited => {
      const lookup = { startedAt: timers.now(), client, holdMs: 0 }
      pulse.began(lookup)
      return lookup
    }
  }
}

describe("packets that wait for a lookup", () => {
  it("wait for 2 s where nothing is known of the set", () => {
    assert.strictEqual(makePulse().begin().holdMs, 2_000)
  })

  it("wait for 4 s once the set has answered another since: not what it answered before, nor at the same time", () => {
    const { begin, pass, pulse } = makePulse()
    const first = begin()
    pulse.ended(begin(), true)
    assert.deepStrictEqual([first.holdMs, begin().holdMs], [2_000, 2_000])
    pass(1)
    const later = begin()
    pulse.ended(begin(), true)
    assert.deepStrictEqual([first.holdMs, later.holdMs], [4_000, 2_000])
  })

  it("are told of that once each, unless their time was up", () => {
    const { begin, now, pass, pulse, told } = makePulse()
    const late = begin()
    pass(1)
    const [waiting, ended] = [begin(), begin()]
    pulse.stopped(ended)
    pass(1_999)
    pulse.pinged(now(), true)
    assert.deepStrictEqual(told.longer, [waiting])
    assert.deepStrictEqual([late.holdMs, ended.holdMs], [2_000, 2_000])
    pass(1)
    pulse.pinged(now(), true)
    assert.lengthOf(told.longer, 1)
  })

  it("wait for 4 s at a slow set: one that took a second for its last answer", () => {
    const { begin, pass, pulse } = makePulse()
    const quick = begin()
    pass(999)
    pulse.ended(quick, true)
    assert.strictEqual(begin().holdMs, 2_000)
    const slow = begin()
    pass(1_000)
    pulse.ended(slow, true)
    assert.strictEqual(begin().holdMs, 4_000)
    pulse.ended(begin(), true)
    assert.strictEqual(begin().holdMs, 2_000)
  })
})

describe("a question", () => {
  const vainFor = (clients: ReadonlyArray<string>, asker: string, afterMs = 140): boolean => {
    const { begin, pass, pulse } = makePulse()
    for (const client of clients) begin(client)
    pass(afterMs)
    return pulse.isVain(asker)
  }
  const eight = ["a", "b", "c", "d", "e", "f", "g", "h"]
  const eightOf = (client: string): ReadonlyArray<string> => Array.from({ length: 8 }, () => client)

  it("is not worth waiting for where eight clients, or its own client eight times, have waited for 140 ms", () => {
    assert.isTrue(vainFor(eight, "z"))
    assert.isTrue(vainFor(eightOf("z"), "z"))
    assert.isFalse(vainFor(eight, "z", 139))
    assert.isFalse(vainFor(eight.slice(1), "z"))
  })

  it("may wait however many names of another client do, which may all lead to one dead server", () => {
    assert.isFalse(vainFor([...eightOf("a"), ...eightOf("b")], "z"))
  })

  it("may wait once the set has answered since", () => {
    const { begin, pass, pulse } = makePulse()
    for (const client of eight) begin(client)
    pass(140)
    pulse.ended(begin(), true)
    assert.isFalse(pulse.isVain("z"))
  })

  it("is not worth waiting for while something harmless has gone unanswered for 140 ms, until anything is answered", () => {
    const { begin, now, pass, pulse } = makePulse()
    pulse.ping()
    pass(139)
    assert.isFalse(pulse.isVain("z"))
    pass(1)
    assert.isTrue(pulse.isVain("z"))
    pulse.ended(begin(), true)
    assert.isFalse(pulse.isVain("z"))
    pulse.pinged(now() - 140, true)
    pulse.ping()
    pass(140)
    pulse.pinged(now() - 140, null)
    assert.isFalse(pulse.isVain("z"), "where nothing can be asked, nothing is known")
  })

  it("is not worth waiting for at a set that died after an answer, whatever older lookup still hangs", () => {
    const { begin, pass, pulse, told } = makePulse()
    begin("slow")
    pass(110)
    pulse.ended(begin(), true)
    pass(90)
    for (const client of eight) begin(client)
    pass(139)
    assert.isFalse(pulse.isVain("z"))
    pass(1)
    assert.isTrue(pulse.isVain("z"))
    pass(1_659)
    assert.strictEqual(told.pings, 0)
    pass(1)
    assert.strictEqual(told.pings, 1, "the set is asked something harmless, too")
  })
})

describe("a set", () => {
  it("is silent from a lookup without an answer until it answers anything", () => {
    const { begin, pass, pulse } = makePulse()
    const first = begin()
    assert.isFalse(pulse.silent)
    pass(10)
    pulse.ended(first, false)
    assert.isTrue(pulse.silent)
    pulse.pinged(0, true)
    assert.isFalse(pulse.silent)
  })

  it("is neither silent nor any less slow when it let one die that is older than its last answer", () => {
    const { begin, now, pass, pulse } = makePulse()
    const [dies, slow] = [begin(), begin()]
    pass(1_500)
    pulse.ended(slow, true)
    pulse.ended(dies, false)
    assert.isFalse(pulse.silent)
    assert.strictEqual(begin().holdMs, 4_000)
    // Begun in the moment of the answer: it tells of what came after.
    pulse.pinged(now(), false)
    assert.isTrue(pulse.silent)
    assert.strictEqual(begin().holdMs, 2_000)
  })

  it("has answered since a moment before its last answer", () => {
    const { begin, now, pass, pulse } = makePulse()
    assert.isFalse(pulse.hasAnsweredSince(0))
    const lookup = begin()
    pass(5)
    pulse.ended(lookup, true)
    assert.isTrue(pulse.hasAnsweredSince(now() - 1))
    assert.isFalse(pulse.hasAnsweredSince(now()))
  })

  it("is asked something harmless once a lookup takes a second, and no more before that ends", () => {
    const { begin, now, pass, pulse, told } = makePulse()
    begin()
    pass(999)
    assert.strictEqual(told.pings, 0)
    pass(1)
    assert.strictEqual(told.pings, 1)
    pass(5_000)
    assert.strictEqual(told.pings, 1)
    pulse.pinged(now(), null)
    assert.isFalse(pulse.silent)
    pass(1_000)
    assert.strictEqual(told.pings, 2)
  })

  it("is looked at each second while lookups are under way, with one timer, and not after", () => {
    const { begin, pass, pulse, pending } = makePulse()
    const both = [begin(), begin()]
    assert.lengthOf(pending(), 1)
    pass(1_000)
    assert.lengthOf(pending(), 1)
    for (const lookup of both) pulse.stopped(lookup)
    pass(1_000)
    assert.lengthOf(pending(), 0)
    begin()
    assert.lengthOf(pending(), 1)
  })

  it.each<readonly [string, (at: ReturnType<typeof makePulse>) => void]>([
    ["it is silent", ({ now, pulse }) => pulse.pinged(now(), false)],
    [
      "it is slow",
      ({ begin, pass, pulse }) => {
        const slow = begin()
        pass(1_000)
        pulse.ended(slow, true)
      }
    ]
  ])("is not asked where it is known what to think: %s", (_, happened) => {
    const at = makePulse()
    happened(at)
    const { pings } = at.told
    at.begin()
    at.pass(3_000)
    assert.strictEqual(at.told.pings, pings)
  })

  it("is not asked while it answers others: only if nothing has come since the oldest lookup began", () => {
    const { begin, pass, pulse, told } = makePulse()
    begin()
    pass(1)
    pulse.ended(begin(), true)
    pass(3_000)
    assert.strictEqual(told.pings, 0)
    const fresh = makePulse()
    fresh.pulse.ended(fresh.begin(), true)
    fresh.begin()
    fresh.pass(2_000)
    assert.strictEqual(fresh.told.pings, 1, "an answer of the moment in which it began says nothing")
  })

  it("is not asked before the oldest lookup has taken a second, whenever it is looked at", () => {
    const { begin, pass, pulse, told } = makePulse()
    const first = begin()
    pass(500)
    begin()
    pulse.stopped(first)
    pass(500)
    assert.strictEqual(told.pings, 0)
    pass(1_000)
    assert.strictEqual(told.pings, 1)
  })
})
