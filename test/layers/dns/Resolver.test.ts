import * as dgram from "node:dgram"
import * as path from "node:path"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import { encode } from "../../../src/dns/encode.ts"
import { emptyMessage } from "../../../src/dns/message.ts"
import { rcode, recordType } from "../../../src/dns/registry.ts"
import { Upstream } from "../../../src/dns/Upstream.ts"
import { NoResolver, ResolutionError, Resolver } from "../../../src/resolution/Resolver.ts"
import * as ResolverLive from "../../../layers/dns/Resolver.ts"
import { upstreamMock } from "../../support/upstreamMock.ts"
import type { DnsTestServer } from "../../support/dnsServer.ts"
import { dnsServer } from "../../support/dnsServer.ts"
import {
  live,
  empty,
  overUdp,
  using,
  resolve,
  reasonOf,
  timed,
  temporaryFolder,
  write
} from "../../support/liveResolver.ts"

const asks = (server: DnsTestServer, type: number): number => server.queries.filter((q) => q.type === type).length

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
