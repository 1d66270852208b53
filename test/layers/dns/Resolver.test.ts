import * as dgram from "node:dgram"
import * as fs from "node:fs/promises"
import * as os from "node:os"
import * as path from "node:path"
import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import { TestClock } from "effect/testing"
import { encode } from "../../../src/dns/encode.ts"
import { emptyMessage } from "../../../src/dns/message.ts"
import { rcode, recordType } from "../../../src/dns/registry.ts"
import { Upstream } from "../../../src/dns/Upstream.ts"
import type { ResolverSet } from "../../../src/model/ResolverSet.ts"
import { type Answer, NoResolver, ResolutionError, Resolver } from "../../../src/resolution/Resolver.ts"
import type { ResolverOptions } from "../../../layers/dns/Resolver.ts"
import * as ResolverLive from "../../../layers/dns/Resolver.ts"
import { layer as setProbe } from "../../../layers/dns/setProbe.ts"
import * as UpstreamLive from "../../../layers/dns/Upstream.ts"
import { upstreamMock } from "../../support/upstreamMock.ts"
import type { DnsTestServer } from "../../support/dnsServer.ts"
import { dnsServer } from "../../support/dnsServer.ts"
import { SetProbe } from "../../../src/resolution/SetProbe.ts"
import { withLogLines } from "../../support/standalone.ts"

const live = (options: ResolverOptions) =>
  ResolverLive.layer(options).pipe(Layer.provideMerge(UpstreamLive.layer(options)))

const empty = os.devNull

interface DnsServerAt {
  readonly address: string
  readonly port: number
}

const overUdp = (servers: ReadonlyArray<DnsServerAt>): ResolverSet => ({
  servers: servers.map(({ address, port }) => ({ transport: "udp", address, port })),
  order: "fallback"
})

/** Runs against the given servers, as the set `corp`. */
const using =
  (servers: ReadonlyArray<DnsServerAt>, options: Partial<ResolverOptions> = {}) =>
  <A, E>(body: Effect.Effect<A, E, Resolver | Upstream>): Effect.Effect<A, E> =>
    Effect.provide(body, live({ sets: { corp: overUdp(servers) }, hosts: empty, resolvConf: empty, ...options }))

const resolve = (domain: string, resolver = "corp"): Effect.Effect<Answer, ResolutionError, Resolver> =>
  Resolver.use((r) => r.resolve({ resolver, domain }))

const reasonOf = (domain: string, resolver = "corp") =>
  Effect.map(Effect.flip(resolve(domain, resolver)), (error) => error.reason)

const timed = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    const start = yield* Clock.currentTimeMillis
    const value = yield* effect
    return [value, (yield* Clock.currentTimeMillis) - start] as const
  })

/** A port of the loopback where nothing listens any more. */
const deadServer = Effect.promise(
  () =>
    new Promise<DnsServerAt>((resolve) => {
      const socket = dgram.createSocket("udp4")
      socket.bind(0, "127.0.0.1", () => {
        const { port } = socket.address()
        socket.close(() => resolve({ address: "127.0.0.1", port }))
      })
    })
)

const temporaryFolder = Effect.acquireRelease(
  Effect.promise(() => fs.mkdtemp(path.join(os.tmpdir(), "sallyport-dns-"))),
  (folder) => Effect.promise(() => fs.rm(folder, { recursive: true }))
)

const write = (file: string, text: string) => Effect.promise(() => fs.writeFile(file, text))

const asks = (server: DnsTestServer, type: number): number => server.queries.filter((q) => q.type === type).length

describe("Upstream, its log", () => {
  it.live("has no line for a name that never answers beside others that do, and two for servers that fall silent", () =>
    withLogLines((lines) =>
      Effect.gen(function* () {
        const server = yield* dnsServer({ "dead.test": { mode: "blackhole" }, "*": { A: ["10.0.0.1"] } })
        yield* Effect.gen(function* () {
          const upstream = yield* Upstream
          const ask = (name: string) => Effect.exit(upstream.exchange("corp", { domain: name, type: recordType.A }))
          for (let n = 0; n < 5; n++) {
            yield* Effect.all([ask("dead.test"), ask("app.test")], { concurrency: "unbounded" })
          }
          assert.deepStrictEqual(lines, [])

          server.setZone({ "*": { mode: "blackhole" } })
          yield* Effect.all([ask("app.test"), ask("git.test")], { concurrency: "unbounded" })
          server.setZone({ "*": { A: ["10.0.0.1"] } })
          yield* ask("app.test")
          assert.strictEqual(lines.length, 2)
        }).pipe(using([server], { resendMs: 50, totalMs: 200 }))
      })
    )
  )
})

