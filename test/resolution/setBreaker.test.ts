/** The names that the circuit breaker of a resolver set holds back, and whose turn it is to be probed. */
import { assert, describe, it } from "@effect/vitest"
import { ClientId } from "../../src/model/Client.ts"
import { type Lookup, makeName, type NameEntry } from "../../src/resolution/nameEntry.ts"
import { demanded } from "../../src/resolution/refreshPolicy.ts"
import { SetBreaker } from "../../src/resolution/setBreaker.ts"
import { SetPulse } from "../../src/resolution/setPulse.ts"
import { makeTimers } from "../support/timers.ts"

const makeBreaker = () => {
  const timers = makeTimers()
  const told = { lookedUp: new Array<string>(), unwanted: new Set<NameEntry>() }
  const breaker = new SetBreaker({
    ...timers,
    wanted: (entry) => !told.unwanted.has(entry),
    lookUp: (entry) => void told.lookedUp.push(entry.name.domain)
  })
  const pulse = new SetPulse<Lookup>({ ...timers, ping: () => {}, holdLonger: () => {} })
  const name = (domain: string, client = "a", demandAt = timers.now()): NameEntry => {
    const entry = makeName({ resolver: "corp", domain }, { breaker, pulse }, ClientId.make(client), 0)
    entry.policy = demanded(entry.policy, demandAt)
    return entry
  }
  return {
    ...timers,
    breaker,
    told,
    name,
    /** Two names fail without an answer between them. */
    open: (): boolean => {
      breaker.failed(name("x"))
      return breaker.failed(name("y"))
    }
  }
}

describe("a breaker", () => {
  it("says once that it opened, and stops all until a probe is due", () => {
    const { breaker, name, now, open } = makeBreaker()
    assert.isFalse(breaker.failed(name("x")))
    assert.isFalse(breaker.stops(now()))
    assert.isTrue(open())
    assert.isFalse(breaker.failed(name("z")))
    assert.isTrue(breaker.stops(now() + 999))
    assert.isFalse(breaker.stops(now() + 1_000))
  })

  it("says once that it closed, and lets go of the name that was answered", () => {
    const { breaker, name, open } = makeBreaker()
    assert.isFalse(breaker.answered(name("x")))
    open()
    const held = name("held")
    breaker.hold(held)
    breaker.hold(name("other"))
    assert.isTrue(breaker.answered(held))
    assert.isFalse(breaker.holds(held))
    assert.isTrue(breaker.holdsSome)
    assert.isFalse(breaker.answered(held))
  })

  it("lets all go where other servers stand behind the set", () => {
    const { breaker, name, now, open } = makeBreaker()
    assert.isFalse(breaker.renew())
    open()
    breaker.hold(name("held"))
    assert.isTrue(breaker.renew())
    assert.isFalse(breaker.holdsSome)
    assert.isFalse(breaker.stops(now()))
    assert.isFalse(breaker.renew())
  })

  it("releases those asked for last first, once", () => {
    const { breaker, name, now } = makeBreaker()
    for (const [domain, ago] of [
      ["old", 3],
      ["new", 1],
      ["middle", 2]
    ] as const) {
      breaker.hold(name(domain, "a", now() - ago))
    }
    const forgotten = name("forgotten")
    breaker.hold(forgotten)
    breaker.forget(forgotten)
    assert.deepStrictEqual(
      breaker.release().map((entry) => entry.name.domain),
      ["new", "middle", "old"]
    )
    assert.isFalse(breaker.holdsSome)
    assert.isEmpty(breaker.release())
  })
})

