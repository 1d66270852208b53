import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import { TestClock } from "effect/testing"
import { PresenceMemory } from "../../../layers/memory/PresenceStoreMemory.ts"
import { defectCounts } from "../../../src/loops/outlive.ts"
import { type Hello, maxRead } from "../../../src/shared/meeting.ts"
import { PresenceStore } from "../../../src/shared/PresenceStore.ts"
import { clientId } from "../../support/engineWorld.ts"
import { aMoment, deviceOf, pass, start, two, virtual } from "../../support/presence.ts"
import { withLogLines } from "../../support/standalone.ts"

/** Says and knows nothing. */
const stranger: Hello = {
  gateway: 9,
  epoch: 1,
  clients: 0,
  master: "no",
  address: null,
  port: 51_820,
  draining: false,
  about: null,
  sightings: [],
  known: new Map()
}

/** So many clients have just connected to the first one. */
const crowd = Effect.fnUntraced(function* (count: number) {
  const memory = new PresenceMemory()
  const clients = Array.from({ length: count }, (_, n) => n + 1)
  const [a, b] = [yield* start(memory, 0, { clients }), yield* start(memory, 1, { clients })]
  yield* pass(16)
  for (const n of clients) yield* a.connect(n, n, { handshakeAt: n })
  return { a, b }
})

describe("gateways of a site", () => {
  it.effect("tell each other where clients are, and who has them, within a heartbeat", () =>
    Effect.gen(function* () {
      const { a, b, memory } = yield* two
      yield* a.connect(1, 7)
      yield* aMoment

      const [command] = yield* b.commands
      assert.deepStrictEqual(command, {
        _tag: "SetKnownEndpoints",
        call: false,
        clients: [
          {
            client: clientId(1),
            endpoint: { address: "192.0.2.1", port: 40_001 },
            local: virtual,
            lastTai64n: "7".padStart(24, "0"),
            sentTick: 7
          }
        ]
      })
      assert.deepStrictEqual(yield* a.told, { told: [], called: [] })
      const { gateways, owners } = yield* b.report
      assert.deepStrictEqual([...owners], [[clientId(1), 0]])
      assert.deepStrictEqual(
        gateways.map(({ alive, clients, gateway, own }) => [gateway, own, alive, clients]),
        [
          [0, false, true, 1],
          [1, true, true, 0]
        ]
      )

      yield* b.connect(1, 8)
      yield* aMoment
      assert.strictEqual((yield* b.report).owners.size, 0)
      assert.deepStrictEqual([...(yield* a.report).owners], [[clientId(1), 1]])

      yield* a.connect(2, 7)
      yield* Effect.repeat(TestClock.adjust("50 millis"), { times: 4 })
      assert.isTrue(memory.meet(stranger, 0).sightings.some(({ publicKey }) => publicKey === deviceOf(2).publicKey))
    })
  )

  it.effect("call the clients of one that is silent, and say so", () =>
    withLogLines((lines) =>
      Effect.gen(function* () {
        const { a, b } = yield* two
        yield* a.connect(1, 7)
        yield* a.connect(2, 8, { local: "198.51.100.77" })
        yield* pass(2)
        yield* b.told
        yield* a.end
        yield* pass(2)
        assert.deepStrictEqual(yield* b.told, { told: [], called: [] })
        yield* pass(3)
        assert.deepStrictEqual(yield* b.told, { told: [], called: [1] })
        assert.isTrue(lines.some((line) => /clients of gateway 0, which is silent, are called.*clients=1/.test(line)))
        const [theirs] = (yield* b.report).gateways
        assert.isFalse(theirs!.alive)
      })
    )
  )

  it.effect("call everybody else's clients when the virtual address comes, at once, and nobody when it goes", () =>
    Effect.gen(function* () {
      const { a, b } = yield* two
      yield* a.connect(1, 7)
      yield* pass(2)
      yield* a.end
      yield* b.told
      yield* b.address.tell("MASTER")
      yield* TestClock.adjust("10 millis")
      assert.deepStrictEqual(yield* b.told, { told: [], called: [1] })
      assert.isTrue((yield* b.report).gateways[1]!.master)
      yield* b.address.tell("BACKUP")
      yield* pass(1)
      assert.deepStrictEqual(yield* b.told, { told: [1], called: [] })
      yield* pass(10)
      assert.deepStrictEqual(yield* b.told, { told: [], called: [] })
    })
  )

  it.effect("call nobody when they start beside one that lives, and who was theirs when they start again", () =>
    Effect.gen(function* () {
      const { a, b, memory } = yield* two
      yield* a.connect(1, 7)
      yield* b.connect(2, 7)
      yield* pass(2)
      yield* b.end
      const again = yield* start(memory, 1)
      const third = yield* start(memory, 2)
      yield* pass(10)
      assert.deepStrictEqual(yield* again.told, { told: [1], called: [2] })
      assert.deepStrictEqual(yield* third.told, { told: [1, 2], called: [] })
    })
  )
})

