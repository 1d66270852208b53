import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as References from "effect/References"
import { TestClock } from "effect/testing"
import * as DataPlaneRecording from "../../../layers/memory/DataPlaneRecording.ts"
import { DataPlaneRecorder } from "../../../layers/memory/DataPlaneRecording.ts"
import { answer, fail, ResolverScript } from "../../../layers/memory/ResolverMemory.ts"
import * as StateStoreMemory from "../../../layers/memory/StateStoreMemory.ts"
import { emptyMessage, type Message, type ResourceRecord } from "../../../src/dns/message.ts"
import { awaitLater } from "../../../src/loops/later.ts"
import { extendedErrorCode } from "../../../src/dns/extendedError.ts"
import { classInternet, rcode, recordType } from "../../../src/dns/registry.ts"
import { reverseName } from "../../support/reverseName.ts"
import type { TunnelAnswer } from "../../../src/dns/tunnelAnswer.ts"
import { IpFamilies } from "../../../src/host/IpFamilies.ts"
import { Authorizations } from "../../../src/access/Authorizations.ts"
import { StateStore } from "../../../src/host/StateStore.ts"
import type { GatewayConfig } from "../../../src/config/GatewayConfig.ts"
import { TunnelNames } from "../../../src/control/standalone/TunnelNames.ts"
import { ClientId } from "../../../src/model/Client.ts"
import { parseNetwork } from "../../../src/packet/address.ts"
import { NameNotFound, NoAddresses, ServerFailure } from "../../../src/resolution/Resolver.ts"
import { Resolutions } from "../../../src/resolution/Resolutions.ts"
import { SetProbe } from "../../../src/resolution/SetProbe.ts"
import { cidrResource, dnsResource, lookups } from "../../support/access.ts"
import { clientId, tunnel4, tunnel6 } from "../../support/engineWorld.ts"
import {
  ask,
  askPatiently,
  askRaw,
  askSix,
  configOf,
  Disk,
  layerDisk,
  layerNames,
  messageFor,
  UpstreamScript,
  withLogLines
} from "../../support/standalone.ts"

const corp = dnsResource("**.corp", { resolver: "corp" })
const config = configOf([corp])
const git = dnsResource("git.corp")
const overlapping = configOf([corp, git])

const layerStore = layerDisk(StateStoreMemory.layer)
/** Names exist unless a test says something else. */
const layerFound = Layer.effectDiscard(
  Effect.flatMap(ResolverScript, (script) => script.set("*", answer(["10.0.0.1", "fd5a::1"])))
)
const layerOn = (config: GatewayConfig) =>
  layerFound.pipe(
    Layer.provideMerge(layerNames(config)),
    Layer.provideMerge(DataPlaneRecording.layer),
    Layer.provideMerge(layerStore)
  )
const layer = layerOn(config)

const script = Effect.fnUntraced(function* (...[domain, behaviour]: Parameters<ResolverScript["Service"]["set"]>) {
  yield* (yield* ResolverScript).set(domain, behaviour)
})

const addresses = (answer: TunnelAnswer): ReadonlyArray<string> => {
  if (answer._tag !== "Addresses") return assert.fail(answer._tag)
  return answer.addresses
}

const record = (name: string, data: ResourceRecord["data"], type: number): ResourceRecord => ({
  name,
  type,
  class: classInternet,
  ttl: 60,
  data
})

const addressRecord = (name: string, address: string): ResourceRecord =>
  record(name, { _tag: "Address", address }, address.includes(":") ? recordType.AAAA : recordType.A)

const reply = (over: Partial<Message>): Message => ({ ...emptyMessage, response: true, ...over })