describe("a probe", () => {
  it("is due each second while names wait, one timer for all", () => {
    const { breaker, name, open, pass, pending, told } = makeBreaker()
    open()
    breaker.hold(name("one"))
    breaker.hold(name("one again"))
    assert.lengthOf(pending(), 1)
    pass(999)
    assert.isEmpty(told.lookedUp)
    pass(1)
    assert.lengthOf(told.lookedUp, 1)
    pass(1_000)
    assert.lengthOf(told.lookedUp, 2)
    assert.lengthOf(pending(), 1)
  })

  it("is none while nothing waits, is wanted, or the set answers", () => {
    for (const end of [
      ({ breaker }: ReturnType<typeof makeBreaker>, held: NameEntry) => breaker.forget(held),
      ({ told }: ReturnType<typeof makeBreaker>, held: NameEntry) => void told.unwanted.add(held),
      ({ breaker, name }: ReturnType<typeof makeBreaker>) => void breaker.answered(name("other"))
    ]) {
      const at = makeBreaker()
      at.open()
      const held = at.name("held")
      at.breaker.hold(held)
      end(at, held)
      at.pass(5_000)
      assert.isEmpty(at.told.lookedUp)
      assert.isEmpty(at.pending())
    }
  })

  it("forgets the names that nobody wants any more", () => {
    const { breaker, name, open, pass, told } = makeBreaker()
    open()
    const [wanted, unwanted] = [name("wanted"), name("unwanted")]
    breaker.hold(wanted)
    breaker.hold(unwanted)
    told.unwanted.add(unwanted)
    pass(1_000)
    assert.deepStrictEqual([breaker.holds(wanted), breaker.holds(unwanted)], [true, false])
  })

  it("is of clients in turn, of one client the name that was asked for last", () => {
    const { breaker, name, open, pass, told } = makeBreaker()
    open()
    breaker.hold(name("a-old", "a", 1))
    breaker.hold(name("a-new", "a", 3))
    breaker.hold(name("a-middle", "a", 2))
    breaker.hold(name("b-old", "b", 0))
    pass(4_000)
    assert.deepStrictEqual(told.lookedUp, ["a-new", "b-old", "a-new", "b-old"])
  })

  it("forgets whose turn it was once the set has answered, or is another", () => {
    for (const close of ["answered", "renew"] as const) {
      const { breaker, name, open, pass, told } = makeBreaker()
      open()
      breaker.hold(name("a", "a", 2))
      breaker.hold(name("b", "b", 1))
      pass(1_000)
      assert.deepStrictEqual(told.lookedUp, ["a"])
      if (close === "answered") breaker.answered(name("z"))
      else breaker.renew()
      breaker.release()
      open()
      breaker.hold(name("a", "a", 2))
      breaker.hold(name("b", "b", 1))
      pass(1_000)
      assert.deepStrictEqual(told.lookedUp, ["a", "a"], close)
    }
  })

  it("passes over a name that is looked up already; where none is free it comes back a second later", () => {
    const { breaker, name, open, pass, pending, told } = makeBreaker()
    open()
    const [busy, free] = [name("busy", "a", 2), name("free", "a", 1)]
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- that there is one is all that counts
    busy.lookup = {} as NameEntry["lookup"]
    breaker.hold(busy)
    breaker.hold(free)
    pass(1_000)
    assert.deepStrictEqual(told.lookedUp, ["free"])
    free.lookup = busy.lookup
    pass(1_000)
    assert.deepStrictEqual(told.lookedUp, ["free"])
    assert.deepStrictEqual(pending(), [1_000])
    free.lookup = null
    pass(1_000)
    assert.deepStrictEqual(told.lookedUp, ["free", "free"])
  })

  it("that began meanwhile puts the next one off, and its name waits on", () => {
    const { breaker, name, now, open, pass, told } = makeBreaker()
    open()
    breaker.hold(name("held"))
    pass(900)
    const other = name("other")
    breaker.probed(other)
    assert.isTrue(breaker.holds(other))
    assert.isTrue(breaker.stops(now() + 999))
    pass(999)
    assert.isEmpty(told.lookedUp)
    pass(1)
    assert.lengthOf(told.lookedUp, 1)
  })
})
