import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import { TestClock } from "effect/testing"
import { makeAsker } from "../../../layers/dns/askers.ts"
import { makeDnsForwarder } from "../../../layers/dns/dnsForwarder.ts"
import { emptyMessage, type Message, type ResourceRecord } from "../../../src/dns/message.ts"
import { rcode, recordType } from "../../../src/dns/registry.ts"
import type { TunnelAnswer } from "../../../src/dns/tunnelAnswer.ts"
import type { UpstreamQuestion } from "../../../src/dns/Upstream.ts"
import { awaitLater } from "../../../src/loops/later.ts"
import { ResolutionError, ServerFailure } from "../../../src/resolution/Resolver.ts"
import { upstreamMock } from "../../support/upstreamMock.ts"

const address = (text: string, ttl: number): ResourceRecord => ({
  name: "a.test",
  type: recordType.A,
  class: 1,
  ttl,
  data: { _tag: "Address", address: text }
})
const reply = (over: Partial<Message>): Message => ({ ...emptyMessage, response: true, ...over })

/** A server that answers after `delayMs`: with `message`, or with a failure while it is `null`. */
const world = Effect.gen(function* () {
  const server = {
    message: reply({ answers: [address("192.0.2.1", 60)] }) as Message | null,
    delayMs: 100,
    epoch: 0,
    /** What asking comes to. */
    bug: null as "dies" | "throws" | "resolv.conf" | null,
    /** resolv.conf is to be read again. */
    looks: false,
    atOnce: 0,
    asked: [] as Array<string>,
    questions: [] as Array<UpstreamQuestion>
  }
  let running = 0
  const upstream = upstreamMock({
    epoch: () => (server.bug === "resolv.conf" ? Effect.die("a bug") : Effect.sync(() => server.epoch)),
    epochAtOnce: () => (server.looks ? undefined : server.epoch),
    exchange: (set, question, withinMs = 10_000) => {
      if (server.bug === "throws") throw new Error("a bug")
      return Effect.gen(function* () {
        server.asked.push(`${set} ${question.domain}`)
        if (server.bug === "dies") return yield* Effect.die("a bug")
        server.questions.push(question)
        server.atOnce = Math.max(server.atOnce, ++running)
        yield* Effect.sleep(Math.min(server.delayMs, withinMs))
        const { message } = server
        if (message !== null && server.delayMs <= withinMs) return message
        return yield* new ResolutionError({
          resolver: set,
          domain: question.domain,
          reason: new ServerFailure({ detail: "10.0.0.53:53: SERVFAIL" })
        })
      }).pipe(Effect.ensuring(Effect.sync(() => running--)))
    }
  })
  const forwarder = yield* makeDnsForwarder.pipe(Effect.provide(yield* Layer.build(upstream)))
  const askers = new Map(["alice", "bob", "carol"].map((name) => [name, makeAsker(name)]))
  const ask = (domain: string, who = "alice", keep: (address: string) => boolean = () => true, more = {}) =>
    Effect.forkChild(
      awaitLater(
        forwarder.forward(
          askers.get(who)!,
          "system",
          { domain, type: recordType.A, family: 4, reverse: null, ...more },
          4_000,
          keep
        )
      ),
      { startImmediately: true }
    )
  const after = Effect.fnUntraced(function* (ms: number, ...asking: ReadonlyArray<Fiber.Fiber<TunnelAnswer>>) {
    yield* TestClock.adjust(ms)
    return asking.map((fiber) => fiber.pollUnsafe() !== undefined)
  })
  const answered = Effect.fnUntraced(function* (domain: string, who?: string, keep?: (address: string) => boolean) {
    const fiber = yield* ask(domain, who, keep)
    yield* TestClock.adjust(server.delayMs)
    return yield* Fiber.join(fiber)
  })
  /** Asks, and breaks when it is told. */
  const askBadly = (domain: string): void => {
    const question = { domain, type: recordType.A, family: 4, reverse: null } as const
    forwarder.forward(
      askers.get("bob")!,
      "system",
      question,
      4_000
    )(() => {
      throw new Error("a bug")
    })
  }
  return { server, ask, askBadly, after, answered, counters: forwarder.counters }
})

