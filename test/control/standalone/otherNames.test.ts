/** What a client is told of names that are no resource of its own, of other types, and backwards. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as References from "effect/References"
import { TestClock } from "effect/testing"
import { answer, fail } from "../../../layers/memory/ResolverMemory.ts"
import type { ResourceRecord } from "../../../src/dns/message.ts"
import { awaitLater } from "../../../src/loops/later.ts"
import { extendedErrorCode } from "../../../src/dns/extendedError.ts"
import { rcode, recordType } from "../../../src/dns/registry.ts"
import { reverseName } from "../../support/reverseName.ts"
import { TunnelNames } from "../../../src/control/standalone/TunnelNames.ts"
import { NameNotFound } from "../../../src/resolution/Resolver.ts"
import { cidrResource, dnsResource } from "../../support/access.ts"
import { clientId, tunnel4, tunnel6 } from "../../support/engineWorld.ts"
import { ask, askRaw, askSix, configOf, messageFor, UpstreamScript, withLogLines } from "../../support/standalone.ts"
import {
  corp,
  config,
  layerOn,
  layer,
  script,
  addresses,
  record,
  addressRecord,
  reply,
  known,
  isKnown
} from "../../support/tunnelNames.ts"

describe("HTTPS and SVCB", () => {
  it.effect(
    "of a resource's name are NODATA, whose hints would lead past the proxies; those of others are forwarded",
    () =>
      Effect.gen(function* () {
        const { answers, asked } = yield* UpstreamScript
        const raw = record("example.org", { _tag: "Raw", bytes: Uint8Array.of(0, 1, 0) }, recordType.HTTPS)
        answers.set(`system example.org ${recordType.HTTPS}`, reply({ answers: [raw] }))
        assert.strictEqual((yield* ask("git.corp", recordType.HTTPS))._tag, "NoData")
        assert.strictEqual((yield* ask("_x.git.corp", recordType.SVCB))._tag, "NoData")
        assert.deepStrictEqual(asked, [])
        const forwarded = yield* ask("example.org", recordType.HTTPS)
        assert.deepStrictEqual(forwarded._tag === "Forwarded" && forwarded.message.answers, [raw])
      }).pipe(Effect.provide(layer))
  )
})

describe("the address of a name", () => {
  it.effect("asked backwards is the name, for its own client only", () =>
    Effect.gen(function* () {
      for (const address of addresses(yield* ask("git.corp")).concat(addresses((yield* askSix("git.corp")).answer))) {
        const name = reverseName(address)
        assert.deepStrictEqual(yield* ask(name, recordType.PTR), { _tag: "Reverse", name: "git.corp", ttl: 30 })
        assert.strictEqual((yield* ask(name, recordType.PTR, tunnel4(2)))._tag, "NameError")
      }
      assert.strictEqual((yield* ask(reverseName("100.96.9.9"), recordType.PTR))._tag, "NameError")
      assert.deepStrictEqual((yield* UpstreamScript).asked, [])
    }).pipe(Effect.provide(layer))
  )

  it.effect("asked backwards is the name, also after a question about the reverse name that a resource covers", () =>
    Effect.gen(function* () {
      const [address] = addresses(yield* ask("git.corp"))
      assert.strictEqual((yield* ask(reverseName(address!)))._tag, "Addresses")
      assert.deepStrictEqual(yield* ask(reverseName(address!), recordType.PTR), {
        _tag: "Reverse",
        name: "git.corp",
        ttl: 30
      })
    }).pipe(Effect.provide(layerOn(configOf([corp, dnsResource("**.in-addr.arpa")]))))
  )
})

describe("any other question", () => {
  it.effect("that is an alias of the client's resource ends in its proxy IPs, of another client's in nothing", () =>
    Effect.gen(function* () {
      const { answers } = yield* UpstreamScript
      const chain = [
        record("code.example.com", { _tag: "Name", name: "b.example.com" }, recordType.CNAME),
        record("b.example.com", { _tag: "Name", name: "Git.corp" }, recordType.CNAME)
      ]
      const real = addressRecord("git.corp", "10.0.0.9")
      for (const type of [recordType.A, recordType.AAAA, recordType.HTTPS, recordType.TXT]) {
        answers.set(`system code.example.com ${type}`, reply({ answers: [...chain, real], rcode: rcode.NXDomain }))
      }
      const told = Effect.fnUntraced(function* (type: number, source?: string) {
        const message = yield* messageFor("code.example.com", type, yield* ask("code.example.com", type, source))
        return [
          message.rcode,
          ...message.answers.map(({ data, name }) => (data._tag === "Address" ? `${name} ${data.address}` : name))
        ]
      })
      const aliases = ["code.example.com", "b.example.com"]
      const proxies = addresses(yield* ask("git.corp"))
      assert.deepStrictEqual(yield* told(recordType.A), [0, ...aliases, ...proxies.map((ip) => `Git.corp ${ip}`)])
      assert.lengthOf(yield* told(recordType.AAAA), 7)
      assert.deepStrictEqual(yield* told(recordType.HTTPS), [0, ...aliases])
      assert.deepStrictEqual(yield* told(recordType.A, tunnel4(2)), [rcode.NXDomain, ...aliases])
      yield* script("*", fail(new NameNotFound({ ttlSeconds: 20 })))
      answers.set(
        `system gone.example.com ${recordType.A}`,
        reply({ answers: [record("gone.example.com", { _tag: "Name", name: "gone.corp" }, recordType.CNAME)] })
      )
      const gone = yield* messageFor("gone.example.com", recordType.A, yield* ask("gone.example.com"))
      assert.strictEqual(gone.rcode, rcode.NXDomain)
    }).pipe(Effect.provide(layer))
  )

  it.effect("whose aliases lead in a circle, or nowhere, is forwarded as it is", () =>
    Effect.gen(function* () {
      const { answers } = yield* UpstreamScript
      const alias = (name: string, target: string) => record(name, { _tag: "Name", name: target }, recordType.CNAME)
      const odd = [
        [alias("a.example.com", "b.example.com"), alias("b.example.com", "a.example.com")],
        Array.from({ length: 20 }, (_, n) =>
          alias(n === 0 ? "a.example.com" : `n${n}`, n === 18 ? "git.corp" : `n${n + 1}`)
        ),
        [alias("elsewhere.example.com", "git.corp")]
      ]
      for (const answer of odd) {
        answers.clear()
        answers.set(`system a.example.com ${recordType.A}`, reply({ answers: answer }))
        const answered = yield* ask("a.example.com")
        assert.deepStrictEqual(answered._tag === "Forwarded" && answered.message.answers, answer)
        yield* TestClock.adjust("2 minutes")
      }
    }).pipe(Effect.provide(layer))
  )

  it.effect("is forwarded, without private, link-local and own addresses in the answer", () =>
    Effect.gen(function* () {
      const { answers } = yield* UpstreamScript
      const all = ["9.9.9.9", "10.0.0.1", "169.254.1.1", "127.0.0.1", "198.51.100.1", "100.64.0.9"]
      answers.set(
        `system example.org ${recordType.A}`,
        reply({ answers: all.map((address) => addressRecord("example.org", address)) })
      )
      const answered = yield* ask("example.org")
      assert.strictEqual(answered._tag, "Forwarded")
      if (answered._tag !== "Forwarded") return
      assert.deepStrictEqual(answered.message.answers, [addressRecord("example.org", "9.9.9.9")])
      assert.strictEqual((yield* ask("example.net"))._tag, "ServerFailure")
    }).pipe(Effect.provide(layer))
  )

  it.effect("has the private addresses of the client's network resources, as long as it may reach them", () =>
    Effect.gen(function* () {
      const { answers } = yield* UpstreamScript
      const all = ["9.9.9.9", "10.77.0.10", "10.78.0.1", "127.0.0.1", "198.51.100.1", "169.254.169.254"]
      const records = all.map((address) => addressRecord("nas.example.org", address))
      answers.set(`system nas.example.org ${recordType.A}`, reply({ answers: records }))
      const told = Effect.fnUntraced(function* (source = tunnel4(1)) {
        const answered = yield* ask("nas.example.org", recordType.A, source)
        if (answered._tag !== "Forwarded") return assert.fail(answered._tag)
        assert.deepStrictEqual(answered.error?.code, extendedErrorCode.Filtered)
        return answered.message.answers.map(({ data }) => (data._tag === "Address" ? data.address : ""))
      })
      assert.deepStrictEqual(yield* told(), ["9.9.9.9", "10.77.0.10"])
      assert.deepStrictEqual(yield* told(tunnel4(2)), ["9.9.9.9"])
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual(yield* told(), ["9.9.9.9"])
    }).pipe(
      Effect.provide(
        layerOn({
          ...config,
          grants: [{ ...config.grants[0]!, resource: cidrResource("10.77.0.0/24"), expiresAt: 10_000 }]
        })
      )
    )
  )

  it.effect("tells the log once a minute, and status, what was left out of answers", () =>
    withLogLines((lines) =>
      Effect.gen(function* () {
        const { answers } = yield* UpstreamScript
        answers.set(
          `system nas.example.org ${recordType.A}`,
          reply({ answers: [addressRecord("nas.example.org", "10.77.0.10")] })
        )
        const names = yield* TunnelNames
        yield* ask("nas.example.org")
        yield* ask("nas.example.org", recordType.A, tunnel4(2))
        yield* TestClock.adjust("59 seconds")
        yield* ask("nas.example.org")
        assert.lengthOf(lines, 1)
        const first = {
          client: clientId(1),
          name: "nas.example.org",
          address: "10.77.0.10",
          why: "not a public address"
        }
        for (const text of Object.values(first)) assert.include(lines[0], text)
        assert.deepStrictEqual(yield* names.filtered, { count: 3, last: { ...first, at: 59_000 } })
        assert.strictEqual((yield* names.counters)["addresses_filtered"], 3)
        yield* TestClock.adjust("1 second")
        yield* ask("nas.example.org")
        assert.lengthOf(lines, 2)
      }).pipe(Effect.provide(layer))
    )
  )

  it.effect("has the addresses by which hosts find out about NAT64 (RFC 7050)", () =>
    Effect.gen(function* () {
      const { answers } = yield* UpstreamScript
      const records = ["192.0.0.170", "192.0.0.171"].map((address) => addressRecord("ipv4only.arpa", address))
      answers.set(`system ipv4only.arpa ${recordType.A}`, reply({ answers: records }))
      const answered = yield* ask("ipv4only.arpa")
      assert.deepStrictEqual(answered, { _tag: "Forwarded", message: reply({ answers: records }) })
    }).pipe(Effect.provide(layer))
  )

  it.effect("of a private domain tells a client without any right there only of hosts in its networks", () => {
    const lab = cidrResource("10.77.0.0/24")
    const resources = [dnsResource("nas.lan", { resolver: "home" }), lab]
    const grants = [{ ...config.grants[0]!, resource: lab }]
    return Effect.gen(function* () {
      const { answers } = yield* UpstreamScript
      const has = (name: string, address: string) =>
        answers.set(`home ${name} ${recordType.A}`, reply({ answers: [addressRecord(name, address)] }))
      has("in.lan", "10.77.0.10")
      has("off.lan", "10.78.0.10")
      has("out.lan", "9.9.9.9")
      assert.strictEqual((yield* ask("in.lan"))._tag, "Forwarded")
      for (const name of ["off.lan", "out.lan", "nas.lan"])
        assert.deepStrictEqual(yield* ask(name), { _tag: "NameError", ttl: 5 }, name)
    }).pipe(Effect.provide(layerOn({ ...config, resources, grants })))
  })

  it.effect("that waits for servers which hang keeps neither another client's waiting nor a resource's name", () =>
    Effect.gen(function* () {
      const upstream = yield* UpstreamScript
      upstream.hangs = true
      const names = Array.from({ length: 400 }, (_, i) => `n${i}.example.org`)
      yield* Effect.forkScoped(
        Effect.forEach(names, (name) => ask(name), { concurrency: "unbounded" }),
        { startImmediately: true }
      )
      yield* TestClock.adjust(0)
      assert.strictEqual(upstream.asked.length, 128)
      assert.strictEqual((yield* ask("git.corp"))._tag, "Addresses")

      yield* Effect.forkScoped(ask("example.org", recordType.A, tunnel4(2)), { startImmediately: true })
      yield* TestClock.adjust(0)
      assert.strictEqual(upstream.asked.at(-1), `system example.org ${recordType.A}`)
    }).pipe(Effect.provide(layer))
  )

  it.effect("is refused by option", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* ask("example.org"), {
        _tag: "Refused",
        error: { code: 18, text: "other names are refused" }
      })
      assert.deepStrictEqual((yield* UpstreamScript).asked, [])
    }).pipe(Effect.provide(layerOn({ ...config, otherNames: "refuse" })))
  )

  it.effect("from an address that is no client's is not answered", () =>
    Effect.gen(function* () {
      for (const source of ["100.64.1.99", "10.0.0.1", "::1"]) {
        assert.deepStrictEqual(yield* ask("git.corp", recordType.A, source), { _tag: "Dropped" })
      }
      assert.strictEqual((yield* ask("git.corp", recordType.A, tunnel6(1)))._tag, "Addresses")
    }).pipe(Effect.provide(layer))
  )

  it.effect(
    "beyond 1,000 at once waits for its rate, then fails; none is left without an answer, others wait for none",
    () =>
      withLogLines((lines) =>
        Effect.gen(function* () {
          const names = yield* TunnelNames
          const question = { domain: "git.corp", type: recordType.A, family: 4, reverse: null } as const
          const asking = yield* Effect.forEach(Array.from({ length: 2_500 }), () =>
            Effect.forkChild(names.answer(tunnel4(1), question), { startImmediately: true })
          )
          yield* TestClock.adjust(0)
          const done = asking.flatMap((fiber) => fiber.pollUnsafe() ?? [])
          assert.lengthOf(done, 2_000)
          assert.strictEqual((yield* ask("git.corp", recordType.A, tunnel4(2)))._tag, "NameError")
          yield* TestClock.adjust("1 second")
          const answers = yield* Fiber.joinAll(asking)
          const count = (tag: string) => answers.filter((answer) => answer._tag === tag).length
          assert.deepStrictEqual([count("Addresses"), count("ServerFailure")], [1_500, 1_000])
          assert.deepInclude(answers[1_500], { error: { code: 0, text: "too many questions" } })
          assert.deepInclude(yield* names.counters, { questions_waited: 500, questions_refused: 1_000 })
          assert.strictEqual(lines.filter((line) => line.includes("more than its share")).length, 1)
        })
      ).pipe(Effect.provide(layer))
  )

  it.effect(
    "about 450 new names of resources at once waits for the rate of 100 a second; names that are known do not",
    () =>
      Effect.gen(function* () {
        yield* script("*", answer(["10.0.0.1"]))
        const known = yield* ask("known.corp")
        const asking = yield* Effect.forEach(
          Array.from({ length: 650 }, (_, n) => n),
          (n) => Effect.forkChild(askRaw(`n${n}.corp`), { startImmediately: true })
        )
        assert.deepStrictEqual(yield* askRaw("known.corp"), known)
        yield* TestClock.adjust("2 seconds")
        const answers = yield* Fiber.joinAll(asking)
        const count = (tag: string) => answers.filter((answer) => answer._tag === tag).length
        // The known one was new once.
        assert.deepStrictEqual([count("Addresses"), count("ServerFailure")], [549, 101])
      }).pipe(Effect.provide(layer))
  )
})

describe("a question that other servers are asked about at once", () => {
  const untraced = layer.pipe(Layer.provide(Layer.succeed(References.TracerEnabled, false)))
  const foreignServers = Effect.map(UpstreamScript, ({ answers }) => {
    const alias = record("code.example.com", { _tag: "Name", name: "git.corp" }, recordType.CNAME)
    const say = (name: string, type: number, ...records: ReadonlyArray<ResourceRecord>) =>
      answers.set(`system ${name} ${type}`, reply({ answers: records }))
    say("example.org", recordType.A, addressRecord("example.org", "9.9.9.9"))
    say("example.org", recordType.TXT, record("example.org", { _tag: "Raw", bytes: Uint8Array.of(0) }, recordType.TXT))
    say("nas.example.org", recordType.A, addressRecord("nas.example.org", "10.0.0.1"))
    say("code.example.com", recordType.A, alias, addressRecord("git.corp", "9.9.9.8"))
  })
  const later = Effect.fnUntraced(function* (...question: Parameters<typeof known>) {
    const told = yield* known(...question)
    return typeof told === "function" ? yield* awaitLater(told) : assert.fail(`${question[0]}: not asked at once`)
  })

  it.effect(
    "is told what waiting for it comes to: the answer, without private addresses, as an alias of a resource",
    () =>
      Effect.gen(function* () {
        yield* foreignServers
        const questions = [
          ["example.org", recordType.A, "Forwarded"],
          ["example.org", recordType.TXT, "Forwarded"],
          ["nas.example.org", recordType.A, "Forwarded"],
          ["code.example.com", recordType.A, "Alias"]
        ] as const
        for (const [name, type, tag] of questions) {
          const told = yield* later(name, type)
          assert.strictEqual(told._tag, tag)
          assert.deepStrictEqual(told, yield* askRaw(name, type), name)
        }
        const filtered = yield* askRaw("nas.example.org")
        assert(filtered._tag === "Forwarded")
        assert.deepStrictEqual([filtered.message.answers, filtered.error?.code], [[], 17])
        assert.strictEqual((yield* UpstreamScript).asked.length, questions.length)
      }).pipe(Effect.provide(untraced))
  )

  it.effect("is told why there is no answer, and counts like any", () =>
    Effect.gen(function* () {
      const told = yield* later("silent.example.org")
      assert(told._tag === "ServerFailure")
      assert.strictEqual(told.error?.code, 22)
      assert.deepInclude(yield* (yield* TunnelNames).counters, { questions: 1, questions_waited: 0 })
    }).pipe(Effect.provide(untraced))
  )

  it.effect("has to wait like any where its client has asked too much, and is not asked at once then", () =>
    Effect.gen(function* () {
      const script = yield* UpstreamScript
      script.hangs = true
      const told = yield* Effect.forEach(Array.from({ length: 1_001 }), (_, n) => known(`n${n}.example.org`))
      assert.deepStrictEqual(told.map((each) => typeof each).slice(999), ["function", "undefined"])
      assert.isFunction(yield* known("n.example.org", recordType.A, tunnel4(2)))
      assert.deepInclude(yield* (yield* TunnelNames).counters, { questions: 1_001, questions_refused: 0 })
    }).pipe(Effect.provide(untraced))
  )

  it.effect("waits with a fiber where it is traced or told of", () =>
    Effect.gen(function* () {
      assert.isFalse(yield* isKnown("example.org").pipe(Effect.provide(layer, { local: true })))
      const logging = layerOn({ ...config, logDns: true }).pipe(
        Layer.provide(Layer.succeed(References.TracerEnabled, false))
      )
      assert.isFalse(yield* isKnown("example.org").pipe(Effect.provide(logging, { local: true })))
    })
  )
})