describe("Upstream, servers out of reach", () => {
  it.live("are told once, and cost nothing while another one answers", () =>
    withLogLines((lines) =>
      Effect.gen(function* () {
        const server = yield* dnsServer({ "*": { A: ["10.0.0.1"] } })
        yield* Effect.gen(function* () {
          const upstream = yield* Upstream
          const began = performance.now()
          for (let n = 0; n < 4; n++) yield* upstream.exchange("corp", { domain: "app.test", type: recordType.A })
          // Less than one turn of asking again.
          assert.isBelow(performance.now() - began, 1_000)
          assert.strictEqual(lines.length, 1)
          assert.match(lines[0]!, /the DNS server 127\.0\.0\.1:9 is of no use \(.*\): the others of corp are asked/)
        }).pipe(using([{ address: "127.0.0.1", port: 9 }, server]))
      })
    )
  )
})

describe("the harmless question whether a resolver set lives", () => {
  it.live("is answered by whatever comes back, and not by silence or where nobody listens", () =>
    Effect.gen(function* () {
      const server = yield* dnsServer({ mode: "refused" })
      const lives = Effect.flatMap(SetProbe, (probe) => probe("corp")).pipe(Effect.provide(setProbe))
      yield* Effect.gen(function* () {
        assert.isTrue(yield* lives)
        server.setZone({ mode: "nxdomain" })
        assert.isTrue(yield* lives)
        server.setZone({ mode: "blackhole" })
        assert.isFalse(yield* lives)
        // Never the root: hosts ban who asks for it.
        assert.deepStrictEqual([...new Set(server.queries.map(({ name }) => name))], ["probe.invalid"])
      }).pipe(using([server], { resendMs: 50, totalMs: 200 }))
      assert.isFalse(yield* lives.pipe(using([yield* deadServer])))
    })
  )
})