describe("a question about a resource's name", () => {
  it.effect(
    "below a wildcard waits 140 ms for the first lookup, then has the client's own proxy IPs while the resolver hangs",
    () =>
      Effect.gen(function* () {
        yield* script("*", { _tag: "Hang" })
        const { afterMs, answer: four } = yield* askPatiently("git.corp")
        assert.strictEqual(afterMs, 140)
        const six = yield* askRaw("git.corp", recordType.AAAA)
        // It may yet turn out to have no IPv6: nobody is to remember this for long.
        assert.deepInclude(six, { ttl: 2 })
        assert.deepStrictEqual(four, {
          _tag: "Addresses",
          addresses: ["100.96.0.4", "100.96.0.5", "100.96.0.6", "100.96.0.7"],
          ttl: 30
        })
        assert.deepStrictEqual(
          addresses(six),
          [4, 5, 6, 7].map((n) => `fd00:2021:1111:8000::${n}`)
        )
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(yield* askRaw("git.corp"), four)
        assert.strictEqual(yield* lookups, 1)
      }).pipe(Effect.provide(layer))
  )

  const askAtOnce = (count: number) =>
    Effect.forEach(Array.from({ length: count }), (_, n) =>
      Effect.forkChild(askRaw(`n${n}.corp`), { startImmediately: true })
    )

  it.effect(
    "below a wildcard waits for its turn, while others are answered: of 500 that do not exist none has proxies",
    () =>
      Effect.gen(function* () {
        const missing = fail(new NameNotFound({ ttlSeconds: 20 }))
        yield* script("*", { _tag: "Late", afterMs: 100, stubborn: false, as: missing })
        const asking = yield* askAtOnce(500)
        yield* TestClock.adjust("1 second")
        const answers = asking.flatMap((fiber) => fiber.pollUnsafe() ?? [])
        assert.lengthOf(answers, 500)
        for (const fiber of asking) assert.deepInclude(yield* Fiber.join(fiber), { _tag: "NameError" })
        assert.strictEqual(yield* (yield* Resolutions).count(ClientId.make(clientId(1))), 0)
      }).pipe(Effect.provide(layer))
  )

  it.effect("is answered, and its name usable within 2 s, for each of 400 new ones at 80 a second", () =>
    Effect.gen(function* () {
      yield* script("*", { _tag: "Late", afterMs: 100, stubborn: false, as: answer(["10.0.0.1"]) })
      const { find } = yield* Resolutions
      const domains = Array.from({ length: 400 }, (_, n) => `n${n}.corp`)
      const asking: Array<Fiber.Fiber<TunnelAnswer>> = []
      for (let step = 0; step < 559; step++) {
        if (step < 400) asking.push(yield* Effect.forkChild(askRaw(domains[step]!), { startImmediately: true }))
        yield* TestClock.adjust("12500 micros")
        if (step < 159) continue
        const asked2sAgo = yield* find(ClientId.make(clientId(1)), corp.id, domains[step - 159]!)
        assert.strictEqual(asked2sAgo?.state._tag, "Resolved", domains[step - 159])
      }
      for (const fiber of asking) assert.deepInclude(yield* Fiber.join(fiber), { _tag: "Addresses" })
    }).pipe(Effect.provide(layer))
  )

  it.effect("below a wildcard waits no longer than 140 ms, nor for its turn, where nobody is answered", () =>
    Effect.gen(function* () {
      yield* script("*", { _tag: "Hang" })
      const asking = yield* askAtOnce(300)
      yield* TestClock.adjust("140 millis")
      for (const fiber of asking) {
        assert.isDefined(fiber.pollUnsafe())
        assert.deepInclude(yield* Fiber.join(fiber), { _tag: "Addresses" })
      }
    }).pipe(Effect.provide(layer))
  )

  it.effect("of an exact name is answered at once while the resolver hangs", () =>
    Effect.gen(function* () {
      yield* script("*", { _tag: "Hang" })
      assert.deepStrictEqual(yield* askRaw("git.corp"), {
        _tag: "Addresses",
        addresses: ["100.96.0.4", "100.96.0.5", "100.96.0.6", "100.96.0.7"],
        ttl: 30
      })
    }).pipe(Effect.provide(layerOn(configOf([dnsResource("git.corp")]))))
  )

  it.effect("that does not exist below a wildcard is NXDOMAIN at once, and costs neither a proxy nor a write", () =>
    Effect.gen(function* () {
      yield* (yield* TunnelNames).restore
      yield* script("*", fail(new NameNotFound({ ttlSeconds: 20 })))
      yield* script("late.corp", {
        _tag: "Late",
        afterMs: 100,
        stubborn: false,
        as: fail(new NoAddresses({ ttlSeconds: 0 }))
      })
      const { writes } = yield* Disk
      for (let n = 0; n < 150; n++) {
        if (n % 50 === 0) yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(yield* askRaw(`n${n}.corp`), { _tag: "NameError", ttl: 20 })
        assert.deepStrictEqual(yield* askRaw(`n${n}.corp`, recordType.AAAA), { _tag: "NameError", ttl: 20 })
      }
      assert.deepInclude(yield* ask("late.corp"), { _tag: "NoData" })
      assert.strictEqual((yield* Disk).writes, writes)
      assert.deepStrictEqual(yield* (yield* Resolutions).list, [])
      assert.strictEqual(yield* (yield* Resolutions).count(ClientId.make(clientId(1))), 0)
      yield* script("*", answer(["10.0.0.1"]))
      assert.strictEqual(addresses(yield* ask("real.corp"))[0], "100.96.0.4")
    }).pipe(Effect.provide(layer))
  )

  it.effect.each([
    [
      "an address is known",
      Effect.gen(function* () {
        yield* script("*", answer(["10.0.0.1"]))
        yield* TestClock.adjust("1 second")
      })
    ],
    [
      "the client sends a packet",
      Effect.gen(function* () {
        const [row] = yield* (yield* Resolutions).list
        yield* (yield* TunnelNames).met(row!.mapping.id)
      })
    ]
  ] as const)("below a wildcard that is not answered in time has its row written once %s", ([, happens]) =>
    Effect.gen(function* () {
      const store = yield* StateStore
      yield* script("*", { _tag: "Silent" })
      const [proxy] = addresses(yield* ask("git.corp"))
      assert.deepStrictEqual(yield* store.mappings, [])
      yield* happens
      assert.deepStrictEqual(
        (yield* store.mappings).map(({ domain }) => domain),
        ["git.corp"]
      )
      assert.strictEqual(addresses(yield* ask("git.corp"))[0], proxy)
    }).pipe(Effect.provide(layer))
  )

  it.effect("gets one slot when both families are asked for at the same time, however slow the disk", () =>
    Effect.gen(function* () {
      const disk = yield* Disk
      disk.slow = true
      const questions = Array.from({ length: 20 }, (_, i) =>
        askRaw("git.corp", i % 2 === 0 ? recordType.A : recordType.AAAA)
      )
      const answers = yield* Effect.all(questions, { concurrency: "unbounded" })
      assert.strictEqual(new Set(answers.flatMap(addresses)).size, 8)
      assert.strictEqual((yield* (yield* StateStore).mappings).length, 1)
    }).pipe(Effect.provide(layer))
  )

  it.effect("of several resources makes them all the client's, with the expiry of each, and one mapping", () =>
    Effect.gen(function* () {
      const resources = yield* ask("git.corp").pipe(
        Effect.andThen(ask("git.corp")),
        Effect.andThen(ask("other.corp")),
        Effect.andThen(Effect.flatMap(Resolutions, ({ list }) => list))
      )
      assert.deepStrictEqual(
        resources.map(({ mapping }) => [mapping.id, mapping.resources, mapping.name.resolver]),
        [
          [`${clientId(1)}/git.corp`, [git.id, corp.id], "system"],
          [`${clientId(1)}/other.corp`, [corp.id], "corp"]
        ]
      )
      assert.deepStrictEqual(
        (yield* (yield* Authorizations).list).map(({ expiresAt, resource }) => [resource.id, expiresAt]),
        [
          [corp.id, null],
          [git.id, 3_600_000]
        ]
      )
    }).pipe(
      Effect.provide(
        layerOn({
          ...overlapping,
          grants: overlapping.grants.map((grant) =>
            grant.resource.id === git.id ? { ...grant, expiresAt: 3_600_000 } : grant
          )
        })
      )
    )
  )

  it.effect("is NXDOMAIN once that is known, asked for again behind it after the negative TTL", () =>
    Effect.gen(function* () {
      yield* script("*", fail(new NameNotFound({ ttlSeconds: 20 })))
      yield* ask("no.corp")
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(yield* ask("no.corp"), { _tag: "NameError", ttl: 19 })
      assert.strictEqual(yield* lookups, 1)
      yield* TestClock.adjust("20 seconds")
      assert.deepStrictEqual(yield* ask("no.corp"), { _tag: "NameError", ttl: 1 })
      yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* lookups, 2)
    }).pipe(Effect.provide(layer))
  )

  it.effect.each([
    ["a TTL of zero", fail(new NameNotFound({ ttlSeconds: 0 })), "NameError"],
    ["a TTL", fail(new NameNotFound({ ttlSeconds: 3 })), "NameError"],
    ["no address and no TTL", fail(new NoAddresses({ ttlSeconds: 0 })), "NoData"]
  ] as const)(
    "that does not exist, with %s, stays so for days, while its server fails, and after a silence",
    ([, reply, told]) =>
      Effect.gen(function* () {
        yield* script("*", reply)
        yield* ask("no.corp")
        yield* TestClock.adjust("1 second")
        for (let second = 0; second < 75; second++) {
          assert.strictEqual((yield* ask("no.corp"))._tag, told)
          yield* TestClock.adjust("1 second")
        }
        assert.isBelow(yield* lookups, 30)
        for (const behaviour of [fail(new ServerFailure({ detail: "SERVFAIL" })), { _tag: "Silent" } as const]) {
          yield* script("*", behaviour)
          for (let i = 0; i < 20; i++) {
            assert.strictEqual((yield* ask("no.corp"))._tag, told)
            yield* TestClock.adjust("1 hour")
          }
        }
        yield* script("*", answer(["10.0.0.1"]))
        for (let i = 0; i < 3; i++) {
          yield* ask("no.corp")
          yield* TestClock.adjust("1 second")
        }
        assert.strictEqual((yield* ask("no.corp"))._tag, "Addresses")
      }).pipe(Effect.provide(layer))
  )

  it.effect("is NODATA for a family that is known to be empty", () =>
    Effect.gen(function* () {
      yield* script("*", answer(["10.0.0.1"]))
      yield* ask("git.corp")
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* ask("git.corp", recordType.AAAA))._tag, "NoData")
      assert.strictEqual((yield* ask("git.corp"))._tag, "Addresses")
    }).pipe(Effect.provide(layer))
  )

  it.effect("for IPv6 waits for the lookup: a name with IPv4 only never gets a proxy that leads nowhere", () =>
    Effect.gen(function* () {
      yield* script("four.corp", answer(["10.0.0.1"]))
      yield* script("both.corp", answer(["10.0.0.1", "fd5a::1"]))
      yield* script("no.corp", fail(new NameNotFound({ ttlSeconds: 20 })))
      assert.deepStrictEqual(yield* askSix("four.corp"), { answer: { _tag: "NoData", ttl: 30 }, afterMs: 0 })
      assert.deepInclude((yield* askSix("both.corp")).answer, { _tag: "Addresses", ttl: 30 })
      assert.strictEqual((yield* askSix("no.corp")).answer._tag, "NameError")
    }).pipe(Effect.provide(layer))
  )

  it.effect("is answered at once where the set has let several wait in vain and answered nothing since", () =>
    Effect.gen(function* () {
      yield* script("*", { _tag: "Hang" })
      yield* Effect.forEach(Array.from({ length: 8 }).keys(), (n) => ask(`n${n}.corp`), { concurrency: "unbounded" })
      assert.strictEqual((yield* askSix("n8.corp")).afterMs, 0)
      yield* script("lives.corp", answer(["10.0.0.1"]))
      yield* ask("lives.corp")
      assert.strictEqual((yield* askSix("n9.corp")).afterMs, 140)
    }).pipe(Effect.provide(layer))
  )

  const layerOfClients = (count: number) => {
    const clients = Array.from({ length: count }, (_, n) => ({
      ...config.clients[0]!,
      id: ClientId.make(clientId(n)),
      tunnel4: tunnel4(n),
      tunnel6: tunnel6(n)
    }))
    return layerOn({
      ...config,
      clients,
      grants: [{ resource: corp, expiresAt: null, clients }]
    })
  }

  it.effect("waits as ever where all that wait in vain are another client's", () =>
    Effect.gen(function* () {
      yield* script("*", { _tag: "Hang" })
      yield* Effect.forEach(Array.from({ length: 8 }).keys(), (n) => ask(`n${n}.corp`), { concurrency: "unbounded" })
      assert.strictEqual((yield* askSix("n9.corp", tunnel4(0))).afterMs, 140)
      assert.strictEqual((yield* askSix("n8.corp")).afterMs, 0)
    }).pipe(Effect.provide(layerOfClients(2)))
  )

  it.effect("is answered at once where its client has its share of those that wait; others still may", () =>
    Effect.gen(function* () {
      yield* script("*", { _tag: "Hang" })
      // Four have 512 each, and a fifth of 2,560 places is free.
      const waiting = yield* Effect.forEach(Array.from({ length: 2_048 }).keys(), (n) =>
        Effect.forkChild(askRaw(`n${n >> 3}.corp`, n % 8 < 4 ? recordType.A : recordType.AAAA, tunnel4(n % 4)), {
          startImmediately: true
        })
      )
      yield* TestClock.adjust(0)
      assert.isTrue(waiting.every((asking) => asking.pollUnsafe() === undefined))
      assert.strictEqual((yield* askSix("n999.corp", tunnel4(1))).afterMs, 0)
      assert.strictEqual((yield* askSix("new.corp", tunnel4(4))).afterMs, 140)
    }).pipe(Effect.provide(layerOfClients(5)))
  )

  it.effect("has no IPv6 address while the gateway's host has no way out for it, and one afterwards", () =>
    Effect.gen(function* () {
      const families = yield* IpFamilies
      yield* script("both.corp", answer(["10.0.0.1", "fd5a::1"]))
      yield* script("six.corp", answer(["fd5a::1"]))
      yield* families.found("wayOut", "no route")
      const none = { answer: { _tag: "NoData", ttl: 30 }, afterMs: 0 } as const
      for (const name of ["both.corp", "six.corp", "unknown.corp"]) assert.deepStrictEqual(yield* askSix(name), none)
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* ask("both.corp"))._tag, "Addresses")
      // Nothing that the client could use: it is told so, whatever it asks for.
      assert.strictEqual((yield* ask("six.corp"))._tag, "NoData")
      yield* families.found("wayOut", null)
      for (const name of ["both.corp", "six.corp"]) assert.strictEqual((yield* askSix(name)).answer._tag, "Addresses")
      families.setWays([parseNetwork("fd77::/64")!])
      assert.deepStrictEqual(yield* askSix("both.corp"), none)
      families.setWays([parseNetwork("fd5a::/64")!])
      assert.strictEqual((yield* askSix("both.corp")).answer._tag, "Addresses")
    }).pipe(Effect.provide(layer))
  )

  it.effect("has its row written before the answer leaves, once", () =>
    Effect.gen(function* () {
      const store = yield* StateStore
      yield* ask("git.corp")
      assert.deepStrictEqual(yield* store.mappings, [
        { client: clientId(1), resource: corp.id, domain: "git.corp", slot: 1, lastUsedAt: 0 }
      ])
      const { writes } = yield* Disk
      yield* ask("git.corp")
      assert.strictEqual((yield* Disk).writes, writes)
    }).pipe(Effect.provide(layer))
  )

  it.effect("has its use written down again after an hour, also when it is asked all the time", () =>
    Effect.gen(function* () {
      for (let i = 0; i <= 7; i++) {
        yield* ask("git.corp")
        yield* TestClock.adjust("10 minutes")
      }
      assert.strictEqual((yield* (yield* StateStore).mappings)[0]?.lastUsedAt, 3_600_000)
    }).pipe(Effect.provide(layer))
  )

  it.effect("of a client that may not reach it is NXDOMAIN, and nobody is asked", () =>
    Effect.gen(function* () {
      for (const type of [recordType.A, recordType.AAAA, recordType.TXT]) {
        assert.strictEqual((yield* ask("git.corp", type, tunnel4(2)))._tag, "NameError")
      }
      assert.deepStrictEqual((yield* UpstreamScript).asked, [])
      assert.strictEqual(yield* lookups, 0)
    }).pipe(Effect.provide(layer))
  )

  it.effect("is NXDOMAIN from the moment its grant expires", () =>
    Effect.gen(function* () {
      assert.strictEqual((yield* ask("git.corp"))._tag, "Addresses")
      yield* TestClock.adjust("9999 millis")
      assert.strictEqual((yield* ask("git.corp"))._tag, "Addresses")
      yield* TestClock.adjust("1 millis")
      assert.strictEqual((yield* ask("git.corp"))._tag, "NameError")
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(yield* (yield* Resolutions).list, [])
    }).pipe(
      Effect.provide(layerOn({ ...config, grants: config.grants.map((grant) => ({ ...grant, expiresAt: 10_000 })) }))
    )
  )

  it.effect("of another type goes to the resource's resolver, and brings no real addresses along", () =>
    Effect.gen(function* () {
      const { answers, asked } = yield* UpstreamScript
      const srv = record("_x._tcp.corp", { _tag: "Name", name: "git.corp" }, recordType.CNAME)
      answers.set(
        `corp _x._tcp.corp ${recordType.SRV}`,
        reply({ answers: [srv], additionals: [addressRecord("git.corp", "10.0.0.1")] })
      )
      const answered = yield* ask("_x._tcp.corp", recordType.SRV)
      assert.deepInclude(answered, { _tag: "Forwarded" })
      if (answered._tag !== "Forwarded") return
      assert.deepStrictEqual([answered.message.answers, answered.message.additionals], [[srv], []])
      assert.strictEqual((yield* ask("git.corp", recordType.TXT))._tag, "ServerFailure")
      assert.deepStrictEqual(asked, [`corp _x._tcp.corp ${recordType.SRV}`, `corp git.corp ${recordType.TXT}`])
    }).pipe(Effect.provide(layer))
  )
})

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

