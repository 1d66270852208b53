/** A running gateway takes another policy: it comes to what a fresh start with that one comes to. */
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as References from "effect/References"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import { TestClock } from "effect/testing"
import * as RegistryLive from "../../../layers/control/standalone/Registry.ts"
import { DataPlaneRecorder } from "../../../layers/memory/DataPlaneRecording.ts"
import * as DataPlaneRecording from "../../../layers/memory/DataPlaneRecording.ts"
import { answer, fail, ResolverScript } from "../../../layers/memory/ResolverMemory.ts"
import * as StateStoreMemory from "../../../layers/memory/StateStoreMemory.ts"
import * as TunnelMemory from "../../../layers/memory/TunnelMemory.ts"
import type { ConfiguredClient, GatewayConfig } from "../../../src/config/GatewayConfig.ts"
import { awaitLater } from "../../../src/loops/later.ts"
import { Registry } from "../../../src/control/Registry.ts"
import { TunnelNames } from "../../../src/control/standalone/TunnelNames.ts"
import { DataPlane } from "../../../src/dataplane/DataPlane.ts"
import { DesiredState } from "../../../src/dataplane/DesiredState.ts"
import { EventLog } from "../../../src/events/EventLog.ts"
import { emptyMessage } from "../../../src/dns/message.ts"
import { recordType } from "../../../src/dns/registry.ts"
import { HostError } from "../../../src/host/HostNetwork.ts"
import { StateStore } from "../../../src/host/StateStore.ts"
import { Tunnel } from "../../../src/host/Tunnel.ts"
import { ResourceId } from "../../../src/model/Resource.ts"
import { SetProbe } from "../../../src/resolution/SetProbe.ts"
import { NameNotFound } from "../../../src/resolution/Resolver.ts"
import { parsePostgresAddress } from "../../../src/config/postgresAddress.ts"
import { cidrResource, dnsResource } from "../../support/access.ts"
import { type ClientOf, policyNames, randomPolicy, recordNames } from "../../support/randomPolicy.ts"
import { connectedState } from "../../support/connectedState.ts"
import { ask, askRaw, configOf, layerGateway, UpstreamScript, withLogLines } from "../../support/standalone.ts"
import { makeRandom, type Random } from "../../support/traffic.ts"

/** As many as the fast tests have time for; 1,000 once more with `RELOAD_PAIRS`. */
const pairs = Number(process.env["RELOAD_PAIRS"] ?? 60)
const clientsOf = configOf([], {}).clients

/** One of two keys each, with a preshared key or without, an address of its own or the other's. */
const anyClient = ({ below, chance }: Random): ClientOf => {
  const swap = chance(0.5)
  return ({ id, tunnel4, tunnel6 }) => {
    const keyOf = (n: number) => Buffer.alloc(32, tunnel4.length + n * 100 + Number(id.at(-1))).toString("base64")
    return {
      publicKey: keyOf(below(2)),
      presharedKey: chance(0.5) ? null : keyOf(below(2)),
      tunnel6: swap ? clientsOf.find((other) => other.id !== id)!.tunnel6 : tunnel6
    }
  }
}

/** What the packet path has, without what only counts how often something was said. */
const observed = Effect.gen(function* () {
  const desired = new DesiredState()
  for (const command of yield* (yield* DataPlaneRecorder).commands) desired.apply(command)
  const orders = desired.replay(0)
  const resources = orders.flatMap((order) => (order._tag === "SetResource" ? [order] : []))
  const held = new Set(resources.map(({ client, resource }) => `${client} ${resource}`))
  return {
    clients: orders
      .flatMap((order) => (order._tag === "PlaceClient" ? [{ ...order, number: 0, connection: 0, flows: 0 }] : []))
      .toSorted((a, b) => (a.client < b.client ? -1 : 1)),
    resources: resources.map((order) => JSON.stringify(order)).toSorted(),
    mappings: orders
      .flatMap((order) =>
        // Others are kept for a while, in case their resource comes back.
        order._tag === "PlaceMapping" && order.resources.some((resource) => held.has(`${order.client} ${resource}`))
          ? [JSON.stringify([order.mapping, order.client, order.resources, order.proxyIps])]
          : []
      )
      .toSorted()
  }
})

