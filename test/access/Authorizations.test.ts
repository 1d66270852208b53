import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Exit, Fiber, Layer, Scheduler, Stream } from "effect"
import { TestClock } from "effect/testing"
import * as AuthorizationsLive from "../../layers/access/Authorizations.ts"
import { clientsStay } from "../../layers/control/standalone/ControlPlaneStandalone.ts"
import { DataPlaneRecorder } from "../../layers/memory/DataPlaneRecording.ts"
import { Authorizations } from "../../src/access/Authorizations.ts"
import { ConnectionAcceptor } from "../../src/access/ConnectionAcceptor.ts"
import type { Command } from "../../src/dataplane/commands.ts"
import { DataPlane, InBulk } from "../../src/dataplane/DataPlane.ts"
import { type Event, kindOf } from "../../src/events/Event.ts"
import { EventLog } from "../../src/events/EventLog.ts"
import type { DnsResource } from "../../src/model/Resource.ts"
import { standInOf } from "../../src/model/standIn.ts"
import { Resolutions } from "../../src/resolution/Resolutions.ts"
import {
  cidrResource,
  client,
  dnsResource,
  layerAccess,
  layerGrants,
  layerResolutions,
  lookups,
  proxies,
  request
} from "../support/access.ts"
import { makeSteppedClock } from "../support/steppedClock.ts"

const names = (domain: string, n: number) => ({ domain, proxyIps: proxies(n) })

const revokedAt = Effect.gen(function* () {
  const recorder = yield* DataPlaneRecorder
  return (yield* recorder.commands).filter((command) => command._tag === "RevokeResource")
})

/** Over a packet path to which each command goes after that. */
const layerAfter = (before: (command: Command) => Effect.Effect<void>) =>
  AuthorizationsLive.layer.pipe(
    Layer.provide(
      Layer.effect(
        DataPlane,
        Effect.map(DataPlane, (dataPlane) =>
          DataPlane.of({
            ...dataPlane,
            send: (command) => Effect.andThen(before(command), dataPlane.send(command))
          })
        )
      )
    ),
    Layer.provide(clientsStay),
    Layer.provideMerge(layerResolutions)
  )

/** Over a packet path that meets a bug with the `nth` of these commands. */
const layerStumbling = (tag: "SetResource" | "RevokeResource", nth: number) => {
  let sent = 0
  return layerAfter((command) =>
    command._tag === tag && ++sent === nth ? Effect.die(new Error("a bug")) : Effect.void
  )
}

/** What the packet path lets through. */
const passing = Effect.gen(function* () {
  const through = new Set<string>()
  for (const command of yield* (yield* DataPlaneRecorder).commands) {
    if (command._tag === "SetResource") through.add(`${command.client} ${command.resource}`)
    if (command._tag === "RevokeResource") through.delete(`${command.client} ${command.resource}`)
  }
  return [...through].toSorted()
})

const held = Effect.gen(function* () {
  const all = yield* (yield* Authorizations).list
  return all.map(({ client, resource }) => `${client.id} ${resource.id}`).toSorted()
})

/** The scheduler comes in between any two steps. */
const inSmallSteps = (steps: number) => Effect.provideService(Scheduler.MaxOpsBeforeYield, steps)

