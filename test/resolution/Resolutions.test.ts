import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, References } from "effect"
import { TestClock } from "effect/testing"
import { DataPlaneRecorder } from "../../layers/memory/DataPlaneRecording.ts"
import * as ResolverMemory from "../../layers/memory/ResolverMemory.ts"
import type { TrafficCause } from "../../src/dataplane/notices.ts"
import type { MappingId } from "../../src/model/Mapping.ts"
import { AnswerPolicy } from "../../src/resolution/AnswerPolicy.ts"
import { Refresh } from "../../src/resolution/Refresh.ts"
import { Resolutions } from "../../src/resolution/Resolutions.ts"
import { NameNotFound, ServerFailure, Timeout } from "../../src/resolution/Resolver.ts"
import { withLogLines } from "../support/standalone.ts"
import {
  dnsResource,
  latestAddresses,
  layerResolutions,
  layerResolutionsUnder,
  lookups,
  proxies,
  subscription,
  withoutJitter
} from "../support/access.ts"

const answer = ResolverMemory.answer
const servfail = ResolverMemory.fail(new ServerFailure({ detail: "SERVFAIL" }))
const nxdomain = ResolverMemory.fail(new NameNotFound({ ttlSeconds: 0 }))

/** Lets what has just been started come to its end. */
const settle = Effect.repeat(TestClock.adjust(0), { times: 3 })

const traffic = Effect.fnUntraced(function* (mapping: MappingId, cause: TrafficCause) {
  const refresh = yield* Refresh
  yield* refresh.traffic({ _tag: "Traffic", epoch: 1, mapping, cause })
})

const subscribed = Effect.fnUntraced(function* (domain: string, behaviour: ResolverMemory.Behaviour, n = 0) {
  const script = yield* ResolverMemory.ResolverScript
  const resolutions = yield* Resolutions
  yield* script.set(domain, behaviour)
  const { mapping } = yield* resolutions.subscribe(subscription(domain, n))
  yield* settle
  return mapping.id
})

const theState = Effect.gen(function* () {
  const resolutions = yield* Resolutions
  return (yield* resolutions.list)[0]!.state
})

