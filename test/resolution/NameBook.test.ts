import { assert, describe, it } from "@effect/vitest"
import type { Command } from "../../src/dataplane/commands.ts"
import type { LookupResult } from "../../src/resolution/lookupResult.ts"
import { NameBook } from "../../src/resolution/NameBook.ts"
import type { Lookup } from "../../src/resolution/nameEntry.ts"
import { Timeout } from "../../src/resolution/Resolver.ts"
import { subscription } from "../support/access.ts"

const answer = (...addresses: ReadonlyArray<string>): LookupResult => ({
  _tag: "Answer",
  answer: { addresses, ttlSeconds: 60 }
})

/** A book whose lookups end when the test says so. */
const world = () => {
  const state = { now: 0, commands: new Array<Command>(), started: new Array<Lookup>(), stopped: new Array<Lookup>() }
  const timers: Array<{ at: number; run: () => void }> = []
  const book = new NameBook({
    now: () => state.now,
    send: (command) => void state.commands.push(command),
    start: (lookup) => void state.started.push(lookup),
    stop: (lookup) => void state.stopped.push(lookup),
    wake: (delay, run) => void timers.push({ at: state.now + delay, run }),
    refused: () => [],
    setChanged: () => {}
  })
  /** Fires the first timer early by `slack`, as a clock of whole milliseconds may. */
  const advance = (ms: number, early = 0) => {
    const end = state.now + ms
    let slack = early
    for (;;) {
      const i = timers.findIndex((timer) => timer.at - slack <= end)
      if (i < 0) break
      const [timer] = timers.splice(i, 1)
      state.now = Math.max(state.now, timer!.at - slack)
      slack = 0
      timer!.run()
    }
    state.now = end
  }
  return { book, state, advance }
}

describe("NameBook", () => {
  it("holds queued names back a few at a time when their resolver set stops answering, and all of them in the end", () => {
    const { book, state, advance } = world()
    for (let i = 0; i < 1_000; i++) book.subscribe({ ...subscription(`n${i}.corp`, i), proxyIps: [`100.96.1.${i}`] })
    const queued = () => book.counters()["queued"]!
    let before = queued()
    for (const lookup of state.started.splice(0)) {
      before = queued()
      book.ended(lookup, { _tag: "Failure", reason: new Timeout({ afterMs: 1 }) }, 0.5)
      if (book.counters()["breaker.opened"] === 1) break
    }
    assert.isAbove(before, 500)
    assert.isBelow(queued(), before)
    assert.isAtLeast(queued(), before - 50)
    const { length } = state.started
    advance(1)
    assert.strictEqual(queued(), 0)
    assert.lengthOf(state.started, length)
  })

  it("probes for each client in turn: names that always fail, asked for all the time, keep nobody else waiting", () => {
    const { book, state, advance } = world()
    const hostile = Array.from({ length: 50 }, (_, i) => `n${i}.dead.corp`)
    const proxyIpsOf = (i: number) => [`100.96.1.${i}`]
    const end = (lookup: Lookup) => book.ended(lookup, { _tag: "Failure", reason: new Timeout({ afterMs: 1 }) }, 0.5)
    const ids = hostile.map(
      (name, i) => book.subscribe({ ...subscription(name, 2), proxyIps: proxyIpsOf(i) }).mapping.id
    )
    for (const lookup of state.started.splice(0)) end(lookup)
    assert.strictEqual(book.counters()["breaker.opened"], 1)

    book.subscribe(subscription("git.corp", 1))
    let waited = 0
    while (!state.started.some((lookup) => lookup.name.domain === "git.corp") && waited < 20_000) {
      for (const lookup of state.started.splice(0)) end(lookup)
      for (const id of ids) book.refresh(id, "Unmapped")
      advance(50)
      waited += 50
    }

    assert.isAtMost(waited, 3_000)
  })

  it("drops the late answer of a lookup whose name was released and asked for again", () => {
    const { book, state } = world()
    const first = book.subscribe(subscription("db.corp"))
    book.release(first.mapping.id)
    const second = book.subscribe(subscription("db.corp"))
    const [old, current] = state.started
    assert.deepStrictEqual(state.stopped, [old])

    book.ended(current!, answer("10.0.0.1"), 0.5)
    book.ended(old!, answer("10.0.0.66"), 0.5)
    assert.deepInclude(book.list()[0]?.state, { _tag: "Resolved", addresses: ["10.0.0.1"] })
    assert.strictEqual(book.counters()["late_answers"], 1)

    book.release(second.mapping.id)
    book.ended(current!, answer("10.0.0.66"), 0.5)
    assert.deepStrictEqual(book.list(), [])
    assert.strictEqual(book.counters()["late_answers"], 2)
  })

  it("drops an end that is told twice", () => {
    const { book, state } = world()
    book.subscribe(subscription("db.corp"))
    book.ended(state.started[0]!, answer("10.0.0.1"), 0.5)
    book.ended(state.started[0]!, answer("10.0.0.2"), 0.5)
    assert.deepInclude(book.list()[0]?.state, { addresses: ["10.0.0.1"] })
  })

  it("does not lose a remembered cause to a timer that fires a little early", () => {
    const { book, state, advance } = world()
    const { mapping } = book.subscribe(subscription("db.corp"))
    book.ended(state.started[0]!, answer("10.0.0.1"), 0.5)
    assert.strictEqual(book.refresh(mapping.id, "Unanswered"), "remembered")
    advance(1_000, 0.4)
    advance(1, 0)
    assert.strictEqual(state.started.length, 2)
  })

  it("gives the places of released lookups in flight back to the budgets", () => {
    const { book, state } = world()
    for (let round = 0; round < 90; round++) {
      const { mapping } = book.subscribe(subscription("db.corp"))
      book.release(mapping.id)
    }
    assert.strictEqual(state.started.length, 90)
    assert.strictEqual(book.subscribe(subscription("db.corp")).state._tag, "Resolving")
  })

  it("says when it will try again", () => {
    const { book, state, advance } = world()
    const { mapping } = book.subscribe(subscription("db.corp"))
    const next = () => book.list()[0]!.nextTryAt
    assert.strictEqual(next(), 0)
    book.ended(state.started[0]!, answer("10.0.0.1"), 0.5)
    assert.isNull(next())
    book.refresh(mapping.id, "Unanswered")
    assert.strictEqual(next(), 1_000)
    advance(1_000)
    assert.strictEqual(book.list()[0]!.lookups, 2)
    book.ended(state.started[1]!, { _tag: "Failure", reason: new Timeout({ afterMs: 1 }) }, 0.5)
    assert.strictEqual(next(), 2_000)
  })

  it("looks up for another client a name that the first one has no budget for", () => {
    const { book, state } = world()
    for (let i = 0; i < 64; i++) book.subscribe({ ...subscription(`n${i}.corp`), proxyIps: [`100.96.1.${i}`] })
    book.subscribe(subscription("db.corp", 0))
    assert.strictEqual(state.started.length, 64)
    book.subscribe(subscription("db.corp", 1))
    assert.strictEqual(state.started[64]?.client, "client-1")
    assert.strictEqual(book.counters()["queued"], 0)
  })
})
