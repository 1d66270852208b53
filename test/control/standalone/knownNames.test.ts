/** Answers without a lookup, a wait or a write. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { TestClock } from "effect/testing"
import { answer, fail } from "../../../layers/memory/ResolverMemory.ts"
import { recordType } from "../../../src/dns/registry.ts"
import { Authorizations } from "../../../src/access/Authorizations.ts"
import { TunnelNames } from "../../../src/control/standalone/TunnelNames.ts"
import { ClientId } from "../../../src/model/Client.ts"
import { NameNotFound } from "../../../src/resolution/Resolver.ts"
import { Resolutions } from "../../../src/resolution/Resolutions.ts"
import { lookups } from "../../support/access.ts"
import { clientId, tunnel4, tunnel6 } from "../../support/engineWorld.ts"
import { ask, askPatiently, askRaw, askSix, Disk, UpstreamScript } from "../../support/standalone.ts"
import {
  corp,
  config,
  git,
  layerOn,
  layer,
  script,
  record,
  addressRecord,
  reply,
  known,
  isKnown
} from "../../support/tunnelNames.ts"

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