describe("Resolutions: when to look up", () => {
  it.effect("a burst of packets for an unresolved mapping leads to exactly one lookup", () =>
    Effect.gen(function* () {
      const script = yield* ResolverMemory.ResolverScript
      const mapping = yield* subscribed("db.corp", nxdomain)
      yield* TestClock.adjust("10 seconds")
      yield* script.set("db.corp", { _tag: "Late", afterMs: 500, stubborn: false, as: answer(["10.0.0.1"]) })
      for (let i = 0; i < 1_000; i++) yield* traffic(mapping, "Unmapped")
      yield* TestClock.adjust(250)
      for (let i = 0; i < 1_000; i++) yield* traffic(mapping, "Unmapped")
      yield* TestClock.adjust(250)
      assert.strictEqual(yield* lookups, 2)
      assert.deepStrictEqual((yield* latestAddresses).get(mapping)?.addresses, ["10.0.0.1"])
      const counters = yield* (yield* Resolutions).counters
      assert.strictEqual(counters["brake.in_flight"], 1_999)
    }).pipe(Effect.provide(layerResolutions))
  )

  it.effect("an unanswered session makes the name be looked up again, and new flows follow the new answer", () =>
    Effect.gen(function* () {
      const script = yield* ResolverMemory.ResolverScript
      const mapping = yield* subscribed("db.corp", answer(["10.0.0.1"]))
      yield* TestClock.adjust("30 seconds")
      yield* script.set("db.corp", answer(["10.0.0.2"]))
      for (const cause of ["Unanswered", "Unreachable"] as const) {
        yield* traffic(mapping, cause)
        yield* settle
        assert.deepStrictEqual((yield* latestAddresses).get(mapping)?.addresses, ["10.0.0.2"])
      }
      assert.strictEqual(yield* lookups, 2)
    }).pipe(Effect.provide(layerResolutions))
  )

  it.effect("an unreachable host is not re-resolved every second", () =>
    Effect.gen(function* () {
      const script = yield* ResolverMemory.ResolverScript
      const mapping = yield* subscribed("db.corp", answer(["10.0.0.1"]))
      for (let second = 0; second < 300; second++) {
        yield* TestClock.adjust("1 second")
        yield* traffic(mapping, "Unreachable")
        yield* traffic(mapping, "Unanswered")
      }
      yield* settle
      const seconds = (yield* script.calls).map((call) => call.at / 1_000)
      assert.deepStrictEqual(seconds, [0, 1, 3, 7, 15, 31, 63, 123, 183, 243])
    }).pipe(withoutJitter, Effect.provide(layerResolutions), withoutJitter)
  )

  it.effect("a host that replies on one port and is unreachable on another is not re-resolved every second", () =>
    Effect.gen(function* () {
      const mapping = yield* subscribed("db.corp", answer(["10.0.0.1"], 3_600))
      for (let second = 0; second < 300; second++) {
        yield* TestClock.adjust("1 second")
        yield* traffic(mapping, "Unreachable")
        yield* traffic(mapping, "Answered")
      }
      assert.isAtMost(yield* lookups, 1 + 5 * 7)
    }).pipe(Effect.provide(layerResolutions))
  )

  it.effect("a cause during the back-off is remembered once and runs at its end", () =>
    Effect.gen(function* () {
      const mapping = yield* subscribed("db.corp", nxdomain)
      yield* traffic(mapping, "Unmapped")
      yield* traffic(mapping, "Unmapped")
      yield* TestClock.adjust(999)
      assert.strictEqual(yield* lookups, 1)
      yield* TestClock.adjust(1)
      assert.strictEqual(yield* lookups, 2)
      yield* TestClock.adjust("10 minutes")
      assert.strictEqual(yield* lookups, 2)
    }).pipe(Effect.provide(layerResolutions), withoutJitter)
  )

  it.effect("a reply ends the back-off", () =>
    Effect.gen(function* () {
      const mapping = yield* subscribed("db.corp", answer(["10.0.0.1"]))
      for (let second = 0; second < 64; second++) {
        yield* TestClock.adjust("1 second")
        yield* traffic(mapping, "Unanswered")
      }
      const before = yield* lookups
      yield* traffic(mapping, "Answered")
      yield* traffic(mapping, "Unanswered")
      yield* settle
      assert.strictEqual(yield* lookups, before + 1)
    }).pipe(Effect.provide(layerResolutions), withoutJitter)
  )

  it.effect("the end of the TTL leads to a lookup once traffic notices it, and to none for an idle name", () =>
    Effect.gen(function* () {
      const mapping = yield* subscribed("db.corp", answer(["10.0.0.1"], 60))
      yield* TestClock.adjust("1 hour")
      assert.strictEqual(yield* lookups, 1)
      yield* traffic(mapping, "Stale")
      yield* settle
      assert.strictEqual(yield* lookups, 2)
      assert.strictEqual((yield* latestAddresses).get(mapping)?.staleAt, 3_660_000)
    }).pipe(Effect.provide(layerResolutions))
  )

  it.effect("asking again for a fresh name costs no lookup, for one past its TTL it does", () =>
    Effect.gen(function* () {
      const resolutions = yield* Resolutions
      yield* subscribed("db.corp", answer(["10.0.0.1"], 60))
      for (const wait of [1, 29_999, 29_999]) {
        yield* TestClock.adjust(wait)
        yield* resolutions.subscribe(subscription("db.corp", 0))
        yield* resolutions.subscribe(subscription("db.corp", 1))
      }
      assert.strictEqual(yield* lookups, 1)
      yield* TestClock.adjust(1)
      const { state } = yield* resolutions.subscribe(subscription("db.corp", 1))
      assert.strictEqual(state._tag, "Resolved")
      yield* settle
      assert.strictEqual(yield* lookups, 2)
    }).pipe(Effect.provide(layerResolutions))
  )

  it.effect("a restarted mapping is looked up by its first packet, which is parked, not before", () =>
    Effect.gen(function* () {
      const resolutions = yield* Resolutions
      const script = yield* ResolverMemory.ResolverScript
      yield* script.set("*", answer(["10.0.0.1"]))
      const { mapping, state } = yield* resolutions.subscribe({ ...subscription("db.corp"), cause: "Restarted" })
      assert.strictEqual(state._tag, "Unresolved")
      assert.strictEqual((yield* latestAddresses).get(mapping.id)?.state, "Unasked")
      yield* TestClock.adjust("1 hour")
      assert.strictEqual(yield* lookups, 0)
      yield* traffic(mapping.id, "Unmapped")
      assert.strictEqual((yield* latestAddresses).get(mapping.id)?.state, "Resolving")
      yield* settle
      assert.deepStrictEqual((yield* latestAddresses).get(mapping.id)?.addresses, ["10.0.0.1"])
    }).pipe(Effect.provide(layerResolutions))
  )

  it.effect("traffic for an unknown mapping is ignored", () =>
    Effect.gen(function* () {
      const resolutions = yield* Resolutions
      const mapping = yield* subscribed("db.corp", answer(["10.0.0.1"]))
      yield* resolutions.release(mapping)
      yield* traffic(mapping, "Unmapped")
      yield* traffic(mapping, "Answered")
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(yield* lookups, 1)
    }).pipe(Effect.provide(layerResolutions))
  )
})