describe("Resolver, answers", () => {
  it.live("gives both families with the smallest TTL, from one query each, from different ports", () =>
    Effect.gen(function* () {
      const server = yield* dnsServer({ "app.test": { A: ["10.0.0.2", "10.0.0.1"], AAAA: ["fd00::1"], ttl: 7 } })

      const answer = yield* resolve("app.test").pipe(using([server]))

      assert.deepStrictEqual(answer, { addresses: ["10.0.0.2", "10.0.0.1", "fd00::1"], ttlSeconds: 7 })
      assert.deepStrictEqual([asks(server, recordType.A), asks(server, recordType.AAAA)], [1, 1])
      assert.strictEqual(new Set(server.queries.map((q) => q.port)).size, 2)
      assert.isTrue(server.queries.every((q) => q.edns && q.transport === "udp"))
    })
  )

  it.live("asks for one family where the name is about one, also in the hosts file", () =>
    Effect.gen(function* () {
      const server = yield* dnsServer({ "app.test": { A: ["10.0.0.1"], AAAA: ["fd00::1"] } })
      const folder = yield* temporaryFolder
      const hosts = path.join(folder, "hosts")
      yield* write(hosts, "10.0.0.3 listed.test\n")
      const ask = (domain: string, family: 4 | 6, resolver = "corp") =>
        Resolver.use((r) => Effect.flip(Effect.flip(r.resolve({ resolver, domain, family })))).pipe(
          using([server], { hosts })
        )
      assert.deepStrictEqual((yield* ask("app.test", 6)).addresses, ["fd00::1"])
      assert.strictEqual(asks(server, recordType.A), 0)
      assert.deepStrictEqual((yield* ask("app.test", 4)).addresses, ["10.0.0.1"])
      assert.deepStrictEqual((yield* ask("listed.test", 4, "system")).addresses, ["10.0.0.3"])
      const none = yield* Effect.flip(ask("listed.test", 6, "system"))
      assert.strictEqual(none.reason._tag, "NoAddresses")
    })
  )

  it.live("works over IPv6", () =>
    Effect.gen(function* () {
      const server = yield* dnsServer({ "app.test": { A: ["10.0.0.1"] } }, { address: "::1" })
      assert.deepStrictEqual((yield* resolve("app.test").pipe(using([server]))).addresses, ["10.0.0.1"])
    })
  )

  it.live("an alias that the server does not follow is asked for; one without end is a failure", () =>
    Effect.gen(function* () {
      const server = yield* dnsServer({
        "app.test": { CNAME: "outside.example", ttl: 9 },
        "loop.test": { CNAME: "loop.example" }
      })
      server.setZone({
        "app.test": { CNAME: "outside.example", ttl: 9 },
        "*": { A: ["10.0.0.7"], AAAA: [], ttl: 50, negativeTtl: 50 }
      })
      const answer = yield* resolve("app.test").pipe(using([server]))
      assert.deepStrictEqual(answer, { addresses: ["10.0.0.7"], ttlSeconds: 9 })

      server.setZone({ "*": { CNAME: "next.example" }, "next.example": { CNAME: "other.example" } })
      assert.strictEqual((yield* reasonOf("a.test").pipe(using([server])))._tag, "ServerFailure")
    })
  )

  it.live("an alias that leaves the set's zone is asked for where it belongs, or of the system's servers", () =>
    Effect.gen(function* () {
      const corp = yield* dnsServer({
        "git.corp.test": { CNAME: "lb.example.net", ttl: 9 },
        "lab.corp.test": { CNAME: "box.lab.test" },
        "gone.corp.test": { CNAME: "no.example.net" },
        "sister.corp.test": { CNAME: "no.corp.test" },
        "listed.corp.test": { CNAME: "host.example.net" },
        "*": { mode: "refused" },
        "no.corp.test": { mode: "nxdomain" },
        "box.lab.test": { A: ["10.6.6.6"] }
      })
      const lab = yield* dnsServer({ "box.lab.test": { A: ["10.0.0.2"] } })
      const system = yield* dnsServer({ "lb.example.net": { A: ["10.0.0.1"] }, "*": { mode: "nxdomain" } })
      const folder = yield* temporaryFolder
      const hosts = path.join(folder, "hosts")
      yield* write(hosts, "10.0.0.3 host.example.net\n")
      const sets = { corp: overUdp([corp]), lab: overUdp([lab]), system: overUdp([system]) }
      const setOf = (domain: string) => (domain.endsWith(".lab.test") ? "lab" : null)
      yield* Effect.gen(function* () {
        assert.deepStrictEqual(yield* resolve("git.corp.test"), { addresses: ["10.0.0.1"], ttlSeconds: 9 })
        assert.deepStrictEqual((yield* resolve("lab.corp.test")).addresses, ["10.0.0.2"])
        assert.deepStrictEqual((yield* resolve("listed.corp.test")).addresses, ["10.0.0.3"])
        assert.strictEqual((yield* reasonOf("gone.corp.test"))._tag, "NameNotFound")
        const before = system.queries.length
        assert.strictEqual((yield* reasonOf("sister.corp.test"))._tag, "NameNotFound")
        assert.strictEqual(system.queries.length, before)
      }).pipe(Effect.provide(live({ sets, hosts, resolvConf: empty, setOf })))
    })
  )

  it.live("aliases that lead from set to set in a circle end, after four further queries of a family", () =>
    Effect.gen(function* () {
      const one = yield* dnsServer({})
      const two = yield* dnsServer({})
      const zone = Object.fromEntries(
        Array.from({ length: 9 }, (_, n) => [
          `n${n}.${n % 2 === 0 ? "one" : "two"}.test`,
          { CNAME: `n${n + 1}.${n % 2 === 0 ? "two" : "one"}.test` }
        ])
      )
      const sets = { one: overUdp([one]), two: overUdp([two]) }
      const setOf = (domain: string) => domain.split(".")[1]!
      const asked = Effect.gen(function* () {
        return [(yield* reasonOf("n0.one.test", "one"))._tag, one.queries.length + two.queries.length]
      }).pipe(Effect.provide(live({ sets, hosts: empty, resolvConf: empty, setOf })))
      one.setZone(zone)
      two.setZone(zone)
      assert.deepStrictEqual(yield* asked, ["ServerFailure", 10])
      one.setZone({ "n0.one.test": { CNAME: "n1.two.test" } })
      two.setZone({ "n1.two.test": { CNAME: "n0.one.test" } })
      assert.deepStrictEqual(yield* asked, ["ServerFailure", 14])
    })
  )

  it.live("NXDOMAIN is NameNotFound and an empty answer NoAddresses, each with its negative TTL", () =>
    Effect.gen(function* () {
      const server = yield* dnsServer({
        "no.test": { mode: "nxdomain", negativeTtl: 13 },
        "empty.test": { negativeTtl: 11 }
      })

      const [gone, none] = yield* Effect.all([reasonOf("no.test"), reasonOf("empty.test")]).pipe(using([server]))

      assert.isTrue(gone._tag === "NameNotFound" && gone.ttlSeconds === 13)
      assert.isTrue(none._tag === "NoAddresses" && none.ttlSeconds === 11)
    })
  )

  it.live("a truncated answer comes over TCP, also when it is larger than a datagram", () =>
    Effect.gen(function* () {
      const many = Array.from({ length: 150 }, (_, i) => `fd00::${i + 1}`)
      const server = yield* dnsServer({ "app.test": { A: ["10.0.0.1"], mode: "truncate" }, "big.test": { AAAA: many } })

      assert.deepStrictEqual((yield* resolve("app.test").pipe(using([server]))).addresses, ["10.0.0.1"])
      assert.strictEqual((yield* resolve("big.test").pipe(using([server]))).addresses.length, 64)
      assert.strictEqual(server.queries.filter((q) => q.transport === "tcp").length, 3)
    })
  )

  it.live("a server that refuses EDNS is asked without", () =>
    Effect.gen(function* () {
      const server = yield* dnsServer({ "app.test": { A: ["10.0.0.1"], mode: "no-edns" } })
      assert.deepStrictEqual((yield* resolve("app.test").pipe(using([server]))).addresses, ["10.0.0.1"])
      assert.strictEqual(server.queries.filter((q) => !q.edns).length, 2)
    })
  )

  it.live("answers with another id or question are not believed", () =>
    Effect.gen(function* () {
      const server = yield* dnsServer({
        "*": { A: ["10.0.0.1"], mode: "wrong-id" },
        "q.test": { A: ["10.0.0.2"], mode: "wrong-question" }
      })
      yield* Effect.gen(function* () {
        assert.deepStrictEqual((yield* resolve("app.test")).addresses, ["10.0.0.1"])
        assert.deepStrictEqual((yield* resolve("q.test")).addresses, ["10.0.0.2"])
        assert.strictEqual((yield* (yield* Upstream).counters).ignored, 2)
      }).pipe(using([server]))
    })
  )

  it.live("a datagram from anyone but the asked server is not seen, even with the right id", () =>
    Effect.gen(function* () {
      const server = yield* dnsServer({ "app.test": { A: ["10.0.0.1"], delayMs: 150 } })
      const liar = dgram.createSocket("udp4")
      yield* Effect.addFinalizer(() => Effect.sync(() => liar.close()))

      const lookup = yield* Effect.forkChild(resolve("app.test").pipe(using([server])), { startImmediately: true })
      while (server.queries.length < 2) yield* Effect.sleep(5)
      for (const { id, name, port, type } of server.queries) {
        const questions = [{ name, type, class: 1 }]
        liar.send(encode({ ...emptyMessage, id, response: true, questions, rcode: rcode.NXDomain })!, port, "127.0.0.1")
      }

      assert.deepStrictEqual((yield* Fiber.join(lookup)).addresses, ["10.0.0.1"])
    })
  )

  it.live("what is no DNS name does not exist, and nobody is asked", () =>
    Effect.gen(function* () {
      const server = yield* dnsServer({})
      assert.strictEqual((yield* reasonOf("a..test").pipe(using([server])))._tag, "NameNotFound")
      assert.strictEqual(server.queries.length, 0)
    })
  )
})