const answers = Effect.gen(function* () {
  const told: Array<unknown> = []
  for (const { tunnel4 } of clientsOf)
    for (const name of new Set([...policyNames, ...recordNames, "a"])) {
      const { _tag, ...said } = yield* ask(name, 1, tunnel4)
      told.push([_tag, "addresses" in said ? said.addresses : "records" in said ? said.records : null])
    }
  return told
})

const answering = Effect.flatMap(ResolverScript, (script) => script.set("*", answer(["10.0.0.1"])))

const wildcard = dnsResource("*.corp", { id: ResourceId.make("wild") })
const lan = cidrResource("10.0.0.0/8")
const late = dnsResource("late.corp", { id: ResourceId.make("late") })
const exact = dnsResource("x.corp", { resolver: "corp" })
const serversAt = (address: string) => ({
  resolvers: new Map([["corp", { servers: [{ address, port: 53, transport: "udp" }], order: "fallback" } as const]])
})
const narrow = { ...wildcard, filters: [{ protocol: "tcp", from: 443, to: 443 }, { protocol: "icmp" }] } as const
const [alice, bob] = clientsOf as readonly [ConfiguredClient, ConfiguredClient]
const afterNarrowing = configOf([narrow, late, lan], {
  grants: [
    { resource: narrow, expiresAt: null, clients: [alice, bob] },
    { resource: late, expiresAt: Date.UTC(2027, 0, 1), clients: [alice] }
  ]
})

/** One after the other, again and again. */
const turns = (...configs: ReadonlyArray<GatewayConfig>) => {
  let turn = 0
  return Effect.sync(() => configs[turn++ % configs.length]!)
}

const nothing = { sessions: { cut: 0, untouched: 0 }, warnings: [] }

/** A tunnel that is set up at once, and takes other plans when `done` lets it. */
const hostAfter = (done: Effect.Effect<void, HostError>) =>
  Layer.effect(
    Tunnel,
    Effect.map(Tunnel, (tunnel) =>
      Tunnel.of({
        ...tunnel,
        configure: (plan) =>
          Effect.suspend(() => (tunnel.ready() ? Effect.andThen(done, tunnel.configure(plan)) : tunnel.configure(plan)))
      })
    )
  ).pipe(Layer.provideMerge(TunnelMemory.layer))

const fresh = Layer.merge(DataPlaneRecording.layer, StateStoreMemory.layer)

/** Meets a bug, once, with the first right that is taken away. */
const layerStumbling = (place: "packet path" | "event log") => {
  let isMet = false
  const stumble = (isThere: boolean, effect: Effect.Effect<void>) =>
    Effect.suspend(() => {
      if (!isThere || isMet) return effect
      isMet = true
      return Effect.die(new Error("a bug"))
    })
  return Layer.merge(
    Layer.effect(
      DataPlane,
      Effect.map(DataPlane, (dataPlane) =>
        DataPlane.of({
          ...dataPlane,
          send: (command) =>
            stumble(place === "packet path" && command._tag === "RevokeResource", dataPlane.send(command))
        })
      )
    ),
    Layer.succeed(EventLog, {
      record: (event) => stumble(place === "event log" && event._tag === "Revoked", Effect.void),
      list: Effect.succeed([]),
      follow: Stream.empty
    })
  ).pipe(Layer.provideMerge(fresh))
}