/** Asks for many names, slowly enough for the rate limit; their first addresses. */
const askMany = Effect.fnUntraced(function* (from: number, count: number) {
  const all: Array<string> = []
  for (let n = from; n < from + count; n++) {
    if (n % 100 === 0) yield* TestClock.adjust("1 second")
    all.push(addresses(yield* ask(`n${n}.corp`))[0]!)
  }
  return all
})

describe("the 4,097th name of a client", () => {
  it.effect(
    "releases the one that was asked for least recently, whose proxies nobody gets",
    () =>
      Effect.gen(function* () {
        yield* script("*", answer(["10.0.0.1"]))
        const first = yield* askMany(0, 4_096)
        yield* ask("n0.corp")
        const [next] = yield* askMany(5_000, 1)
        const domains = (yield* (yield* StateStore).mappings).map((mapping) => mapping.domain)
        assert.strictEqual(domains.length, 4_096)
        assert.notInclude(domains, "n1.corp")
        assert.include(domains, "n0.corp")
        assert.strictEqual((yield* (yield* Resolutions).list).length, 4_096)
        assert.notInclude(first, next)
        assert.notInclude([...first, next], (yield* askMany(1, 1))[0])
      }).pipe(Effect.provide(layer)),
    30_000
  )
})

describe("names in use", () => {
  it.effect(
    "make no room, though nobody asks for them",
    () =>
      Effect.gen(function* () {
        yield* script("*", answer(["10.0.0.1"]))
        const names = yield* TunnelNames
        yield* askMany(0, 4_096)
        const used = (yield* (yield* Resolutions).list).slice(0, 2).map(({ mapping }) => mapping.id)
        yield* names.inUse(ClientId.make(clientId(1)), used)
        yield* askMany(5_000, 3)
        const left = (yield* (yield* Resolutions).list).map(({ mapping }) => mapping.id)
        assert.includeMembers(left, used)
        const domains = (yield* (yield* StateStore).mappings).map((mapping) => mapping.domain)
        assert.notIncludeMembers(domains, ["n2.corp", "n3.corp", "n4.corp"])
        assert.lengthOf(domains, 4_096)
      }).pipe(Effect.provide(layer)),
    30_000
  )

  it.effect("have their use written down after an hour, some at a time; strangers change nothing", () =>
    Effect.gen(function* () {
      const names = yield* TunnelNames
      const disk = yield* Disk
      yield* askMany(0, 40)
      const used = (yield* (yield* Resolutions).list).map(({ mapping }) => mapping.id)
      const before = disk.writes
      const tell = names.inUse(ClientId.make(clientId(1)), used)
      yield* tell
      assert.strictEqual(disk.writes, before)
      yield* TestClock.adjust("1 hour")
      yield* names.inUse(ClientId.make(clientId(2)), used)
      yield* names.inUse(ClientId.make("gone"), used)
      assert.strictEqual(disk.writes, before)
      yield* tell
      assert.strictEqual(disk.writes, before + 32)
      yield* tell
      assert.strictEqual(disk.writes, before + 40)
      assert.isTrue((yield* (yield* StateStore).mappings).every((mapping) => mapping.lastUsedAt >= 3_600_000))
    }).pipe(Effect.provide(layer))
  )
})