describe("Resolver, one family failing", () => {
  const fails = ["blackhole", "servfail", "refused", "garbage"] as const

  it.live("the other one's addresses are the answer, after the grace time at the latest", () =>
    Effect.gen(function* () {
      for (const mode of fails) {
        const server = yield* dnsServer({ "app.test": { A: ["10.0.0.1"], modes: { AAAA: mode } } })
        const [answer, ms] = yield* timed(resolve("app.test").pipe(using([server], { graceMs: 100 })))
        assert.deepStrictEqual(answer.addresses, ["10.0.0.1"], mode)
        assert.isBelow(ms, 1000, mode)
      }
    })
  )

  it.live("no addresses in the other one is a failure, not an absence", () =>
    Effect.gen(function* () {
      const server = yield* dnsServer({ "app.test": { negativeTtl: 5, modes: { AAAA: "servfail" } } })
      assert.strictEqual((yield* reasonOf("app.test").pipe(using([server])))._tag, "ServerFailure")
    })
  )
})

describe("Resolver, a server that comes back in the middle of a lookup", () => {
  const addressOf = (type: number): string => (type === recordType.A ? "10.0.0.1" : "fd00::1")

  /** Refuses the first question of the type, as a closed port does, and answers everything else. */
  const returning = (refused: number, asked: Array<number>) =>
    upstreamMock({
      epochAtOnce: () => 0,
      exchange: (resolver, { domain, type }) => {
        asked.push(type)
        if (type === refused && asked.filter((t) => t === type).length === 1) {
          const reason = new NoResolver({ detail: "no DNS server listens there" })
          return Effect.fail(new ResolutionError({ resolver, domain, reason }))
        }
        const data = { _tag: "Address" as const, address: addressOf(type) }
        return Effect.succeed({
          ...emptyMessage,
          response: true,
          answers: [{ name: domain, type, class: 1, ttl: 60, data }]
        })
      }
    })

  for (const refused of [recordType.A, recordType.AAAA]) {
    it.effect(`is asked again for the family that it refused (${addressOf(refused)})`, () =>
      Effect.gen(function* () {
        const asked: Array<number> = []
        const layer = ResolverLive.layer({ sets: {}, hosts: empty }).pipe(Layer.provide(returning(refused, asked)))

        const answer = yield* resolve("app.test").pipe(Effect.provide(layer))

        assert.sameMembers([...answer.addresses], ["10.0.0.1", "fd00::1"])
        assert.strictEqual(asked.length, 3)
      })
    )
  }
})

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

