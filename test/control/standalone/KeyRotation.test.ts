/** The gateway's key is replaced while clients are connected: nobody is cut, and who has not moved is known at the end. */
import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { TestClock } from "effect/testing"
import * as KeyRotationLive from "../../../layers/control/standalone/KeyRotation.ts"
import * as RegistryLive from "../../../layers/control/standalone/Registry.ts"
import { x25519Public } from "../../../layers/dataplane/nodePrimitives.ts"
import * as EventLogLive from "../../../layers/events/EventLog.ts"
import * as DataPlaneMemory from "../../../layers/memory/DataPlaneMemory.ts"
import * as DataPlaneRecording from "../../../layers/memory/DataPlaneRecording.ts"
import * as StateStoreMemory from "../../../layers/memory/StateStoreMemory.ts"
import { type KeyRequest, KeyRotation } from "../../../src/control/standalone/KeyRotation.ts"
import { DataPlane } from "../../../src/dataplane/DataPlane.ts"
import { EventLog } from "../../../src/events/EventLog.ts"
import { StateStore } from "../../../src/host/StateStore.ts"
import { Site, type SiteMember } from "../../../src/shared/Site.ts"
import { ack, lan, real4, reply, send, syn, tcp, tcpBack } from "../../support/engineSteps.ts"
import { addresses, clientId, key, setUp, upsertClient } from "../../support/engineWorld.ts"
import { connect, MemoryClient, sendInner } from "../../support/memoryClient.ts"
import { configOf, Disk, layerDisk, withLogLines } from "../../support/standalone.ts"
import { makeSteppedClock, type SteppedClock } from "../../support/steppedClock.ts"

const publicKeyOf = (privateKey: string): string =>
  Buffer.from(x25519Public(Buffer.from(privateKey, "base64"))).toString("base64")

const rotation = KeyRotationLive.layer({ publicKeyOf }).pipe(
  Layer.provide(RegistryLive.layer({ config: configOf([]) })),
  Layer.provideMerge(EventLogLive.layer)
)
const store = layerDisk(StateStoreMemory.layer)

/** With the key of the state, as a gateway has it. */
const packets = Layer.unwrap(
  Effect.gen(function* () {
    const { privateKey } = yield* (yield* StateStore).keys
    return DataPlaneMemory.layer({ privateKey: Buffer.from(privateKey, "base64"), maxSessions: 4_096 })
  })
)

/** Not a time near zero, where a host has no date. */
const today = Date.UTC(2026, 10, 30)
const day = 86_400_000

const change = (step: KeyRequest["step"], days: number | null = null) =>
  Effect.flatMap(KeyRotation, (keys) => keys.change({ step, days }))
const refusal = (step: KeyRequest["step"], days: number | null = null) =>
  Effect.map(Effect.flip(change(step, days)), ({ message }) => message)
const current = Effect.map(KeyRotation, (keys) => keys.current())

const clientOf = (n: number, gatewayKey: string) =>
  new MemoryClient({ privateKey: key(n), gatewayKey: Buffer.from(gatewayKey, "base64"), port: 40_000 + n })

const forwarding = rotation.pipe(Layer.provideMerge(packets), Layer.provideMerge(store))

const withPackets = <A, E, R>(test: Effect.Effect<A, E, R>) =>
  Effect.andThen(TestClock.setTime(today), Effect.provide(test, forwarding, { local: true }))

interface Dated {
  readonly clock: SteppedClock
  readonly change: typeof change
  readonly refusal: typeof refusal
}

/** Runs without packets, with a clock whose dates can be set. */
const withClock = <A, E, R>(run: (dated: Dated) => Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    const clock = yield* makeSteppedClock
    clock.aheadMs = today
    const layer = rotation.pipe(
      Layer.provideMerge(DataPlaneRecording.layer),
      Layer.provideMerge(store),
      Layer.provide(Layer.succeed(Clock.Clock, clock))
    )
    const dated: Dated = {
      clock,
      change: (...request) => Effect.provideService(change(...request), Clock.Clock, clock),
      refusal: (...request) => Effect.provideService(refusal(...request), Clock.Clock, clock)
    }
    return yield* Effect.provide(run(dated), layer, { local: true })
  })

