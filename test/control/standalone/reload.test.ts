/** A running gateway takes another policy: it comes to what a fresh start with that one comes to. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import { TestClock } from "effect/testing"
import * as RegistryLive from "../../../layers/control/standalone/Registry.ts"
import { DataPlaneRecorder } from "../../../layers/memory/DataPlaneRecording.ts"
import * as DataPlaneRecording from "../../../layers/memory/DataPlaneRecording.ts"
import { answer, ResolverScript } from "../../../layers/memory/ResolverMemory.ts"
import * as StateStoreMemory from "../../../layers/memory/StateStoreMemory.ts"
import type { ConfiguredClient, GatewayConfig } from "../../../src/config/GatewayConfig.ts"
import { Registry } from "../../../src/control/Registry.ts"
import { DesiredState } from "../../../src/dataplane/DesiredState.ts"
import { StateStore } from "../../../src/host/StateStore.ts"
import { type Resource, ResourceId } from "../../../src/model/Resource.ts"
import { cidrResource, dnsResource } from "../../support/access.ts"
import { ask, configOf, layerGateway } from "../../support/standalone.ts"
import { makeRandom, type Random } from "../../support/traffic.ts"

/** As many as the fast tests have time for; 1,000 once more with `RELOAD_PAIRS`. */
const pairs = Number(process.env["RELOAD_PAIRS"] ?? 60)
const names = ["a.corp", "b.corp", "c.corp"]
const clientsOf = configOf([], {}).clients

/** Clients with one of two keys each, and resources of any kind that any of them may reach. */
const randomPolicy = ({ below: next, chance: maybe, pick }: Random): GatewayConfig => {
  const chance = () => maybe(0.5)
  const clients = clientsOf
    .map((client): ConfiguredClient => ({
      ...client,
      publicKey: Buffer.alloc(32, client.tunnel4.length + next(2) * 100 + Number(client.id.at(-1))).toString("base64")
    }))
    .filter(() => next(4) > 0)
  const ports = () => (chance() ? [] : [{ protocol: "tcp" as const, from: 443, to: 443 }])
  const resources = [1, 2, 3, 4].flatMap((n): ReadonlyArray<Resource> => {
    if (next(4) === 0) return []
    const over = { id: ResourceId.make(`resource-${n}`), filters: ports() }
    return chance()
      ? [{ ...cidrResource(`10.${next(3)}.0.0/16`), ...over }]
      : [dnsResource(pick(names), { resolver: pick(["one", "two"]), ...over })]
  })
  const grants = resources.flatMap((resource) =>
    clients.filter(chance).map((client) => ({ client, resource, expiresAt: chance() ? null : 1_000 + next(2) * 1e9 }))
  )
  return configOf(resources, { clients, grants, search: chance() ? [] : ["corp"] })
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
      .flatMap((order) => (order._tag === "PlaceClient" ? [`${order.client} ${order.publicKey} ${order.tunnel4}`] : []))
      .toSorted(),
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
    for (const name of [...names, "a"]) {
      const { _tag, ...said } = yield* ask(name, 1, tunnel4)
      told.push([_tag, "addresses" in said ? said.addresses : null])
    }
  return told
})

const answering = Effect.flatMap(ResolverScript, (script) => script.set("*", answer(["10.0.0.1"])))

const wildcard = dnsResource("*.corp", { id: ResourceId.make("wild") })
const fresh = Layer.merge(DataPlaneRecording.layer, StateStoreMemory.layer)

describe("a reload", () => {
  it.effect("comes to what a fresh start with the new policy comes to, whatever the two policies are", () =>
    Effect.gen(function* () {
      const random = makeRandom(20_261_130)
      yield* TestClock.adjust("1 minute")
      for (let i = 0; i < pairs; i++) {
        const [a, b] = [randomPolicy(random), randomPolicy(random)]
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

  for (const [what, after] of [
    ["of a client that is removed", configOf([], { clients: clientsOf.slice(1) })],
    ["about a name that is withdrawn", configOf([])],
    [
      "about a name whose ports are fewer now",
      configOf([{ ...wildcard, filters: [{ protocol: "tcp", from: 443, to: 443 }] }])
    ]
  ] as const) {
    it.effect(`gives nothing back to a question ${what}, which waits for its lookup meanwhile`, () =>
      Effect.gen(function* () {
        const expected = yield* Effect.provide(observed, layerGateway(after, fresh), { local: true })
        const running = Effect.gen(function* () {
          const asking = yield* Effect.forkChild(ask("x.corp", 1, clientsOf[0]!.tunnel4), { startImmediately: true })
          yield* TestClock.adjust("10 millis")
          assert.isUndefined(asking.pollUnsafe(), "it waits")
          const reload = yield* Effect.forkChild((yield* Registry).reload)
          yield* TestClock.adjust("20 millis")
          yield* Fiber.join(reload)
          yield* TestClock.adjust("2 seconds")

          assert.strictEqual((yield* Fiber.join(asking))._tag, "ServerFailure")
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
          applied.push(after.version) === 1 ? Effect.die(new Error("a bug")) : Effect.succeed({ cut: 0, untouched: 0 })
        )
      )
      const first = yield* Effect.exit(registry.reload)
      yield* registry.reload
      yield* registry.reload

      assert.isTrue(Exit.isFailure(first))
      assert.deepStrictEqual(applied, [2, 2, 3, 4])
    }).pipe(
      Effect.scoped,
      Effect.provide(RegistryLive.layer({ config: configOf([wildcard]), read: Effect.succeed(configOf([])) }))
    )
  )
})