/** What is known without a lookup, a wait or a write. */
const known = (domain: string, type: number = recordType.A, source = tunnel4(1)) =>
  Effect.map(TunnelNames, (names) => names.known(source, { domain, type, family: familyOf(type), reverse: null }))
const familyOf = (type: number) => (type === recordType.A ? 4 : type === recordType.AAAA ? 6 : null)
const isKnown = (...question: Parameters<typeof known>) =>
  Effect.map(known(...question), (answer) => answer !== undefined)

describe("what is known at once", () => {
  it.effect("is a name that its client has asked for, of either family, and that it has no hints", () =>
    Effect.gen(function* () {
      assert.isFalse(yield* isKnown("git.corp"))
      const four = yield* ask("git.corp")
      const six = yield* askSix("git.corp")
      assert.deepStrictEqual(yield* known("git.corp"), four)
      assert.deepStrictEqual(yield* known("git.corp", recordType.AAAA), six.answer)
      assert.deepStrictEqual(yield* known("git.corp", recordType.HTTPS), { _tag: "NoData", ttl: 60 })
      assert.deepStrictEqual(yield* known("git.corp", recordType.A, tunnel6(1)), four)
      assert.isFalse(yield* isKnown("git.corp", recordType.TXT))
      assert.isFalse(yield* isKnown("www.example.com"))
    }).pipe(Effect.provide(layer))
  )

  it.effect("is what the file says: to who has no right to a name, that there is none", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* known("git.corp", recordType.A, tunnel4(2)), { _tag: "NameError", ttl: 5 })
    }).pipe(Effect.provide(layer))
  )

  it.effect("is what other servers said of a name outside, for its TTL and to all clients", () =>
    Effect.gen(function* () {
      const { answers } = yield* UpstreamScript
      const hint = record("example.org", { _tag: "Raw", bytes: Uint8Array.of(0, 1, 0) }, recordType.HTTPS)
      answers.set(`system example.org ${recordType.A}`, reply({ answers: [addressRecord("example.org", "9.9.9.9")] }))
      answers.set(`system example.org ${recordType.HTTPS}`, reply({ answers: [hint] }))
      for (const type of [recordType.A, recordType.HTTPS]) {
        const told = yield* ask("example.org", type)
        assert.strictEqual(told._tag, "Forwarded")
        assert.deepStrictEqual(yield* known("example.org", type), told)
        assert.deepStrictEqual(yield* known("example.org", type, tunnel4(2)), told)
      }
      yield* TestClock.adjust("60 seconds")
      assert.isFalse(yield* isKnown("example.org"))
      assert.include(yield* (yield* TunnelNames).counters, { forwards_cached: 4 })
    }).pipe(Effect.provide(layer))
  )

  it.effect(
    "is nothing of a name outside where an address is left out, or it is an alias of the client's resource",
    () =>
      Effect.gen(function* () {
        const { answers } = yield* UpstreamScript
        const alias = record("code.example.com", { _tag: "Name", name: "git.corp" }, recordType.CNAME)
        const real = addressRecord("git.corp", "9.9.9.8")
        const all = ["9.9.9.9", "10.0.0.1"].map((address) => addressRecord("nas.example.org", address))
        answers.set(`system nas.example.org ${recordType.A}`, reply({ answers: all }))
        answers.set(`system code.example.com ${recordType.A}`, reply({ answers: [alias, real] }))
        for (const name of ["nas.example.org", "code.example.com"]) {
          yield* ask(name)
          assert.isFalse(yield* isKnown(name), name)
        }
        assert.isTrue(yield* isKnown("code.example.com", recordType.A, tunnel4(2)))
        assert.include(yield* (yield* TunnelNames).counters, { forwards_cached: 1 })
      }).pipe(Effect.provide(layer))
  )

  it.effect("is that a name does not exist, which makes nothing, for as long as that was said", () =>
    Effect.gen(function* () {
      yield* script("*", fail(new NameNotFound({ ttlSeconds: 20 })))
      yield* ask("none.corp")
      yield* TestClock.adjust("5 seconds")
      assert.deepStrictEqual(yield* known("none.corp"), { _tag: "NameError", ttl: 15 })
      yield* TestClock.adjust("15 seconds")
      assert.isFalse(yield* isKnown("none.corp"), "it is looked up again")
    }).pipe(Effect.provide(layer))
  )

  it.effect("is nothing while a question waits for the first lookup", () =>
    Effect.gen(function* () {
      yield* script("*", { _tag: "Hang" })
      yield* Effect.forkScoped(askRaw("git.corp"), { startImmediately: true })
      assert.isFalse(yield* isKnown("git.corp"))
    }).pipe(Effect.provide(layer))
  )

  it.effect("is nothing once the TTL asks for another lookup", () =>
    Effect.gen(function* () {
      yield* script("*", answer(["10.0.0.1"], 60))
      yield* ask("git.corp")
      for (let n = 0; n < 2; n++) {
        yield* TestClock.adjust("29 seconds")
        assert.isTrue(yield* isKnown("git.corp"))
      }
      yield* TestClock.adjust("3 seconds")
      assert.isFalse(yield* isKnown("git.corp"))
      const before = yield* lookups
      yield* ask("git.corp")
      assert.strictEqual((yield* lookups) - before, 1)
    }).pipe(Effect.provide(layer))
  )

  it.effect("is a name whose next lookup waits behind its client's new names", () =>
    Effect.gen(function* () {
      yield* script("*", answer(["10.0.0.1"], 25))
      yield* ask("git.corp")
      yield* TestClock.adjust("24 seconds")
      assert.isTrue(yield* isKnown("git.corp"))
      yield* script("*", { _tag: "Hang" })
      for (let n = 0; n < 200; n++) yield* Effect.forkScoped(askRaw(`n${n}.corp`), { startImmediately: true })
      yield* TestClock.adjust("2 seconds")
      const told = yield* ask("git.corp")
      assert.deepStrictEqual(yield* known("git.corp"), told)
    }).pipe(Effect.provide(layer))
  )

  it.effect("is nothing without the right: withdrawn, expired, or another that covers the name", () => {
    const dated = { ...config, grants: config.grants.map((grant) => ({ ...grant, expiresAt: 10_000 })) }
    return Effect.gen(function* () {
      const told = yield* ask("git.corp")
      yield* (yield* Authorizations).revoke(ClientId.make(clientId(1)), corp.id)
      assert.isFalse(yield* isKnown("git.corp"))
      assert.deepStrictEqual(yield* ask("git.corp"), told)
      assert.deepStrictEqual(yield* known("git.corp"), told)
      yield* (yield* Authorizations).record({ client: dated.clients[0]!, resource: git, expiresAt: null })
      assert.isFalse(yield* isKnown("git.corp"), "the union is another one")
      yield* (yield* Authorizations).revoke(ClientId.make(clientId(1)), git.id)
      yield* ask("git.corp")
      assert.isTrue(yield* isKnown("git.corp"))
      yield* TestClock.adjust("10 seconds")
      assert.deepInclude(yield* known("git.corp"), { _tag: "NameError" })
      assert.deepInclude(yield* ask("git.corp"), { _tag: "NameError" })
    }).pipe(Effect.provide(layerOn(dated)))
  })

  it.effect(
    "is nothing after half a minute without a question: the name is in demand anew, and its packets wait anew",
    () =>
      Effect.gen(function* () {
        yield* script("*", answer(["10.0.0.1"], 3_600))
        yield* ask("git.corp")
        yield* TestClock.adjust("30 seconds")
        assert.isTrue(yield* isKnown("git.corp"))
        yield* TestClock.adjust("31 seconds")
        assert.isFalse(yield* isKnown("git.corp"))
      }).pipe(Effect.provide(layer))
  )

  it.effect("is nothing when its use is due to be written down", () =>
    Effect.gen(function* () {
      yield* script("*", answer(["10.0.0.1"], 86_400))
      yield* ask("git.corp")
      yield* TestClock.adjust("1 hour")
      yield* (yield* Resolutions).refresh((yield* (yield* Resolutions).list)[0]!.mapping.id, "Stale")
      assert.isFalse(yield* isKnown("git.corp"))
      const { writes } = yield* Disk
      yield* ask("git.corp")
      assert.strictEqual((yield* Disk).writes, writes + 1)
      assert.isTrue(yield* isKnown("git.corp"))
    }).pipe(Effect.provide(layer))
  )

  it.effect("counts as questions do, however often it is asked, and takes no room from others", () =>
    Effect.gen(function* () {
      const names = yield* TunnelNames
      yield* ask("git.corp")
      const { questions } = (yield* names.counters) as { questions: number }
      for (let n = 0; n < 5_000; n++) assert.isTrue(yield* isKnown("git.corp"))
      assert.deepInclude(yield* names.counters, { questions: questions + 5_000 })
      const others = yield* Effect.forEach(Array.from({ length: 999 }), () => askPatiently("git.corp"))
      assert.isTrue(others.every(({ afterMs }) => afterMs === 0))
      assert.strictEqual((yield* askPatiently("git.corp")).afterMs, 2)
    }).pipe(Effect.provide(layer))
  )

  it.effect("is, once a client was told so, that it asks too much: what is known beside it is still told", () =>
    Effect.gen(function* () {
      const names = yield* TunnelNames
      const tooMany = { _tag: "ServerFailure", error: { code: 0, text: "too many questions" } } as const
      yield* ask("git.corp")
      yield* TestClock.adjust("1 second")
      const other = { domain: "www.example.com", type: recordType.MX, family: null, reverse: null }
      const flood = (count: number) =>
        Effect.forEach(Array.from({ length: count }), () =>
          Effect.forkScoped(names.answer(tunnel4(1), other), { startImmediately: true })
        )
      yield* flood(1_500)
      assert.isUndefined(names.known(tunnel4(1), other), "nobody was refused yet")
      yield* flood(1)
      assert.deepStrictEqual(names.known(tunnel6(1), other), tooMany)
      assert.isTrue(yield* isKnown("git.corp"))
      assert.isUndefined(names.known(tunnel4(2), other))
      yield* TestClock.adjust("2 millis")
      assert.isUndefined(names.known(tunnel4(1), other), "the next one may wait")
      yield* flood(1)
      assert.deepStrictEqual(names.known(tunnel4(1), other), tooMany)
      assert.deepInclude(yield* names.counters, { questions_refused: 3 })
    }).pipe(Effect.provide(layer))
  )

  it.effect("is not told to strangers, nor to one who sends garbage all the time", () =>
    Effect.gen(function* () {
      const names = yield* TunnelNames
      assert.isFalse(names.isOfClient("192.0.2.1"))
      assert.isTrue(names.isOfClient(tunnel6(1)))
      const told = Array.from({ length: 600 }, () => names.mayComplain(tunnel4(1))).filter(Boolean).length
      assert.strictEqual(told, 500)
      assert.isTrue(names.mayComplain(tunnel4(2)))
      assert.deepInclude(yield* names.counters, { unknown_source: 1, complaints_refused: 100 })
      yield* TestClock.adjust("1 second")
      assert.isTrue(names.mayComplain(tunnel4(1)))
    }).pipe(Effect.provide(layer))
  )
})