describe("Refresh", () => {
  it.effect("listens to the data plane: each cause leads to a lookup, a reply to none, other notices to nothing", () =>
    Effect.gen(function* () {
      const recorder = yield* DataPlaneRecorder
      for (const [n, cause] of (["Unmapped", "Unanswered", "Unreachable", "Stale"] as const).entries()) {
        const mapping = yield* subscribed(`n${n}.corp`, answer(["10.0.0.1"]), n)
        yield* TestClock.adjust("2 seconds")
        yield* recorder.publish({ _tag: "Ready", epoch: 1 })
        yield* recorder.publish({ _tag: "Fault", epoch: 1, message: "x" })
        yield* recorder.traffic(mapping, "Answered")
        yield* settle
        assert.strictEqual(yield* lookups, 2 * n + 1)
        yield* recorder.traffic(mapping, cause)
        yield* settle
        assert.strictEqual(yield* lookups, 2 * n + 2, cause)
      }
    }).pipe(Effect.provide(layerResolutions))
  )
})

describe("Resolutions: what a lookup's end means", () => {
  it.effect("a failing resolver does not take the last good answer, for 30 minutes", () =>
    Effect.gen(function* () {
      const script = yield* ResolverMemory.ResolverScript
      const mapping = yield* subscribed("db.corp", answer(["10.0.0.1"], 60))
      yield* script.set("db.corp", servfail)
      yield* TestClock.adjust("1 minute")
      for (let second = 61; second < 1_800; second++) {
        yield* traffic(mapping, "Stale")
        yield* TestClock.adjust("1 second")
      }
      const kept = yield* theState
      assert(kept._tag === "Resolved")
      assert.strictEqual(kept.failure?._tag, "ServerFailure")
      assert.deepStrictEqual((yield* latestAddresses).get(mapping)?.addresses, ["10.0.0.1"])

      yield* TestClock.adjust("1 second")
      yield* traffic(mapping, "Stale")
      yield* settle
      const lost = yield* theState
      assert(lost._tag === "Unresolved")
      assert.strictEqual(lost.reason._tag, "ServerFailure")
      assert.strictEqual((yield* latestAddresses).get(mapping)?.state, "Unresolved")
    }).pipe(Effect.provide(layerResolutions))
  )

  it.effect("NXDOMAIN takes the last answer at once", () =>
    Effect.gen(function* () {
      const script = yield* ResolverMemory.ResolverScript
      const mapping = yield* subscribed("db.corp", answer(["10.0.0.1"], 60))
      yield* script.set("db.corp", ResolverMemory.fail(new NameNotFound({ ttlSeconds: 900 })))
      yield* TestClock.adjust("1 minute")
      yield* traffic(mapping, "Stale")
      yield* settle
      const state = yield* theState
      assert(state._tag === "Unresolved")
      assert.strictEqual(state.reason._tag, "NameNotFound")
      assert.strictEqual(state.negativeUntil, state.since + 60_000)
      assert.deepStrictEqual((yield* latestAddresses).get(mapping)?.addresses, [])
    }).pipe(Effect.provide(layerResolutions))
  )

  it.effect("an answer that comes after the name was released and asked again changes nothing", () =>
    Effect.gen(function* () {
      const resolutions = yield* Resolutions
      const script = yield* ResolverMemory.ResolverScript
      const late = { _tag: "Late", afterMs: 2_000, stubborn: true, as: answer(["10.0.0.66"]) } as const
      yield* script.set("db.corp", late)
      const first = yield* resolutions.subscribe(subscription("db.corp"))
      yield* settle
      yield* resolutions.release(first.mapping.id)
      yield* script.set("db.corp", answer(["10.0.0.1"]))
      const second = yield* resolutions.subscribe(subscription("db.corp"))
      yield* TestClock.adjust("3 seconds")
      assert.strictEqual(yield* lookups, 2)
      assert.strictEqual(yield* (yield* ResolverMemory.ResolverScript).returned, 2)
      assert.deepStrictEqual((yield* latestAddresses).get(second.mapping.id)?.addresses, ["10.0.0.1"])
      const state = yield* theState
      assert(state._tag === "Resolved")
      assert.deepStrictEqual(state.addresses, ["10.0.0.1"])
    }).pipe(Effect.provide(layerResolutions))
  )

  it.effect("the numbers of lookups only grow, so that the data plane can drop what is late", () =>
    Effect.gen(function* () {
      const recorder = yield* DataPlaneRecorder
      const mapping = yield* subscribed("db.corp", answer(["10.0.0.1"]))
      for (let i = 0; i < 20; i++) {
        yield* traffic(mapping, "Unreachable")
        yield* TestClock.adjust("3 seconds")
      }
      const numbers = (yield* recorder.commands).flatMap((c) => (c._tag === "SetAddresses" ? [c.lookup] : []))
      assert.isAbove(new Set(numbers).size, 3)
      assert.deepStrictEqual(
        numbers,
        numbers.toSorted((a, b) => a - b)
      )
    }).pipe(Effect.provide(layerResolutions))
  )

  it.effect("an answer of nothing but refused addresses is shown as DestinationRefused, per resource", () =>
    Effect.gen(function* () {
      const resolutions = yield* Resolutions
      yield* subscribed("db.corp", answer(["127.0.0.1", "::1"]))
      const [refused] = yield* resolutions.list
      assert(refused?.state._tag === "Unresolved")
      assert(refused.state.reason._tag === "DestinationRefused")
      assert.deepStrictEqual(refused.state.reason.addresses, ["127.0.0.1", "::1"])
      assert.deepStrictEqual((yield* latestAddresses).get(refused.mapping.id)?.addresses, [])

      const allowed = yield* resolutions.subscribe({
        ...subscription("db.corp", 1),
        resource: dnsResource("db.corp", { allow: ["loopback"] })
      })
      assert.strictEqual(allowed.state._tag, "Resolved")

      yield* subscribed("web.corp", answer(["127.0.0.1", "10.0.0.1"]), 2)
      const mixed = (yield* resolutions.list).find((row) => row.mapping.name.domain === "web.corp")
      assert(mixed?.state._tag === "Resolved")
      assert.deepStrictEqual(mixed.state.addresses, ["10.0.0.1"])
      assert.deepStrictEqual((yield* latestAddresses).get(mixed.mapping.id)?.addresses, ["10.0.0.1"])
    }).pipe(
      Effect.provide(
        layerResolutionsUnder(
          Layer.succeed(AnswerPolicy, (addresses, allow) =>
            allow.includes("loopback")
              ? []
              : addresses.filter((address) => address === "127.0.0.1" || address === "::1")
          )
        )
      )
    )
  )

  it.effect("more than 64 addresses are cut off", () =>
    Effect.gen(function* () {
      const mapping = yield* subscribed(
        "db.corp",
        answer(Array.from({ length: 300 }, (_, i) => `10.0.${i >> 8}.${i & 255}`))
      )
      assert.strictEqual((yield* latestAddresses).get(mapping)?.addresses.length, 64)
    }).pipe(Effect.provide(layerResolutions))
  )
})

