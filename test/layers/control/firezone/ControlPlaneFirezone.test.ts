import { assert, describe, it } from "@effect/vitest"
import { Clock, Duration, Effect, Exit, Fiber, Layer, Schema, Scope } from "effect"
import { TestClock } from "effect/testing"
import { DataPlaneRecorder } from "../../../../layers/memory/DataPlaneRecording.ts"
import { TunnelRecorder } from "../../../../layers/memory/TunnelMemory.ts"
import { PortalMemory } from "../../../../layers/memory/PortalSocketMemory.ts"
import * as ResolverMemory from "../../../../layers/memory/ResolverMemory.ts"
import { Authorizations } from "../../../../src/access/Authorizations.ts"
import { Clients } from "../../../../src/access/Clients.ts"
import { ControlPlane } from "../../../../src/control/ControlPlane.ts"
import { HostError } from "../../../../src/host/HostNetwork.ts"
import { Tunnel } from "../../../../src/host/Tunnel.ts"
import { ClientId } from "../../../../src/model/Client.ts"
import { RelayId } from "../../../../src/model/Relay.ts"
import { Resolutions } from "../../../../src/resolution/Resolutions.ts"
import { failures, latestAddresses, withoutJitter } from "../../../support/access.ts"
import { Mutation, mutate } from "../../../support/mutate.ts"
import { makeSteppedClock } from "../../../support/steppedClock.ts"
import { withLogLines } from "../../../support/standalone.ts"
import * as wire from "../../../support/portalMessages.ts"
import {
  ask,
  assignedIps,
  commands,
  commandsOf,
  control,
  inTunnel,
  layerPortal,
  layerPortalOn,
  settle,
  start
} from "../../../support/portalMemory.ts"

const one = ClientId.make(wire.uuid(1))
const two = ClientId.make(wire.uuid(2))
const apps = wire.uuid(10)
const pair = { client_id: wire.uuid(1), resource_id: wire.uuid(10) }
const proxies = ["100.96.0.1", "fd00:2021:1111:8000::1"]
const later = 1_893_456_000

const authorizationPairs = Effect.flatMap(Authorizations, (authorizations) =>
  Effect.map(authorizations.list, (all) => all.map((a) => `${a.client.id} ${a.resource.id}`))
)