describe("a key that is rotated", () => {
  it.effect("says in a site that there are other gateways, which know nothing of it", () =>
    Effect.gen(function* () {
      const site = Layer.succeed(Site, {} as SiteMember)

      const begun = yield* Effect.provide(change("rotate"), Layer.provide(forwarding, site), { local: true })

      assert.isTrue(begun.inSite)
    }).pipe((test) => Effect.andThen(TestClock.setTime(today), test))
  )

  it.effect("cuts nobody: a client of the old key and one of the new go on, until it is finished", () =>
    Effect.gen(function* () {
      const before = (yield* current).publicKey
      yield* setUp(1)
      yield* send(addresses(1, 1, "Resolved", [real4]), upsertClient(2))
      const out = yield* lan
      const stays = clientOf(1, before)
      yield* connect(stays)

      const begun = yield* change("rotate")
      const moves = clientOf(2, begun.publicKey)
      yield* connect(moves)
      // A client proves a key with its first packet, which may be empty.
      yield* sendInner(stays, tcp(443, syn))
      const again = yield* change("rotate", 60)
      const open = out.length
      yield* TestClock.adjust("1 second")
      yield* connect(stays)
      const finished = yield* change("finish")
      yield* sendInner(stays, tcp(443, syn, undefined, 50_001))
      const session = out.length
      const hadSession = stays.peer.lastHandshakeAt
      yield* TestClock.adjust("6 seconds")
      yield* connect(stays)

      assert.notStrictEqual(begun.publicKey, before)
      assert.deepStrictEqual(begun, {
        publicKey: begun.publicKey,
        ending: { publicKey: before, endsAt: today + 30 * day },
        forgotten: null,
        left: [clientId(1), clientId(2)],
        moved: 0,
        inSite: false
      })
      assert.deepStrictEqual([again.left, again.moved], [[clientId(1)], 1])
      assert.deepStrictEqual(again.ending, { publicKey: before, endsAt: today + 60 * day })
      assert.strictEqual(open, 1)
      assert.deepStrictEqual([finished.ending, finished.forgotten], [null, before])
      assert.deepStrictEqual([finished.left, finished.moved], [[clientId(1)], 1])
      assert.strictEqual(session, 2, "the open session goes on")
      assert.strictEqual(stays.peer.lastHandshakeAt, hadSession, "there is no other one")
    }).pipe(withPackets)
  )

  it.effect("lets a client of the old key go from place to place, in its session and with a new one", () =>
    Effect.gen(function* () {
      const before = (yield* current).publicKey
      const dataPlane = yield* DataPlane
      const where = Effect.map(dataPlane.clients, (states) => states.get(clientId(1))?.endpoint?.port)
      yield* setUp(1)
      yield* send(addresses(1, 1, "Resolved", [real4]))
      const out = yield* lan
      const roams = clientOf(1, before)
      yield* connect(roams)
      yield* change("rotate")
      yield* TestClock.adjust("6 seconds")

      roams.endpoint.port = 41_001
      yield* sendInner(roams, tcp(443, syn))
      assert.deepStrictEqual([yield* where, out.length], [41_001, 1])
      const began = roams.peer.lastHandshakeAt
      roams.endpoint.port = 41_002
      yield* connect(roams)
      yield* reply(roams, tcpBack(443, syn | ack))

      assert.isAbove(roams.peer.lastHandshakeAt, began)
      assert.deepStrictEqual([yield* where, roams.received.length], [41_002, 1])
      assert.strictEqual(dataPlane.desired.gatewayKeys().get(clientId(1)), before)
    }).pipe(withPackets)
  )

  it.effect("ends on its day, with a line that names who has not moved", () =>
    withLogLines((lines) =>
      withClock(({ change }) =>
        Effect.gen(function* () {
          const before = (yield* current).publicKey
          yield* change("rotate", 1)
          yield* TestClock.adjust("23 hours")
          assert.strictEqual((yield* current).ending?.publicKey, before)
          yield* TestClock.adjust("61 minutes")

          const { ending, publicKey } = yield* current
          assert.isNull(ending)
          const line = lines.at(-1) ?? ""
          assert.include(line, `${before} is forgotten; 0 of 2 clients have it, not yet: client-1, client-2`)
          const events = yield* (yield* EventLog).list
          assert.deepStrictEqual(
            events.map(({ event }) => event._tag),
            ["KeysChanged", "KeysChanged"]
          )
          assert.strictEqual(publicKeyOf((yield* (yield* StateStore).keys).privateKey), publicKey)
        })
      )
    )
  )

  it.effect("does not end before its time because the clock is ahead, nor begin to by a clock without a date", () =>
    withClock(({ change, clock, refusal }) =>
      Effect.gen(function* () {
        const before = (yield* current).publicKey
        yield* change("rotate", 1)
        clock.aheadMs += 365 * day
        yield* TestClock.adjust("23 hours")
        assert.strictEqual((yield* current).ending?.publicKey, before)
        clock.aheadMs = -10_000_000
        yield* TestClock.adjust("1 day")
        assert.strictEqual((yield* current).ending?.publicKey, before)
        yield* change("finish")
        assert.match(yield* refusal("rotate"), /clock says 19\d\d-.* — set the clock first/)
      })
    )
  )

  it.effect("ends when the gateway has run with it for all of its days, whatever the clock says, over restarts", () =>
    Effect.gen(function* () {
      const clock = yield* makeSteppedClock
      clock.aheadMs = today
      const dated = Layer.provide(rotation, Layer.succeed(Clock.Clock, clock))
      const life = <A, E>(work: Effect.Effect<A, E, KeyRotation>, hours: number) =>
        work.pipe(
          Effect.provideService(Clock.Clock, clock),
          Effect.andThen(TestClock.adjust(hours * 3_600_000)),
          Effect.andThen(current),
          Effect.provide(Layer.fresh(dated), { local: true })
        )

      const { ending } = yield* life(change("rotate", 1), 13)
      clock.aheadMs += 365 * day
      const later = yield* life(current, 10)
      const over = yield* life(current, 1.5)

      assert.deepStrictEqual(later.ending, ending)
      assert.isNull(over.ending)
    }).pipe(Effect.provide(Layer.merge(DataPlaneRecording.layer, store), { local: true }))
  )

  it.effect("is written down with how long it has run while somebody reads the file: only its end waits for that", () =>
    withClock(({ change }) =>
      Effect.gen(function* () {
        const disk = yield* Disk
        const left = Effect.map((yield* StateStore).keys, ({ ending }) => ending?.leftMs)
        yield* change("rotate", 1)
        disk.read = true
        yield* TestClock.adjust("13 hours")
        assert.approximately((yield* left) ?? Number.NaN, 11 * 3_600_000, 620_000)
        yield* TestClock.adjust("12 hours")
        assert.isNotNull((yield* current).ending)
        disk.read = false
        yield* TestClock.adjust("11 seconds")
        assert.isNull((yield* current).ending)
      })
    )
  )

  it.effect("is the next start's too, its date with it", () =>
    withClock(({ change }) =>
      Effect.gen(function* () {
        const { ending, publicKey } = yield* change("rotate", 7)
        const keys = yield* (yield* StateStore).keys
        const recorder = yield* DataPlaneRecording.DataPlaneRecorder
        yield* recorder.forget

        const next = yield* Effect.provide(current, Layer.fresh(rotation), { local: true })

        assert.deepStrictEqual(next, { publicKey, ending })
        assert.deepStrictEqual(yield* recorder.orders, [
          { _tag: "SetKeys", privateKey: keys.privateKey, endingKey: keys.ending!.privateKey }
        ])
      })
    )
  )

  it.effect("is handed back by cancel: the new one answers on until it is finished", () =>
    withClock(({ change }) =>
      Effect.gen(function* () {
        const before = (yield* current).publicKey
        const { ending, publicKey } = yield* change("rotate", 7)
        const cancelled = yield* change("cancel")
        const finished = yield* change("finish")

        assert.strictEqual(cancelled.publicKey, before)
        assert.deepStrictEqual(cancelled.ending, { publicKey, endsAt: ending!.endsAt })
        assert.deepStrictEqual([finished.publicKey, finished.forgotten], [before, publicKey])
      })
    )
  )

  it.effect("stays what it is when it cannot be written, or there is nothing to end", () =>
    withClock(({ change, refusal }) =>
      Effect.gen(function* () {
        const disk = yield* Disk
        const before = yield* current
        disk.full = true
        assert.strictEqual(yield* refusal("rotate"), "the disk is full")
        assert.deepStrictEqual(yield* current, before)
        disk.full = false
        assert.match(yield* refusal("finish"), /^there is only one key, nothing to finish — /)
        assert.match(yield* refusal("cancel"), /^there is only one key, nothing to cancel — /)
        yield* change("rotate")
        assert.match(yield* refusal("rotate"), /answers until 2026-12-30T.* --finish or --cancel, .* --days$/)
      })
    )
  )
})
