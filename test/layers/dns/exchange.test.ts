/** One question at the servers of a plan, below what a set's name decides. */
import * as dgram from "node:dgram"
import { assert, describe, it, vi } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Schedule from "effect/Schedule"
import type { AskPlan } from "../../../src/dns/askPlan.ts"
import { recordType } from "../../../src/dns/registry.ts"
import { ServerMemory } from "../../../src/dns/serverMemory.ts"
import { formatServer, type ResolverServer } from "../../../src/model/ResolverSet.ts"
import { exchange, type ExchangeParts } from "../../../layers/dns/exchange.ts"
import { UdpSockets } from "../../../layers/dns/UdpSockets.ts"
import { awaitLater } from "../../../src/loops/later.ts"
import { makeTimers } from "../../../src/loops/timers.ts"
import { oddDnsServer, replyTo } from "../../support/oddDnsServer.ts"

type TestParts = Omit<ExchangeParts, "sockets" | "timers">

const partsWith = (memory: ServerMemory): TestParts => ({
  memory,
  counters: {
    queries: 0,
    resends: 0,
    tcp_queries: 0,
    answers: 0,
    timeouts: 0,
    ignored: 0,
    without_edns: 0,
    case_changed: 0,
    truncated_used: 0
  },
  overStream: () => (tell) => (tell("ECONNREFUSED"), () => undefined),
  tcpMs: 1_000,
  unreachable: () => undefined,
  onDefect: (defect) => {
    throw defect
  }
})

const planOf = (servers: ReadonlyArray<ResolverServer>, over: Partial<AskPlan> = {}): AskPlan => ({
  servers,
  order: "fallback",
  first: 0,
  resendMs: 50,
  attempts: Infinity,
  noAaaa: false,
  note: null,
  ...over
})

const ask = Effect.fnUntraced(function* (parts: TestParts, plan: AskPlan, withinMs = 20_000) {
  const timers = yield* makeTimers
  const sockets = new UdpSockets(timers)
  yield* Effect.addFinalizer(() => Effect.sync(() => sockets.closeAll()))
  const question = { domain: "app.test", type: recordType.A }
  const outcome = yield* awaitLater(exchange({ ...parts, timers, sockets }, plan, question, withinMs, null))
  return outcome._tag === "Answer" ? outcome.message : yield* outcome.reason
}, Effect.scoped)

/** The next sockets cannot be had, the shared one and one of its own, as on a host without IPv6: Node says so at once. */
const withoutNextSockets = Effect.acquireRelease(
  Effect.sync(() => {
    const refuse = function (this: dgram.Socket): dgram.Socket {
      this.emit("error", Object.assign(new Error("bind EAFNOSUPPORT ::"), { code: "EAFNOSUPPORT" }))
      return this
    }
    return vi.spyOn(dgram.Socket.prototype, "bind").mockImplementationOnce(refuse).mockImplementationOnce(refuse)
  }),
  (spy) => Effect.sync(() => spy.mockRestore())
)