describe("Resolutions: mappings", () => {
  it.effect("other proxies mean a new generation; the same proxies in a new request do not", () =>
    Effect.gen(function* () {
      const resolutions = yield* Resolutions
      const generations: Array<number> = []
      for (const n of [1, 1, 2, 2, 1]) {
        const { mapping } = yield* resolutions.subscribe({ ...subscription("db.corp"), proxyIps: proxies(n) })
        generations.push(mapping.generation)
      }
      assert.deepStrictEqual(generations, [1, 1, 2, 2, 3])
      const recorder = yield* DataPlaneRecorder
      const told = (yield* recorder.commands).flatMap((c) =>
        c._tag === "SetMapping" ? [[c.generation, c.proxyIps]] : []
      )
      assert.deepStrictEqual(told, [
        [1, proxies(1)],
        [2, proxies(2)],
        [3, proxies(1)]
      ])
    }).pipe(Effect.provide(layerResolutions))
  )

  it.effect("a client that renumbers its proxies loses the mapping that had them; another client does not", () =>
    Effect.gen(function* () {
      const resolutions = yield* Resolutions
      yield* resolutions.subscribe(subscription("db.corp", 0))
      yield* resolutions.subscribe(subscription("db.corp", 1))
      const { mapping } = yield* resolutions.subscribe(subscription("web.corp", 0))
      const rows = (yield* resolutions.list).map((row) => [row.mapping.client, row.mapping.name.domain])
      assert.deepStrictEqual(rows, [
        ["client-1", "db.corp"],
        ["client-0", "web.corp"]
      ])
      assert.isTrue((yield* latestAddresses).has(mapping.id))
      assert.strictEqual((yield* latestAddresses).size, 2)
    }).pipe(Effect.provide(layerResolutions))
  )

  it.effect("a second mapping of a name gets its answer at once, without a lookup", () =>
    Effect.gen(function* () {
      const resolutions = yield* Resolutions
      yield* subscribed("db.corp", answer(["10.0.0.1"]))
      const { mapping, state } = yield* resolutions.subscribe(subscription("db.corp", 1))
      assert.strictEqual(state._tag, "Resolved")
      assert.deepStrictEqual((yield* latestAddresses).get(mapping.id)?.addresses, ["10.0.0.1"])
      assert.strictEqual(yield* lookups, 1)
    }).pipe(Effect.provide(layerResolutions))
  )

  it.effect(
    "a new mapping of a name that is not there is told so, and its packets parked during its own first lookup",
    () =>
      Effect.gen(function* () {
        const resolutions = yield* Resolutions
        const script = yield* ResolverMemory.ResolverScript
        const old = yield* subscribed("db.corp", nxdomain)
        yield* TestClock.adjust("10 seconds")
        yield* script.set("db.corp", answer(["10.0.0.1"]))
        const { mapping, state } = yield* resolutions.subscribe(subscription("db.corp", 1))
        assert.strictEqual(state._tag, "Unresolved")
        const parked = yield* latestAddresses
        assert.strictEqual(parked.get(mapping.id)?.state, "Resolving")
        assert.strictEqual(parked.get(old)?.state, "Unresolved")
        yield* settle
        for (const id of [old, mapping.id]) assert.strictEqual((yield* latestAddresses).get(id)?.state, "Resolved")
      }).pipe(Effect.provide(layerResolutions))
  )

  it.effect("the same domain at two resolver sets is two names", () =>
    Effect.gen(function* () {
      const resolutions = yield* Resolutions
      const script = yield* ResolverMemory.ResolverScript
      yield* resolutions.subscribe(subscription("db.corp", 0))
      yield* resolutions.subscribe({
        ...subscription("db.corp", 1),
        resource: dnsResource("db.corp", { resolver: "corp" })
      })
      yield* settle
      assert.deepStrictEqual(
        (yield* script.calls).map((call) => call.name.resolver),
        ["system", "corp"]
      )
    }).pipe(Effect.provide(layerResolutions))
  )

  it.effect("the last mapping's release ends the lookup of its name", () =>
    Effect.gen(function* () {
      const resolutions = yield* Resolutions
      const script = yield* ResolverMemory.ResolverScript
      const a = yield* resolutions.subscribe(subscription("db.corp", 0))
      const b = yield* resolutions.subscribe(subscription("db.corp", 1))
      yield* settle
      yield* resolutions.release(a.mapping.id)
      yield* settle
      assert.strictEqual(yield* script.returned, 0)
      yield* resolutions.release(b.mapping.id)
      yield* settle
      assert.strictEqual(yield* script.returned, 1)
      assert.deepStrictEqual(yield* resolutions.list, [])
    }).pipe(Effect.provide(layerResolutions))
  )
})