describe("the portal control plane", () => {
  it.effect("joins, then takes addresses and relays from init", () =>
    Effect.gen(function* () {
      const portal = yield* start()
      assert.deepStrictEqual(
        portal.frames.map((f) => f.event),
        ["phx_join"]
      )
      const { plans, reachedFrom } = yield* TunnelRecorder
      assert.deepStrictEqual(reachedFrom, ["192.0.2.10"])
      assert.lengthOf(plans, 1)
      assert.deepInclude(plans[0], { gateway4: "100.64.0.1", gateway6: "fd00:2021:1111::1", hostCandidates: true })
      const relays = yield* commandsOf("SetRelays")
      assert.deepStrictEqual(
        relays.at(-1)?.relays.map((r) => r.id),
        [RelayId.make(wire.uuid(20))]
      )
      assert.deepInclude(yield* (yield* ControlPlane).health, { kind: "portal", connected: true })
    }).pipe(Effect.provide(layerPortal()))
  )

  it.effect("serves DNS at the addresses of init, once for the same, anew for others", () =>
    Effect.gen(function* () {
      const portal = yield* start()
      const other = { ipv4: "100.64.0.2", ipv6: "fd00:2021:1111::2" }
      for (const init of [wire.init(), wire.init({ interface: other })]) {
        yield* portal.push("init", init)
        yield* settle
      }
      assert.deepStrictEqual((yield* TunnelRecorder).served, ["100.64.0.1", "100.64.0.2"])
    }).pipe(Effect.provide(layerPortal()))
  )

  it.effect("ends with the host's one line when its addresses cannot be set up, and not before", () =>
    Effect.gen(function* () {
      const controlPlane = yield* ControlPlane
      const ended = yield* Effect.forkChild(Effect.flip(controlPlane.failure), { startImmediately: true })
      yield* settle
      assert.isUndefined(ended.pollUnsafe())
      yield* start()
      assert.strictEqual((yield* Fiber.join(ended)).message, "the tunnel network overlaps")
    }).pipe(
      Effect.provide(
        layerPortalOn(
          Layer.mock(Tunnel, {
            configure: () => new HostError({ message: "the tunnel network overlaps" }),
            ready: () => false,
            reachedFrom: () => Effect.void,
            moved: Effect.never
          })
        )
      )
    )
  )

  for (const [name, behaviour] of failures) {
    it.effect(`with a resolver that ${name}, every request of A, B and C is answered before any lookup ends`, () =>
      Effect.gen(function* () {
        const script = yield* ResolverMemory.ResolverScript
        yield* script.set("*", behaviour)
        const portal = yield* start()
        let atReply = -1
        const runSync = Effect.runSyncWith(yield* Effect.context())
        portal.onSend(() => (atReply = runSync(script.returned)))
        const asked: ReadonlyArray<readonly [string, unknown, string]> = [
          ["request_connection", wire.requestConnection(1), "connection_ready"],
          ["request_connection", wire.withDomain(wire.requestConnection(2), "app.corp.example"), "connection_ready"],
          [
            "request_connection",
            wire.withDomain(wire.requestConnection(3, { resource: wire.cidrResource() }), null),
            "connection_ready"
          ],
          ["allow_access", wire.allowAccess(1, { payload: "db.corp.example" }), "connection_ready"],
          ["authorize_flow", wire.authorizeFlow(4), "flow_authorized"],
          ["create_authorization", wire.createAuthorization(5), "authorization_created"]
        ]
        for (const [event, payload, answer] of asked) {
          const before = yield* script.returned
          const answers = yield* ask(event, payload)
          assert.deepStrictEqual(
            answers.map((r) => r.event),
            [answer],
            event
          )
          assert.strictEqual(atReply, before, "a reply came after a lookup had ended")
        }
      }).pipe(Effect.provide(layerPortal()))
    )
  }

  it.effect("answers 200 requests a second for 10 s while DNS hangs, each in the turn of its request", () =>
    Effect.gen(function* () {
      const script = yield* ResolverMemory.ResolverScript
      yield* script.set("*", { _tag: "Hang" })
      const portal = yield* start()
      for (let second = 0; second < 10; second++) {
        for (let n = 0; n < 200; n++) {
          const client = (second * 200 + n) % 250
          const ref = `${second} ${n}`
          const answers = yield* ask("authorize_flow", wire.authorizeFlow(client, { ref }))
          assert.deepStrictEqual(answers, [{ event: "flow_authorized", payload: { ref } }])
        }
        yield* TestClock.adjust(1_000)
      }
      assert.lengthOf(portal.sent, 2_000)
    }).pipe(Effect.provide(layerPortal()))
  )

  it.effect("A: client with ICE, resource and mapping are told in this order, and our credentials go back", () =>
    Effect.gen(function* () {
      yield* start()
      const recorder = yield* DataPlaneRecorder
      yield* recorder.forget
      const [answer] = yield* ask("request_connection", wire.requestConnection())
      const told = yield* commands
      assert.deepStrictEqual(
        told.map((c) => c._tag),
        ["UpsertClient", "SetResource", "SetMapping", "SetAddresses"]
      )
      const [upsert] = yield* commandsOf("UpsertClient")
      assert.deepStrictEqual(upsert?.ice?.remote, wire.ice("c"))
      assert.strictEqual(upsert?.ice?.role, "controlled")
      assert.deepNestedInclude(answer, {
        "payload.gateway_payload.ConnectionAccepted.ice_parameters": upsert?.ice?.local as never
      })
    }).pipe(Effect.provide(layerPortal()))
  )

  it.effect("a repeated request keeps the connection: the same credentials, and what preshared key was told last", () =>
    Effect.gen(function* () {
      yield* start()
      const flow = wire.authorizeFlow(1)
      yield* ask("authorize_flow", flow)
      yield* ask("authorize_flow", { ...flow, client: { ...flow.client, preshared_key: wire.key(99) } })
      const upserts = yield* commandsOf("UpsertClient")
      assert.lengthOf(upserts, 2)
      assert.deepStrictEqual(upserts[1], { ...upserts[0]!, presharedKey: wire.key(99) })
      const first = yield* ask("request_connection", wire.requestConnection(2))
      const again = yield* ask("request_connection", wire.requestConnection(2))
      assert.deepStrictEqual(again, first)
    }).pipe(Effect.provide(layerPortal()))
  )

  it.effect("other keys or credentials, or a lost connection, make a new one; mappings and resources stay", () =>
    Effect.gen(function* () {
      yield* start()
      const recorder = yield* DataPlaneRecorder
      const flow = wire.authorizeFlow(1)
      yield* ask("authorize_flow", flow)
      yield* assignedIps(one, apps, "app.corp.example", proxies)
      yield* recorder.forget
      const newKey = { ...flow, client: { ...flow.client, preshared_key: wire.key(99) } }
      yield* recorder.publish({ _tag: "ConnectionLost", epoch: 1, client: one, order: 1e9, reason: "IceFailed" })
      yield* settle
      yield* ask("authorize_flow", newKey)
      yield* ask("authorize_flow", { ...newKey, gateway_ice_credentials: wire.ice("h") })
      yield* control(one, 2, "")
      yield* ask("authorize_flow", { ...newKey, gateway_ice_credentials: wire.ice("h"), client: flow.client })
      const told = yield* commandsOf("UpsertClient")
      assert.deepStrictEqual(
        told.map((u) => `${u.presharedKey} ${u.ice?.local.username}`),
        [`${wire.key(99)} ufgx`, `${wire.key(99)} ufhx`, `${flow.client.preshared_key} ufhx`]
      )
      const placed = (yield* recorder.orders).filter((order) => order._tag === "PlaceClient")
      assert.strictEqual(new Set(placed.map(({ connection }) => connection)).size, 2)
      yield* recorder.publish({ _tag: "ConnectionLost", epoch: 1, client: one, order: 1e9, reason: "Goodbye" })
      yield* settle
      yield* ask("authorize_flow", { ...newKey, gateway_ice_credentials: wire.ice("h"), client: flow.client })
      const anew = (yield* recorder.orders).findLast((order) => order._tag === "PlaceClient")
      assert.notInclude(
        placed.map(({ connection }) => connection),
        anew?.connection
      )
      const removed = (yield* commands).filter((c) => c._tag === "RemoveMapping" || c._tag === "RevokeResource")
      assert.lengthOf(removed, 0)
      assert.strictEqual(yield* (yield* Resolutions).count(one), 1)
    }).pipe(Effect.provide(layerPortal()))
  )

  it.effect("a request that must not be granted changes nothing and gets no answer; the next one does", () =>
    Effect.gen(function* () {
      yield* start()
      const recorder = yield* DataPlaneRecorder
      yield* recorder.forget
      for (const domain of [
        { name: "app.other.example", proxy_ips: proxies },
        { name: "app.corp.example", proxy_ips: ["10.0.0.1"] },
        { name: "app.corp.example", proxy_ips: ["100.100.111.1"] }
      ]) {
        assert.lengthOf(yield* ask("request_connection", wire.withDomain(wire.requestConnection(), domain)), 0)
      }
      assert.lengthOf(yield* commands, 0)
      assert.lengthOf(yield* ask("request_connection", wire.requestConnection()), 1)
    }).pipe(Effect.provide(layerPortal()))
  )

  it.effect("reject_access cuts the resource; with the last one the client gets a Goodbye and goes", () =>
    Effect.gen(function* () {
      yield* start()
      yield* ask("authorize_flow", wire.authorizeFlow(1))
      yield* ask("authorize_flow", wire.authorizeFlow(1, { resource: wire.cidrResource() }))
      yield* ask("reject_access", pair)
      assert.lengthOf(yield* commandsOf("RemoveClient"), 0)
      assert.deepStrictEqual(yield* inTunnel, [])
      yield* ask("reject_access", { ...pair, resource_id: wire.uuid(11) })
      assert.deepStrictEqual(yield* inTunnel, [{ client: one, event: 2, text: "" }])
      const tags = (yield* commands).map((c) => c._tag).slice(-3)
      assert.deepStrictEqual(tags, ["RevokeResource", "SendControl", "RemoveClient"])
      assert.notInclude(
        (yield* (yield* Clients).list).map(({ id }) => id),
        one
      )
      assert.lengthOf(yield* ask("reject_access", pair), 0)
    }).pipe(Effect.provide(layerPortal()))
  )

  it.effect(
    "a name goes on when its resource is withdrawn and granted again, although the client does not announce it a second time",
    () =>
      Effect.gen(function* () {
        const script = yield* ResolverMemory.ResolverScript
        yield* script.set("*", ResolverMemory.answer(["10.0.0.1"], 60))
        yield* start()
        yield* ask("authorize_flow", wire.authorizeFlow(1))
        yield* ask("authorize_flow", wire.authorizeFlow(1, { resource: wire.cidrResource() }))
        yield* assignedIps(one, apps, "app.corp.example", proxies)
        const recorder = yield* DataPlaneRecorder
        for (const pause of [1, 60_000]) {
          yield* ask("reject_access", pair)
          yield* TestClock.adjust(pause)
          yield* recorder.forget
          yield* ask("authorize_flow", wire.authorizeFlow(1))
          assert.deepStrictEqual(
            (yield* commandsOf("SetAddresses")).map((c) => c.addresses),
            [["10.0.0.1"]]
          )
        }
        const calls = (yield* script.calls).length
        yield* ask("reject_access", pair)
        yield* TestClock.adjust("11 minutes")
        assert.lengthOf(yield* commandsOf("LapseMapping"), 1)
        assert.lengthOf(yield* script.calls, calls)
      }).pipe(Effect.provide(layerPortal()))
  )

  for (const [name, step] of [
    ["60 s back", -60_000],
    ["a day ahead", 86_400_000],
    ["a year ahead", 31_536_000_000]
  ] as const) {
    it.effect(`ends authorizations at the portal's date, with this host's clock set ${name} meanwhile`, () =>
      Effect.gen(function* () {
        const clock = yield* makeSteppedClock
        yield* Effect.gen(function* () {
          const portal = yield* start()
          const held = Effect.flatMap(Authorizations, ({ count }) => count)
          yield* ask("authorize_flow", wire.authorizeFlow(1, { expires_at: 30 }))
          clock.aheadMs = step
          yield* TestClock.adjust("20 seconds")
          assert.strictEqual(yield* held, 1)
          yield* ask("authorize_flow", wire.authorizeFlow(2, { expires_at: 40 }))
          assert.strictEqual(yield* held, 2)
          yield* TestClock.adjust("11 seconds")
          assert.strictEqual(yield* held, 1)
          portal.dated(31_000)
          yield* portal.close
          yield* TestClock.adjust("5 seconds")
          assert.strictEqual(yield* held, 1)
          yield* TestClock.adjust("6 seconds")
          assert.strictEqual(yield* held, 0)
        }).pipe(Effect.provide(Layer.provide(layerPortal(), Layer.succeed(Clock.Clock, clock))))
      })
    )
  }

  it.effect("an authorization ends within a second of its deadline, which may be moved both ways", () =>
    Effect.gen(function* () {
      yield* start()
      const soon = (seconds: number) => wire.authorizeFlow(1, { expires_at: seconds })
      yield* ask("authorize_flow", soon(10))
      yield* ask("access_authorization_expiry_updated", { ...pair, expires_at: 20 })
      yield* TestClock.adjust("15 seconds")
      assert.deepStrictEqual(yield* authorizationPairs, [`${one} ${apps}`])
      yield* TestClock.adjust("6 seconds")
      assert.deepStrictEqual(yield* authorizationPairs, [])
      assert.lengthOf(yield* commandsOf("RemoveClient"), 1)
      yield* ask("authorize_flow", soon(100))
      yield* ask("authorize_flow", wire.authorizeFlow(1, { expires_at: null }))
      yield* TestClock.adjust("200 seconds")
      assert.lengthOf(yield* authorizationPairs, 1)
      yield* ask("access_authorization_expiry_updated", { ...pair, expires_at: 222 })
      yield* TestClock.adjust("2 seconds")
      assert.lengthOf(yield* authorizationPairs, 0)
    }).pipe(Effect.provide(layerPortal()))
  )

  it.effect(
    "a repeated init without the list revokes nothing; with it, pairs not listed go and deadlines are replaced",
    () =>
      Effect.gen(function* () {
        yield* start()
        yield* ask("authorize_flow", wire.authorizeFlow(1))
        yield* ask("authorize_flow", wire.authorizeFlow(1, { resource: wire.cidrResource() }))
        yield* ask("authorize_flow", wire.authorizeFlow(2))
        yield* ask("init", wire.init())
        assert.lengthOf(yield* authorizationPairs, 3)
        yield* ask("init", wire.init({ authorizations: [{ ...pair, expires_at: 30 }] }))
        assert.deepStrictEqual(yield* authorizationPairs, [`${one} ${apps}`])
        assert.deepStrictEqual(
          (yield* commandsOf("RemoveClient")).map((c) => c.client),
          [two]
        )
        yield* TestClock.adjust("31 seconds")
        assert.lengthOf(yield* authorizationPairs, 0)
      }).pipe(Effect.provide(layerPortal()))
  )

  it.effect("a repeated init with 10,000 authorizations is taken, and keeps those it lists", () =>
    Effect.gen(function* () {
      yield* start()
      yield* ask("authorize_flow", wire.authorizeFlow(1))
      yield* ask("authorize_flow", wire.authorizeFlow(2))
      const others = Array.from({ length: 9_999 }, (_, n) => ({
        client_id: wire.uuid(1_000 + n),
        resource_id: wire.uuid(10),
        expires_at: later
      }))
      yield* ask("init", wire.init({ authorizations: [...others, { ...pair, expires_at: later }] }))
      assert.deepStrictEqual(yield* authorizationPairs, [`${one} ${apps}`])
    }).pipe(Effect.provide(layerPortal()))
  )

  it.effect("resource_updated changes the filters of everybody who may reach the resource", () =>
    Effect.gen(function* () {
      yield* start()
      yield* ask("authorize_flow", wire.authorizeFlow(1))
      yield* ask("authorize_flow", wire.authorizeFlow(2))
      yield* ask("authorize_flow", wire.authorizeFlow(3, { resource: wire.cidrResource() }))
      const recorder = yield* DataPlaneRecorder
      yield* recorder.forget
      yield* ask("resource_updated", wire.dnsResource(10, { filters: [{ protocol: "icmp" }] }))
      const told = yield* commandsOf("SetResource")
      assert.deepStrictEqual(
        told.map((c) => c.client),
        [one, two]
      )
      assert.deepStrictEqual(told[0]?.filters, [{ protocol: "icmp" }])
    }).pipe(Effect.provide(layerPortal()))
  )

  it.effect("candidates of a client whose last authorization has ended go nowhere, until it comes back", () =>
    Effect.gen(function* () {
      const candidates = { client_id: wire.uuid(1), candidates: [wire.candidate(1)] }
      yield* start()
      yield* ask("authorize_flow", wire.authorizeFlow(1))
      yield* ask("reject_access", pair)
      yield* ask("ice_candidates", candidates)
      assert.lengthOf(yield* commandsOf("AddCandidate"), 0)
      yield* ask("authorize_flow", wire.authorizeFlow(1))
      yield* ask("ice_candidates", candidates)
      assert.lengthOf(yield* commandsOf("AddCandidate"), 1)
    }).pipe(Effect.provide(layerPortal()))
  )

  it.effect("candidates of a client go to the data plane, those for strangers nowhere", () =>
    Effect.gen(function* () {
      yield* start()
      yield* ask("ice_candidates", { client_id: wire.uuid(1), candidates: [wire.candidate(1)] })
      yield* ask("authorize_flow", wire.authorizeFlow(1))
      yield* ask("ice_candidates", { client_id: wire.uuid(1), candidates: [wire.candidate(2), wire.candidate(3)] })
      yield* ask("invalidate_ice_candidates", { client_id: wire.uuid(1), candidates: [wire.candidate(2)] })
      assert.deepStrictEqual(
        (yield* commandsOf("AddCandidate")).map((c) => c.candidate),
        [wire.candidate(2), wire.candidate(3)]
      )
      assert.deepStrictEqual(
        (yield* commandsOf("RemoveCandidate")).map((c) => c.candidate),
        [wire.candidate(2)]
      )
    }).pipe(Effect.provide(layerPortal()))
  )

  it.effect("our candidates are grouped per client; while the portal is away only their latest state is kept", () =>
    Effect.gen(function* () {
      const portal = yield* start()
      const recorder = yield* DataPlaneRecorder
      const found = (client: ClientId, candidate: string) =>
        recorder.publish({ _tag: "CandidateFound", epoch: 1, client, candidate })
      yield* found(one, "b")
      yield* found(two, "c")
      yield* found(one, "a")
      yield* settle
      assert.deepStrictEqual(
        portal.sent.map((f) => f.payload),
        [
          { client_ids: [one], candidates: ["a", "b"] },
          { client_ids: [two], candidates: ["c"] }
        ]
      )
      yield* portal.close
      yield* settle
      portal.forget()
      yield* found(one, "d")
      yield* found(one, "e")
      yield* recorder.publish({ _tag: "CandidateLost", epoch: 1, client: one, candidate: "d" })
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(
        portal.sent.map(({ event, payload }) => ({ event, payload })),
        [
          { event: "broadcast_invalidated_ice_candidates", payload: { client_ids: [one], candidates: ["d"] } },
          { event: "broadcast_ice_candidates", payload: { client_ids: [one], candidates: ["e"] } }
        ]
      )
    }).pipe(Effect.provide(layerPortal()), withoutJitter)
  )

  it.effect("asks for relays when the last one is lost", () =>
    Effect.gen(function* () {
      const portal = yield* start()
      const recorder = yield* DataPlaneRecorder
      const lost = (left: number) =>
        Effect.andThen(
          recorder.publish({
            _tag: "RelayLost",
            epoch: 1,
            relay: RelayId.make(wire.uuid(20)),
            reason: "Unreachable",
            left
          }),
          settle
        )
      yield* lost(1)
      assert.lengthOf(portal.sent, 0)
      yield* lost(0)
      assert.deepStrictEqual(
        portal.sent.map((f) => f.event),
        ["no_relays"]
      )
    }).pipe(Effect.provide(layerPortal()))
  )

  it.effect.prop(
    "any mutated messages: no crash, the other client keeps all it has, the next request is answered",
    [
      Schema.Array(
        Schema.Struct({
          which: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: wire.everyMessage.length - 2 })),
          mutations: Schema.Array(Mutation).check(Schema.isMaxLength(3))
        })
      ).check(Schema.isMaxLength(12))
    ],
    ([steps]) =>
      Effect.gen(function* () {
        const portal = yield* start()
        yield* ask("authorize_flow", wire.authorizeFlow(2, { resource: wire.cidrResource(12) }))
        const recorder = yield* DataPlaneRecorder
        yield* recorder.forget
        for (const { mutations, which } of steps) {
          const [event, good] = wire.everyMessage[which]!
          // The list of authorizations may well revoke the other client's.
          if (event === "init") continue
          yield* portal.push(event, mutations.reduce<unknown>(mutate, good))
          yield* settle
        }
        for (const text of steps.map((step) => JSON.stringify(step))) yield* portal.pushText(text)
        yield* settle
        const harmed = (yield* commands).filter((c) => "client" in c && c.client === two)
        assert.deepStrictEqual(harmed, [])
        assert.lengthOf(yield* ask("authorize_flow", wire.authorizeFlow(3)), 1)
        assert.lengthOf(portal.connects, 1)
      }).pipe(Effect.provide(layerPortal(), { local: true })),
    { arbitrary: { runs: 150 } }
  )

  it.effect("a client whose lookup hangs stays until its authorization ends", () =>
    Effect.gen(function* () {
      const script = yield* ResolverMemory.ResolverScript
      yield* script.set("*", { _tag: "Hang" })
      yield* start()
      yield* ask("request_connection", wire.requestConnection(1, { expires_at: 30 }))
      yield* TestClock.adjust("29 seconds")
      assert.lengthOf(yield* commandsOf("RemoveClient"), 0)
      assert.lengthOf(yield* commandsOf("RemoveMapping"), 0)
      yield* TestClock.adjust("2 seconds")
      assert.lengthOf(yield* commandsOf("RemoveClient"), 1)
    }).pipe(Effect.provide(layerPortal()))
  )

  it.effect("says goodbye to everybody when it stops", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const context = yield* Layer.buildWithScope(layerPortal(), scope)
      yield* Effect.gen(function* () {
        yield* start()
        yield* ask("authorize_flow", wire.authorizeFlow(1))
        yield* ask("authorize_flow", wire.authorizeFlow(2))
        yield* Scope.close(scope, Exit.void)
        assert.deepStrictEqual(
          (yield* inTunnel).map((c) => `${c.client} ${c.event}`),
          [`${one} 2`, `${two} 2`]
        )
        assert.isFalse((yield* PortalMemory).isOpen())
      }).pipe(Effect.provide(context))
    })
  )

  it.effect("ends by itself when the portal disconnects it because of its token", () =>
    Effect.gen(function* () {
      yield* start()
      const failure = yield* Effect.forkChild(Effect.flip((yield* ControlPlane).failure))
      yield* ask("disconnect", { reason: "token_expired" })
      assert.include((yield* Fiber.join(failure)).message, "FIREZONE_TOKEN")
    }).pipe(Effect.provide(layerPortal()))
  )
})