const ttls = (answer: TunnelAnswer) =>
  answer._tag === "Forwarded" ? answer.message.answers.map(({ ttl }) => ttl) : answer._tag
const codeOf = (answer: TunnelAnswer) => ("error" in answer ? answer.error?.code : undefined)

describe("the forwarder", () => {
  it.effect("answers 500 questions at once of one client within a second, 100 ms each, with half of its places", () =>
    Effect.gen(function* () {
      const { server, ask } = yield* world
      const asking = yield* Effect.forEach(
        Array.from({ length: 500 }, (_, n) => `n${n}.test`),
        (name) => ask(name)
      )
      yield* TestClock.adjust("400 millis")
      const answers = yield* Fiber.joinAll(asking)
      assert.isTrue(answers.every(({ _tag }) => _tag === "Forwarded"))
      assert.strictEqual(server.atOnce, 128)
    }).pipe(Effect.scoped)
  )

  it.effect("asks equal questions once, of whichever client; each gets the answer as it may be told", () =>
    Effect.gen(function* () {
      const { server, after, ask, counters } = yield* world
      server.message = reply({ answers: [address("192.0.2.1", 60), address("10.0.0.1", 60)], authenticData: true })
      const outside = (text: string) => !text.startsWith("10.")
      const first = yield* ask("a.test", "alice")
      const second = yield* ask("a.test", "bob", outside)
      assert.deepStrictEqual(yield* after(99, first, second), [false, false])
      assert.deepStrictEqual(yield* after(1, first, second), [true, true])
      const [own, filtered] = [yield* Fiber.join(first), yield* Fiber.join(second)]
      assert.deepStrictEqual(own, { _tag: "Forwarded", message: server.message })
      assert(filtered._tag === "Forwarded")
      assert.deepStrictEqual(filtered.message.answers, [address("192.0.2.1", 60)])
      assert.isFalse(filtered.message.authenticData)
      // From the cache, too.
      const third = yield* Fiber.join(yield* ask("a.test", "carol", outside))
      assert.deepStrictEqual(third, filtered)
      assert.lengthOf(server.asked, 1)
      assert.deepInclude(counters(), { forwards_joined: 1, forwards_cached: 1 })
    }).pipe(Effect.scoped)
  )

  it.effect("answers repeats from what it knows, with the TTL that is left, and asks again after it", () =>
    Effect.gen(function* () {
      const { server, answered } = yield* world
      assert.deepStrictEqual(ttls(yield* answered("a.test")), [60])
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual(ttls(yield* answered("a.test", "bob")), [50])
      yield* TestClock.adjust("50 seconds")
      server.message = reply({ answers: [address("192.0.2.2", 60)] })
      const fresh = yield* answered("a.test")
      assert.deepStrictEqual(fresh._tag === "Forwarded" && fresh.message.answers, [address("192.0.2.2", 60)])
      assert.lengthOf(server.asked, 2)
    }).pipe(Effect.scoped)
  )

  it.effect("believes nothing that servers said which are no longer the set's", () =>
    Effect.gen(function* () {
      const { server, answered } = yield* world
      yield* answered("a.test")
      server.epoch++
      server.message = reply({ rcode: rcode.NXDomain })
      const now = yield* answered("a.test")
      assert.strictEqual(now._tag === "Forwarded" && now.message.rcode, rcode.NXDomain)
    }).pipe(Effect.scoped)
  )

  it.effect("hands DO, CD and AD on, and keeps their answers apart", () =>
    Effect.gen(function* () {
      const { server, after, ask } = yield* world
      const flags = { dnssecOk: true, checkingDisabled: true, authenticData: true }
      const validating = yield* ask("a.test", "alice", undefined, flags)
      const plain = yield* ask("a.test", "alice")
      assert.deepStrictEqual(yield* after(100, validating, plain), [true, true])
      assert.lengthOf(server.questions, 2)
      assert.deepInclude(server.questions[0], flags)
    }).pipe(Effect.scoped)
  )

  it.effect("serves what is past its TTL while the servers are slow or fail, says so, and stops after 30 s", () =>
    Effect.gen(function* () {
      const { server, after, answered, ask, counters } = yield* world
      yield* answered("a.test")
      yield* TestClock.adjust("60 seconds")
      server.delayMs = 3_000
      const slow = yield* ask("a.test")
      assert.deepStrictEqual(yield* after(499, slow), [false])
      assert.deepStrictEqual(yield* after(1, slow), [true])
      const stale = yield* Fiber.join(slow)
      assert.deepStrictEqual([ttls(stale), codeOf(stale)], [[1], 3])
      // One refresh is under way: nobody waits for it again.
      assert.deepStrictEqual(yield* after(0, yield* ask("a.test", "bob")), [true])
      assert.lengthOf(server.asked, 2)
      yield* TestClock.adjust("2500 millis")
      assert.deepStrictEqual(ttls(yield* Fiber.join(yield* ask("a.test"))), [60])

      yield* TestClock.adjust("70 seconds")
      server.message = null
      server.delayMs = 100
      assert.strictEqual(codeOf(yield* answered("a.test")), 3)
      assert.deepStrictEqual(yield* after(0, yield* ask("a.test")), [true])
      assert.lengthOf(server.asked, 3)
      yield* TestClock.adjust("20 seconds")
      const gone = yield* answered("a.test")
      assert.deepStrictEqual([gone._tag, codeOf(gone)], ["ServerFailure", 23])
      assert.strictEqual(counters().forwards_stale, 4)
    }).pipe(Effect.scoped)
  )

  it.effect("says that a stale absence is stale, too", () =>
    Effect.gen(function* () {
      const { server, answered } = yield* world
      const soa = { mname: "m", rname: "r", serial: 1, refresh: 1, retry: 1, expire: 1, minimum: 10 }
      const authorities = [
        { name: "test", type: recordType.SOA, class: 1, ttl: 10, data: { _tag: "Soa", ...soa } as const }
      ]
      server.message = reply({ rcode: rcode.NXDomain, authorities })
      yield* answered("a.test")
      yield* answered("a.test")
      assert.lengthOf(server.asked, 1)
      yield* TestClock.adjust("10 seconds")
      server.message = null
      assert.strictEqual(codeOf(yield* answered("a.test")), 19)
    }).pipe(Effect.scoped)
  )

  it.effect("remembers for a second that nobody answered; says why without naming servers", () =>
    Effect.gen(function* () {
      const { server, answered, ask } = yield* world
      server.message = null
      const failed = yield* answered("a.test")
      assert.deepStrictEqual(failed, {
        _tag: "ServerFailure",
        error: { code: 23, text: "the servers could not answer" }
      })
      assert.strictEqual(codeOf(yield* Fiber.join(yield* ask("a.test"))), 13)
      assert.lengthOf(server.asked, 1)
      yield* TestClock.adjust("1 second")
      yield* answered("a.test")
      assert.lengthOf(server.asked, 2)
    }).pipe(Effect.scoped)
  )

  it.effect("lets questions of one client wait for places while another's goes at once, whatever hangs", () =>
    Effect.gen(function* () {
      const { server, after, ask, counters } = yield* world
      server.delayMs = Infinity
      const hanging = yield* Effect.forEach(
        Array.from({ length: 1_500 }, (_, n) => n),
        (n) => ask(`n${n}.test`)
      )
      assert.strictEqual(server.asked.length, 128)
      // No room to wait: told at once.
      assert.deepStrictEqual(yield* after(0, hanging[128 + 1_024]!), [true])
      const refused = yield* Fiber.join(hanging[128 + 1_024]!)
      assert.deepStrictEqual(codeOf(refused), 0)
      yield* ask("other.test", "bob")
      assert.strictEqual(server.asked.at(-1), "system other.test")

      // Nobody waits longer than 2 s for a place, or 4 s for an answer.
      assert.deepStrictEqual(yield* after(1_999, hanging[200]!), [false])
      assert.deepStrictEqual(yield* after(1, hanging[200]!), [true])
      assert.deepStrictEqual(yield* after(1_999, hanging[0]!), [false])
      assert.deepStrictEqual(yield* after(1, hanging[0]!), [true])
      const answers = yield* Fiber.joinAll(hanging)
      assert.isTrue(answers.every(({ _tag }) => _tag === "ServerFailure"))
      assert.strictEqual(counters().forwards_refused, 1_500 - 128)
      server.delayMs = 100
      const healed = yield* ask("healed.test")
      assert.deepStrictEqual(yield* after(100, healed), [true])
    }).pipe(Effect.scoped)
  )

  it.effect("asks for who joined a question that waits in another's line when his own turn comes", () =>
    Effect.gen(function* () {
      const { server, after, ask } = yield* world
      server.delayMs = 4_000
      for (let n = 0; n < 200; n++) yield* ask(`n${n}.test`)
      const queued = yield* ask("shared.test", "alice")
      const joined = yield* ask("shared.test", "bob")
      assert.strictEqual(server.asked.at(-1), "system shared.test")
      assert.deepStrictEqual(yield* after(4_000, queued, joined), [true, true])
      assert.strictEqual(server.asked.filter((asked) => asked === "system shared.test").length, 1)
    }).pipe(Effect.scoped)
  )

  it.effect("says that it failed where a bug is met, and goes on with all of its places", () =>
    Effect.gen(function* () {
      const { server, answered, ask } = yield* world
      for (const bug of ["dies", "throws"] as const) {
        server.bug = bug
        for (let n = 0; n < 300; n++) {
          const told = yield* Fiber.join(yield* ask(`${bug}${n}.test`))
          assert.deepStrictEqual([told._tag, codeOf(told)], ["ServerFailure", 23])
        }
        server.bug = null
        assert.deepStrictEqual(ttls(yield* answered(`${bug}.test`)), [60])
      }
    }).pipe(Effect.scoped)
  )

  it.effect("tells the others, and goes on, where one who is told breaks, or resolv.conf cannot be looked at", () =>
    Effect.gen(function* () {
      const { server, answered, ask, askBadly } = yield* world
      askBadly("a.test")
      assert.deepStrictEqual(ttls(yield* answered("a.test")), [60])
      // Told during the call.
      server.bug = "throws"
      askBadly("b.test")
      server.bug = null
      assert.deepStrictEqual(ttls(yield* answered("c.test")), [60])
      server.looks = true
      server.bug = "resolv.conf"
      assert.isTrue(Exit.hasDies(yield* Fiber.await(yield* ask("d.test"))))
    }).pipe(Effect.scoped)
  )

  it.effect("does not ask what nobody waits for any more", () =>
    Effect.gen(function* () {
      const { server, answered, ask, counters } = yield* world
      const running = yield* Effect.forEach(
        Array.from({ length: 128 }, (_, n) => n),
        (n) => ask(`n${n}.test`)
      )
      const gone = yield* ask("gone.test")
      yield* Fiber.interrupt(gone)
      yield* TestClock.adjust("1 second")
      yield* Fiber.joinAll(running)
      assert.notInclude(server.asked, "system gone.test")
      // Nothing is left of it.
      yield* answered("gone.test")
      assert.strictEqual(counters().forwards_joined, 0)
    }).pipe(Effect.scoped)
  )
})