it.effect("a process that is kept out of the site as another one's copy does not keep that one alive", () =>
  Effect.gen(function* () {
    const { a, b, memory } = yield* two
    const copy = yield* start(memory, 0, { isTaken: true })
    yield* a.connect(1, 7)
    yield* pass(2)
    yield* b.told
    yield* a.end
    yield* pass(5)
    assert.deepStrictEqual(yield* b.told, { told: [], called: [1] })
    assert.deepStrictEqual(yield* copy.told, { told: [], called: [] })
  })
)

describe("when the virtual address goes elsewhere, nobody is called any more", () => {
  it.effect("that the site has just been asked for", () =>
    Effect.gen(function* () {
      const asked = yield* Deferred.make<void>()
      const ask = Effect.andThen(Deferred.succeed(asked, undefined), Effect.sleep("1 second"))
      const store = (live: Layer.Layer<PresenceStore>) =>
        Layer.effect(
          PresenceStore,
          Effect.map(PresenceStore, (store) => ({
            ...store,
            inherit: (gateway, from) => Effect.andThen(ask, store.inherit(gateway, from))
          }))
        ).pipe(Layer.provide(live))
      const memory = new PresenceMemory()
      const a = yield* start(memory, 0)
      const b = yield* start(memory, 1, { store })
      yield* pass(16)
      yield* a.connect(1, 7)
      yield* pass(2)
      yield* b.told
      yield* a.end
      while (!(yield* Deferred.isDone(asked))) yield* TestClock.adjust("100 millis")
      yield* b.address.tell("BACKUP")
      yield* pass(3)
      assert.deepStrictEqual(yield* b.told, { told: [], called: [] })
    })
  )

  it.effect("of so many that some were still to be told", () =>
    Effect.gen(function* () {
      const { b } = yield* crowd(2_600)
      yield* pass(3)
      yield* b.told
      const last = new Map<string, boolean>()
      for (let times = 2; times < 40; times += 6) {
        yield* b.address.tell("MASTER")
        yield* Effect.repeat(Effect.yieldNow, { times })
        yield* b.address.tell("BACKUP")
        yield* pass(1)
        for (const { call, clients } of yield* b.commands) for (const { client } of clients) last.set(client, call)
        assert.isFalse([...last.values()].includes(true))
      }
      assert.isAbove(last.size, 0)
    })
  )
})

it.effect("an operator is told of two gateways with the virtual address, and of a client that goes to and fro", () =>
  withLogLines((lines) =>
    Effect.gen(function* () {
      const { a, b } = yield* two
      yield* a.address.tell("MASTER")
      yield* b.address.tell("MASTER")
      for (let n = 1; n < 20; n++) {
        yield* (n % 2 === 0 ? a : b).connect(1, n)
        yield* pass(2)
      }
      const told = (text: string) => lines.filter((line) => line.includes("level=WARN") && line.includes(text))
      assert.lengthOf(told("gateway 1 has the site's virtual address as well as this one"), 1)
      assert.lengthOf(told("gateway 0 has the site's virtual address as well as this one"), 1)
      assert.lengthOf(told(`client ${clientId(1)} has changed gateways 7 times within a minute`), 2)
    })
  )
)