describe("a reload", () => {
  it.effect("comes to what a fresh start with the new policy comes to, whatever the two policies are", () =>
    Effect.gen(function* () {
      const random = makeRandom(20_261_130)
      yield* TestClock.adjust("1 minute")
      for (let i = 0; i < pairs; i++) {
        const [a, b] = [randomPolicy(random, anyClient(random)), randomPolicy(random, anyClient(random))]
        yield* Effect.gen(function* () {
          const store = Layer.succeed(StateStore, yield* StateStore)
          const dataPlane = Layer.merge(DataPlaneRecording.layer, store)
          const freshly = <A, E, R>(what: Effect.Effect<A, E, R>) =>
            Effect.andThen(answering, what).pipe(Effect.provide(layerGateway(b, dataPlane), { local: true }))
          const running = Effect.gen(function* () {
            yield* answering
            yield* answers
            const expected = yield* freshly(observed)
            const reload = yield* Effect.forkChild((yield* Registry).reload)
            while (reload.pollUnsafe() === undefined) yield* TestClock.adjust("20 millis")
            yield* Fiber.join(reload)
            assert.deepStrictEqual(yield* observed, expected, `pair ${i}`)
            assert.deepStrictEqual(yield* answers, yield* freshly(answers), `answers of pair ${i}`)
            // A question speaks for its client, and must not bring an old key back.
            assert.deepStrictEqual((yield* observed).clients, expected.clients, `clients of pair ${i}`)
          })
          yield* Effect.provide(running, layerGateway(a, dataPlane, Effect.succeed(b)), { local: true })
        }).pipe(Effect.provide(StateStoreMemory.layer, { local: true }))
      }
    })
  )

  it.effect(
    "to a file with what cannot change while the gateway runs is refused as a whole, and says what that is",
    () =>
      Effect.gen(function* () {
        const registry = yield* Registry
        const before = yield* observed
        const { message } = yield* Effect.flip(registry.reload)

        assert.match(message, /^device, state cannot change while the gateway runs/)
        assert.strictEqual(registry.current().version, 1)
        assert.lengthOf(before.resources, 1)
        assert.deepStrictEqual(yield* observed, before)
      }).pipe(
        Effect.provide(
          layerGateway(
            configOf([lan]),
            fresh,
            Effect.succeed(
              configOf([], { device: "another0", state: Result.getOrThrow(parsePostgresAddress("postgres://db1")) })
            )
          )
        )
      )
  )

  for (const { after, before = wildcard, says = "ServerFailure", type = recordType.A, what } of [
    { what: "of a client that is removed", after: configOf([], { clients: clientsOf.slice(1) }) },
    { what: "about a name that is withdrawn", after: configOf([]) },
    { what: "about a name that others may reach only", after: configOf([wildcard], { grants: [] }), says: "NameError" },
    {
      what: "about IPv6 addresses of a removed client",
      before: exact,
      type: recordType.AAAA,
      after: configOf([], { clients: clientsOf.slice(1) })
    },
    {
      what: "about IPv6 addresses of a name that is withdrawn",
      before: exact,
      type: recordType.AAAA,
      after: configOf([])
    },
    { what: "about a private text", before: exact, type: recordType.TXT, after: configOf([]) }
  ]) {
    it.effect(`gives nothing back to a question ${what}, which waits for an answer meanwhile`, () =>
      Effect.gen(function* () {
        const expected = yield* Effect.provide(observed, layerGateway(after, fresh), { local: true })
        const running = Effect.gen(function* () {
          const servers = yield* UpstreamScript
          servers.takesMs = 1_000
          servers.answers.set(`corp x.corp ${recordType.TXT}`, { ...emptyMessage, response: true })
          const asking = yield* Effect.forkChild(askRaw("x.corp", type, clientsOf[0]!.tunnel4), {
            startImmediately: true
          })
          yield* TestClock.adjust("10 millis")
          assert.isUndefined(asking.pollUnsafe(), "it waits")
          const reload = yield* Effect.forkChild((yield* Registry).reload)
          yield* TestClock.adjust("20 millis")
          yield* Fiber.join(reload)
          yield* TestClock.adjust("5 seconds")

          assert.strictEqual((yield* Fiber.join(asking))._tag, says)
          assert.deepStrictEqual(yield* observed, expected)
          assert.deepStrictEqual(yield* (yield* StateStore).mappings, [])
        })
        yield* Effect.provide(running, layerGateway(configOf([before]), fresh, Effect.succeed(after)), {
          local: true
        })
      })
    )
  }

  it.effect("has a question that other servers are asked about at once decided anew, if it comes in between", () =>
    Effect.gen(function* () {
      const servers = yield* UpstreamScript
      servers.takesMs = 1_000
      servers.answers.set(`system x.lab ${recordType.A}`, { ...emptyMessage, response: true })
      const question = { domain: "x.lab", type: recordType.A, family: 4, reverse: null } as const
      const told = (yield* TunnelNames).known(alice.tunnel4, question)
      assert(typeof told === "function")
      const asking = yield* Effect.forkChild(awaitLater(told), { startImmediately: true })
      yield* TestClock.adjust("10 millis")
      yield* (yield* Registry).reload
      yield* TestClock.adjust("2 seconds")

      assert.strictEqual((yield* Fiber.join(asking))._tag, "Addresses")
    }).pipe(
      Effect.provide(
        layerGateway(configOf([]), fresh, Effect.succeed(configOf([dnsResource("x.lab")]))).pipe(
          Layer.provide(Layer.succeed(References.TracerEnabled, false))
        )
      )
    )
  )

  it.effect("has a question about a name that gets a record of the file, which waits meanwhile, answered by that", () =>
    Effect.gen(function* () {
      const asking = yield* Effect.forkChild(askRaw("x.corp"), { startImmediately: true })
      yield* TestClock.adjust("10 millis")
      assert.isUndefined(asking.pollUnsafe(), "it waits")
      yield* (yield* Registry).reload
      yield* TestClock.adjust("2 seconds")

      assert.strictEqual((yield* Fiber.join(asking))._tag, "Records")
    }).pipe(
      Effect.provide(
        layerGateway(
          configOf([wildcard]),
          fresh,
          Effect.succeed(
            configOf([wildcard], {
              records: new Map([
                ["x.corp", [{ type: recordType.A, ttl: 60, data: { _tag: "Address", address: "10.0.0.9" } }]]
              ])
            })
          )
        )
      )
    )
  )

  for (const [what, after] of [
    ["about a name whose ports are fewer now", configOf([narrow])],
    ["while another right of its client changes", configOf([wildcard, lan])],
    ["about a name that another resource covers now", configOf([dnsResource("x.corp", { resolver: "other" })])]
  ] as const) {
    it.effect(`has a question ${what} answered by the new rights, which waits for its lookup meanwhile`, () =>
      Effect.gen(function* () {
        const client = clientsOf[0]!.tunnel4
        const asked = Effect.andThen(ask("x.corp", 1, client), observed)
        const expected = yield* Effect.provide(asked, layerGateway(after, fresh), { local: true })
        const running = Effect.gen(function* () {
          const asking = yield* Effect.forkChild(ask("x.corp", 1, client), { startImmediately: true })
          yield* TestClock.adjust("10 millis")
          assert.isUndefined(asking.pollUnsafe(), "it waits")
          const reload = yield* Effect.forkChild((yield* Registry).reload)
          yield* TestClock.adjust("20 millis")
          yield* Fiber.join(reload)
          yield* TestClock.adjust("2 seconds")

          assert.strictEqual((yield* Fiber.join(asking))._tag, "Addresses")
          assert.deepStrictEqual(yield* observed, expected)
        })
        yield* Effect.provide(running, layerGateway(configOf([wildcard]), fresh, Effect.succeed(after)), {
          local: true
        })
      })
    )
  }

  it.effect("that met a bug half-way is gone through again by the next one, as nothing later covers it", () =>
    Effect.gen(function* () {
      const registry = yield* Registry
      const applied: Array<number> = []
      yield* registry.follow(({ after }) =>
        Effect.suspend(() =>
          applied.push(after.version) === 1 ? Effect.die(new Error("a bug")) : Effect.succeed(nothing)
        )
      )
      const first = yield* Effect.exit(registry.reload)
      yield* registry.reload
      yield* registry.reload

      assert.isTrue(Exit.isFailure(first))
      assert.deepStrictEqual(applied, [2, 3, 3, 4])
    }).pipe(
      Effect.scoped,
      Effect.provide(
        RegistryLive.layer({ config: configOf([wildcard]), read: turns(configOf([]), configOf([wildcard])) })
      )
    )
  )

  for (const [what, after] of [
    ["a right", configOf([])],
    ["a client", configOf([], { clients: clientsOf.slice(1) })]
  ] as const) {
    for (const place of ["packet path", "event log"] as const) {
      it.effect(
        `that meets a bug of the ${place} as it takes ${what} away keeps no other, and the next one takes it away`,
        () =>
          Effect.gen(function* () {
            const { reload } = yield* Registry
            const first = yield* Effect.exit(reload)
            const left = (yield* observed).resources
            yield* reload

            assert.isTrue(Exit.hasDies(first))
            assert.lengthOf(left, place === "packet path" ? 1 : 0)
            assert.deepStrictEqual((yield* observed).resources, [])
            assert.lengthOf((yield* observed).clients, after.clients.length)
          }).pipe(
            Effect.provide(
              layerGateway(configOf([lan, cidrResource("10.1.0.0/16")]), layerStumbling(place), Effect.succeed(after))
            )
          )
      )
    }
  }

  it.effect("that met a bug half-way is gone through again although the file is wrong by now", () => {
    let isWrong = false
    return Effect.gen(function* () {
      const registry = yield* Registry
      const applied: Array<number> = []
      yield* registry.follow(({ after }) =>
        Effect.suspend(() =>
          applied.push(after.version) === 1 ? Effect.die(new Error("a bug")) : Effect.succeed(nothing)
        )
      )
      yield* Effect.exit(registry.reload)
      isWrong = true
      const refused = yield* Effect.flip(registry.reload)

      assert.strictEqual(refused.message, "a mistake")
      assert.deepStrictEqual(applied, [2, 2])
    }).pipe(
      Effect.scoped,
      Effect.provide(
        RegistryLive.layer({
          config: configOf([wildcard]),
          read: Effect.suspend(() => (isWrong ? Effect.fail({ message: "a mistake" }) : Effect.succeed(configOf([]))))
        })
      )
    )
  })

  it.effect("that meets a bug each time leaves the way open for another file, from all that came before", () =>
    withLogLines((lines) =>
      Effect.gen(function* () {
        const registry = yield* Registry
        const applied: Array<string> = []
        yield* registry.follow(({ after, before, difference }) =>
          Effect.suspend(() => {
            applied.push(`${before.version} to ${after.version}`)
            return difference.resources.removed.includes(wildcard.id)
              ? Effect.die(new Error("a bug"))
              : Effect.succeed({ sessions: { cut: 1, untouched: 5 }, warnings: [] })
          })
        )
        yield* Effect.exit(registry.reload)
        const { sessions } = yield* registry.reload
        yield* registry.reload

        assert.deepStrictEqual(applied, ["1 to 2", "2 to 3", "1 to 3", "3 to 3"])
        assert.deepStrictEqual(sessions, { cut: 2, untouched: 5 })
        assert.lengthOf(
          lines.filter((line) => line.includes("is in force in part only")),
          0
        )
      }).pipe(
        Effect.scoped,
        Effect.provide(
          RegistryLive.layer({
            config: configOf([wildcard, lan]),
            read: turns(configOf([lan]), configOf([wildcard]), configOf([wildcard]))
          })
        )
      )
    )
  )

  it.effect("that is good comes to its report and its line in the log although another one's bug is met again", () =>
    withLogLines((lines) =>
      Effect.gen(function* () {
        const registry = yield* Registry
        yield* registry.follow(({ difference }) =>
          difference.resources.removed.includes(wildcard.id)
            ? Effect.die(new Error("a bug"))
            : Effect.succeed({ sessions: { cut: 1, untouched: 5 }, warnings: ["nft is gone"] })
        )
        yield* Effect.exit(registry.reload)
        const { resources, sessions, version, warnings } = yield* registry.reload

        assert.deepStrictEqual([version, resources.added, sessions], [3, [late.id], { cut: 1, untouched: 5 }])
        assert.deepStrictEqual([warnings.length, warnings[0]], [2, "nft is gone"])
        assert.include(warnings[1], "policy 3 is in force in part only")
        assert.lengthOf(
          lines.filter((line) => line.includes("is in force in part only")),
          1
        )
        assert.lengthOf(
          lines.filter((line) => line.includes("message=reloaded")),
          1
        )
      }).pipe(
        Effect.scoped,
        Effect.provide(
          RegistryLive.layer({ config: configOf([wildcard, lan]), read: turns(configOf([lan]), configOf([lan, late])) })
        )
      )
    )
  )

  it.effect("goes on to its end without who asked for it, and is told in the log", () =>
    withLogLines((lines) => {
      const done = Deferred.makeUnsafe<void>()
      return Effect.gen(function* () {
        const registry = yield* Registry
        yield* registry.follow(() => Effect.as(Deferred.await(done), nothing))
        const reload = yield* Effect.forkChild(registry.reload, { startImmediately: true })
        const leaving = yield* Effect.forkChild(Fiber.interrupt(reload), { startImmediately: true })
        yield* Deferred.succeed(done, undefined)
        yield* Fiber.join(leaving)

        assert.lengthOf(
          lines.filter((line) => line.includes("message=reloaded")),
          1
        )
      }).pipe(
        Effect.scoped,
        Effect.provide(RegistryLive.layer({ config: configOf([wildcard]), read: Effect.succeed(configOf([])) }))
      )
    })
  )

  it.effect("takes a right away however long the host's firewall takes", () => {
    const done = Deferred.makeUnsafe<void>()
    const host = cidrResource("192.0.2.0/24")
    const before = configOf([lan, host])
    const after = configOf([{ ...host, allow: ["gateway_host"] }])
    return Effect.gen(function* () {
      const reload = yield* Effect.forkChild((yield* Registry).reload, { startImmediately: true })
      yield* TestClock.adjust("1 second")
      const held = (yield* observed).resources
      const isWaiting = reload.pollUnsafe() === undefined
      yield* Deferred.succeed(done, undefined)
      yield* Fiber.join(reload)

      assert.isTrue(isWaiting)
      assert.lengthOf(held, 1)
      assert.include(held[0], host.id)
      assert.deepStrictEqual((yield* observed).resources, held)
    }).pipe(
      Effect.provide(layerGateway(before, fresh, Effect.succeed(after), undefined, hostAfter(Deferred.await(done))))
    )
  })

  it.effect("says what the host's firewall refuses, with what to do, and has it in force by the next one", () => {
    let isBroken = true
    const host = cidrResource("192.0.2.0/24")
    const after = configOf([{ ...host, allow: ["gateway_host"] }])
    const nft = Effect.suspend(() => (isBroken ? Effect.fail(new HostError({ message: "nft is gone" })) : Effect.void))
    return Effect.gen(function* () {
      const registry = yield* Registry
      const { plans } = yield* TunnelMemory.TunnelRecorder
      const first = yield* registry.reload
      const before = plans.length
      isBroken = false
      const second = yield* registry.reload

      assert.deepStrictEqual(first.warnings, ["the host's firewall is as it was: nft is gone; then: sallyport reload"])
      assert.deepStrictEqual([second.warnings, before, plans.length], [[], 1, 2])
    }).pipe(Effect.provide(layerGateway(configOf([host]), fresh, Effect.succeed(after), undefined, hostAfter(nft))))
  })

  it.effect("takes a right away at once although the packet worker hangs, and says that it does", () =>
    Effect.gen(function* () {
      const reload = yield* Effect.forkChild((yield* Registry).reload, { startImmediately: true })
      yield* TestClock.adjust("1 second")
      const held = (yield* observed).resources
      yield* TestClock.adjust("2 seconds")
      const { warnings } = yield* Fiber.join(reload)

      assert.deepStrictEqual(held, [])
      assert.lengthOf(warnings, 1)
      assert.include(warnings[0], "has not confirmed within 3 s")
    }).pipe(
      Effect.provide(
        layerGateway(
          configOf([lan]),
          Layer.effect(
            DataPlane,
            Effect.map(DataPlane, (dataPlane) =>
              DataPlane.of({ ...dataPlane, settled: Effect.as(Effect.sleep("3 seconds"), false) })
            )
          ).pipe(Layer.provideMerge(fresh)),
          Effect.succeed(configOf([]))
        )
      )
    )
  )

  it.effect("that removes a client and one that adds it again let it be told as connected once more", () =>
    withLogLines((lines) =>
      Effect.gen(function* () {
        const registry = yield* Registry
        const { publish } = yield* DataPlaneRecorder
        const connects = Effect.andThen(publish(connectedState(1)), TestClock.adjust("20 millis"))
        yield* connects
        yield* registry.reload
        yield* connects
        yield* registry.reload
        yield* connects

        assert.lengthOf(
          lines.filter((line) => line.includes("client connected")),
          2
        )
      }).pipe(
        Effect.provide(
          layerGateway(configOf([]), fresh, turns(configOf([], { clients: clientsOf.slice(1) }), configOf([])))
        )
      )
    )
  )

  it.effect("that names other servers has a name that the former ones did not know told as one that may exist", () =>
    Effect.gen(function* () {
      const script = yield* ResolverScript
      yield* script.set("*", fail(new NameNotFound({ ttlSeconds: 60 })))
      yield* ask("x.corp")
      yield* TestClock.adjust("1 second")
      const before = yield* ask("x.corp")
      // Its client is not at it any more: nothing looks it up with the reload.
      yield* TestClock.adjust("31 seconds")
      yield* script.set("*", { _tag: "Silent" })
      yield* (yield* Registry).reload

      assert.deepStrictEqual([before._tag, (yield* ask("x.corp"))._tag], ["NameError", "Addresses"])
    }).pipe(
      Effect.provide(
        layerGateway(
          configOf([exact], serversAt("9.0.0.53")),
          fresh,
          Effect.succeed(configOf([exact], serversAt("9.1.0.53")))
        )
      )
    )
  )

  it.effect(
    "asks those resolver sets something harmless that are new or have other servers; what else is known stays",
    () => {
      const asked: Array<string> = []
      const probe = Layer.succeed(SetProbe, (set) => Effect.sync(() => asked.push(set) > 0))
      const config = configOf([exact], serversAt("9.0.0.53"))
      const more = [exact, dnsResource("*.lab", { resolver: "lab" })]
      const reads = [config, configOf(more, serversAt("9.0.0.53")), configOf(more, serversAt("9.1.0.53"))]
      return Effect.gen(function* () {
        const names = yield* TunnelNames
        const { reload } = yield* Registry
        const askedBy = Effect.andThen(
          TestClock.adjust("20 millis"),
          Effect.sync(() => asked.splice(0))
        )
        yield* answering
        yield* ask("x.corp")
        const sets = [yield* askedBy]
        yield* reload
        const known = names.known(alice.tunnel4, { domain: "x.corp", type: recordType.A, family: 4, reverse: null })
        sets.push(yield* askedBy)
        yield* reload
        sets.push(yield* askedBy)
        yield* reload
        sets.push(yield* askedBy)

        assert(typeof known === "object" && known._tag === "Addresses")
        assert.deepStrictEqual(sets, [["corp"], [], ["lab"], ["corp"]])
      }).pipe(Effect.provide(Layer.provide(layerGateway(config, fresh, turns(...reads)), probe)))
    }
  )

  it.effect("of a file that says what it said before, in another order or not, is no other policy", () =>
    Effect.gen(function* () {
      const registry = yield* Registry
      const same = yield* registry.reload
      const other = yield* registry.reload

      assert.deepStrictEqual([same.version, other.version], [1, 2])
    }).pipe(
      Effect.provide(
        RegistryLive.layer({
          config: configOf([wildcard, lan]),
          read: turns(configOf([lan, wildcard]), configOf([lan]))
        })
      )
    )
  )

  it.effect("names what a client may or may not reach any more, and from when on it differs", () =>
    Effect.gen(function* () {
      const { grants } = yield* (yield* Registry).reload
      assert.deepStrictEqual(grants, {
        added: 1,
        changed: 2,
        removed: 1,
        named: [
          { client: alice.id, resource: "wild", change: "changed", allows: "tcp/443 icmp", before: "all" },
          { client: bob.id, resource: "wild", change: "added", allows: "tcp/443 icmp", before: null },
          {
            client: alice.id,
            resource: "late",
            change: "changed",
            allows: "all, until 2027-01-01T00:00:00.000Z",
            before: "all"
          },
          { client: alice.id, resource: lan.id, change: "removed", allows: "all", before: null }
        ]
      })
    }).pipe(
      Effect.provide(
        RegistryLive.layer({ config: configOf([wildcard, late, lan]), read: Effect.succeed(afterNarrowing) })
      )
    )
  )
})