describe("Resolutions: budgets", () => {
  it.effect("over its budget a client is still subscribed at once: Throttled, empty, queued, resolved later", () =>
    Effect.gen(function* () {
      const resolutions = yield* Resolutions
      const script = yield* ResolverMemory.ResolverScript
      yield* script.set("*", { _tag: "Late", afterMs: 501, stubborn: false, as: answer(["10.0.0.1"]) })
      const ask = (i: number, n = 0) =>
        resolutions.subscribe({ ...subscription(`n${i}.corp`, n), proxyIps: proxies(i) })
      for (let i = 0; i < 64; i++) assert.strictEqual((yield* ask(i)).state._tag, "Resolving")
      const stopped = yield* ask(64)
      assert(stopped.state._tag === "Unresolved")
      assert.deepInclude(stopped.state.reason, { _tag: "Throttled", budget: "client_in_flight" })
      // Its first packet is parked, and asks.
      assert.strictEqual((yield* latestAddresses).get(stopped.mapping.id)?.state, "Unasked")
      for (let i = 65; i < 150; i++) yield* ask(i)
      yield* TestClock.adjust(501)
      yield* TestClock.adjust(0)
      assert.strictEqual(yield* lookups, 100 + 5)

      assert.strictEqual((yield* ask(900, 1)).state._tag, "Resolving", "another client is not affected")
      assert.strictEqual((yield* ask(149, 1)).state._tag, "Resolving", "and pays for a name that both want")
      yield* TestClock.adjust("5 seconds")
      assert.strictEqual(yield* lookups, 151)
      const states = (yield* resolutions.list).map((row) => row.state._tag)
      assert.deepStrictEqual(new Set(states), new Set(["Resolved"]))
    }).pipe(Effect.provide(layerResolutions))
  )

  it.effect("400 names of one client at 80 a second are found as fast as the resolver answers", () =>
    Effect.gen(function* () {
      const resolutions = yield* Resolutions
      const script = yield* ResolverMemory.ResolverScript
      yield* script.set("*", { _tag: "Late", afterMs: 100, stubborn: false, as: answer(["10.0.0.1"]) })
      const { client, resource } = subscription("")
      for (let i = 0; i < 400; i++) {
        yield* resolutions.subscribe({ ...subscription(`n${i}.corp`), proxyIps: proxies(i) })
        yield* TestClock.adjust(12.5)
        if (i < 10) continue
        const known = yield* resolutions.find(client, resource.id, `n${i - 10}.corp`)
        assert.strictEqual(known?.state._tag, "Resolved")
      }
    }).pipe(Effect.provide(layerResolutions))
  )

  it.effect("a released name leaves the queue", () =>
    Effect.gen(function* () {
      const resolutions = yield* Resolutions
      const ids = []
      for (let i = 0; i < 80; i++) {
        ids.push((yield* resolutions.subscribe({ ...subscription(`n${i}.corp`), proxyIps: proxies(i) })).mapping.id)
      }
      yield* settle
      assert.strictEqual(yield* lookups, 64)
      for (const id of ids.slice(64)) yield* resolutions.release(id)
      assert.strictEqual((yield* resolutions.counters)["queued"], 0)
      for (const id of ids.slice(0, 64)) yield* resolutions.release(id)
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(yield* lookups, 64)
    }).pipe(Effect.provide(layerResolutions))
  )
})