describe("names announced inside the tunnel", () => {
  const authorized = Effect.gen(function* () {
    yield* start()
    yield* ask("authorize_flow", wire.authorizeFlow(1))
    const recorder = yield* DataPlaneRecorder
    yield* recorder.forget
    return recorder
  })
  const statuses = Effect.map(inTunnel, (all) => all.filter((c) => c.event === 1).map((c) => JSON.parse(c.text)))

  it.effect("are mapped at once, and Active when the lookup has ended", () =>
    Effect.gen(function* () {
      const script = yield* ResolverMemory.ResolverScript
      yield* script.set("*", {
        _tag: "Late",
        afterMs: 700,
        stubborn: false,
        as: ResolverMemory.answer(["10.0.0.1"], 60)
      })
      yield* authorized
      yield* assignedIps(one, apps, "App.Corp.Example", proxies)
      assert.deepStrictEqual(
        (yield* commandsOf("SetMapping")).map((c) => c.proxyIps),
        [proxies]
      )
      assert.deepStrictEqual(yield* statuses, [])
      yield* TestClock.adjust(699)
      assert.deepStrictEqual(yield* statuses, [])
      yield* TestClock.adjust(1)
      const active = { status: "Active", resource: apps, domain: "App.Corp.Example" }
      assert.deepStrictEqual(yield* statuses, [active])
      yield* assignedIps(one, apps, "App.Corp.Example", proxies)
      assert.deepStrictEqual(yield* statuses, [active, active])
      assert.lengthOf(yield* commandsOf("SetMapping"), 1)
    }).pipe(Effect.provide(layerPortal()))
  )

  it.effect(
    "under two resources are one mapping with the proxies of both, covered by what is authorized at the time",
    () =>
      Effect.gen(function* () {
        const all = wire.uuid(77)
        yield* authorized
        const wide = wire.dnsResource(77, { address: "**.corp.example" })
        yield* ask("authorize_flow", { ...wire.authorizeFlow(1), ref: "2", resource: wide })
        yield* assignedIps(one, apps, "app.corp.example", proxies)
        yield* assignedIps(one, all, "app.corp.example", proxies)
        yield* assignedIps(one, apps, "app.corp.example", proxies)
        const mapped = Effect.map(commandsOf("SetMapping"), (all) =>
          all.map((c) => ({ mapping: String(c.mapping), resources: c.resources.map(String) }))
        )
        const id = `${one}/${apps}/app.corp.example`
        assert.deepStrictEqual(yield* mapped, [{ mapping: id, resources: [apps, all] }])
        yield* ask("reject_access", pair)
        assert.deepStrictEqual((yield* mapped).at(-1), { mapping: id, resources: [all] })
        assert.lengthOf(yield* commandsOf("RemoveMapping"), 0)
      }).pipe(Effect.provide(layerPortal()))
  )

  it.effect("of a resource that the portal lists and this process does not know bring the client to connect anew", () =>
    Effect.gen(function* () {
      const web = wire.uuid(77)
      const listed = [
        { ...pair, expires_at: null },
        { ...pair, resource_id: web, expires_at: 100 }
      ]
      yield* start({ authorizations: listed })
      yield* ask("authorize_flow", wire.authorizeFlow(1))
      const ask4 = (resource: string) => assignedIps(one, resource, "app.corp.example", proxies)
      yield* ask4(web)
      assert.deepStrictEqual(
        (yield* inTunnel).map(({ client, event }) => `${client} ${event}`),
        [`${one} 2`]
      )
      assert.lengthOf(yield* commandsOf("DisconnectClient"), 1)
      assert.lengthOf(yield* authorizationPairs, 1)
      // Once: a client that asks again without having asked the portal is told.
      yield* ask4(web)
      assert.deepStrictEqual(
        (yield* statuses).map(({ status }) => status),
        ["Inactive"]
      )
      yield* TestClock.adjust("1 minute")
      yield* ask4(web)
      assert.lengthOf(yield* commandsOf("DisconnectClient"), 2)
      yield* ask("reject_access", { ...pair, resource_id: web })
      yield* TestClock.adjust("1 minute")
      yield* ask4(web)
      yield* ask4(wire.uuid(78))
      assert.lengthOf(yield* commandsOf("DisconnectClient"), 2)
    }).pipe(Effect.provide(layerPortal()))
  )

  it.effect(
    "that bring a client to connect anew in vain do so ever more seldom, until it has been quiet for as long",
    () =>
      Effect.gen(function* () {
        const web = wire.uuid(77)
        yield* start({ authorizations: [{ ...pair, resource_id: web, expires_at: null }] })
        const disconnected = Effect.map(commandsOf("DisconnectClient"), ({ length }) => length)
        const askFor = Effect.fnUntraced(function* (minutes: number) {
          for (let minute = 0; minute < minutes; minute++) {
            yield* ask("authorize_flow", wire.authorizeFlow(1))
            yield* assignedIps(one, web, "app.corp.example", proxies)
            yield* TestClock.adjust("1 minute")
          }
          return yield* disconnected
        })
        // At 0, 1, 3, 7, 15, 31, 63 minutes, then once an hour.
        assert.deepStrictEqual(
          [yield* askFor(2), yield* askFor(6), yield* askFor(56), yield* askFor(180)],
          [2, 4, 7, 10]
        )
        yield* TestClock.adjust("2 hours")
        assert.strictEqual(yield* askFor(2), 12)
      }).pipe(Effect.provide(layerPortal()))
  )

  it.effect("of a resource that ended by the date that the portal set last bring nobody to connect anew", () =>
    Effect.gen(function* () {
      yield* start({ authorizations: [{ ...pair, expires_at: null }] })
      yield* ask("authorize_flow", wire.authorizeFlow(1, { expires_at: null }))
      yield* ask("authorize_flow", wire.authorizeFlow(1, { resource: wire.cidrResource() }))
      yield* ask("access_authorization_expiry_updated", { ...pair, expires_at: 10 })
      yield* TestClock.adjust("12 seconds")
      yield* assignedIps(one, apps, "app.corp.example", proxies)
      assert.deepStrictEqual(
        (yield* statuses).map(({ status }) => status),
        ["Inactive"]
      )
      assert.lengthOf(yield* commandsOf("DisconnectClient"), 0)
    }).pipe(Effect.provide(layerPortal()))
  )

  describe("to another process, that are used without being announced to this one,", () => {
    const useUnknown = Effect.gen(function* () {
      yield* (yield* DataPlaneRecorder).publish({ _tag: "UnknownProxy", epoch: 1, client: one, proxyIp: "100.96.0.4" })
      yield* TestClock.adjust(0)
    })
    const disconnected = Effect.map(commandsOf("DisconnectClient"), ({ length }) => length)

    it.effect("bring the client to connect anew after 3 s, once a minute at most, until it announces some", () =>
      Effect.gen(function* () {
        yield* authorized
        yield* TestClock.adjust("2 seconds")
        yield* useUnknown
        assert.strictEqual(yield* disconnected, 0)
        yield* TestClock.adjust("2 seconds")
        for (let i = 0; i < 3; i++) yield* useUnknown
        assert.strictEqual(yield* disconnected, 1)
        yield* ask("authorize_flow", wire.authorizeFlow(1))
        yield* TestClock.adjust("50 seconds")
        yield* useUnknown
        assert.strictEqual(yield* disconnected, 1)
        yield* TestClock.adjust("9 seconds")
        yield* useUnknown
        assert.strictEqual(yield* disconnected, 1)
        yield* TestClock.adjust("5 seconds")
        yield* ask("authorize_flow", wire.authorizeFlow(1))
        yield* assignedIps(one, apps, "app.corp.example", proxies)
        yield* TestClock.adjust("4 seconds")
        yield* useUnknown
        assert.strictEqual(yield* disconnected, 1)
      }).pipe(Effect.provide(layerPortal()))
    )

    it.effect("cost nobody the connection whose resource came back: its names need no second announcement", () =>
      Effect.gen(function* () {
        yield* authorized
        yield* ask("authorize_flow", wire.authorizeFlow(1, { resource: wire.cidrResource() }))
        yield* assignedIps(one, apps, "app.corp.example", proxies)
        for (const withdrawn of [false, true]) {
          if (withdrawn) yield* ask("reject_access", pair)
          yield* ask("authorize_flow", wire.authorizeFlow(1))
          yield* TestClock.adjust("4 seconds")
          yield* useUnknown
        }
        assert.strictEqual(yield* disconnected, 0)
      }).pipe(Effect.provide(layerPortal()))
    )
  })

  it.effect(
    "before their resource is granted are mapped as soon as it is, for the client does not announce them again",
    () =>
      Effect.gen(function* () {
        yield* start()
        yield* ask("authorize_flow", wire.authorizeFlow(1, { resource: wire.cidrResource() }))
        for (let i = 0; i < 70; i++) yield* assignedIps(one, apps, `n${i}.corp.example`, [`100.96.1.${i}`])
        yield* assignedIps(one, apps, "n.elsewhere.example", ["100.96.1.200"])
        assert.lengthOf(yield* commandsOf("SetMapping"), 0)
        yield* ask("authorize_flow", wire.authorizeFlow(1))
        const mapped = (yield* commandsOf("SetMapping")).map((command) => command.proxyIps[0])
        assert.deepStrictEqual(
          mapped,
          Array.from({ length: 63 }, (_, i) => `100.96.1.${i + 7}`)
        )
        yield* TestClock.adjust("2 seconds")
        const active = (yield* statuses).filter(({ status }) => status === "Active")
        assert.lengthOf(active, 63)
        yield* ask("authorize_flow", wire.authorizeFlow(1))
        assert.lengthOf(yield* commandsOf("SetMapping"), 63)
      }).pipe(Effect.provide(layerPortal()))
  )

  it.effect("before their resource is granted wait for it, however many names 80 others announce meanwhile", () =>
    Effect.gen(function* () {
      yield* start()
      yield* ask("authorize_flow", wire.authorizeFlow(1, { resource: wire.cidrResource() }))
      yield* assignedIps(one, apps, "app.corp.example", proxies)
      for (let n = 2; n < 82; n++) {
        for (let i = 0; i < 64; i++)
          yield* assignedIps(ClientId.make(wire.uuid(n)), apps, `n${i}.corp.example`, [`100.96.1.${i}`])
      }
      yield* ask("authorize_flow", wire.authorizeFlow(1))
      assert.lengthOf(yield* commandsOf("SetMapping"), 1)
    }).pipe(Effect.provide(layerPortal()))
  )

  for (const [name, behaviour] of failures) {
    it.effect(`are Active within 2 s although the resolver ${name}, and again at once`, () =>
      Effect.gen(function* () {
        const script = yield* ResolverMemory.ResolverScript
        yield* script.set("*", behaviour)
        yield* authorized
        yield* assignedIps(one, apps, "app.corp.example", proxies)
        yield* assignedIps(one, apps, "app.corp.example", proxies)
        yield* TestClock.adjust("2 seconds")
        const first = yield* statuses
        const active = { status: "Active", resource: apps, domain: "app.corp.example" }
        assert.deepStrictEqual(
          first,
          first.map(() => active)
        )
        assert.include([1, 2], first.length)
        yield* TestClock.adjust("10 seconds")
        yield* assignedIps(one, apps, "app.corp.example", proxies)
        assert.deepStrictEqual(yield* statuses, [...first, active])
      }).pipe(Effect.provide(layerPortal()))
    )
  }

  it.effect("stay mapped when the lookup times out: unresolved at first, by the last good answer later", () =>
    Effect.gen(function* () {
      const script = yield* ResolverMemory.ResolverScript
      yield* authorized
      yield* script.set("web.corp.example", { _tag: "Hang" })
      yield* script.set("app.corp.example", ResolverMemory.answer(["10.0.0.1"], 60))
      yield* assignedIps(one, apps, "web.corp.example", ["100.96.0.9"])
      yield* assignedIps(one, apps, "app.corp.example", proxies)
      yield* TestClock.adjust("61 seconds")
      yield* script.set("*", { _tag: "Hang" })
      yield* script.set("app.corp.example", { _tag: "Hang" })
      // Asked again past the TTL, as by a client that was started again.
      yield* assignedIps(one, apps, "app.corp.example", proxies)
      yield* TestClock.adjust("11 seconds")
      const latest = Array.from((yield* latestAddresses).values(), ({ addresses, state }) => [state, ...addresses])
      assert.deepStrictEqual(latest, [["Unresolved"], ["Resolved", "10.0.0.1"]])
      assert.lengthOf(yield* commandsOf("RemoveMapping"), 0)
      assert.sameMembers(
        (yield* statuses).map((s) => s.status),
        ["Active", "Active", "Active"]
      )
    }).pipe(Effect.provide(layerPortal()))
  )

  it.effect("are Inactive at once, with nothing changed, when not authorized, not matching, or out of range", () =>
    Effect.gen(function* () {
      const recorder = yield* authorized
      yield* assignedIps(one, apps, "app.corp.example", proxies)
      yield* TestClock.adjust("1 second")
      yield* recorder.forget
      const wrong: ReadonlyArray<readonly [string, string, ReadonlyArray<string>]> = [
        [wire.uuid(77), "app.corp.example", proxies],
        [apps, "app.other.example", proxies],
        [apps, "not a name", proxies],
        [apps, "web.corp.example", ["10.0.0.1"]],
        [apps, "web.corp.example", ["100.100.111.5"]],
        [apps, "web.corp.example", ["100.64.0.9"]],
        [apps, "web.corp.example", []],
        // Somebody else's name for these proxies, unauthorized: the client's own mapping must survive it.
        [wire.uuid(77), "web.corp.example", proxies]
      ]
      for (const [resource, domain, proxyIps] of wrong) yield* assignedIps(one, resource, domain, proxyIps)
      yield* assignedIps(two, apps, "app.corp.example", proxies)
      const told = yield* statuses
      assert.deepStrictEqual(
        told.map((s) => s.status),
        Array.from({ length: 9 }, () => "Inactive")
      )
      assert.deepStrictEqual(
        (yield* commands).map((c) => c._tag),
        Array.from({ length: 9 }, () => "SendControl")
      )
    }).pipe(Effect.provide(layerPortal()))
  )

  it.effect("malformed ones are dropped", () =>
    Effect.gen(function* () {
      yield* authorized
      for (const text of ["", "{", "null", `{"resource":"${apps}"}`]) yield* control(one, 0, text)
      yield* control(one, 77, "{}")
      assert.lengthOf(yield* commands, 0)
    }).pipe(Effect.provide(layerPortal()))
  )

  it.effect("renumbered proxies mean that the client has started again: all its names are cleared, nobody else's", () =>
    Effect.gen(function* () {
      const recorder = yield* authorized
      yield* ask("authorize_flow", wire.authorizeFlow(2))
      const resolutions = yield* Resolutions
      yield* assignedIps(one, apps, "app.corp.example", ["100.96.0.1"])
      yield* assignedIps(one, apps, "db.corp.example", ["100.96.0.2"])
      yield* assignedIps(two, apps, "app.corp.example", ["100.96.0.1"])
      yield* recorder.forget
      yield* assignedIps(one, apps, "web.corp.example", ["100.96.0.2"])
      const left = (yield* resolutions.list).map((m) => `${m.mapping.client} ${m.mapping.name.domain}`)
      assert.sameMembers(left, [`${one} web.corp.example`, `${two} app.corp.example`])
      assert.lengthOf(yield* commandsOf("RemoveMapping"), 2)
    }).pipe(Effect.provide(layerPortal()))
  )

  it.effect("are Inactive when the authorization ends while the lookup runs", () =>
    Effect.gen(function* () {
      const script = yield* ResolverMemory.ResolverScript
      yield* script.set("*", { _tag: "Hang" })
      yield* authorized
      yield* ask("authorize_flow", wire.authorizeFlow(1, { resource: wire.cidrResource() }))
      yield* assignedIps(one, apps, "app.corp.example", proxies)
      yield* ask("reject_access", pair)
      yield* settle
      assert.deepStrictEqual(
        (yield* statuses).map((s) => s.status),
        ["Inactive"]
      )
    }).pipe(Effect.provide(layerPortal()))
  )

  it.effect("come from the client's present connection, also for a resource granted before its keys changed", () =>
    Effect.gen(function* () {
      yield* authorized
      const flow = wire.authorizeFlow(1, { resource: wire.cidrResource(), gateway_ice_credentials: wire.ice("n") })
      yield* ask("authorize_flow", { ...flow, client: { ...flow.client, public_key: wire.key(50) } })
      const { orders } = yield* DataPlaneRecorder
      const placed = Effect.map(orders, (all) => all.filter((order) => order._tag === "PlaceClient"))
      const before = yield* placed
      yield* assignedIps(one, apps, "app.corp.example", proxies)
      assert.lengthOf(yield* placed, before.length)
    }).pipe(Effect.provide(layerPortal()))
  )
})