describe("the start", () => {
  it.effect(
    "asks each resolver set of a name something harmless, so that it is known which ones are slow or dead",
    () => {
      const asked: Array<string> = []
      const probe = Layer.succeed(SetProbe, (set) => {
        asked.push(set)
        return set === "late" ? Effect.never : Effect.succeed(set === "corp")
      })
      const late = dnsResource("*.late", { resolver: "late" })
      const resources = [corp, dnsResource("*.lab"), dnsResource("git.corp", { resolver: "corp" }), late]
      return Effect.gen(function* () {
        yield* (yield* TunnelNames).restore
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(asked, ["corp", "system", "late"])
        yield* script("*", { _tag: "Hang" })
        assert.strictEqual((yield* askPatiently("a.corp")).afterMs, 140)
        assert.strictEqual((yield* askPatiently("a.lab")).afterMs, 0, "nobody waits for a set that is silent")
        assert.strictEqual((yield* askPatiently("a.late")).afterMs, 0, "nor for one that has not answered that yet")
      }).pipe(Effect.provide(Layer.provide(layerOn(configOf(resources)), probe)))
    }
  )
})

describe("a restart", () => {
  const session = <A, E>(
    run: Effect.Effect<A, E, Layer.Success<ReturnType<typeof layerNames>> | DataPlaneRecorder | StateStore | Disk>
  ) =>
    run.pipe(
      Effect.provide(
        layerFound.pipe(Layer.provideMerge(layerNames(config)), Layer.provideMerge(DataPlaneRecording.layer)),
        { local: true }
      )
    )

  it.effect("reserves every client's first proxies, so that a first question costs one plain write", () =>
    Effect.gen(function* () {
      yield* (yield* TunnelNames).restore
      const disk = yield* Disk
      const before = disk.writes
      yield* ask("git.corp")
      assert.strictEqual(disk.writes, before + 1)
    }).pipe(Effect.provide(layer))
  )

  it.effect("gives every name the same proxies, and looks nothing up until there is traffic", () =>
    Effect.gen(function* () {
      const before = yield* session(askMany(0, 150))
      const after = yield* session(
        Effect.gen(function* () {
          yield* (yield* TunnelNames).restore
          yield* TestClock.adjust("10 minutes")
          assert.strictEqual(yield* lookups, 0)
          const mappings = yield* (yield* Resolutions).list
          assert.strictEqual(mappings.length, 150)
          assert.isTrue(mappings.every(({ state }) => state._tag === "Unresolved"))
          // A right is told once, however many names there are by it.
          const told = (yield* (yield* DataPlaneRecorder).commands).filter(({ _tag }) => _tag === "SetResource")
          assert.lengthOf(told, 1)
          yield* (yield* Resolutions).refresh(mappings[0]!.mapping.id, "Unmapped")
          yield* TestClock.adjust("1 second")
          assert.strictEqual(yield* lookups, 1)
          return yield* askMany(0, 151)
        })
      )
      assert.deepStrictEqual(after.slice(0, 150), before)
      assert.notInclude(before, after[150])
    }).pipe(Effect.provide(layerStore))
  )

  it.effect(
    "keeps the order of use: the least recently used name makes room first",
    () =>
      Effect.gen(function* () {
        const store = yield* StateStore
        for (let n = 1; n <= 4_096; n++) {
          yield* store.putMapping({
            client: clientId(1),
            resource: corp.id,
            domain: `n${n}.corp`,
            slot: n,
            lastUsedAt: 10_000 - n
          })
        }
        yield* store.reserveSlots(clientId(1), 5_000)
        yield* session(
          Effect.gen(function* () {
            yield* (yield* TunnelNames).restore
            yield* ask("new.corp")
          })
        )
        const domains = (yield* store.mappings).map((mapping) => mapping.domain)
        assert.notInclude(domains, "n4096.corp")
        assert.include(domains, "n1.corp")
      }).pipe(Effect.provide(layerStore)),
    30_000
  )

  it.effect(
    "keeps a name's proxies whichever resources cover it by now, and of two stored slots the one used last",
    () =>
      Effect.gen(function* () {
        const store = yield* StateStore
        const row = { client: clientId(1), domain: "a.corp" }
        yield* store.putMapping({ ...row, resource: "gone", slot: 3, lastUsedAt: 5 })
        yield* store.putMapping({ ...row, resource: corp.id, slot: 1, lastUsedAt: 4 })
        yield* session(
          Effect.gen(function* () {
            yield* (yield* TunnelNames).restore
            const [restored] = yield* (yield* Resolutions).list
            assert.deepStrictEqual(restored?.mapping.resources, [corp.id])
            assert.strictEqual(restored?.mapping.proxyIps[0], "100.96.0.12")
            assert.strictEqual(addresses(yield* ask("a.corp"))[0], "100.96.0.12")
          })
        )
        assert.deepStrictEqual(
          (yield* store.mappings).map(({ slot }) => slot),
          [3]
        )
      }).pipe(Effect.provide(layerStore))
  )

  it.effect("brings back nothing that its client may no longer reach, and gives its proxies to nobody", () =>
    Effect.gen(function* () {
      const store = yield* StateStore
      yield* store.putMapping({ client: clientId(2), resource: corp.id, domain: "a.corp", slot: 3, lastUsedAt: 0 })
      yield* store.putMapping({ client: "gone", resource: corp.id, domain: "a.corp", slot: 1, lastUsedAt: 0 })
      yield* store.putMapping({ client: clientId(1), resource: corp.id, domain: "a.lab", slot: 1, lastUsedAt: 0 })
      yield* session(
        Effect.gen(function* () {
          yield* (yield* TunnelNames).restore
          assert.deepStrictEqual(yield* (yield* Resolutions).list, [])
          assert.strictEqual(addresses(yield* ask("b.corp"))[0], "100.96.0.8")
        })
      )
    }).pipe(Effect.provide(layerStore))
  )
})