describe("Resolver, cancelling", () => {
  it.live("interruption closes the sockets: nothing is sent any more", () =>
    Effect.gen(function* () {
      const server = yield* dnsServer({ mode: "blackhole" })
      yield* Effect.gen(function* () {
        const lookup = yield* Effect.forkChild(resolve("app.test"), { startImmediately: true })
        while (server.queries.length < 2) yield* Effect.sleep(5)
        const ports = server.queries.map((query) => query.port)
        assert.isFalse(yield* isFree(ports[0]!))

        yield* Fiber.interrupt(lookup)

        const sent = server.queries.length
        yield* Effect.sleep(100)
        assert.strictEqual(server.queries.length, sent)
        for (const port of ports) assert.isTrue(yield* isFree(port))
      }).pipe(using([server], { resendMs: 20 }))
    })
  )

  it.live("interruption closes a TCP connection as well", () =>
    Effect.gen(function* () {
      const server = yield* dnsServer({ mode: "tcp-blackhole" })
      const lookup = yield* Effect.forkChild(resolve("app.test").pipe(using([server])), { startImmediately: true })
      while (server.connections() < 2) yield* Effect.sleep(5)

      yield* Fiber.interrupt(lookup)

      yield* eventually(() => server.connections() === 0)
    })
  )

  it.live("a finished lookup leaves no socket open", () =>
    Effect.gen(function* () {
      const server = yield* dnsServer({ "app.test": { A: ["10.0.0.1"], mode: "truncate" } })
      yield* resolve("app.test").pipe(using([server]))
      const ports = server.queries.filter((q) => q.transport === "udp").map((q) => q.port)
      assert.strictEqual(ports.length, 2)
      for (const port of ports) assert.isTrue(yield* isFree(port))
      yield* eventually(() => server.connections() === 0)
    })
  )
})

describe("Resolver, the system's files", () => {
  it.live("hosts entries win for the set system only, and a change is seen", () =>
    Effect.gen(function* () {
      const server = yield* dnsServer({ "app.test": { A: ["10.0.0.1"] } })
      const hosts = path.join(yield* temporaryFolder, "hosts")
      yield* write(hosts, "10.9.9.9 App.test\nfd00::9 app.test\n")
      yield* Effect.gen(function* () {
        assert.deepStrictEqual(yield* resolve("app.test", "system"), {
          addresses: ["10.9.9.9", "fd00::9"],
          ttlSeconds: 10
        })
        assert.deepStrictEqual((yield* resolve("app.test", "corp")).addresses, ["10.0.0.1"])
        yield* write(hosts, "10.9.9.8 app.test\n")
        assert.deepStrictEqual((yield* resolve("app.test", "system")).addresses, ["10.9.9.8"])
        yield* write(hosts, "")
        assert.deepStrictEqual((yield* resolve("app.test", "system")).addresses, ["10.0.0.1"])
      }).pipe(using([], { sets: { system: overUdp([server]), corp: overUdp([server]) }, hosts }))
    })
  )

  it.live("the servers of resolv.conf are asked at port 53, and a change is seen", () =>
    Effect.gen(function* () {
      const resolvConf = path.join(yield* temporaryFolder, "resolv.conf")
      yield* Effect.gen(function* () {
        // Nothing listens at these: the answer names whom it asked.
        yield* write(resolvConf, "nameserver 127.77.1.1\nnameserver 127.77.1.2\n")
        const first = yield* reasonOf("app.test", "system")
        yield* write(resolvConf, "nameserver 127.77.1.3\n")
        const second = yield* reasonOf("app.test", "system")
        assert.deepStrictEqual(
          [first, second].map((r) => (r._tag === "NoResolver" ? r.detail.match(/127[0-9.]+:[0-9]+/g) : null)),
          [["127.77.1.1:53", "127.77.1.2:53"], ["127.77.1.3:53"]]
        )
      }).pipe(using([], { resolvConf }))
    })
  )
})