describe("the connection to the portal", () => {
  it.effect("beats every 10 s, and is made anew after more than three unanswered", () =>
    Effect.gen(function* () {
      const portal = yield* start()
      yield* TestClock.adjust("35 seconds")
      assert.lengthOf(
        portal.frames.filter((f) => f.event === "heartbeat"),
        3
      )
      portal.answering(false)
      yield* TestClock.adjust("44 seconds")
      assert.lengthOf(portal.connects, 1)
      portal.answering(true)
      yield* TestClock.adjust("12 seconds")
      assert.lengthOf(portal.connects, 2)
      assert.isTrue((yield* (yield* ControlPlane).health).connected)
    }).pipe(Effect.provide(layerPortal()), withoutJitter)
  )

  it.effect("is made anew at once when the host has lost the address that it was made from", () =>
    Effect.gen(function* () {
      const portal = yield* start()
      const tunnel = yield* TunnelRecorder
      tunnel.move()
      yield* settle
      assert.deepStrictEqual([portal.connects.length, portal.isOpen()], [2, true])
      assert.deepStrictEqual(tunnel.reachedFrom, ["192.0.2.10", "192.0.2.10"])
      assert.isTrue((yield* (yield* ControlPlane).health).connected)
    }).pipe(Effect.provide(layerPortal()), withoutJitter)
  )

  it.effect("is given up after 5 s without an answer to the join, and after 15 s without a handshake", () =>
    Effect.gen(function* () {
      const portal = yield* PortalMemory
      portal.answering(false)
      yield* settle
      yield* TestClock.adjust(4_999)
      assert.isTrue(portal.isOpen())
      yield* TestClock.adjust(1)
      assert.isFalse(portal.isOpen())
      portal.handshakes({ _tag: "Hang" })
      yield* TestClock.adjust("1 second")
      assert.lengthOf(portal.connects, 2)
      yield* TestClock.adjust("14999 millis")
      assert.lengthOf(portal.connects, 2)
      portal.handshakes({ _tag: "Accept" })
      portal.answering(true)
      yield* TestClock.adjust("62 seconds")
      assert.isTrue(portal.isOpen())
    }).pipe(Effect.provide(layerPortal()), withoutJitter)
  )

  it.effect("goes on with what it had while the portal is away; requests sent late are answered after the join", () =>
    Effect.gen(function* () {
      const portal = yield* start()
      yield* ask("authorize_flow", wire.authorizeFlow(1))
      portal.handshakes({ _tag: "Refuse", status: 503 })
      yield* portal.close
      yield* TestClock.adjust("1 minute")
      yield* assignedIps(one, apps, "app.corp.example", proxies)
      assert.lengthOf(yield* commandsOf("SetMapping"), 1)
      assert.lengthOf(yield* commandsOf("RemoveClient"), 0)
      assert.isFalse((yield* (yield* ControlPlane).health).connected)
      portal.handshakes({ _tag: "Accept" })
      yield* TestClock.adjust("1 minute")
      assert.isTrue(portal.isOpen())
      assert.lengthOf(yield* ask("authorize_flow", wire.authorizeFlow(1)), 1)
    }).pipe(Effect.provide(layerPortal()), withoutJitter)
  )

  it.effect("makes no loop of a portal that hangs up at once, before the join or after it, nor of missing relays", () =>
    withLogLines((lines) =>
      Effect.gen(function* () {
        const portal = yield* PortalMemory
        yield* settle
        yield* portal.push("init", wire.init({ relays: [] }))
        for (let n = 0; n < 500; n++) yield* ask("authorize_flow", wire.authorizeFlow(1))
        assert.lengthOf(
          portal.sent.filter((f) => f.event === "no_relays"),
          1
        )
        for (const answering of [true, false]) {
          portal.answering(answering)
          const before = portal.connects.length
          for (let ms = 0; ms < 60_000; ms += 50) {
            if (portal.isOpen()) yield* portal.close
            yield* TestClock.adjust(50)
          }
          assert.isAtMost(portal.connects.length - before, 15)
          assert.isAtLeast(portal.connects.length - before, 1)
        }
        assert.isAtMost(lines.length, 40)
        portal.answering(true)
        yield* TestClock.adjust("61 seconds")
        assert.isTrue((yield* (yield* ControlPlane).health).connected)
      }).pipe(Effect.provide(layerPortal()), withoutJitter)
    )
  )

  it.effect("tries the token in the query after a first 401, and ends at the second", () =>
    Effect.gen(function* () {
      const portal = yield* PortalMemory
      portal.handshakes({ _tag: "Refuse", status: 401 })
      const failure = yield* Effect.forkChild(Effect.flip((yield* ControlPlane).failure))
      yield* settle
      assert.deepStrictEqual(
        portal.connects.map((c) => c.legacy),
        [false, true]
      )
      assert.include((yield* Fiber.join(failure)).message, "401")
    }).pipe(Effect.provide(layerPortal()))
  )

  it.effect("waits as long as the portal asks for", () =>
    Effect.gen(function* () {
      const portal = yield* PortalMemory
      portal.handshakes({ _tag: "Refuse", status: 429, retryAfter: "30" })
      yield* TestClock.adjust("29 seconds")
      assert.lengthOf(portal.connects, 1)
      yield* TestClock.adjust("1 second")
      assert.lengthOf(portal.connects, 2)
    }).pipe(Effect.provide(layerPortal()), withoutJitter)
  )

  it.effect("is given up for good after the partition time", () =>
    Effect.gen(function* () {
      const portal = yield* PortalMemory
      portal.handshakes({ _tag: "Refuse", status: null })
      const failure = yield* Effect.forkChild(Effect.flip((yield* ControlPlane).failure))
      yield* TestClock.adjust("59 minutes")
      assert.isUndefined(failure.pollUnsafe())
      yield* TestClock.adjust("1 minute")
      assert.include((yield* Fiber.join(failure)).message, "1 h")
    }).pipe(Effect.provide(layerPortal({ maxPartition: Duration.hours(1) })), withoutJitter)
  )
})