describe("a state store that fails", () => {
  it.effect("costs nobody an answer, is loud, and never leads to a proxy IP for two names", () =>
    withLogLines((lines) =>
      Effect.gen(function* () {
        const disk = yield* Disk
        const before = yield* askMany(0, 70)
        disk.full = true
        const during = yield* askMany(100, 200)
        assert.deepStrictEqual(yield* askMany(0, 70), before)
        assert.isTrue(lines.some((line) => line.includes("level=ERROR") && line.includes("memory only")))
        disk.full = false
        const after = yield* askMany(400, 100)
        disk.full = true
        const again = yield* askMany(500, 100)
        const all = [...before, ...during, ...after, ...again]
        assert.strictEqual(new Set(all).size, all.length)
      })
    ).pipe(Effect.provide(layer))
  )

  it.effect("writes a name down as soon as it works again", () =>
    Effect.gen(function* () {
      const disk = yield* Disk
      disk.full = true
      const [proxy] = addresses(yield* ask("git.corp"))
      disk.full = false
      assert.strictEqual(addresses(yield* ask("git.corp"))[0], proxy)
      assert.deepStrictEqual(
        (yield* (yield* StateStore).mappings).map((mapping) => mapping.domain),
        ["git.corp"]
      )
    }).pipe(Effect.provide(layer))
  )
})