describe("without its store", () => {
  it.effect("a gateway goes on with what it knows, calls nobody, and has told all soon after it is back", () =>
    Effect.gen(function* () {
      const memory = new PresenceMemory()
      let reachable = true
      const clients = [1, 2, 3]
      const a = yield* start(memory, 0, { clients })
      const b = yield* start(memory, 1, { clients, reachable: () => reachable })
      yield* pass(16)
      yield* a.connect(1, 7)
      yield* b.connect(2, 9)
      yield* pass(2)
      yield* b.told
      reachable = false
      yield* a.end
      memory.lose()
      yield* b.connect(3, 9)
      yield* pass(60)
      yield* b.address.tell("MASTER")
      yield* pass(1)
      assert.deepStrictEqual(yield* b.told, { told: [], called: [] })
      assert.deepStrictEqual([...(yield* b.report).owners], [[clientId(1), 0]])
      reachable = true
      yield* pass(2)
      assert.deepStrictEqual((yield* b.told).called, [1])
      const third = yield* start(memory, 2, { clients })
      yield* aMoment
      assert.sameDeepMembers(
        [...(yield* third.report).owners],
        [
          [clientId(2), 1],
          [clientId(3), 1]
        ]
      )
    })
  )

  it.effect("that hangs, nothing waits: calls that are under way end, and it is said after 10 s why", () =>
    withLogLines((lines) =>
      Effect.gen(function* () {
        const memory = new PresenceMemory()
        let hangs = false
        const store = (live: Layer.Layer<PresenceStore>) =>
          Layer.effect(
            PresenceStore,
            Effect.map(PresenceStore, (store) => ({
              ...store,
              meet: (hello) => Effect.suspend(() => (hangs ? Effect.never : store.meet(hello)))
            }))
          ).pipe(Layer.provide(live))
        const a = yield* start(memory, 0)
        const b = yield* start(memory, 1, { store })
        yield* pass(16)
        yield* a.connect(1, 7)
        yield* pass(2)
        yield* b.told
        yield* b.address.tell("MASTER")
        yield* TestClock.adjust("10 millis")
        hangs = true
        assert.deepStrictEqual((yield* b.told).called, [1])
        yield* pass(4)
        assert.deepStrictEqual(yield* b.told, { told: [1], called: [] })
        assert.isFalse(lines.some((line) => line.includes("not heard of")))
        yield* pass(10)
        assert.isTrue(lines.some((line) => /other gateways are not heard of.*no answer within 2 s/.test(line)))
      })
    )
  )
})

it.effect("as many as there are at a gateway that ends are called, 500 in a command", () =>
  Effect.gen(function* () {
    const { b } = yield* crowd(600)
    yield* pass(2)
    assert.lengthOf((yield* b.told).told, 600)
    yield* b.address.tell("MASTER")
    yield* TestClock.adjust("10 millis")
    assert.deepStrictEqual(
      (yield* b.commands).map(({ call, clients }) => [call, clients.length]),
      [
        [true, 500],
        [true, 100]
      ]
    )
  })
)

it.effect("a gateway that starts has read of all that there are before its next heartbeat", () =>
  Effect.gen(function* () {
    const memory = new PresenceMemory()
    const client = { publicKey: deviceOf(1).publicKey, gateway: 0, epoch: 1, handshakeAt: 0, lastTai64n: null }
    const sighting = { ...client, endpoint: { address: "192.0.2.1", port: 1 }, local: virtual, sentTick: 0 }
    const strangers = Array.from({ length: 2 * maxRead }, (_, n) => ({
      ...sighting,
      publicKey: deviceOf(n + 9).publicKey
    }))
    memory.meet({ ...stranger, gateway: 0, sightings: [...strangers, sighting] }, 0)
    const b = yield* start(memory, 1)
    yield* TestClock.adjust("1 second")
    assert.deepStrictEqual(yield* b.told, { told: [], called: [] })
    yield* Effect.repeat(TestClock.adjust("50 millis"), { times: 5 })
    assert.deepStrictEqual(yield* b.told, { told: [1], called: [] })
  })
)

it.effect("a bug in a meeting costs that one only", () =>
  Effect.gen(function* () {
    let calls = 0
    const store = (live: Layer.Layer<PresenceStore>) =>
      Layer.effect(
        PresenceStore,
        Effect.map(PresenceStore, (store) => ({
          ...store,
          meet: (hello) => (++calls === 3 ? Effect.die(new Error("a bug")) : store.meet(hello))
        }))
      ).pipe(Layer.provide(live))
    const memory = new PresenceMemory()
    const a = yield* start(memory, 0, { store })
    const b = yield* start(memory, 1)
    yield* a.connect(1, 7)
    yield* pass(5)
    assert.deepStrictEqual((yield* b.told).told, [1])
    assert.deepStrictEqual(yield* defectCounts, { "Presence.meetings": 1 })
  }).pipe(Effect.provideService(Metric.MetricRegistry, new Map()))
)
