/** A gateway gives its clients to the others of its site, as an operator wants it. */
import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import { TestClock } from "effect/testing"
import { PresenceMemory } from "../../../layers/memory/PresenceStoreMemory.ts"
import { PresenceStore } from "../../../src/shared/PresenceStore.ts"
import { pass, start, two } from "../../support/presence.ts"
import { withLogLines } from "../../support/standalone.ts"

type Gateway = Effect.Success<ReturnType<typeof start>>

const begin = ({ drain }: Gateway, force = false) =>
  Effect.forkChild(
    Effect.catch(drain.begin(force), ({ message }) => Effect.succeed(`refused: ${message}`)),
    { startImmediately: true }
  )

/** Until the command has ended: what it says, and after how many milliseconds. */
const drained = Effect.fnUntraced(function* (gateway: Gateway, force = false) {
  const began = yield* Clock.currentTimeMillis
  const running = yield* begin(gateway, force)
  while (running.pollUnsafe() === undefined) yield* TestClock.adjust("100 millis")
  return { said: yield* Fiber.join(running), ms: (yield* Clock.currentTimeMillis) - began }
})

/** Whether it drains, and each of the others does, as its packet worker was told. */
const toldOf = ({ siblings }: Gateway) =>
  Effect.map(siblings, (order) => [order!.draining, ...order!.siblings.map(({ draining }) => draining)])

const nobodyElse =
  "refused: no other gateway of the site is heard of that takes clients, so nobody would have them — see sallyport status, or add --force"

describe("sallyport drain", () => {
  it.effect("ends when the others know, and not before may the address move", () =>
    withLogLines((lines) =>
      Effect.gen(function* () {
        const { a, b } = yield* two
        for (const n of [1, 2]) yield* a.connect(n, 7)
        yield* pass(2)
        const running = yield* begin(a)
        yield* TestClock.adjust("500 millis")
        assert.deepInclude(a.drain.standing(), { mayMove: false, clients: 2 })

        while (running.pollUnsafe() === undefined) yield* TestClock.adjust("100 millis")

        assert.strictEqual(
          yield* Fiber.join(running),
          "2 clients are here, and the address that they dial may move now"
        )
        assert.deepInclude(a.drain.standing(), { mayMove: true, clients: 2 })
        assert.deepStrictEqual(yield* toldOf(a), [true, false])
        assert.deepStrictEqual(yield* toldOf(b), [false, true])

        yield* b.connect(1, 8)
        yield* pass(2)
        const empty = () => lines.filter((line) => line.includes("no client is here any more"))
        assert.deepStrictEqual([a.drain.standing()?.clients, empty().length], [1, 0])
        yield* b.connect(2, 8)
        yield* pass(3)
        assert.deepStrictEqual([a.drain.standing()?.clients, empty().length], [0, 1])
      })
    )
  )

  it.effect("is refused, and nothing is changed, where nobody else takes clients", () =>
    Effect.gen(function* () {
      const alone = yield* start(new PresenceMemory(), 0)
      yield* pass(2)
      const running = yield* begin(alone)
      yield* TestClock.adjust("9 seconds")
      assert.deepInclude(alone.drain.standing(), { mayMove: false })
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual(yield* Fiber.join(running), nobodyElse)
      assert.isNull(alone.drain.standing())

      const { a, b } = yield* two
      yield* drained(a)
      assert.strictEqual((yield* drained(b)).said, nobodyElse)
      yield* pass(2)
      assert.deepStrictEqual(yield* toldOf(a), [true, false])
      assert.deepStrictEqual(yield* toldOf(b), [false, true])
    })
  )

  it.effect("is refused beside one of an older version, and while PostgreSQL is away", () =>
    Effect.gen(function* () {
      const memory = new PresenceMemory()
      let reachable = true
      const gateway = yield* start(memory, 0, { reachable: () => reachable })
      const older = (live: Layer.Layer<PresenceStore>) =>
        Layer.effect(
          PresenceStore,
          Effect.map(PresenceStore, (store) => ({
            ...store,
            meet: (hello) => store.meet({ ...hello, port: null as unknown as number })
          }))
        ).pipe(Layer.provide(live))
      yield* start(memory, 1, { store: older })
      yield* pass(3)
      assert.match((yield* drained(gateway)).said, /^refused: gateway 1 is of an older version, which takes nothing/)

      reachable = false
      yield* pass(3)
      assert.match((yield* drained(gateway)).said, /^refused: gateway 1 has not heard of it within 10 s — /)
      assert.isNull(gateway.drain.standing())
      reachable = true
      yield* pass(3)
      assert.deepStrictEqual(yield* toldOf(gateway), [false])
    })
  )

  it.effect("goes on all the same with --force, before and after it was refused", () =>
    Effect.gen(function* () {
      const alone = yield* start(new PresenceMemory(), 0)
      yield* pass(2)
      assert.deepStrictEqual(yield* drained(alone, true), {
        said: "0 clients are here, and the address that they dial may move now",
        ms: 0
      })
      assert.deepInclude(alone.drain.standing(), { mayMove: true })
      // Who asks again without it is told the truth; what was forced stays.
      assert.strictEqual((yield* drained(alone)).said, nobodyElse)
      assert.deepInclude(alone.drain.standing(), { mayMove: true })
    })
  )

  it.effect("that was forced while another one waited goes on when that one is refused, or given up", () =>
    Effect.gen(function* () {
      for (const end of [Fiber.join, Fiber.interrupt] as const) {
        const alone = yield* start(new PresenceMemory(), 0)
        yield* pass(2)
        const waiting = yield* begin(alone)
        yield* TestClock.adjust("1 second")
        yield* drained(alone, true)
        yield* TestClock.adjust("11 seconds")
        yield* end(waiting)
        assert.deepInclude(alone.drain.standing(), { mayMove: true })
      }
    })
  )

  it.effect("is undone where the command that waits is given up", () =>
    Effect.gen(function* () {
      const alone = yield* start(new PresenceMemory(), 0)
      yield* pass(2)
      const waiting = yield* begin(alone)
      yield* TestClock.adjust("1 second")
      yield* Fiber.interrupt(waiting)
      assert.isNull(alone.drain.standing())
    })
  )

  it.effect("lasts while PostgreSQL is away, and what is under way is handed over all the while", () =>
    Effect.gen(function* () {
      const memory = new PresenceMemory()
      let reachable = true
      const shared = { reachable: () => reachable }
      const [a, b] = [yield* start(memory, 0, shared), yield* start(memory, 1, shared)]
      yield* a.connect(1, 7)
      yield* pass(3)
      yield* drained(a)
      reachable = false
      yield* a.told
      yield* b.told
      yield* pass(60)
      assert.deepInclude(a.drain.standing(), { mayMove: true, clients: 1 })
      // Nobody was told otherwise.
      assert.deepStrictEqual([yield* a.siblings, yield* b.siblings], [undefined, undefined])

      reachable = true
      yield* pass(2)
      assert.deepStrictEqual(yield* toldOf(b), [false, true])
    })
  )
})