describe("small proxy ranges", () => {
  const small = { ...config, network: { ...config.network, proxy4: "10.9.0.0/24" } }

  it.effect("serve as many names as there are slots; then one line names the fix, and old names go on", () =>
    withLogLines((lines) =>
      Effect.gen(function* () {
        const all = yield* askMany(0, 63)
        assert.strictEqual(new Set(all).size, 63)
        assert.deepStrictEqual(yield* ask("more.corp"), { _tag: "ServerFailure" })
        for (let n = 0; n < 20; n++) yield* ask(`more${n}.corp`)
        assert.strictEqual(lines.filter((line) => line.includes("larger proxy ranges")).length, 1)
        assert.deepStrictEqual(yield* askMany(0, 63), all)
      })
    ).pipe(Effect.provide(layerOn(small)))
  )

  it.effect("give a released name's proxies to another one when all others are used up, after 24 hours", () =>
    Effect.gen(function* () {
      const store = yield* StateStore
      const released = { client: clientId(1), resource: corp.id, domain: "old.corp", slot: 5, lastUsedAt: 0 }
      yield* store.putMapping(released)
      yield* store.removeMapping(released, 1_000)
      assert.strictEqual(addresses(yield* ask("fresh.corp"))[0], "10.9.0.4")
      yield* store.reserveSlots(clientId(1), 64)
      yield* TestClock.adjust(86_400_999)
      assert.deepStrictEqual(yield* ask("next.corp"), { _tag: "ServerFailure" })
      yield* TestClock.adjust(1)
      assert.strictEqual(addresses(yield* ask("next.corp"))[0], "10.9.0.20")
      assert.deepStrictEqual(yield* ask("last.corp"), { _tag: "ServerFailure" })
      assert.strictEqual(addresses(yield* ask("next.corp"))[0], "10.9.0.20")
    }).pipe(Effect.provide(layerOn(small)))
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
