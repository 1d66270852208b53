/** A resolver whose servers are silent, dead or wrong. */
import * as dgram from "node:dgram"
import * as path from "node:path"
import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { recordType } from "../../../src/dns/registry.ts"
import { Upstream } from "../../../src/dns/Upstream.ts"
import type { ResolverOptions } from "../../../layers/dns/Resolver.ts"
import type { DnsTestServer } from "../../support/dnsServer.ts"
import { dnsServer } from "../../support/dnsServer.ts"
import {
  overUdp,
  using,
  resolve,
  reasonOf,
  timed,
  deadServer,
  temporaryFolder,
  write
} from "../../support/liveResolver.ts"

describe("Resolver, servers failing", () => {
  const quick = { resendMs: 50, totalMs: 300 }

  it.live("however many wait, what is sent again leaves from a port of its own", () =>
    Effect.gen(function* () {
      const server = yield* dnsServer({ mode: "blackhole" })
      const names = Array.from({ length: 40 }, (_, n) => `n${n}.test`)
      yield* Upstream.use(
        (upstream) =>
          Effect.forEach(names, (domain) => Effect.exit(upstream.exchange("corp", { domain, type: recordType.A })), {
            concurrency: "unbounded"
          })
        // No more than are kept open: no port is given twice.
      ).pipe(using([server], { resendMs: 500, totalMs: 1_700 }))
      const datagrams = server.queries.filter((q) => q.transport === "udp")
      const again = names.flatMap((name) => datagrams.filter((q) => q.name === name).slice(1))
      assert.isAtLeast(again.length, 40)
      for (const { port } of again)
        assert.lengthOf(
          datagrams.filter((q) => q.port === port),
          1
        )
    })
  )

  it.live("the query is sent again each interval, each time from another port, until the time is over: Timeout", () =>
    Effect.gen(function* () {
      const server = yield* dnsServer({ mode: "blackhole" })

      const [reason, ms] = yield* timed(reasonOf("app.test").pipe(using([server], quick)))

      assert.isTrue(reason._tag === "Timeout" && reason.afterMs === 300)
      assert.isAtLeast(ms, 295)
      assert.isBelow(ms, 1500)
      assert.isAtLeast(server.count("app.test", recordType.A), 3)
      assert.isAtMost(server.count("app.test", recordType.A), 7)
      const datagrams = server.queries.filter((q) => q.transport === "udp")
      assert.strictEqual(new Set(datagrams.map((q) => q.port)).size, datagrams.length)
      assert.isAtLeast(new Set(datagrams.map((q) => q.id)).size, datagrams.length - 1)
    })
  )

  it.live("a server that is back in time answers the repeated query", () =>
    Effect.gen(function* () {
      const server = yield* dnsServer({ mode: "blackhole" })
      const lookup = yield* Effect.forkChild(resolve("app.test").pipe(using([server], { ...quick, totalMs: 3000 })))
      while (server.queries.length < 2) yield* Effect.sleep(5)
      server.setZone({ "app.test": { A: ["10.0.0.1"] } })
      assert.deepStrictEqual((yield* Fiber.join(lookup)).addresses, ["10.0.0.1"])
    })
  )

  it.live("a late answer of a slow server still counts", () =>
    Effect.gen(function* () {
      const server = yield* dnsServer({ "app.test": { A: ["10.0.0.1"], delayMs: 170 } })
      assert.deepStrictEqual(
        (yield* resolve("app.test").pipe(using([server], { ...quick, totalMs: 5000 }))).addresses,
        ["10.0.0.1"]
      )
      assert.isAbove(server.count("app.test", recordType.A), 1)
    })
  )

  it.live("servers are asked in turn: after a silent one the next", () =>
    Effect.gen(function* () {
      const silent = yield* dnsServer({ mode: "blackhole" })
      const good = yield* dnsServer({ "app.test": { A: ["10.0.0.1"] } })
      assert.deepStrictEqual((yield* resolve("app.test").pipe(using([silent, good], { resendMs: 300 }))).addresses, [
        "10.0.0.1"
      ])
      assert.isAtLeast(silent.count("app.test", recordType.A), 1)
      assert.strictEqual(good.count("app.test", recordType.A), 1)
    })
  )

  it.live("a silent server costs the first question only, and is first again once it is back", () =>
    Effect.gen(function* () {
      const zone = { "*": { A: ["10.0.0.1"] } } as const
      const silent = yield* dnsServer({ mode: "blackhole" })
      const good = yield* dnsServer(zone)
      yield* Effect.gen(function* () {
        const upstream = yield* Upstream
        const ask = timed(upstream.exchange("corp", { domain: "app.test", type: recordType.A }))
        const [, first] = yield* ask
        assert.isAtLeast(first, 295)
        // Then it is asked in the background only.
        const began = yield* Clock.currentTimeMillis
        for (let i = 0; i < 20; i++) yield* ask
        assert.isBelow((yield* Clock.currentTimeMillis) - began, 20 * 250)
        assert.strictEqual(good.queries.length, 21)

        silent.setZone(zone)
        // It is found, and is first again, as it is listed.
        for (let before = -1; before !== good.queries.length; yield* Effect.sleep(50)) {
          before = good.queries.length
          yield* ask
        }
      }).pipe(using([silent, good], { resendMs: 300 }))
    })
  )

  it.live(
    "with fastest the quickest is found by probes and asked first; another one takes over when it slows down",
    () =>
      Effect.gen(function* () {
        const zone = (delayMs: number) => ({ "*": { A: ["10.0.0.1"], delayMs } })
        const slow = yield* dnsServer(zone(250))
        const quick = yield* dnsServer(zone(0))
        const sets = { corp: { ...overUdp([slow, quick]), order: "fastest" as const } }
        yield* Effect.gen(function* () {
          const upstream = yield* Upstream
          const ask = upstream.exchange("corp", { domain: "app.test", type: recordType.A })
          yield* ask
          // Each question that goes to one server only tells which one is first.
          const goesTo = (server: DnsTestServer, other: DnsTestServer) =>
            Effect.gen(function* () {
              for (let i = 0; ; i++) {
                assert.isBelow(i, 200, "asked first")
                const [mine, others] = [server.queries.length, other.queries.length]
                yield* ask
                if (server.queries.length > mine && other.queries.length === others) return
                yield* Effect.sleep(20)
              }
            })
          yield* goesTo(quick, slow)
          quick.setZone(zone(600))
          yield* goesTo(slow, quick)
        }).pipe(using([], { sets }))
      })
  )

  it.live("with no-aaaa in resolv.conf nobody is asked for IPv6 addresses", () =>
    Effect.gen(function* () {
      const resolvConf = path.join(yield* temporaryFolder, "resolv.conf")
      yield* write(resolvConf, "nameserver 127.77.9.9\noptions no-aaaa\n")
      yield* Effect.gen(function* () {
        const upstream = yield* Upstream
        const ipv6 = yield* upstream.exchange("system", { domain: "app.test", type: recordType.AAAA })
        assert.deepStrictEqual([ipv6.rcode, ipv6.answers.length], [0, 0])
        assert.strictEqual((yield* upstream.counters)["queries"], 0)
      }).pipe(using([], { resolvConf }))
    })
  )

  it.live("the second server's NXDOMAIN waits for a first one of which nothing is known yet, not for a dead one", () =>
    Effect.gen(function* () {
      const knowing = yield* dnsServer({ "app.test": { A: ["10.0.0.1"], delayMs: 450 } })
      const ignorant = yield* dnsServer({ mode: "nxdomain" })
      const dead = yield* dnsServer({ mode: "blackhole" })
      assert.deepStrictEqual((yield* resolve("app.test").pipe(using([knowing, ignorant]))).addresses, ["10.0.0.1"])
      assert.isAtLeast(ignorant.queries.length, 1)
      yield* Effect.gen(function* () {
        assert.strictEqual((yield* reasonOf("app.test"))._tag, "NameNotFound")
        // From then on at once.
        const [reason, ms] = yield* timed(reasonOf("app.test"))
        assert.strictEqual(reason._tag, "NameNotFound")
        assert.isBelow(ms, 900)
      }).pipe(using([dead, ignorant]))
    })
  )

  it.live("SERVFAIL, REFUSED, nonsense and a dead server lead to the next at once", () =>
    Effect.gen(function* () {
      const dead = yield* deadServer
      const servfail = yield* dnsServer({ mode: "servfail" })
      const refused = yield* dnsServer({ mode: "refused" })
      const garbage = yield* dnsServer({ "*": { mode: "garbage" } })
      const good = yield* dnsServer({ "app.test": { A: ["10.0.0.1"] } })

      const servers = [dead, servfail, refused, garbage, good]
      const [answer, ms] = yield* timed(resolve("app.test").pipe(using(servers)))

      assert.deepStrictEqual(answer.addresses, ["10.0.0.1"])
      assert.isBelow(ms, 900)
    })
  )

  it.live("all servers failing is ServerFailure that names each with its cause", () =>
    Effect.gen(function* () {
      const dead = yield* deadServer
      const servfail = yield* dnsServer({ mode: "servfail" })
      const garbage = yield* dnsServer({ "*": { mode: "garbage" } })

      const [reason, ms] = yield* timed(reasonOf("app.test").pipe(using([dead, servfail, garbage])))

      assert.isTrue(reason._tag === "ServerFailure")
      assert.strictEqual(
        reason._tag === "ServerFailure" ? reason.detail : "",
        `127.0.0.1:${dead.port}: no DNS server listens there (ECONNREFUSED); ` +
          `127.0.0.1:${servfail.port}: SERVFAIL; 127.0.0.1:${garbage.port}: malformed answer (NameTruncated)`
      )
      assert.isBelow(ms, 900)
    })
  )

  it.live("a server that fails does not end the wait for a silent one; the failure is told at the end", () =>
    Effect.gen(function* () {
      const servfail = yield* dnsServer({ mode: "servfail" })
      const silent = yield* dnsServer({ mode: "blackhole" })
      const [reason, ms] = yield* timed(reasonOf("app.test").pipe(using([servfail, silent], quick)))
      assert.isAtLeast(ms, 295)
      assert.match(reason._tag === "ServerFailure" ? reason.detail : "", /: SERVFAIL; 127.0.0.1:[0-9]+: no answer$/)
      assert.strictEqual(servfail.count("app.test", recordType.A), 1)
      assert.isAbove(silent.count("app.test", recordType.A), 1)
    })
  )

  it.live("a dead local server fails fast: NoResolver", () =>
    Effect.gen(function* () {
      const dead = yield* deadServer
      yield* Effect.gen(function* () {
        // The first use pays for loading code.
        yield* reasonOf("warm.test")
        const times: Array<number> = []
        for (let i = 0; i < 5; i++) {
          const [reason, ms] = yield* timed(reasonOf("app.test"))
          assert.strictEqual(reason._tag, "NoResolver")
          times.push(ms)
        }
        // The best of five: the machine may be busy.
        assert.isBelow(Math.min(...times), 100)
      }).pipe(using([dead]))
    })
  )

  it.live("truncation without TCP is a failure of that server", () =>
    Effect.gen(function* () {
      const udpOnly = yield* Effect.acquireRelease(
        Effect.promise(
          () =>
            new Promise<dgram.Socket>((resolve) => {
              const socket = dgram.createSocket("udp4")
              socket.on("message", (bytes, from) => {
                bytes[2] = 0x82
                socket.send(bytes, from.port, from.address)
              })
              socket.bind(0, "127.0.0.1", () => resolve(socket))
            })
        ),
        (socket) => Effect.sync(() => socket.close())
      )
      const server = { address: "127.0.0.1", port: udpOnly.address().port }

      const reason = yield* reasonOf("app.test").pipe(using([server]))

      assert.match(reason._tag === "ServerFailure" ? reason.detail : "", /truncated over UDP, over TCP ECONNREFUSED/)
    })
  )

  it.live("a server silent over TCP is given up after the TCP time", () =>
    Effect.gen(function* () {
      const server = yield* dnsServer({ mode: "tcp-blackhole" })
      const reason = yield* reasonOf("app.test").pipe(using([server], { tcpMs: 60 }))
      assert.match(reason._tag === "ServerFailure" ? reason.detail : "", /over TCP no answer within 60 ms/)
    })
  )

  it.live("an unknown set, an empty set and a system without servers are NoResolver with the cause", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      const detail = (resolver: string, options: Partial<ResolverOptions> = {}) =>
        reasonOf("app.test", resolver).pipe(
          using([], options),
          Effect.map((reason) => (reason._tag === "NoResolver" ? reason.detail : reason._tag))
        )
      assert.strictEqual(yield* detail("lab"), "there is no resolver set lab")
      assert.strictEqual(yield* detail("constructor"), "there is no resolver set constructor")
      assert.strictEqual(yield* detail("corp"), "the resolver set corp has no server")
      const resolvConf = path.join(folder, "resolv.conf")
      assert.strictEqual(yield* detail("system", { resolvConf: folder }), `${folder} cannot be read (not a file)`)
      // As glibc does: the host itself is asked, where nobody listens here.
      const itself = `${resolvConf} names no server; 127.0.0.1:53: no DNS server listens there (ECONNREFUSED)`
      assert.strictEqual(yield* detail("system", { resolvConf }), itself)
      yield* write(resolvConf, "search test\n")
      assert.strictEqual(yield* detail("system", { resolvConf }), itself)
    })
  )
})