describe("an exchange", () => {
  it.live("goes on to the next server where the host has no socket for the first one", () =>
    Effect.gen(function* () {
      const { server } = yield* oddDnsServer(({ query }) => [replyTo(query)])
      yield* withoutNextSockets
      const useless: Array<string> = []
      const parts: TestParts = {
        ...partsWith(new ServerMemory()),
        unreachable: (at, cause) => void useless.push(`${at}: ${cause}`)
      }
      const message = yield* ask(parts, planOf([{ transport: "udp", address: "::1", port: 53 }, server]))
      assert.strictEqual(message.answers.length, 1)
      assert.deepStrictEqual(useless, ["[::1]:53: this host has no IPv6 (EAFNOSUPPORT)"])
    })
  )

  it.live("asks each server as often as the plan says, and is over then", () =>
    Effect.gen(function* () {
      const silent = [yield* oddDnsServer(() => []), yield* oddDnsServer(() => [])]
      const plan = planOf(
        silent.map(({ server }) => server),
        { attempts: 2 }
      )
      const reason = yield* Effect.flip(ask(partsWith(new ServerMemory()), plan))
      assert.strictEqual(reason._tag, "Timeout")
      assert.deepStrictEqual(
        silent.map(({ asked }) => asked.length),
        [2, 2]
      )
    })
  )

  it.live("asks by datagram at each turn, also where it tries TCP: the server may be coming back", () =>
    Effect.gen(function* () {
      let heard = 0
      const comingBack = yield* oddDnsServer(({ query }) => (++heard < 3 ? [] : [replyTo(query)]))
      const parts = partsWith(new ServerMemory())
      const message = yield* ask(parts, planOf([comingBack.server], { attempts: 3 }))
      assert.strictEqual(message.answers.length, 1)
      assert.deepStrictEqual([parts.counters.queries, parts.counters.tcp_queries], [3, 1])
    })
  )

  it.live(
    "asks a silent server again 20 times a second at most, however many wait, and all are answered once it is back",
    () =>
      Effect.gen(function* () {
        let back = false
        const { asked, server } = yield* oddDnsServer(({ query }) => (back ? [replyTo(query)] : []))
        const memory = new ServerMemory()
        memory.silent(formatServer(server), 0, 0)
        const parts = partsWith(memory)
        const began = Date.now()
        const waiting = yield* Effect.forEach(Array.from({ length: 40 }), () => ask(parts, planOf([server])), {
          concurrency: "unbounded"
        }).pipe(Effect.forkChild)
        yield* Effect.suspend(() => (asked.length > 45 ? Effect.void : Effect.fail("not yet"))).pipe(
          Effect.retry(Schedule.spaced("10 millis").pipe(Schedule.upTo({ times: 1_000 })))
        )
        assert.isAtMost(asked.length, 40 + Math.ceil((Date.now() - began) / 50) + 1)
        back = true
        const messages = yield* Fiber.join(waiting)
        assert.isTrue(messages.every(({ answers }) => answers.length === 1))
      })
  )

  it.live("asks a living server twice before one that is known to be silent", () =>
    Effect.gen(function* () {
      const dead = yield* oddDnsServer(() => [])
      let heard = 0
      const lossy = yield* oddDnsServer(({ query }) => (heard++ === 0 ? [] : [replyTo(query)]))
      const memory = new ServerMemory()
      memory.silent(formatServer(dead.server), 0, 1)
      yield* ask(partsWith(memory), planOf([dead.server, lossy.server]))
      assert.deepStrictEqual([dead.asked.length, lossy.asked.length], [0, 2])
    })
  )

  it.live("with all servers known to be silent still asks each, in the order of the list", () =>
    Effect.gen(function* () {
      const order: Array<string> = []
      const dead = yield* oddDnsServer(() => (order.push("dead"), []))
      const back = yield* oddDnsServer(({ query }) => (order.push("back"), [replyTo(query)]))
      const memory = new ServerMemory()
      for (const { server } of [dead, back]) memory.silent(formatServer(server), 0, 1)
      yield* ask(partsWith(memory), planOf([dead.server, back.server]))
      assert.deepStrictEqual(order, ["dead", "back"])
      assert.isNull(memory.of(formatServer(back.server)).silentSince)
    })
  )

  it.live("does without EDNS for a server that is known to, and over TCP where that is known", () =>
    Effect.gen(function* () {
      const { asked, server } = yield* oddDnsServer(({ query }) => [replyTo(query)])
      const memory = new ServerMemory()
      memory.failsEdns(formatServer(server), 0)
      yield* ask(partsWith(memory), planOf([server]))
      assert.isNull(asked[0]!.query.edns)
      memory.failsDatagrams(formatServer(server), Infinity, 0)
      const streams: Array<string> = []
      const parts: TestParts = {
        ...partsWith(memory),
        overStream: (to) => () => (streams.push(formatServer(to)), () => undefined)
      }
      yield* ask(parts, planOf([server]))
      // On a busy machine it is sent again before UDP has answered after all.
      assert.deepStrictEqual([...new Set(streams)], [formatServer(server)])
      assert.isNull(memory.of(formatServer(server)).tcpOnlySince)
    })
  )
})