describe("Upstream", () => {
  it.effect("says when the servers of resolv.conf are others, and not for a change of anything else", () =>
    Effect.gen(function* () {
      const resolvConf = path.join(yield* temporaryFolder, "resolv.conf")
      const upstream = yield* Upstream.pipe(
        Effect.provide(UpstreamLive.layer({ sets: { corp: overUdp([]) }, resolvConf }))
      )
      const after = Effect.fnUntraced(function* (text: string) {
        yield* write(resolvConf, text)
        yield* TestClock.adjust("1 second")
        return yield* upstream.epoch("system")
      })
      const first = yield* after("nameserver 127.77.1.1\n")
      assert.strictEqual(yield* after("nameserver 127.77.1.1\nsearch a.test\n"), first)
      assert.strictEqual(yield* after(""), first)
      assert.notStrictEqual(yield* after("nameserver 127.77.1.2\n"), first)
      assert.strictEqual(yield* upstream.epoch("corp"), 0)
    })
  )

  it.live("hands over the whole answer of any type, and counts", () =>
    Effect.gen(function* () {
      const server = yield* dnsServer({ "app.test": { TXT: "hello" }, "dark.test": { mode: "blackhole" } })
      yield* Effect.gen(function* () {
        const upstream = yield* Upstream

        const message = yield* upstream.exchange("corp", { domain: "app.test", type: recordType.TXT })

        assert.deepStrictEqual(message.answers[0]?.data, {
          _tag: "Raw",
          bytes: Uint8Array.from(Buffer.from("\u0005hello"))
        })
        const late = yield* upstream
          .exchange("corp", { domain: "dark.test", type: recordType.TXT }, 300)
          .pipe(Effect.flip)
        assert.strictEqual(late.reason._tag, "Timeout")
        // The last three grow with how often the silence is tried to be broken.
        const { queries, resends, tcp_queries, stream_connections, without_edns, ...others } = yield* upstream.counters
        assert.isTrue([tcp_queries, stream_connections, without_edns].every((n) => n! <= resends!))
        assert.isAtLeast(resends!, 1)
        assert.strictEqual(queries! - resends!, 2)
        assert.deepStrictEqual(others, {
          answers: 1,
          failures: 1,
          timeouts: 1,
          ignored: 0,
          case_changed: 0,
          truncated_used: 0,
          probes: 0,
          stream_reconnects: 0,
          stream_full: 0
        })
      }).pipe(using([server], { resendMs: 50 }))
    })
  )

  it.live("an answer is not waited for longer than the caller says", () =>
    Effect.gen(function* () {
      const server = yield* dnsServer({ mode: "blackhole" })
      const ended = yield* Upstream.use((u) => u.exchange("corp", { domain: "a.test", type: 1 }, 50)).pipe(
        Effect.flip,
        using([server]),
        Effect.timeoutOption(2000)
      )
      assert.isTrue(Option.isSome(ended))
    })
  )
})

/** Whether no UDP socket holds the port. */
const isFree = (port: number): Effect.Effect<boolean> =>
  Effect.promise(
    () =>
      new Promise<boolean>((resolve) => {
        const socket = dgram.createSocket("udp4")
        socket.once("error", () => resolve(false))
        socket.bind(port, () => socket.close(() => resolve(true)))
      })
  )

const eventually = (condition: () => boolean): Effect.Effect<void> =>
  Effect.gen(function* () {
    for (let i = 0; !condition(); i++) {
      assert.isBelow(i, 400, "within 2 s")
      yield* Effect.sleep(5)
    }
  })