describe("sallyport undrain", () => {
  it.effect("puts all back, and whoever waits for the drain is told so", () =>
    withLogLines((lines) =>
      Effect.gen(function* () {
        const { a, b } = yield* two
        yield* drained(a)
        assert.strictEqual(yield* a.drain.end, "this gateway takes clients again")
        assert.isNull(a.drain.standing())
        yield* pass(2)
        assert.deepStrictEqual(yield* toldOf(a), [false, false])
        assert.deepStrictEqual(yield* toldOf(b), [false, false])
        assert.isTrue(lines.some((line) => line.includes("takes clients again")))

        const running = yield* begin(a)
        yield* TestClock.adjust("300 millis")
        yield* a.drain.end
        yield* TestClock.adjust("300 millis")
        assert.strictEqual(yield* Fiber.join(running), "refused: it was undrained meanwhile")
      })
    )
  )

  it.effect("ends what was forced, too", () =>
    Effect.gen(function* () {
      const { a } = yield* two
      yield* drained(a, true)
      yield* a.drain.end
      yield* begin(a)
      yield* TestClock.adjust("200 millis")
      assert.deepInclude(a.drain.standing(), { mayMove: false })
    })
  )
})

it.effect("a gateway that is drained calls nobody, and does again when it is not", () =>
  Effect.gen(function* () {
    const memory = new PresenceMemory()
    const [a, b, c] = [yield* start(memory, 0), yield* start(memory, 1), yield* start(memory, 2)]
    yield* pass(16)
    yield* b.connect(1, 7)
    yield* b.connect(2, 7)
    yield* pass(2)
    yield* drained(a)
    yield* a.told
    yield* a.address.tell("MASTER")
    yield* pass(2)
    assert.deepStrictEqual((yield* a.told).called, [])
    yield* a.drain.end
    yield* c.end
    yield* a.address.tell("MASTER")
    yield* pass(2)
    assert.lengthOf((yield* a.told).called, 2)
  })
)

describe("where the others reach a gateway", () => {
  it.effect("is what it advertises, else where PostgreSQL sees it", () =>
    Effect.gen(function* () {
      const memory = new PresenceMemory()
      const a = yield* start(memory, 0, { advertise: "10.0.0.5" })
      const b = yield* start(memory, 1)
      yield* pass(3)
      const reached = (gateway: Gateway) =>
        Effect.map(gateway.siblings, (order) => order!.siblings.map(({ address }) => address))
      assert.deepStrictEqual(yield* reached(a), ["192.0.2.101"])
      assert.deepStrictEqual(yield* reached(b), ["10.0.0.5"])
    })
  )

  it.effect("is told to be wrong, once, where that is no address of its host and it advertises none", () =>
    withLogLines((lines) =>
      Effect.gen(function* () {
        const memory = new PresenceMemory()
        const said = () => lines.filter((line) => line.includes("advertise"))
        yield* start(memory, 0, { seenAt: "10.9.9.9" })
        yield* pass(5)
        assert.deepStrictEqual(said(), [])
        yield* start(memory, 1)
        yield* start(memory, 2, { seenAt: "10.9.9.9", advertise: "10.9.9.8" })
        yield* pass(70)
        assert.lengthOf(said(), 1)
        assert.include(
          said()[0],
          "the other gateways look for this one at 192.0.2.100, where PostgreSQL sees it, which is no address of this host — add advertise: to the file, with this host's address"
        )
      })
    )
  )

  it.effect("is told not to be known where PostgreSQL sees it at loopback", () =>
    withLogLines((lines) =>
      Effect.gen(function* () {
        const memory = new PresenceMemory()
        const near = (live: Layer.Layer<PresenceStore>) =>
          Layer.effect(
            PresenceStore,
            Effect.map(PresenceStore, (store) => ({
              ...store,
              meet: (hello) =>
                Effect.map(store.meet(hello), (meeting) => ({
                  ...meeting,
                  heartbeats: meeting.heartbeats.map((one) => ({ ...one, address: null }))
                }))
            }))
          ).pipe(Layer.provide(live))
        for (const no of [0, 1]) yield* start(memory, no, { store: near })
        yield* pass(70)
        const said = lines.filter((line) => line.includes("the other gateways do not know where this one is"))
        assert.lengthOf(said, 2)
      })
    )
  )
})
