/** What a client sees when the company's DNS is slow, dead, wrong or different: against the lab's scripted name server. */
import { assert, layer } from "@effect/vitest"
import { Clock, Effect, Fiber, Schedule } from "effect"
import { tunnelAddresses } from "../../src/lab/demo/tunnel.ts"
import { blackHoleDns, dig, digFully, inner } from "../support/lab.ts"
import { stage, Stage } from "../support/stage.ts"
import { isDataFrom, isDns, isSyn, isUnreachableAbout, unreachableAbout } from "../support/wire.ts"

const { gateway } = tunnelAddresses
const wait = { timeout: "20 seconds" } as const
/** How fast a name heals once DNS is back, from the change itself to the first byte. */
const healMs = 2_000

const world = stage({
  resources: `  intranet: { name: "*.corp.internal", resolver: corp, allow: [visitor] }`
})

const statusOf = Effect.fnUntraced(function* (domain: string) {
  const { world } = yield* Stage
  const { mappings } = yield* world.gateway.status
  return mappings.find((mapping) => mapping.domain === domain)
})

const queriesOf = Effect.fnUntraced(function* (domain: string) {
  const { nameServer } = (yield* Stage).world
  return (yield* nameServer.queries)[`${domain} 1`] ?? 0
})

layer(world, { excludeTestServices: true, timeout: "60 seconds" })("a stock WireGuard client", (it) => {
  it.effect("opens its first connection to a fresh name with a single SYN although DNS takes 600 ms", () =>
    Effect.gen(function* () {
      const { lan, tunnel, world } = yield* Stage
      const { nameServer, visitor } = world
      // The connection has to begin while DNS is asked; on a busy machine a client can be too slow for that.
      const connect = Effect.fnUntraced(function* (name: string) {
        yield* nameServer.set({ name, a: [inner.origin.v4], ttl: 60, delay: 600 })
        const proxy = yield* world.proxyOf(name)
        const page = yield* visitor.get({ address: proxy })
        yield* nameServer.set({ delay: 0 })
        const answer = yield* lan.first(isDns(name, "response"), wait)
        const data = yield* tunnel.first(isDataFrom(proxy), wait)
        const syns = (yield* tunnel.packets).filter(isSyn(proxy))
        return { page, syns, began: syns[0]!.at - answer!.at, took: data!.at - answer!.at }
      })

      let first = yield* connect("fresh0.corp.internal")
      for (let n = 1; first.began > 0 && n < 5; n++) first = yield* connect(`fresh${n}.corp.internal`)

      assert.isBelow(first.began, 0, "the connection did not begin before the name was known")
      assert.strictEqual(first.syns.length, 1)
      assert.strictEqual(first.page.servedBy, inner.origin.v4)
      assert.isBelow(first.took, 500)
    })
  )

  it.effect("is accepted while DNS is dead, is told by ICMP at once, and status has the reason", () =>
    Effect.gen(function* () {
      const { tunnel, world } = yield* Stage
      const { nameServer, visitor } = world
      const name = "dead.corp.internal"
      yield* nameServer.set({ mode: "closed", name, a: [inner.origin.v4], aaaa: [inner.origin.v6], ttl: 60 })

      for (const [type, expected, code] of [
        ["A", "3/0", "ENETUNREACH"],
        ["AAAA", "1/3", "EHOSTUNREACH"]
      ] as const) {
        const proxy = yield* world.proxyOf(name, type)
        const connected = yield* visitor.connect({ address: proxy })

        const syn = yield* tunnel.first(isSyn(proxy), wait)
        const answer = yield* tunnel.first(isUnreachableAbout(proxy), wait)
        assert.deepInclude(connected, { ok: false, code })
        assert.strictEqual(unreachableAbout(answer!, proxy), expected)
        assert.isBelow(answer!.at - syn!.at, 500)
      }
      const row = yield* statusOf(name)
      yield* nameServer.set({ mode: "answer" })
      assert.deepInclude(row, { state: "Unresolved", addresses: [] })
      assert.match(row?.reason ?? "", /no DNS server: 10\.20\.0\.53/)
    })
  )

  it.effect("reaches fresh names without an error while names of a dead zone are asked for all the time", () =>
    Effect.gen(function* () {
      const { world } = yield* Stage
      const { nameServer, visitor } = world
      const domains = Array.from({ length: 4 }, (_, i) => `x${i}.corp.internal`)
      for (const name of domains) yield* nameServer.set({ name, silent: true, ttl: 60 })
      const dead = yield* Effect.forEach(domains, (name) => world.proxyOf(name))
      const asking = yield* Effect.forkChild(
        Effect.forever(Effect.forEach(dead, (address) => visitor.connect({ address, timeout: 1_000 })))
      )
      yield* Effect.flatMap(world.gateway.process.output, (output) =>
        /resolver corp does not answer/.test(output) ? Effect.void : Effect.fail("not yet")
      ).pipe(Effect.retry({ schedule: Schedule.spaced("200 millis"), times: 150 }))

      for (let n = 0; n < 3; n++) {
        const name = `lively${n}.corp.internal`
        yield* nameServer.set({ name, a: [inner.origin.v4], ttl: 60 })
        const { errors, page } = yield* visitor.retry({
          address: yield* world.proxyOf(name),
          every: 50,
          deadline: 5_000
        })
        assert.deepStrictEqual([page?.servedBy, errors], [inner.origin.v4, {}])
      }
      yield* Fiber.interrupt(asking)
      for (const name of domains) yield* nameServer.set({ name, ttl: 60 })
    })
  )

  for (const [mode, what, name] of [
    ["closed", "nothing listened at the name server's port", "refused.corp.internal"],
    ["servfail", "the name server answered SERVFAIL", "broken.corp.internal"]
  ] as const) {
    it.effect(`gets through within 2 s of DNS working again after 5 s in which ${what}`, () =>
      Effect.gen(function* () {
        const { tunnel, world } = yield* Stage
        const { nameServer, visitor } = world
        yield* nameServer.set({ mode, name, a: [inner.origin.v4], ttl: 60 })
        const proxy = yield* world.proxyOf(name)
        const trying = yield* Effect.forkChild(visitor.retry({ address: proxy, every: 100, deadline: 20_000 }))
        yield* Effect.sleep("5 seconds")

        const back = yield* Clock.currentTimeMillis
        yield* nameServer.set({ mode: "answer" })
        const { errors, page } = yield* Fiber.join(trying)

        const data = yield* tunnel.first(isDataFrom(proxy), wait)
        assert.strictEqual(page?.servedBy, inner.origin.v4)
        assert.deepStrictEqual(Object.keys(errors), ["ENETUNREACH"])
        assert.isAtLeast(errors["ENETUNREACH"] ?? 0, 20, "the client was not answered at once each time")
        assert.isAbove(data!.at, back)
        assert.isBelow(data!.at - back, healMs)
      })
    )
  }

  it.effect("gets through within 2 s of the end of a black hole of 12 s in front of the name server", () =>
    Effect.gen(function* () {
      const { tunnel, world } = yield* Stage
      const { nameServer, visitor } = world
      const name = "swallowed.corp.internal"
      yield* nameServer.set({ name, a: [inner.origin.v4], ttl: 60 })
      yield* blackHoleDns(true)
      const proxy = yield* world.proxyOf(name)
      const trying = yield* Effect.forkChild(visitor.retry({ address: proxy, every: 100, deadline: 30_000 }))
      yield* Effect.sleep("12 seconds")
      const row = yield* statusOf(name)

      const back = yield* Clock.currentTimeMillis
      yield* blackHoleDns(false)
      const { page } = yield* Fiber.join(trying)

      const syn = yield* tunnel.first(isSyn(proxy), wait)
      const told = yield* tunnel.first(isUnreachableAbout(proxy), wait)
      const data = yield* tunnel.first(isDataFrom(proxy), wait)
      assert.strictEqual(page?.servedBy, inner.origin.v4)
      assert.match(row?.reason ?? "", /no DNS answer within \d+/)
      assert.isBelow(told!.at - syn!.at, 3_000, "the first connection waited longer than packets are parked")
      assert.isAbove(data!.at, back)
      assert.isBelow(data!.at - back, healMs)
    })
  )

  it.effect("keeps the last good addresses of a name while DNS is dead", () =>
    Effect.gen(function* () {
      const { nameServer, visitor, ...world } = (yield* Stage).world
      const name = "stale.corp.internal"
      yield* nameServer.set({ name, a: [inner.origin.v4], ttl: 1 })
      const proxy = yield* world.proxyOf(name)
      yield* visitor.get({ address: proxy })

      yield* nameServer.set({ mode: "closed" })
      const row = yield* Effect.andThen(visitor.get({ address: proxy }), statusOf(name)).pipe(
        Effect.repeat({ until: (row) => row?.state === "Stale", schedule: Schedule.spaced("200 millis") }),
        Effect.timeout("10 seconds")
      )
      const page = yield* visitor.get({ address: proxy })
      yield* nameServer.set({ mode: "answer" })

      assert.strictEqual(page.servedBy, inner.origin.v4)
      assert.deepStrictEqual(row?.addresses, [inner.origin.v4])
      assert.match(row?.reason ?? "", /no DNS server: 10\.20\.0\.53/)
    })
  )

  it.effect("hears NXDOMAIN for a name that does not exist, and reaches the name once it does", () =>
    Effect.gen(function* () {
      const { nameServer, visitor, ...world } = (yield* Stage).world
      const name = "absent.corp.internal"
      const status = digFully("client", gateway.v4, name, "A")

      const first = yield* dig("client", gateway.v4, name, "A")
      const known = yield* status.pipe(
        Effect.repeat({ until: (text) => text.includes("NXDOMAIN"), schedule: Schedule.spaced("50 millis") }),
        Effect.timeout("20 seconds")
      )
      yield* nameServer.set({ name, a: [inner.origin.v4], ttl: 60 })
      const after = yield* dig("client", gateway.v4, name, "A").pipe(
        Effect.repeat({ until: (answer) => answer.length > 0, schedule: Schedule.spaced("200 millis") }),
        Effect.timeout("20 seconds")
      )
      const { page } = yield* visitor.retry({ address: yield* world.proxyOf(name), every: 100, deadline: 5_000 })

      assert.isAbove(first.length, 0, "the first answer does not wait for DNS")
      assert.match(known, /status: NXDOMAIN/)
      assert.deepStrictEqual(after, first)
      assert.strictEqual(page?.servedBy, inner.origin.v4)
    })
  )

  it.effect("hears that a name has no addresses of one family", () =>
    Effect.gen(function* () {
      const { nameServer } = (yield* Stage).world
      const name = "fouronly.corp.internal"
      yield* nameServer.set({ name, a: [inner.origin.v4], ttl: 60 })

      yield* dig("client", gateway.v4, name, "A")
      const answer = yield* digFully("client", gateway.v4, name, "AAAA").pipe(
        Effect.repeat({ until: (text) => text.includes("ANSWER: 0"), schedule: Schedule.spaced("50 millis") }),
        Effect.timeout("20 seconds")
      )

      assert.match(answer, /status: NOERROR/)
      assert.isAbove((yield* dig("client", gateway.v4, name, "A")).length, 0)
    })
  )

  /** While DNS answers, each waits for a name of its own: two at a time, the longest first. */
  const alongside = (title: string, test: Parameters<typeof it.effect>[1]) =>
    it.effect(title, test, { concurrent: true })

  alongside("makes no storm of lookups by retrying a dead host every 100 ms for 15 s while DNS stays the same", () =>
    Effect.gen(function* () {
      const { nameServer, visitor, ...world } = (yield* Stage).world
      const name = "nobody.corp.internal"
      yield* nameServer.set({ name, a: [inner.nobody.v4], ttl: 300 })
      const proxy = yield* world.proxyOf(name)

      const tries = yield* visitor.connect({ address: proxy, timeout: 90 }).pipe(
        Effect.map((connected) => assert.isFalse(connected.ok)),
        Effect.repeat(Schedule.fixed("100 millis").pipe(Schedule.upTo({ duration: "15 seconds" })))
      )

      const queries = yield* queriesOf(name)
      assert.isAtLeast(tries, 100)
      // First lookup, then 1 s, 2 s, 4 s and 8 s apart, with 20 % jitter.
      assert.isAtLeast(queries, 2, "the unreachable host was never looked up again")
      assert.isAtMost(queries, 6)
    })
  )

  alongside("causes no lookups of a name that it does not use, however often the TTL ends", () =>
    Effect.gen(function* () {
      const { nameServer, visitor, ...world } = (yield* Stage).world
      const name = "idle.corp.internal"
      yield* nameServer.set({ name, a: [inner.origin.v4], ttl: 1 })
      const proxy = yield* world.proxyOf(name)
      yield* visitor.get({ address: proxy })
      const before = yield* queriesOf(name)

      yield* Effect.sleep("6 seconds")
      const idle = yield* queriesOf(name)
      yield* visitor.get({ address: proxy })
      const used = yield* Effect.repeat(queriesOf(name), {
        until: (count) => count > idle,
        schedule: Schedule.spaced("50 millis")
      }).pipe(Effect.timeout("20 seconds"))

      assert.isAtLeast(before, 1)
      assert.strictEqual(idle, before)
      assert.strictEqual(used, before + 1)
    })
  )

  alongside("keeps its open connection when the answer changes, and reaches the new address with new ones", () =>
    Effect.gen(function* () {
      const { nameServer, visitor, ...world } = (yield* Stage).world
      const name = "moving.corp.internal"
      yield* nameServer.set({ name, a: [inner.origin.v4], aaaa: [inner.origin.v6], ttl: 5 })
      const v4 = yield* world.proxyOf(name, "A")
      const v6 = yield* world.proxyOf(name, "AAAA")
      yield* visitor.openDrip("old", v4)

      yield* nameServer.set({ name, a: [inner.otherOrigin.v4], aaaa: [inner.otherOrigin.v6], ttl: 5 })
      const retry = { every: 100, deadline: 8_000 }
      const moved4 = yield* visitor.retry({ address: v4, servedBy: inner.otherOrigin.v4, ...retry })
      const moved6 = yield* visitor.retry({ address: v6, servedBy: inner.otherOrigin.v6, ...retry })
      const before = yield* visitor.readDrip("old")
      yield* Effect.sleep("1 second")
      const after = yield* visitor.readDrip("old")
      yield* visitor.closeDrip("old")

      assert.isNotNull(moved4.page, JSON.stringify(moved4.errors))
      assert.isNotNull(moved6.page, JSON.stringify(moved6.errors))
      // Until then the old address answered; nothing was refused or lost on the way.
      assert.deepStrictEqual(Object.keys(moved4.errors), ["another server answered"])
      assert.deepInclude(after, { ended: null, last: inner.origin.v4 })
      assert.isAtLeast(after.lines, before.lines + 5)
    })
  )
})