describe("Resolutions: a resolver set that fails", () => {
  it.effect("is probed once a second with one name in demand, and with none when nothing is in demand", () =>
    Effect.gen(function* () {
      const script = yield* ResolverMemory.ResolverScript
      const ids = []
      for (let i = 0; i < 20; i++) ids.push(yield* subscribed(`n${i}.corp`, servfail, i))
      yield* TestClock.adjust("5 seconds")
      const before = yield* lookups
      for (let second = 0; second < 60; second++) {
        for (const id of ids) yield* traffic(id, "Unmapped")
        yield* TestClock.adjust("1 second")
      }
      assert.isAtMost((yield* lookups) - before, 61)
      assert.isAtLeast((yield* lookups) - before, 59)
      const times = (yield* script.calls).slice(before).map((call) => call.at)
      for (let i = 1; i < times.length; i++) assert.isAtLeast(times[i]! - times[i - 1]!, 1_000)

      yield* TestClock.adjust("31 seconds")
      const idle = yield* lookups
      yield* TestClock.adjust("10 minutes")
      assert.strictEqual(yield* lookups, idle)
    }).pipe(Effect.provide(layerResolutions))
  )

  it.effect(
    "is told once it has answered nothing for 3 s, and no more than once a minute, however often it comes and goes",
    () =>
      withLogLines((lines) =>
        Effect.gen(function* () {
          const told = () => lines.filter((line) => line.includes("resolver system")).length
          let names = 0
          const flap = Effect.fnUntraced(function* (downMs: number) {
            for (let i = 0; i < 2; i++) yield* subscribed(`n${names}.corp`, servfail, names++)
            yield* TestClock.adjust(downMs)
            yield* subscribed(`n${names}.corp`, answer(["10.0.0.1"]), names++)
          })
          for (let i = 0; i < 100; i++) yield* flap(2_000)
          assert.strictEqual(told(), 0)
          for (let i = 0; i < 30; i++) yield* flap(4_000)
          // Two minutes of it: twice failing and twice answering again, at most once more.
          assert.isAtMost(told(), 6)
          assert.isAtLeast(told(), 2)
          const before = told()
          for (let i = 0; i < 2; i++) yield* subscribed(`n${names}.corp`, servfail, names++)
          yield* TestClock.adjust("70 seconds")
          assert.strictEqual(told(), before + 1)
        }).pipe(Effect.provide(layerResolutions), Effect.provideService(References.MinimumLogLevel, "All"))
      )
  )

  it.effect("does not stop another resolver set", () =>
    Effect.gen(function* () {
      const resolutions = yield* Resolutions
      const script = yield* ResolverMemory.ResolverScript
      for (let i = 0; i < 5; i++) yield* subscribed(`n${i}.corp`, servfail, i)
      yield* script.set("db.lab", answer(["10.0.0.1"]))
      yield* resolutions.subscribe({
        ...subscription("db.lab", 9),
        resource: dnsResource("db.lab", { resolver: "lab" })
      })
      yield* settle
      const row = (yield* resolutions.list).find((each) => each.mapping.name.domain === "db.lab")
      assert.strictEqual(row?.state._tag, "Resolved")
    }).pipe(Effect.provide(layerResolutions))
  )

  it.effect("one broken name at a set that answers others is backed off and delays none of them", () =>
    Effect.gen(function* () {
      const script = yield* ResolverMemory.ResolverScript
      const resolutions = yield* Resolutions
      yield* script.set("*", answer(["10.0.0.1"]))
      const broken = yield* subscribed("broken.corp", servfail)
      for (let i = 0; i < 120; i++) {
        yield* TestClock.adjust("1 second")
        yield* traffic(broken, "Unmapped")
        const { mapping } = yield* resolutions.subscribe({
          ...subscription(`n${i}.corp`, 1 + (i % 5)),
          proxyIps: proxies(i)
        })
        yield* settle
        assert.strictEqual((yield* latestAddresses).get(mapping.id)?.state, "Resolved")
      }
      const calls = (yield* script.calls).filter((call) => call.name.domain === "broken.corp")
      assert.isAtMost(calls.length, 12)
      assert.isUndefined((yield* resolutions.counters)["breaker.opened"])
    }).pipe(Effect.provide(layerResolutions))
  )

  for (const [mode, down] of [
    ["answers SERVFAIL", servfail],
    ["is silent", { _tag: "Silent" }],
    ["times out at once", ResolverMemory.fail(new Timeout({ afterMs: 1 }))]
  ] as const) {
    for (const outageSeconds of [5, 600]) {
      for (const names of [1, 1_000]) {
        it.effect(
          `${names} names in demand are resolved 2 s after the end of an outage of ${outageSeconds} s in which the server ${mode}`,
          () =>
            Effect.gen(function* () {
              const script = yield* ResolverMemory.ResolverScript
              const resolutions = yield* Resolutions
              yield* script.set("*", down)
              const ids = []
              for (let i = 0; i < names; i++) {
                const asked = { ...subscription(`n${i}.corp`, i % 20), proxyIps: proxies(i) }
                ids.push((yield* resolutions.subscribe(asked)).mapping.id)
              }
              // The last packet comes up to 25 s before the end: the names stay in demand by themselves.
              const step = outageSeconds / Math.ceil(outageSeconds / 25)
              for (let second = 0; second < outageSeconds; second += step) {
                for (const id of ids) yield* traffic(id, "Unmapped")
                yield* TestClock.adjust(step * 1_000)
              }
              const during = yield* lookups
              assert.isAtMost(during, 1_000 + outageSeconds + 10)

              yield* script.set("*", answer(["10.0.0.1"]))
              yield* TestClock.adjust("2 seconds")
              const states = (yield* resolutions.list).filter((row) => row.state._tag === "Resolved")
              assert.strictEqual(states.length, names)
              assert.isAtMost((yield* lookups) - during, names + 3)
            }).pipe(Effect.provide(layerResolutions)),
          30_000
        )
      }
    }
  }

  it.effect(
    "one that comes and goes each second is never asked more than the budgets allow",
    () =>
      Effect.gen(function* () {
        const script = yield* ResolverMemory.ResolverScript
        const ids = []
        for (let i = 0; i < 200; i++) ids.push(yield* subscribed(`n${i}.corp`, servfail, i % 2))
        for (let second = 0; second < 120; second++) {
          for (let i = 0; i < 200; i++) yield* script.set(`n${i}.corp`, second % 2 === 0 ? nxdomain : servfail)
          for (const id of ids) yield* traffic(id, "Unmapped")
          yield* TestClock.adjust("1 second")
        }
        assert.isAtMost(yield* lookups, 2 * (100 + 10 * 121))
      }).pipe(Effect.provide(layerResolutions)),
    30_000
  )
})
