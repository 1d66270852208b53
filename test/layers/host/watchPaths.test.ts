import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import { TestClock } from "effect/testing"
import { makePathWatch } from "../../../layers/host/watchPaths.ts"
import * as DataPlaneRecording from "../../../layers/memory/DataPlaneRecording.ts"
import * as HostNetworkMemory from "../../../layers/memory/HostNetworkMemory.ts"
import { DataPlane } from "../../../src/dataplane/DataPlane.ts"
import { HostError, HostNetwork } from "../../../src/host/HostNetwork.ts"
import { hostPlan } from "../../support/hostPlan.ts"

/** A host that counts or not, while so many packets come through in a second. */
const watched = Effect.gen(function* () {
  const world = {
    /** What the table was told to do. */
    told: [] as Array<boolean>,
    there: false,
    works: true,
    readable: true,
    generation: 1,
    /** Rules that others change while the table comes or goes. */
    others: 0,
    perSecond: 0,
    /** What is said of it. */
    lines: [] as Array<string>,
    uncounted: (): string | null => null
  }
  let [packets, since] = [0, 0]
  const failed = Effect.fail(new HostError({ message: "no" }))
  const host: HostNetwork["Service"] = {
    ...(yield* HostNetwork),
    rulesGeneration: Effect.sync(() => world.generation),
    countPaths: (_, on) =>
      Effect.suspend(() => {
        world.told.push(on)
        if (!world.works) return failed
        world.generation += 1 + world.others
        world.there = on
        return Effect.void
      }),
    pathCounts: () => Effect.suspend(() => (world.there && world.readable ? Effect.succeed([]) : failed))
  }
  const counters = Effect.clockWith((clock) =>
    Effect.map(clock.currentTimeMillis, (now) => {
      packets += ((now - since) / 1_000) * world.perSecond
      since = now
      return { "tun.written": packets / 2, "tun.received": packets / 2 }
    })
  )
  const paths = makePathWatch(host, { ...(yield* DataPlane), counters })
  world.uncounted = () => paths.report().uncounted
  const log = Logger.make<unknown, void>(({ message }) => void world.lines.push(String(message)))
  yield* Effect.forkScoped(Effect.provide(paths.watch(hostPlan), Logger.layer([log])))
  yield* TestClock.adjust("10 seconds")
  return world
})

const inMemory = Layer.merge(HostNetworkMemory.make().layer, DataPlaneRecording.layer)

describe("the table that counts the gateway's packets", () => {
  it.effect("goes where many come through, and comes back when they are few", () =>
    Effect.gen(function* () {
      const world = yield* watched
      assert.deepStrictEqual(world.told, [true])
      world.perSecond = 10_000
      yield* TestClock.adjust("60 seconds")
      assert.deepStrictEqual(world.told, [true, false])
      world.perSecond = 100
      yield* TestClock.adjust("20 seconds")
      assert.deepStrictEqual(world.told, [true, false, true])
    }).pipe(Effect.scoped, Effect.provide(inMemory))
  )

  it.effect("comes back when a rule has changed, also while it went", () =>
    Effect.gen(function* () {
      const world = yield* watched
      world.perSecond = 10_000
      yield* TestClock.adjust("10 seconds")
      world.generation++
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(world.told, [true, false, true])
      yield* TestClock.adjust("3 seconds")
      world.generation++
      yield* TestClock.adjust("4 seconds")
      assert.deepStrictEqual(world.told, [true, false, true], "six seconds after the last change")
      world.others = 1
      yield* TestClock.adjust("4 seconds")
      assert.deepStrictEqual(world.told, [true, false, true, false, true])
    }).pipe(Effect.scoped, Effect.provide(inMemory))
  )

  it.effect(
    "is tried again, and said not to be there, for as long as it cannot be made, however many come through",
    () =>
      Effect.gen(function* () {
        const world = yield* watched
        world.works = false
        world.there = false
        yield* TestClock.adjust("10 seconds")
        world.perSecond = 10_000
        yield* TestClock.adjust("1 minute")
        assert.isAtLeast(world.told.length, 9)
        assert.strictEqual(world.uncounted(), "no")
        world.works = true
        yield* TestClock.adjust("7 seconds")
        assert.isTrue(world.there)
        assert.isNull(world.uncounted())
      }).pipe(Effect.scoped, Effect.provide(inMemory))
  )

  it.effect("is made again after six seconds only where it is there and cannot be read, and that is said once", () =>
    Effect.gen(function* () {
      const world = yield* watched
      world.readable = false
      yield* TestClock.adjust("1 minute")
      assert.isAtLeast(world.told.length, 9)
      assert.isAtMost(world.told.length, 13)
      assert.lengthOf(world.lines, 1)
      assert.strictEqual(world.uncounted(), "no")
      world.readable = true
      yield* TestClock.adjust("7 seconds")
      assert.match(world.lines[1]!, /seen again/)
      assert.isNull(world.uncounted())
    }).pipe(Effect.scoped, Effect.provide(inMemory))
  )

  it.effect(
    "is made again when somebody has flushed all rules; what does not work is tried again after six seconds, and said once",
    () =>
      Effect.gen(function* () {
        const world = yield* watched
        world.there = false
        yield* TestClock.adjust("7 seconds")
        assert.deepStrictEqual(world.told, [true, true])
        assert.deepStrictEqual([world.lines, world.uncounted()], [[], null])
        world.there = false
        world.works = false
        yield* TestClock.adjust("24 seconds")
        assert.isAtLeast(world.told.length, 4)
        assert.isAtMost(world.told.length, 6)
        assert.lengthOf(world.lines, 1)
        assert.match(world.lines[0]!, /take away of the gateway's packets is not seen: no$/)
        assert.strictEqual(world.uncounted(), "no")
        world.works = true
        yield* TestClock.adjust("6 seconds")
        assert.isTrue(world.there)
        assert.match(world.lines[1]!, /seen again/)
        assert.isNull(world.uncounted())
      }).pipe(Effect.scoped, Effect.provide(inMemory))
  )
})
