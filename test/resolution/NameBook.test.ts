import { assert, describe, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import type { Command } from "../../src/dataplane/commands.ts"
import type { LookupResult } from "../../src/resolution/lookupResult.ts"
import { type DnsResource, ResourceId } from "../../src/model/Resource.ts"
import { NameBook } from "../../src/resolution/NameBook.ts"
import type { Lookup, RefusedAddresses } from "../../src/resolution/nameEntry.ts"
import { NameNotFound, ServerFailure, Timeout } from "../../src/resolution/Resolver.ts"
import { cidrResource, client, dnsResource, subscription } from "../support/access.ts"

const answer = (...addresses: ReadonlyArray<string>): LookupResult => ({
  _tag: "Answer",
  answer: { addresses, ttlSeconds: 60 }
})

const timeout: LookupResult = { _tag: "Failure", reason: new Timeout({ afterMs: 1 }) }

const servfail: LookupResult = { _tag: "Failure", reason: new ServerFailure({ detail: "SERVFAIL" }) }

const notFound: LookupResult = { _tag: "Failure", reason: new NameNotFound({ ttlSeconds: 1 }) }

const clientId = (n: number) => client(n).id
const apps = subscription("").resource.id

/** A book whose lookups end when the test says so. */
const world = (refused: RefusedAddresses = () => []) => {
  const state = {
    now: 0,
    commands: new Array<Command>(),
    started: new Array<Lookup>(),
    stopped: new Array<Lookup>(),
    pings: new Array<number>()
  }
  const timers: Array<{ at: number; run: () => void }> = []
  const book = new NameBook({
    now: () => state.now,
    send: (command) => void state.commands.push(command),
    start: (lookup) => void state.started.push(lookup),
    stop: (lookup) => void state.stopped.push(lookup),
    wake: (delay, run) => void timers.push({ at: state.now + delay, run }),
    ping: () => void state.pings.push(state.now),
    refused,
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
  return { book, state, advance, timers }
}

describe("NameBook", () => {
  it("holds queued refreshes back a few at a time when their resolver set stops answering, and all of them in the end", () => {
    const { book, state, advance } = world()
    const ids = Array.from({ length: 1_000 }, (_, i) => {
      return book.subscribe({ ...subscription(`n${i}.corp`, i), proxyIps: [`100.96.1.${i}`] }).mapping.id
    })
    while (state.started.length > 0)
      for (const lookup of state.started.splice(0)) book.ended(lookup, answer("10.0.0.1"), 0.5)
    advance(60_000)
    for (const id of ids) book.refresh(id, "Unanswered")
    const queued = () => book.counters()["queued"]!
    let before = queued()
    for (const lookup of state.started.splice(0)) {
      before = queued()
      book.ended(lookup, timeout, 0.5)
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

  it("tries a client's fresh names at once, and parks their packets, while names of others keep the set's breaker open", () => {
    const { book, state, advance } = world()
    const ask = (domain: string, n: number, proxy: string) =>
      book.subscribe({ ...subscription(domain, n), proxyIps: [proxy] })
    for (let i = 0; i < 50; i++) ask(`n${i}.dead.corp`, 2, `100.96.1.${i}`)
    for (const lookup of state.started.splice(0)) book.ended(lookup, timeout, 0.5)
    assert.strictEqual(book.counters()["breaker.opened"], 1)

    for (const [i, domain] of ["git.corp", "wiki.corp", "ci.corp"].entries()) {
      assert.strictEqual(ask(domain, 1, `100.96.2.${i}`).state._tag, "Resolving")
    }
    assert.deepStrictEqual(
      state.started.map((lookup) => lookup.name.domain),
      ["git.corp", "wiki.corp", "ci.corp"]
    )
    for (const lookup of state.started.splice(0)) book.ended(lookup, timeout, 0.5)
    assert.strictEqual(book.find(clientId(1), apps, "git.corp")?.state._tag, "Unresolved")

    // What failed is no longer fresh: from now on all of them share a probe a second.
    for (let second = 0; second < 20; second++) {
      for (const row of book.list()) book.refresh(row.mapping.id, "Unmapped")
      const { length } = state.started
      advance(1_000)
      assert.isAtMost(state.started.length - length, 1)
      for (const lookup of state.started.splice(0)) book.ended(lookup, timeout, 0.5)
    }
    // Probes go on although fresh names of a client come all the time.
    for (let i = 0; i < 30; i++) {
      ask(`fresh${i}.dead.corp`, 2, `100.96.3.${i}`)
      advance(500)
    }
    assert.isAbove(state.started.filter((lookup) => !lookup.first).length, 10)
  })

  it("tries a name that failed a while ago as if for the first time when its client comes back to it", () => {
    const { book, state, advance } = world()
    const ask = (domain: string, n: number, proxy: string) =>
      book.subscribe({ ...subscription(domain, n), proxyIps: [proxy] })
    const mine = ask("git.corp", 1, "100.96.2.1")
    for (let i = 0; i < 3; i++) ask(`n${i}.dead.corp`, 2, `100.96.1.${i}`)
    for (let second = 0; second < 40; second++) {
      for (const lookup of state.started.splice(0)) book.ended(lookup, timeout, 0.5)
      for (let i = 0; i < 3; i++) ask(`n${i}.dead.corp`, 2, `100.96.1.${i}`)
      advance(1_000)
    }
    state.started.splice(0)
    assert.strictEqual(ask("git.corp", 1, "100.96.2.1").state._tag, "Resolving")
    assert.deepInclude(state.commands.at(-1), { mapping: mine.mapping.id, state: "Resolving" })
    assert.strictEqual(state.started.at(-1)?.name.domain, "git.corp")
  })

  it("looks names up that have no proxies yet, and tells the packet path of them once they have some", () => {
    const { book, state } = world()
    const { mapping } = book.subscribe({ ...subscription("git.corp"), proxyIps: [] })
    assert.deepStrictEqual([book.list(), book.mappingsOf(clientId(0))], [[], 0])
    assert.notInclude(
      state.commands.map(({ _tag }) => _tag),
      "SetMapping"
    )
    book.ended(state.started.shift()!, answer("10.0.0.1"), 0.5)
    book.subscribe(subscription("git.corp"))
    assert.deepStrictEqual(
      state.commands.slice(-2).map((command) => [command._tag, "state" in command ? command.state : null]),
      [
        ["SetMapping", null],
        ["SetAddresses", "Resolved"]
      ]
    )
    // Its proxies stay.
    book.subscribe({ ...subscription("git.corp"), proxyIps: [] })
    assert.deepStrictEqual(book.mapping(mapping.id)?.proxyIps, subscription("git.corp").proxyIps)
    assert.strictEqual(book.mappingsOf(clientId(0)), 1)
  })

  it("remembers the last 1,024 names without proxies of each client, and none of a resource that is withdrawn", () => {
    const { book, state } = world()
    const ask = (domain: string, n = 0) => book.subscribe({ ...subscription(domain, n), proxyIps: [] }).state
    const junk = (from: number, to: number, n = 0) => {
      for (let i = from; i < to; i++) {
        ask(`n${i}.corp`, n)
        for (const lookup of state.started.splice(0)) book.ended(lookup, notFound, 0.5)
      }
    }
    junk(0, 1)
    // Of a name of its own: what is known of a name, all its clients know.
    junk(9_000, 9_001, 1)
    junk(1, 1_024)
    ask("n0.corp")
    junk(1_024, 1_112)
    const lookups = () => book.counters()["lookups.started"]!
    const before = lookups()
    assert.strictEqual(ask("n0.corp")._tag, "Unresolved")
    assert.strictEqual(ask("n9000.corp", 1)._tag, "Unresolved")
    assert.strictEqual(lookups(), before)
    assert.strictEqual(ask("n1.corp")._tag, "Resolving")
    book.revoked(clientId(0), apps)
    assert.strictEqual(ask("n1111.corp")._tag, "Resolving")
    assert.notInclude(
      state.commands.map(({ _tag }) => _tag),
      "LapseMapping"
    )
  })

  it("looks up first what a question waits for, or a packet", () => {
    const { book, state } = world()
    const ask = (i: number) => book.subscribe({ ...subscription(`n${i}.corp`), proxyIps: [`100.96.1.${i}`] }).mapping
    const asked = Array.from({ length: 70 }, (_, i) => ask(i))
    assert.lengthOf(state.started, 64)
    assert.deepInclude(state.commands.at(-1), { mapping: asked[69]!.id, state: "Unasked" })
    book.refresh(asked[68]!.id, "Unmapped")
    assert.deepInclude(state.commands.at(-1), { mapping: asked[68]!.id, state: "Resolving" })
    assert.strictEqual(book.subscribe({ ...subscription("new.corp"), proxyIps: [] }).state._tag, "Resolving")
    for (const lookup of state.started.splice(0, 3)) book.ended(lookup, timeout, 0.5)
    assert.deepStrictEqual(
      state.started.slice(-3).map(({ name }) => name.domain),
      ["n68.corp", "new.corp", "n64.corp"]
    )
  })

  describe("parks packets from a lookup's beginning", () => {
    const holds = (state: ReturnType<typeof world>["state"]) =>
      state.commands.flatMap((command) => (command._tag === "SetAddresses" ? [command.holdMs] : []))

    it("for 2 s while the set says nothing, neither to the lookup nor to a harmless question after 1 s", () => {
      const { book, state, advance } = world()
      book.subscribe(subscription("git.corp"))
      assert.deepStrictEqual(holds(state), [2_000])
      advance(999)
      assert.deepStrictEqual(state.pings, [])
      advance(9_001)
      assert.deepStrictEqual(state.pings, [1_000])
      assert.deepStrictEqual(holds(state), [2_000])
      book.pinged("system", 1_000, false)
      for (const lookup of state.started.splice(0)) book.ended(lookup, timeout, 0.5)
      // Known to be silent: neither the next question nor the next packets wait for it, and it is not asked again.
      const { state: told } = book.subscribe(subscription("wiki.corp", 1))
      assert.deepInclude(told, { _tag: "Resolving", silent: true })
      advance(5_000)
      assert.deepStrictEqual(state.pings, [1_000])
      assert.deepStrictEqual(holds(state).slice(-1), [2_000])
    })

    it.each([
      ["a harmless question", (book: NameBook) => book.pinged("system", 1_000, true)],
      ["another name's lookup", (book: NameBook, other: Lookup) => book.ended(other, answer("10.0.0.1"), 0.5)],
      ["a lookup that fails by SERVFAIL", (book: NameBook, other: Lookup) => book.ended(other, servfail, 0.5)]
    ] as const)("for 4 s once the set has answered %s meanwhile, not after 2 s", (_, hear) => {
      for (const [after, held] of [
        [1_999, [4_000]],
        [2_000, []]
      ] as const) {
        const { book, state, advance } = world()
        const { mapping } = book.subscribe(subscription("git.corp"))
        book.subscribe({ ...subscription("other.corp"), proxyIps: ["100.96.1.9"] })
        advance(after)
        state.commands.splice(0)
        hear(book, state.started[1]!)
        const told = state.commands.flatMap((command) =>
          command._tag === "SetAddresses" && command.mapping === mapping.id ? [command.holdMs] : []
        )
        assert.deepStrictEqual(told, [...held])
      }
    })

    it("for 4 s from the start at a set that is known to be slow, until it is silent or quick", () => {
      const { book, state, advance } = world()
      book.meet("system")
      advance(3_000)
      book.pinged("system", 0, true)
      const hold = (n: number) => {
        book.subscribe({ ...subscription(`n${n}.corp`), proxyIps: [`100.96.1.${n}`] })
        return holds(state).at(-1)
      }
      assert.strictEqual(hold(1), 4_000)
      advance(3_000)
      book.ended(state.started.shift()!, answer("10.0.0.1"), 0.5)
      assert.strictEqual(hold(2), 4_000)
      assert.lengthOf(state.pings, 1)
      advance(10_000)
      book.ended(state.started.shift()!, timeout, 0.5)
      assert.strictEqual(hold(3), 2_000)
      advance(20)
      book.ended(state.started.shift()!, answer("10.0.0.1"), 0.5)
      assert.strictEqual(hold(4), 2_000)
    })
  })

  it("parks packets of a name that waits for a place in flight", () => {
    const { book, state } = world()
    for (let n = 100; n < 351; n++) book.subscribe({ ...subscription(`n${n}.dead.corp`, n), proxyIps: ["100.96.1.1"] })
    assert.lengthOf(state.started, 250)
    const late = book.subscribe(subscription("git.corp", 1))
    assert.strictEqual(late.state._tag, "Resolving")
    assert.deepInclude(state.commands.at(-1), { mapping: late.mapping.id, state: "Resolving" })
    for (const lookup of state.started.splice(0, 2)) book.ended(lookup, timeout, 0.5)
    assert.strictEqual(state.started.at(-1)?.name.domain, "git.corp")
  })

  describe("once other servers stand behind its resolver set, a name", () => {
    const lookupsOf = (state: ReturnType<typeof world>["state"]) => state.started.splice(0)
    const git = subscription("git.corp")
    /** A name of that set with its first answer, and one of another set. */
    const known = (first: LookupResult) => {
      const { book, state, advance } = world()
      const { mapping } = book.subscribe(git)
      const elsewhere = dnsResource("wiki.lab", { resolver: "lab" })
      book.subscribe({ ...subscription("wiki.lab"), resource: elsewhere, proxyIps: ["100.96.1.9"] })
      for (const lookup of lookupsOf(state)) book.ended(lookup, first, 0.5)
      const told = () =>
        state.commands
          .splice(0)
          .flatMap((c) =>
            c._tag === "SetAddresses" && c.mapping === mapping.id ? [[c.state, c.addresses, c.staleAt]] : []
          )
      return { book, state, advance, told, now: () => book.find(clientId(0), apps, "git.corp")!.state }
    }

    it("is looked up at once while its client is at it, served as it was until they answer, and by what they say then", () => {
      const { book, state, advance, now } = known(answer("10.0.0.1"))
      advance(5_000)
      book.renew("system")
      const [lookup, ...others] = lookupsOf(state)

      assert.deepStrictEqual([lookup?.name.domain, others], ["git.corp", []])
      assert.deepInclude(now(), { _tag: "Resolved", addresses: ["10.0.0.1"] })
      book.ended(lookup!, timeout, 0.5)
      assert.deepInclude(now(), { _tag: "Resolved", addresses: ["10.0.0.1"] })
      advance(1_000)
      book.ended(lookupsOf(state)[0]!, answer("10.0.0.2"), 0.5)
      assert.deepInclude(now(), { _tag: "Resolved", addresses: ["10.0.0.2"] })
    })

    it("is not asked of the former ones any more", () => {
      const { book, state } = world()
      book.subscribe(git)
      const [former] = lookupsOf(state)
      book.renew("system")
      const [lookup] = lookupsOf(state)
      book.ended(former!, answer("10.0.0.66"), 0.5)
      book.ended(lookup!, answer("10.0.0.2"), 0.5)

      assert.deepStrictEqual(state.stopped, [former])
      assert.deepInclude(book.list()[0]?.state, { _tag: "Resolved", addresses: ["10.0.0.2"] })
    })

    it("is worth waiting for again, whatever the former ones left unanswered", () => {
      const { book, state, advance } = known(timeout)
      const wasVain = book.answersNobody("system", clientId(0))
      book.meet("system")
      advance(1)
      book.renew("system")
      const isVain = book.answersNobody("system", clientId(0))
      // What was asked of those comes to its end now.
      book.pinged("system", state.pings[0]!, false)

      assert.deepStrictEqual([wasVain, isVain, book.answersNobody("system", clientId(0))], [true, false, false])
      book.meet("system")
      assert.lengthOf(state.pings, 2)
    })

    it("that its client has left is looked up when it comes back, by a packet or a question, and not before", () => {
      const { book, state, advance, told } = known(answer("10.0.0.1"))
      advance(31_000)
      told()
      book.renew("system")

      assert.deepStrictEqual(lookupsOf(state), [])
      // Long before the answer's TTL ends.
      assert.deepStrictEqual(told(), [["Resolved", ["10.0.0.1"], 31_000]])
      assert.deepInclude(book.subscribe(git).state, { _tag: "Resolved", addresses: ["10.0.0.1"] })
      assert.strictEqual(lookupsOf(state)[0]?.name.domain, "git.corp")
    })

    it.each([
      ["that its client is at", 5_000],
      ["that its client has left", 31_000]
    ])("%s and that the former ones did not know is told to nobody as missing", (_, afterMs) => {
      const { book, state, advance, now, told } = known({
        _tag: "Failure",
        reason: new NameNotFound({ ttlSeconds: 60 })
      })
      assert.deepInclude(book.subscribe(git).state, { _tag: "Unresolved" })
      advance(afterMs)
      told()
      book.renew("system")

      assert.strictEqual(book.subscribe(git).state._tag, "Resolving")
      assert.strictEqual(told().at(-1)?.[0], "Resolving")
      const [lookup, ...others] = lookupsOf(state)
      assert.deepStrictEqual([lookup?.name.domain, others], ["git.corp", []])
      book.ended(lookup!, answer("10.0.0.2"), 0.5)
      assert.deepInclude(now(), { _tag: "Resolved", addresses: ["10.0.0.2"] })
    })
  })

  it("keeps a withdrawn resource's mappings, asks for none of them, and goes on with what it knew", () => {
    const { book, state, advance } = world()
    const resolved = book.subscribe(subscription("git.corp"))
    book.ended(state.started.shift()!, answer("10.0.0.1"), 0.5)
    const open = book.subscribe({ ...subscription("wiki.corp"), proxyIps: ["100.96.1.9"] })
    const [pending] = state.started
    book.revoked(clientId(0), apps)
    assert.deepStrictEqual(state.stopped, [pending])
    assert.deepStrictEqual([book.list(), book.mappingsOf(clientId(0))], [[], 0])
    for (const { mapping } of [resolved, open]) {
      assert.strictEqual(book.refresh(mapping.id, "Unmapped"), "unknown_mapping")
      assert.isUndefined(book.mapping(mapping.id))
    }
    advance(300_000)
    assert.lengthOf(state.started, 1)
    state.commands.splice(0)

    book.granted(clientId(0), dnsResource("*.corp", { id: apps }))
    assert.deepStrictEqual(
      state.commands.map((command) => [command._tag, "state" in command ? command.state : null]),
      [
        ["SetMapping", null],
        ["SetAddresses", "Resolved"],
        ["SetMapping", null],
        ["SetAddresses", "Unasked"]
      ]
    )
    assert.deepStrictEqual(
      book.list().map((row) => row.mapping),
      [resolved.mapping, open.mapping]
    )
    assert.lengthOf(state.started, 1)
    book.refresh(open.mapping.id, "Unmapped")
    assert.strictEqual(state.started.at(-1)?.name.domain, "wiki.corp")
    book.ended(pending!, answer("10.0.0.66"), 0.5)
    assert.strictEqual(book.counters()["late_answers"], 1)
  })

  it.each([
    ["another pattern", dnsResource("*.lab", { id: apps })],
    ["another kind", { ...cidrResource("10.0.0.0/8"), id: apps }]
  ] as const)("drops the mappings of a resource that comes back with %s", (_, resource) => {
    const { book, state } = world()
    const { mapping } = book.subscribe(subscription("git.corp"))
    book.revoked(clientId(0), apps)
    book.granted(clientId(0), resource)
    assert.deepStrictEqual(state.commands.at(-1), { _tag: "RemoveMapping", mapping: mapping.id })
    assert.isUndefined(book.ownerOf(clientId(0), mapping.proxyIps[0]!))
    book.granted(clientId(0), dnsResource("*.corp", { id: apps }))
    assert.deepStrictEqual(book.list(), [])
  })

  describe("a name that several resources cover", () => {
    const exact = (over: Partial<DnsResource> = {}) =>
      dnsResource("git.corp", { id: ResourceId.make("exact"), allow: ["loopback"], ...over })
    const wild = dnsResource("*.corp", { id: ResourceId.make("wild") })
    const git = (resource: DnsResource) => ({ ...subscription("git.corp"), resource })
    const told = (commands: ReadonlyArray<Command>) =>
      commands.flatMap((c): Array<unknown> =>
        c._tag === "SetMapping" ? [c.resources] : c._tag === "SetAddresses" ? [[c.state, c.addresses]] : [c._tag]
      )

    it("is one mapping, whichever it is asked for under, that names all of them, the most specific first", () => {
      const { book, state } = world()
      book.granted(clientId(0), wild)
      const { mapping } = book.subscribe(git(exact()))
      assert.deepStrictEqual(mapping.resources, [exact().id, wild.id])
      assert.strictEqual(book.subscribe(git(wild)).mapping.id, mapping.id)
      assert.deepStrictEqual(told(state.commands), [
        ["exact", "wild"],
        ["Resolving", []]
      ])
      for (const id of ["exact", "wild"]) {
        assert.strictEqual(book.find(clientId(0), ResourceId.make(id), "git.corp")?.mapping.id, mapping.id)
      }
    })

    it("goes on with its proxies, its generation and what is known of it when one of them is withdrawn, and comes back", () => {
      const { book, state } = world()
      book.granted(clientId(0), wild)
      const { mapping } = book.subscribe(git(exact()))
      book.ended(state.started[0]!, answer("10.0.0.1"), 0.5)
      state.commands.splice(0)
      book.revoked(clientId(0), exact().id)
      assert.deepStrictEqual(
        book.list().map((row) => row.mapping),
        [{ ...mapping, resources: [wild.id] }]
      )
      book.granted(clientId(0), exact())
      assert.deepStrictEqual(
        book.list().map((row) => row.mapping),
        [mapping]
      )
      const known = ["Resolved", ["10.0.0.1"]]
      assert.deepStrictEqual(told(state.commands), [["wild"], known, ["exact", "wild"], known])
      assert.lengthOf(state.started, 1)
    })

    it("is kept when the last of them is withdrawn, and goes on by whichever is granted first", () => {
      const { book, state } = world()
      book.granted(clientId(0), wild)
      const { mapping } = book.subscribe(git(exact()))
      book.ended(state.started[0]!, answer("10.0.0.1"), 0.5)
      book.revoked(clientId(0), wild.id)
      book.revoked(clientId(0), exact().id)
      assert.deepStrictEqual(book.list(), [])
      book.granted(clientId(0), wild)
      assert.deepStrictEqual(
        book.list().map((row) => row.mapping),
        [{ ...mapping, resources: [wild.id] }]
      )
    })

    it("may lead where any of them may", () => {
      const { book, state } = world((_, allow) => (allow.includes("loopback") ? [] : ["127.0.0.1"]))
      book.granted(clientId(0), exact())
      book.subscribe(git(wild))
      book.ended(state.started[0]!, answer("127.0.0.1"), 0.5)
      const addresses = () => state.commands.flatMap((c) => (c._tag === "SetAddresses" ? [c.addresses] : [])).at(-1)
      assert.deepStrictEqual(addresses(), ["127.0.0.1"])
      book.revoked(clientId(0), exact().id)
      assert.deepStrictEqual(addresses(), [])
      book.granted(clientId(0), exact({ allow: [] }))
      book.granted(clientId(0), exact())
      assert.deepStrictEqual(addresses(), ["127.0.0.1"])
    })

    it("is looked up where the most specific one says, anew for its next packet when that changes", () => {
      const { book, state } = world()
      const numbers = () => state.commands.flatMap((c) => (c._tag === "SetAddresses" ? [c.lookup] : []))
      book.granted(clientId(0), wild)
      const { mapping } = book.subscribe(git(exact({ resolver: "lab" })))
      assert.deepStrictEqual(state.started[0]?.name, { resolver: "lab", domain: "git.corp" })
      book.ended(state.started[0]!, answer("10.0.0.1"), 0.5)
      state.commands.splice(0)
      book.revoked(clientId(0), exact().id)
      assert.deepStrictEqual(told(state.commands), [["wild"], ["Unasked", []]])
      assert.lengthOf(state.started, 1)
      assert.strictEqual(book.refresh(mapping.id, "Unmapped"), "lookup")
      assert.deepStrictEqual(state.started[1]?.name, { resolver: "system", domain: "git.corp" })
      book.ended(state.started[1]!, answer("10.0.0.2"), 0.5)
      assert.deepStrictEqual(told(state.commands).at(-1), ["Resolved", ["10.0.0.2"]])
      const [row] = book.list()
      assert.deepStrictEqual(row?.mapping.proxyIps, mapping.proxyIps)
      assert.deepStrictEqual([row?.mapping.id, row?.mapping.generation], [mapping.id, 1])
      assert.deepStrictEqual(
        numbers(),
        numbers().toSorted((a, b) => a - b)
      )
    })

    it("is looked up for the family that the most specific one is for, apart from who wants both", () => {
      const { book, state } = world()
      const ask = (n: number, over: Partial<DnsResource>) =>
        book.subscribe({ ...subscription("git.corp", n), resource: dnsResource("*.corp", { id: apps, ...over }) })
      ask(0, { family: 4 })
      ask(1, {})
      assert.deepStrictEqual(
        state.started.map(({ name }) => name.family),
        [4, undefined]
      )
      // The next packet asks anew.
      const { mapping } = ask(0, { family: 6 })
      assert.strictEqual(mapping.name.family, 6)
      assert.strictEqual(mapping.generation, 1)
    })

    it("takes over what another client knows of the name, also from a lookup that began before", () => {
      const { book, state } = world()
      book.granted(clientId(0), wild)
      book.subscribe({ ...git(wild), client: clientId(1) })
      book.subscribe(git(exact({ resolver: "lab" })))
      book.ended(state.started[1]!, answer("10.0.0.1"), 0.5)
      state.commands.splice(0)
      book.revoked(clientId(0), exact().id)
      book.ended(state.started[0]!, answer("10.0.0.2"), 0.5)
      const own = state.commands.flatMap((c) =>
        c._tag === "SetAddresses" && c.mapping.startsWith(clientId(0)) ? [c] : []
      )
      assert.deepStrictEqual(
        own.map((c) => [c.state, c.addresses]),
        [
          ["Resolving", []],
          ["Resolved", ["10.0.0.2"]]
        ]
      )
      assert.isAtLeast(own[0]!.lookup, 2)
      assert.isAtLeast(own[1]!.lookup, own[0]!.lookup)
    })

    it.prop(
      "is what its client may use just while any of them is the client's, whatever comes and goes, with the proxies it had",
      [Schema.Array(Schema.Struct({ grant: Schema.Boolean, which: Schema.Literals([0, 1, 2, 3]) }))],
      ([steps]) => {
        const { book, state } = world()
        // The most specific first, for each of the names.
        const resources = ["git.corp", "g*.corp", "*.corp", "**.corp"].map((pattern, i) =>
          dnsResource(pattern, { id: ResourceId.make(`${i}`), resolver: `set ${i % 2}` })
        )
        const covering = { "git.corp": [0, 1, 2, 3], "go.corp": [1, 2, 3], "a.git.corp": [3] }
        const names = Object.entries(covering)
        const proxiesOf = (domain: string) => [`100.96.1.${domain.length}`]
        const held = new Set<number>()
        const asked = new Set<string>()
        for (const { grant, which } of steps) {
          if (grant) {
            held.add(which)
            book.granted(clientId(0), resources[which]!)
          } else {
            held.delete(which)
            book.revoked(clientId(0), resources[which]!.id)
          }
          for (const [domain, all] of names) {
            const first = all.find((i) => held.has(i))
            if (first === undefined || !all.includes(which)) continue
            asked.add(domain)
            book.subscribe({ ...subscription(domain), resource: resources[first]!, proxyIps: proxiesOf(domain) })
          }
          const expected = names.flatMap(([domain, all]) => {
            const own = all.filter((i) => held.has(i))
            if (!asked.has(domain) || own.length === 0) return []
            return [[domain, own.map(String), `set ${own[0]! % 2}`, proxiesOf(domain), 1]]
          })
          const found = book.list().map(({ mapping }) => {
            const { domain, resolver } = mapping.name
            return [domain, mapping.resources.map(String), resolver, mapping.proxyIps, mapping.generation]
          })
          assert.sameDeepMembers(found, expected)
        }
        assert.notInclude(
          state.commands.map((c) => c._tag),
          "RemoveMapping"
        )
      }
    )

    it("of a client that numbers its names has proxies of its own under each, or the same", () => {
      const { book, state } = world()
      book.granted(clientId(0), wild)
      book.granted(clientId(0), exact())
      const own = (resource: DnsResource, proxy: string) =>
        book.subscribe({ ...git(resource), ownNumbers: true, proxyIps: [proxy] }).mapping
      const first = own(wild, "100.96.0.1")
      assert.strictEqual(own(exact(), "100.96.0.1").id, first.id)
      const second = own(exact(), "100.96.0.2")
      assert.notStrictEqual(second.id, first.id)
      for (const { resources } of [first, second]) assert.deepStrictEqual(resources, [exact().id, wild.id])
      assert.deepStrictEqual(own(exact(), "100.96.0.3"), { ...second, proxyIps: ["100.96.0.3"], generation: 2 })
      assert.strictEqual(book.mappingsOf(clientId(0)), 2)
      assert.notInclude(
        state.commands.map((c) => c._tag),
        "RemoveMapping"
      )
    })
  })

  it("lets a withdrawn resource's mappings go after ten minutes, and the first ones of too many at once", () => {
    const { book, state, advance } = world()
    const lapsed = () => state.commands.filter((command) => command._tag === "LapseMapping").length
    for (let i = 0; i < 1_030; i++) {
      book.subscribe({ ...subscription(`n${i}.corp`), proxyIps: [`100.96.${i >> 8}.${i & 255}`] })
    }
    book.revoked(clientId(0), apps)
    assert.strictEqual(lapsed(), 6)
    advance(599_999)
    assert.strictEqual(lapsed(), 6)
    advance(1)
    assert.strictEqual(lapsed(), 1_030)
    book.granted(clientId(0), dnsResource("*.corp", { id: apps }))
    assert.deepStrictEqual([book.list(), book.counters()["queued"]], [[], 0])
  })

  it("sets one timer for a client whose resource comes and goes, and counts ten minutes from its last withdrawal", () => {
    const { book, state, advance, timers } = world()
    const lapsed = () => state.commands.some((command) => command._tag === "LapseMapping")
    book.subscribe(subscription("git.corp"))
    book.ended(state.started[0]!, answer("10.0.0.1"), 0.5)
    for (let second = 0; second < 300; second++) {
      book.revoked(clientId(0), apps)
      advance(500)
      if (second < 299) book.granted(clientId(0), dnsResource("*.corp", { id: apps }))
      advance(500)
    }
    assert.lengthOf(timers, 1)
    advance(598_999)
    assert.isFalse(lapsed())
    advance(1)
    assert.isTrue(lapsed())
    assert.lengthOf(timers, 0)
  })

  it("probes for each client in turn: names that always fail, asked for all the time, keep nobody else waiting", () => {
    const { book, state, advance } = world()
    const hostile = Array.from({ length: 50 }, (_, i) => `n${i}.dead.corp`)
    const proxyIpsOf = (i: number) => [`100.96.1.${i}`]
    const end = (lookup: Lookup) => book.ended(lookup, timeout, 0.5)
    const ids = hostile.map(
      (name, i) => book.subscribe({ ...subscription(name, 2), proxyIps: proxyIpsOf(i) }).mapping.id
    )
    for (const lookup of state.started.splice(0)) end(lookup)
    assert.strictEqual(book.counters()["breaker.opened"], 1)

    book.subscribe(subscription("git.corp", 1))
    end(state.started.shift()!)
    let waited = 0
    while (!state.started.some((lookup) => lookup.name.domain === "git.corp") && waited < 20_000) {
      for (const lookup of state.started.splice(0)) end(lookup)
      for (const id of ids) book.refresh(id, "Unmapped")
      advance(50)
      waited += 50
    }

    assert.isAtMost(waited, 3_000)
  })

  it("answers 20,000 clients of one dead name without a look at the others for each: not 400 million of them", () => {
    const { book, state } = world()
    const ids = Array.from({ length: 20_000 }, (_, n) => book.subscribe(subscription("git.corp", n)).mapping.id)
    book.ended(state.started[0]!, timeout, 0.5)
    const before = performance.now()
    for (const id of ids) book.refresh(id, "Unmapped")
    assert.isBelow(performance.now() - before, 1_000)
  })

  it.each([
    ["a dead name that fails again", timeout, timeout],
    ["a name that fails while its last good answer is served", answer("10.0.0.1"), timeout],
    ["a name that still does not exist", notFound, notFound]
  ])(
    "tells the data plane nothing of %s, however many have it, but for who has not been told yet",
    (_, first, next) => {
      const { book, state } = world()
      const ids = Array.from({ length: 1_000 }, (_, n) => book.subscribe(subscription("git.corp", n)).mapping.id)
      const end = (result: LookupResult): ReadonlyArray<Command> => {
        const before = state.commands.length
        book.ended(state.started.pop()!, result, 0.5)
        return state.commands.slice(before)
      }
      assert.lengthOf(end(first), 1_000)
      state.now += 5_000
      book.refresh(ids[0]!, "Unanswered")
      assert.deepStrictEqual(end(next), [])

      state.now += 5_000
      book.refresh(ids[0]!, "Unanswered")
      const { mapping } = book.subscribe(subscription("git.corp", 1_000))
      assert.deepStrictEqual(
        end(next).map((command) => "mapping" in command && command.mapping),
        [mapping.id]
      )
    }
  )

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
