import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import { TestClock } from "effect/testing"
import * as DataPlaneRecording from "../../../layers/memory/DataPlaneRecording.ts"
import { answer, fail, ResolverScript } from "../../../layers/memory/ResolverMemory.ts"
import * as StateStoreMemory from "../../../layers/memory/StateStoreMemory.ts"
import { Authorizations } from "../../../src/access/Authorizations.ts"
import { Registry } from "../../../src/control/Registry.ts"
import { DataPlane } from "../../../src/dataplane/DataPlane.ts"
import { recordType } from "../../../src/dns/registry.ts"
import { NameNotFound } from "../../../src/resolution/Resolver.ts"
import { cidrResource, dnsResource, lookups } from "../../support/access.ts"
import { makeSteppedClock, type SteppedClock } from "../../support/steppedClock.ts"
import { askRaw, configOf, layerGateway, layerNames, withLogLines } from "../../support/standalone.ts"

const layer = layerNames(configOf([dnsResource("**.corp", { resolver: "corp" })])).pipe(
  Layer.provideMerge(DataPlaneRecording.layer),
  Layer.provideMerge(StateStoreMemory.layer)
)

const minute = 60_000
const day = 24 * 60 * minute
const steps = { "60 s back": -minute, "an hour back": -60 * minute, "a day ahead": day, "a year ahead": 365 * day }

/** Runs with names whose clock can be set; what is waited for goes by the test's clock. */
const withClock = <A, E, R>(run: (clock: SteppedClock) => Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    const clock = yield* makeSteppedClock
    // Not a time near zero, which no date is before.
    clock.aheadMs = 1_800_000_000_000
    return yield* Effect.provide(run(clock), Layer.provide(layer, Layer.succeed(Clock.Clock, clock)))
  })

for (const [name, step] of Object.entries(steps)) {
  describe(`the system's clock set ${name}`, () => {
    it.effect("leaves a client's budget of questions as it was", () =>
      withClock((clock) =>
        Effect.gen(function* () {
          yield* (yield* ResolverScript).set("*", answer(["10.0.0.1"]))
          const asked = Effect.provideService(askRaw("git.corp"), Clock.Clock, clock)
          for (let i = 0; i < 2_000; i++) yield* Effect.forkChild(asked, { startImmediately: true })
          assert.strictEqual((yield* asked)._tag, "ServerFailure")
          clock.aheadMs += step
          assert.strictEqual((yield* asked)._tag, "ServerFailure")
          yield* TestClock.adjust("1 second")
          const later = yield* Effect.forkChild(asked, { startImmediately: true })
          yield* TestClock.adjust("1 second")
          assert.strictEqual((yield* Fiber.join(later))._tag, "Addresses")
        })
      )
    )

    it.effect("leaves answers fresh and negative ones negative for as long as they would have been", () =>
      withClock((clock) =>
        Effect.gen(function* () {
          const asked = (domain: string) => Effect.provideService(askRaw(domain), Clock.Clock, clock)
          const script = yield* ResolverScript
          yield* script.set("git.corp", answer(["10.0.0.1"], 40))
          yield* script.set("no.corp", fail(new NameNotFound({ ttlSeconds: 20 })))
          yield* asked("git.corp")
          yield* asked("no.corp")
          yield* TestClock.adjust("1 second")
          clock.aheadMs += step
          assert.deepStrictEqual(yield* asked("no.corp"), { _tag: "NameError", ttl: 19 })
          assert.strictEqual((yield* asked("git.corp"))._tag, "Addresses")
          assert.strictEqual(
            (yield* Effect.provideService(askRaw("git.corp", recordType.AAAA), Clock.Clock, clock))._tag,
            "NoData"
          )
          assert.strictEqual(yield* lookups, 2)
          yield* TestClock.adjust("20 seconds")
          assert.deepStrictEqual(yield* asked("no.corp"), { _tag: "NameError", ttl: 1 })
          yield* TestClock.adjust("1 second")
          assert.strictEqual(yield* lookups, 3)
        })
      )
    )
  })
}