describe("Authorizations", () => {
  for (const expiresAt of [1, 999, 1_000, 1_001, 59_999, 60_500]) {
    it.effect(`cuts resource and mappings at most a second after a deadline at ${expiresAt} ms, and not before`, () =>
      Effect.gen(function* () {
        const acceptor = yield* ConnectionAcceptor
        const resolutions = yield* Resolutions
        yield* acceptor.accept(request("db.corp", { expiresAt }))
        yield* TestClock.adjust(expiresAt - 1)
        assert.deepStrictEqual(yield* revokedAt, [])
        assert.strictEqual((yield* resolutions.list).length, 1)
        yield* TestClock.adjust(1_001)
        assert.strictEqual((yield* revokedAt).length, 1)
        assert.deepStrictEqual(yield* resolutions.list, [])
      }).pipe(Effect.provide(layerAccess))
    )
  }

  it.effect("are cut within a second of waking up when they ended while the host slept", () =>
    Effect.gen(function* () {
      // Timers and the monotonic clock stand still in the meantime.
      const sleeper = yield* makeSteppedClock
      yield* Effect.gen(function* () {
        const acceptor = yield* ConnectionAcceptor
        yield* acceptor.accept(request("db.corp", { expiresAt: 3_600_000 }))
        yield* TestClock.adjust("5 seconds")
        sleeper.aheadMs = 3_600_000
        yield* TestClock.adjust("1 second")
        assert.strictEqual((yield* revokedAt).length, 1)
      }).pipe(Effect.provide(layerAccess.pipe(Layer.provide(Layer.succeed(Clock.Clock, sleeper)))))
    })
  )

  it.effect("does not show an authorization that has expired, even before it is cut", () =>
    Effect.gen(function* () {
      const authorizations = yield* Authorizations
      const resource = cidrResource("10.0.0.0/8")
      yield* authorizations.record({ client: client(0), resource, expiresAt: 500 })
      assert.isDefined(yield* authorizations.find(client(0).id, resource.id))
      yield* TestClock.adjust(500)
      assert.isUndefined(yield* authorizations.find(client(0).id, resource.id))
    }).pipe(Effect.provide(layerAccess))
  )

  it.effect("a new deadline replaces the old one", () =>
    Effect.gen(function* () {
      const acceptor = yield* ConnectionAcceptor
      yield* acceptor.accept(request("db.corp", { expiresAt: 5_000 }))
      yield* acceptor.accept(request("db.corp", { expiresAt: 60_000 }))
      yield* TestClock.adjust("30 seconds")
      assert.deepStrictEqual(yield* revokedAt, [])
      yield* acceptor.accept(request("db.corp", { expiresAt: 31_000 }))
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual((yield* revokedAt).length, 1)
    }).pipe(Effect.provide(layerAccess))
  )

  it.effect(
    "revoking cuts in the same turn: the resource with its mappings and the lookup in flight, nothing else",
    () =>
      Effect.gen(function* () {
        const acceptor = yield* ConnectionAcceptor
        const authorizations = yield* Authorizations
        const resolutions = yield* Resolutions
        const recorder = yield* DataPlaneRecorder
        const [one, two] = [dnsResource("*.one"), dnsResource("*.two")]
        yield* acceptor.accept(request("x", { resource: one, name: names("a.one", 1) }))
        yield* acceptor.accept(request("x", { resource: two, name: names("a.two", 2) }))
        yield* TestClock.adjust(1)
        yield* recorder.forget

        yield* authorizations.revoke(client(0).id, one.id)
        const tags = (yield* recorder.commands).map((command) => command._tag)
        assert.deepStrictEqual(tags, ["RevokeResource"])
        assert.deepStrictEqual(
          (yield* resolutions.list).map((row) => row.mapping.resources),
          [[two.id]]
        )

        yield* authorizations.revoke(client(0).id, null)
        assert.deepStrictEqual(yield* resolutions.list, [])
        assert.deepStrictEqual(yield* authorizations.list, [])
        const before = yield* lookups
        yield* TestClock.adjust("2 minutes")
        assert.strictEqual(yield* lookups, before)
      }).pipe(Effect.provide(layerAccess))
  )

  it.effect("what stands in for a resource while it changes is told as that one", () =>
    Effect.gen(function* () {
      const acceptor = yield* ConnectionAcceptor
      const authorizations = yield* Authorizations
      const resolutions = yield* Resolutions
      const [before, after] = [dnsResource("db.corp"), dnsResource("*.corp")]
      yield* acceptor.accept(request("db.corp", { resource: before }))
      const told = Effect.map(resolutions.list, (rows) => rows.map((row) => row.mapping.resources))
      const later = [before, after].map((resource) => ({ client: client(0), resource, expiresAt: null }))

      assert.deepStrictEqual(yield* authorizations.bridge(later, told), [[before.id, after.id]])
      assert.deepStrictEqual(yield* told, [[before.id]])
    }).pipe(Effect.provide(layerAccess))
  )

  for (const [what, tag, nth, left] of [
    ["nothing stands in for a resource any more after a bug in the middle of it", "SetResource", 2, []],
    [
      "a bug with the end of what stands in for a resource keeps no other from its end",
      "RevokeResource",
      1,
      ["10.0.0.0/8"]
    ]
  ] as const) {
    it.effect(what, () =>
      Effect.gen(function* () {
        const authorizations = yield* Authorizations
        const later = ["10.0.0.0/8", "10.1.0.0/16"].map((network) => ({
          client: client(0),
          resource: cidrResource(network),
          expiresAt: null
        }))
        const bug = yield* Effect.exit(authorizations.bridge(later, Effect.void))
        const standing = yield* passing
        yield* authorizations.bridge([], Effect.void)

        assert.isTrue(Exit.hasDies(bug))
        assert.deepStrictEqual(
          standing,
          left.map((network) => `${client(0).id} ${standInOf(cidrResource(network).id)}`)
        )
        assert.deepStrictEqual(yield* passing, [], "the next change ends it")
      }).pipe(Effect.provide(layerStumbling(tag, nth)))
    )
  }

  it.effect("a bug met while a right is taken away keeps no other, and leaves it to be taken away again", () =>
    Effect.gen(function* () {
      const authorizations = yield* Authorizations
      for (const network of ["10.0.0.0/8", "10.1.0.0/16"])
        yield* authorizations.record({ client: client(0), resource: cidrResource(network), expiresAt: null })
      const bug = yield* Effect.exit(authorizations.revoke(client(0).id, null))

      assert.isTrue(Exit.hasDies(bug))
      assert.deepStrictEqual(yield* passing, [`${client(0).id} ${cidrResource("10.0.0.0/8").id}`])
      assert.deepStrictEqual(yield* held, yield* passing)
      yield* authorizations.revoke(client(0).id, null)
      assert.deepStrictEqual([yield* passing, yield* held], [[], []])
    }).pipe(Effect.provide(layerStumbling("RevokeResource", 1)))
  )

  it.effect("a bug met while one that has expired is cut keeps no other, and it is cut a second later", () =>
    Effect.gen(function* () {
      const authorizations = yield* Authorizations
      for (const network of ["10.0.0.0/8", "10.1.0.0/16"])
        yield* authorizations.record({ client: client(0), resource: cidrResource(network), expiresAt: 500 })
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(yield* passing, [`${client(0).id} ${cidrResource("10.0.0.0/8").id}`])
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual([yield* passing, yield* held], [[], []])
    }).pipe(Effect.provide(layerStumbling("RevokeResource", 1)))
  )

  it.effect("a right that is given while it is taken away is held where it passes, wherever one comes in between", () =>
    Effect.gen(function* () {
      for (const steps of [3, 4, 5, 7]) {
        yield* Effect.gen(function* () {
          const authorizations = yield* Authorizations
          for (let later = 0; later < 40; later++) {
            const right = { client: client(later), resource: dnsResource("db.corp"), expiresAt: null }
            yield* authorizations.record(right)
            const end = yield* Effect.forkChild(authorizations.revoke(right.client.id, null), {
              startImmediately: true
            })
            for (let i = 0; i < later; i++) yield* Effect.yieldNow
            yield* authorizations.record({ ...right })
            yield* Fiber.join(end)
          }
          assert.deepStrictEqual(yield* passing, yield* held, `${steps} steps at a time`)
        }).pipe(Effect.provide(layerGrants, { local: true }), inSmallSteps(steps))
      }
    })
  )

  it.effect("go to the packet path in bulk where many end at once: by date, or by the portal's list", () => {
    const inBulk: Array<boolean> = []
    const note = (command: Command) =>
      Effect.map(InBulk, (each) => void (command._tag === "RevokeResource" && inBulk.push(each)))
    return Effect.gen(function* () {
      const authorizations = yield* Authorizations
      const networks = ["10.0.0.0/8", "10.1.0.0/16", "10.2.0.0/16"].map(cidrResource)
      for (const [i, resource] of networks.entries()) {
        yield* authorizations.record({ client: client(0), resource, expiresAt: i === 0 ? 500 : null })
      }
      yield* TestClock.adjust("1 second")
      yield* authorizations.reconcile([{ client: client(0).id, resource: networks[1]!.id, expiresAt: null }])
      assert.deepStrictEqual(inBulk, [true, true])
      yield* authorizations.revoke(client(0).id, null)
      assert.deepStrictEqual(inBulk, [true, true, false])
    }).pipe(Effect.provide(layerAfter(note)))
  })

  it.effect("one that gets a later date while others are found expired is not cut with them", () =>
    Effect.gen(function* () {
      const authorizations = yield* Authorizations
      const rights = Array.from({ length: 40 }, (_, n) => ({
        client: client(n),
        resource: cidrResource("10.0.0.0/8"),
        expiresAt: 500
      }))
      for (const right of rights) yield* authorizations.record(right)
      const sweep = yield* Effect.forkChild(TestClock.adjust("1 second"))
      while ((yield* revokedAt).length === 0) yield* Effect.yieldNow
      const cut = (yield* revokedAt).length
      for (const right of rights.toReversed()) yield* authorizations.record({ ...right, expiresAt: null })
      yield* Fiber.join(sweep)
      yield* TestClock.adjust("2 seconds")

      assert.isBelow(cut, rights.length)
      assert.deepStrictEqual([(yield* held).length, (yield* passing).length], [rights.length, rights.length])
    }).pipe(Effect.provide(layerGrants), inSmallSteps(3))
  )

  it.effect("the log is told each right once: given, refused, expired, taken away", () => {
    const told: Array<Event> = []
    const record = (event: Event) => Effect.sync(() => void told.push(event))
    const log = Layer.succeed(EventLog, { record, list: Effect.succeed([]), follow: Stream.empty })
    return Effect.gen(function* () {
      const acceptor = yield* ConnectionAcceptor
      const authorizations = yield* Authorizations
      const name = { client: client(0).id, resource: dnsResource("db.corp").id, domain: "db.corp" }
      const lan = cidrResource("10.0.0.0/8")
      const network = { client: client(0).id, resource: lan.id }
      for (let asked = 0; asked < 2; asked++) {
        yield* acceptor.accept(request("db.corp", { expiresAt: 5_000 }))
        yield* acceptor.accept(request("db.corp", { resource: lan, name: null }))
      }
      yield* TestClock.adjust("6 seconds")
      yield* Effect.flip(acceptor.accept(request("db.corp", { expiresAt: 5_000 })))
      for (let times = 0; times < 2; times++) yield* authorizations.revoke(client(0).id, null)
      yield* TestClock.adjust("6 seconds")

      assert.deepStrictEqual(
        told.filter((event) => kindOf(event) === "audit"),
        [
          { _tag: "Accepted", ...name },
          { _tag: "Accepted", ...network, domain: null },
          { _tag: "Expired", client: name.client, resource: name.resource },
          { _tag: "Denied", ...name, reason: "Expired" },
          { _tag: "Revoked", ...network }
        ]
      )
    }).pipe(Effect.provide(Layer.provide(layerAccess, log)))
  })

  it.effect("revoking what is not there does nothing", () =>
    Effect.gen(function* () {
      const authorizations = yield* Authorizations
      const recorder = yield* DataPlaneRecorder
      yield* authorizations.revoke(client(0).id, null)
      yield* authorizations.revoke(client(0).id, cidrResource("10.0.0.0/8").id)
      assert.deepStrictEqual(yield* recorder.commands, [])
    }).pipe(Effect.provide(layerAccess))
  )

  it.effect("tells the data plane new filters, and nothing when nothing is new", () =>
    Effect.gen(function* () {
      const acceptor = yield* ConnectionAcceptor
      const recorder = yield* DataPlaneRecorder
      const resource = dnsResource("db.corp")
      const filters = [{ protocol: "tcp", from: 22, to: 22 }] as const
      yield* acceptor.accept(request("db.corp", { resource }))
      yield* acceptor.accept(request("db.corp", { resource, expiresAt: 99_000 }))
      yield* acceptor.accept(request("db.corp", { resource: { ...resource, filters } }))
      const told = (yield* recorder.orders).filter((command) => command._tag === "SetResource")
      assert.deepStrictEqual(
        told.map((command) => command.filters),
        [[], filters]
      )
      assert.strictEqual((yield* recorder.orders).filter((command) => command._tag === "RemoveMapping").length, 0)
    }).pipe(Effect.provide(layerAccess))
  )

  it.effect(
    "a changed pattern of a resource takes its old mappings away, another resolver set or family looks them up anew",
    () =>
      Effect.gen(function* () {
        const acceptor = yield* ConnectionAcceptor
        const authorizations = yield* Authorizations
        const resolutions = yield* Resolutions
        const resource = dnsResource("*.corp")
        yield* acceptor.accept(request("x", { resource, name: names("db.corp", 1) }))
        const change = (over: Partial<DnsResource>) =>
          authorizations.record({ client: client(0), resource: { ...resource, ...over }, expiresAt: null })
        const list = Effect.map(resolutions.list, (rows) => rows.map((row) => row.mapping))
        const [before] = yield* list
        yield* change({ resolver: "corp" })
        assert.deepStrictEqual(yield* list, [{ ...before!, name: { resolver: "corp", domain: "db.corp" } }])
        yield* change({ resolver: "corp", family: 4 })
        assert.deepStrictEqual(yield* list, [{ ...before!, name: { resolver: "corp", domain: "db.corp", family: 4 } }])
        yield* change({ pattern: "*.lab" })
        assert.deepStrictEqual(yield* list, [])
      }).pipe(Effect.provide(layerAccess))
  )

  it.effect("a name of several resources ends with the last of them, whichever expires first", () =>
    Effect.gen(function* () {
      const acceptor = yield* ConnectionAcceptor
      const authorizations = yield* Authorizations
      const resolutions = yield* Resolutions
      const recorder = yield* DataPlaneRecorder
      const [exact, wild] = [dnsResource("db.corp"), dnsResource("*.corp")]
      yield* acceptor.accept(request("db.corp", { resource: wild, expiresAt: 9_000, name: null }))
      yield* acceptor.accept(request("db.corp", { resource: exact, expiresAt: 5_000 }))
      const resources = Effect.map(resolutions.list, (rows) => rows.map((row) => row.mapping.resources))
      assert.deepStrictEqual(yield* resources, [[exact.id, wild.id]])
      yield* TestClock.adjust(6_000)
      assert.deepStrictEqual(yield* resources, [[wild.id]])
      const orders = yield* recorder.orders
      assert.notInclude(
        orders.map((order) => order._tag),
        "SuspendMapping"
      )
      const places = orders.flatMap((order) => (order._tag === "PlaceMapping" ? [order] : []))
      assert.deepStrictEqual(
        places.map((place) => place.resources),
        [[exact.id, wild.id], [wild.id]]
      )
      assert.strictEqual(new Set(places.map((place) => place.version)).size, 1)
      yield* TestClock.adjust(4_000)
      assert.deepStrictEqual(yield* resources, [])
      assert.include(
        (yield* recorder.orders).map((order) => order._tag),
        "SuspendMapping"
      )
      yield* authorizations.record({ client: client(0), resource: exact, expiresAt: null })
      assert.deepStrictEqual(yield* resources, [[exact.id]])
    }).pipe(Effect.provide(layerAccess))
  )
})
