/** Names of resources: what a client is told that asks for one. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { TestClock } from "effect/testing"
import { answer, fail } from "../../../layers/memory/ResolverMemory.ts"
import { recordType } from "../../../src/dns/registry.ts"
import type { TunnelAnswer } from "../../../src/dns/tunnelAnswer.ts"
import { IpFamilies } from "../../../src/host/IpFamilies.ts"
import { Authorizations } from "../../../src/access/Authorizations.ts"
import { StateStore } from "../../../src/host/StateStore.ts"
import { TunnelNames } from "../../../src/control/standalone/TunnelNames.ts"
import { ClientId } from "../../../src/model/Client.ts"
import { parseNetwork } from "../../../src/packet/address.ts"
import { NameNotFound, NoAddresses, ServerFailure } from "../../../src/resolution/Resolver.ts"
import { Resolutions } from "../../../src/resolution/Resolutions.ts"
import { dnsResource, lookups } from "../../support/access.ts"
import { clientId, tunnel4, tunnel6 } from "../../support/engineWorld.ts"
import { ask, askPatiently, askRaw, askSix, configOf, Disk, UpstreamScript } from "../../support/standalone.ts"
import {
  corp,
  config,
  git,
  layerOn,
  layer,
  script,
  addresses,
  record,
  addressRecord,
  reply
} from "../../support/tunnelNames.ts"

const overlapping = configOf([corp, git])

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