describe("an expiry date of the file, and a clock that is ahead for a moment", () => {
  const lab = cidrResource("10.0.0.0/8")
  const dated = [dnsResource("**.corp", { resolver: "corp" }), dnsResource("never.lab"), lab]
  const over = Layer.provideMerge(
    layerGateway(
      { ...configOf(dated), grants: configOf(dated).grants.map((grant) => ({ ...grant, expiresAt: day })) },
      DataPlaneRecording.layer
    ),
    StateStoreMemory.layer
  )

  it.effect("the date has passed for as long as the clock says so; then networks and names in use are open again", () =>
    withLogLines((lines) =>
      Effect.gen(function* () {
        const clock = yield* makeSteppedClock
        const held = Effect.gen(function* () {
          const all = yield* (yield* Authorizations).list
          return all.map(({ resource }) => resource.kind).toSorted()
        })
        yield* Effect.gen(function* () {
          yield* (yield* ResolverScript).set("*", answer(["10.0.0.1"]))
          yield* Effect.provideService(askRaw("git.corp"), Clock.Clock, clock)
          assert.deepStrictEqual(yield* held, ["cidr", "dns"])
          clock.aheadMs = 365 * day
          yield* TestClock.adjust("1 second")
          assert.deepStrictEqual(yield* held, [])
          clock.aheadMs = 0
          yield* TestClock.adjust("1 second")
          assert.deepStrictEqual(yield* held, ["cidr", "dns"])
          assert.lengthOf(
            lines.filter((line) => line.includes("holds again")),
            2
          )
        }).pipe(Effect.provide(Layer.provide(over, Layer.succeed(Clock.Clock, clock))))
      })
    )
  )

  it.effect("nothing comes back that had not expired, and a clock that is set back by seconds is no news", () =>
    withLogLines((lines) =>
      Effect.gen(function* () {
        const clock = yield* makeSteppedClock
        clock.aheadMs = 10_000
        yield* Effect.gen(function* () {
          yield* TestClock.adjust("2 seconds")
          clock.aheadMs = 0
          yield* TestClock.adjust("2 seconds")

          assert.lengthOf(yield* (yield* Authorizations).list, 1)
          assert.lengthOf(
            lines.filter((line) => line.includes("the clock was set back")),
            0
          )
        }).pipe(Effect.provide(Layer.provide(over, Layer.succeed(Clock.Clock, clock))))
      })
    )
  )

  it.effect("of many that hold again ten are named, and the others counted", () =>
    withLogLines((lines) =>
      Effect.gen(function* () {
        const clock = yield* makeSteppedClock
        const many = configOf(Array.from({ length: 13 }, (_, n) => cidrResource(`10.${n}.0.0/16`)))
        const gateway = layerGateway(
          { ...many, grants: many.grants.map((grant) => ({ ...grant, expiresAt: day })) },
          DataPlaneRecording.layer
        ).pipe(Layer.provideMerge(StateStoreMemory.layer))
        yield* Effect.gen(function* () {
          clock.aheadMs = 365 * day
          yield* TestClock.adjust("1 second")
          clock.aheadMs = 0
          yield* TestClock.adjust("1 second")

          assert.lengthOf(yield* (yield* Authorizations).list, 13)
          assert.lengthOf(
            lines.filter((line) => line.includes("an authorization holds again")),
            10
          )
          assert.lengthOf(
            lines.filter((line) => line.includes("more authorizations hold again") && line.includes("count=3")),
            1
          )
        }).pipe(Effect.provide(Layer.provide(gateway, Layer.succeed(Clock.Clock, clock))))
      })
    )
  )

  it.effect("what a reload takes away while grants are given back stays away", () =>
    Effect.gen(function* () {
      const clock = yield* makeSteppedClock
      const [one, two] = [cidrResource("10.1.0.0/16"), cidrResource("10.2.0.0/16")]
      const before = configOf([one, two])
      const grants = before.grants.map((grant) => ({ ...grant, expiresAt: day }))
      let meanwhile: Effect.Effect<unknown> = Effect.void
      /** Once, when the packet path has been told of a resource. */
      const between = Effect.suspend(() => {
        const once = meanwhile
        meanwhile = Effect.void
        return Effect.asVoid(once)
      })
      const interrupted = Layer.effect(
        DataPlane,
        Effect.map(DataPlane, (dataPlane) =>
          DataPlane.of({
            ...dataPlane,
            send: (command) =>
              command._tag === "SetResource"
                ? Effect.andThen(dataPlane.send(command), between)
                : dataPlane.send(command)
          })
        )
      ).pipe(Layer.provide(DataPlaneRecording.layer))
      const gateway = layerGateway(
        { ...before, grants },
        interrupted,
        Effect.succeed({ ...before, grants: grants.slice(0, 1) })
      ).pipe(Layer.provideMerge(StateStoreMemory.layer))
      yield* Effect.gen(function* () {
        const registry = yield* Registry
        clock.aheadMs = 365 * day
        yield* TestClock.adjust("1 second")
        clock.aheadMs = 0
        meanwhile = Effect.orDie(registry.reload)
        yield* TestClock.adjust("1 second")

        assert.strictEqual(registry.current().version, 2)
        const held = yield* (yield* Authorizations).list
        assert.deepStrictEqual(
          held.map(({ resource }) => resource.id),
          [one.id]
        )
      }).pipe(Effect.provide(Layer.provide(gateway, Layer.succeed(Clock.Clock, clock))))
    })
  )
})
