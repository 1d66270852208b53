/** Every loop of a gateway meets a bug once, in a service that it calls, and then does its work as before. */
import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as Queue from "effect/Queue"
import { TestClock } from "effect/testing"
import { destinations } from "../../layers/access/destinationRules.ts"
import * as AuthorizationsLive from "../../layers/access/Authorizations.ts"
import * as ControlPlaneFirezone from "../../layers/control/firezone/ControlPlaneFirezone.ts"
import * as RegistryLive from "../../layers/control/standalone/Registry.ts"
import * as ControlPlaneStandalone from "../../layers/control/standalone/ControlPlaneStandalone.ts"
import * as ForeignNetworksLive from "../../layers/host/ForeignNetworks.ts"
import * as IpFamiliesLive from "../../layers/host/IpFamilies.ts"
import * as TunnelLive from "../../layers/host/Tunnel.ts"
import * as DataPlaneRecording from "../../layers/memory/DataPlaneRecording.ts"
import { DataPlaneRecorder } from "../../layers/memory/DataPlaneRecording.ts"
import * as TunnelMemory from "../../layers/memory/TunnelMemory.ts"
import * as PortalSocketMemory from "../../layers/memory/PortalSocketMemory.ts"
import { PortalMemory } from "../../layers/memory/PortalSocketMemory.ts"
import * as RefreshLive from "../../layers/resolution/Refresh.ts"
import * as ResolutionsLive from "../../layers/resolution/Resolutions.ts"
import { Authorizations } from "../../src/access/Authorizations.ts"
import { Clients } from "../../src/access/Clients.ts"
import { ConnectionAcceptor } from "../../src/access/ConnectionAcceptor.ts"
import { packetPolicy } from "../../src/control/firezone/packetPolicy.ts"
import { controlEvent } from "../../src/control/firezone/inTunnel.ts"
import { TunnelNames } from "../../src/control/standalone/TunnelNames.ts"
import { DataPlane } from "../../src/dataplane/DataPlane.ts"
import { DesiredState } from "../../src/dataplane/DesiredState.ts"
import { DnsSockets } from "../../src/host/DnsSockets.ts"
import { HostNetwork, type HostRepair } from "../../src/host/HostNetwork.ts"
import { Tunnel, type TunnelPlan } from "../../src/host/Tunnel.ts"
import { StateStore } from "../../src/host/StateStore.ts"
import { defectCounts } from "../../src/loops/outlive.ts"
import { MappingId } from "../../src/model/Mapping.ts"
import { defaultRanges } from "../../src/model/defaultRanges.ts"
import { Resolutions } from "../../src/resolution/Resolutions.ts"
import { Resolver } from "../../src/resolution/Resolver.ts"
import { upstreamMock } from "../support/upstreamMock.ts"
import { anyAnswer, cidrResource, client, subscription } from "../support/access.ts"
import { start } from "../support/portalMemory.ts"
import * as wire from "../support/portalMessages.ts"
import { configOf } from "../support/standalone.ts"

/** A method that notes what it is called with, and dies at the first call. */
const diesOnce = <A>(result: A) => {
  const calls: Array<unknown> = []
  const method = (argument: unknown): Effect.Effect<A> =>
    Effect.suspend(() => (calls.push(argument) === 1 ? Effect.die(new Error("a bug")) : Effect.succeed(result)))
  return { calls, method }
}

/** With a count of bugs of its own, which must show this one. */
const outlives = <E, R>(loop: string, run: Effect.Effect<void, E, R>) =>
  Effect.gen(function* () {
    yield* run
    assert.deepStrictEqual(yield* defectCounts, { [loop]: 1 })
  }).pipe(Effect.provideService(Metric.MetricRegistry, new Map()))

const settle = TestClock.adjust(0)
const alice = client(0).id
const bob = client(1).id
/** What has no `Effect` that could be unimplemented. */
const unasked = { askAgain: () => undefined, answersNobody: () => false, firstLookupAt: () => undefined }

describe("one bug does not end", () => {
  it.effect("the healing of names: the next notice is handled", () =>
    Effect.suspend(() => {
      const refresh = diesOnce<void>(undefined)
      const layer = RefreshLive.layer.pipe(
        Layer.provide(Layer.mock(Resolutions, { ...unasked, refresh: refresh.method })),
        Layer.provideMerge(DataPlaneRecording.layer)
      )
      return outlives(
        "Refresh",
        Effect.gen(function* () {
          const recorder = yield* DataPlaneRecorder
          yield* recorder.traffic(MappingId.make("a"), "Unanswered")
          yield* recorder.traffic(MappingId.make("b"), "Unanswered")
          yield* settle
          yield* recorder.traffic(MappingId.make("c"), "Unmapped")
          yield* settle
          assert.deepStrictEqual(refresh.calls, ["a", "b", "c"])
        }).pipe(Effect.provide(layer))
      )
    })
  )

  it.effect("the lookups of names: the next name's addresses are told", () =>
    Effect.suspend(() => {
      const told: Array<string> = []
      const layer = ResolutionsLive.layer.pipe(
        Layer.provide([
          anyAnswer,
          Layer.mock(Resolver, { resolve: () => Effect.succeed({ addresses: ["10.0.0.1"], ttlSeconds: 60 }) }),
          Layer.mock(DataPlane, {
            desired: new DesiredState(),
            port: 0,
            send: (command) => {
              if (command._tag !== "SetAddresses" || command.state !== "Resolved") return Effect.void
              return told.push(command.mapping) === 1 ? Effect.die(new Error("a bug")) : Effect.void
            }
          })
        ])
      )
      return outlives(
        "Resolutions",
        Effect.gen(function* () {
          const resolutions = yield* Resolutions
          const mappings: Array<string> = []
          for (const domain of ["a.corp", "b.corp"]) {
            mappings.push((yield* resolutions.subscribe(subscription(domain, mappings.length))).mapping.id)
            yield* settle
          }
          assert.deepStrictEqual(told, mappings)
        }).pipe(Effect.provide(layer))
      )
    })
  )

  it.effect("the expiry of authorizations: the others are cut, and that one a second later", () =>
    Effect.suspend(() => {
      const revoked = diesOnce<void>(undefined)
      const layer = AuthorizationsLive.layer.pipe(
        Layer.provide([
          Layer.mock(Resolutions, { ...unasked, granted: () => Effect.void, revoked: revoked.method }),
          ControlPlaneStandalone.clientsStay
        ]),
        Layer.provideMerge(DataPlaneRecording.layer)
      )
      return outlives(
        "Authorizations.expiry",
        Effect.gen(function* () {
          const authorizations = yield* Authorizations
          for (const each of [client(0), client(1)]) {
            yield* authorizations.record({ client: each, resource: cidrResource("10.0.0.0/8"), expiresAt: 5_000 })
          }
          yield* TestClock.adjust("5 seconds")
          assert.deepStrictEqual(revoked.calls, [alice, bob])
          yield* TestClock.adjust("1 second")
          assert.deepStrictEqual(revoked.calls, [alice, bob, alice])
        }).pipe(Effect.provide(layer))
      )
    })
  )

  const standalone = (names: Partial<TunnelNames["Service"]>, store: Partial<StateStore["Service"]>) =>
    ControlPlaneStandalone.layer().pipe(
      Layer.provide([
        Layer.mock(Authorizations, {}),
        Layer.mock(Clients, {}),
        Layer.mock(ConnectionAcceptor, {}),
        Layer.mock(Resolutions, unasked),
        RegistryLive.layer({ config: configOf([], { clients: [] }) }),
        Layer.mock(TunnelNames, {
          restore: Effect.void,
          counters: Effect.succeed({}),
          known: () => undefined,
          isOfClient: () => true,
          mayComplain: () => true,
          isUsed: () => true,
          ...names
        }),
        Layer.mock(StateStore, { clients: Effect.succeed([]), putClients: () => Effect.void, ...store }),
        TunnelMemory.layer
      ]),
      Layer.provideMerge(DataPlaneRecording.layer)
    )

  it.effect("the standalone gateway's ear for its packet path: the next notice is handled", () =>
    Effect.suspend(() => {
      const inUse = diesOnce<void>(undefined)
      return outlives(
        "ControlPlane.notices",
        Effect.gen(function* () {
          const recorder = yield* DataPlaneRecorder
          for (const each of [alice, bob]) {
            yield* recorder.publish({ _tag: "InUse", epoch: 1, client: each, mappings: [] })
          }
          yield* settle
          assert.deepStrictEqual(inUse.calls, [alice, bob])
        }).pipe(Effect.provide(standalone({ inUse: inUse.method }, {})))
      )
    })
  )

  it.effect("the memory of where clients are: it is written a second later", () =>
    Effect.suspend(() => {
      const putClients = diesOnce<void>(undefined)
      return outlives(
        "ControlPlane.remember",
        Effect.gen(function* () {
          const recorder = yield* DataPlaneRecorder
          const endpoint = { address: "198.51.100.7", port: 4_500 }
          const { id, ...known } = client(0)
          yield* (yield* DataPlane).send({ _tag: "UpsertClient", client: id, ...known })
          yield* recorder.publish({
            _tag: "ClientState",
            epoch: 1,
            client: alice,
            publicKey: known.publicKey,
            connected: true,
            endpoint,
            lastTai64n: null,
            local: null,
            sentTick: 0,
            gatewayKey: null,
            behindMs: 0,
            handshakeAt: 7
          })
          yield* TestClock.adjust("2 seconds")
          const row = {
            client: alice,
            publicKey: known.publicKey,
            endpoint,
            local: null,
            lastTai64n: null,
            sentTick: 0,
            gatewayKey: null,
            lastSeenAt: 7
          }
          assert.deepStrictEqual(putClients.calls, [[row], [row]])
        }).pipe(Effect.provide(standalone({}, { putClients: putClients.method })))
      )
    })
  )

  const portal = (authorizations: Partial<Authorizations["Service"]>, tunnel: Partial<Tunnel["Service"]> = {}) =>
    ControlPlaneFirezone.layer({
      legacy: false,
      maxPartition: Duration.hours(24),
      device: "tun-firezone",
      firewall: "off",
      masquerade: false,
      keepPorts: false,
      trackUdp: true
    }).pipe(
      Layer.provide([
        Layer.mock(Authorizations, authorizations),
        Layer.mock(ConnectionAcceptor, {}),
        Layer.mock(Resolutions, { ...unasked, meet: () => Effect.void }),
        upstreamMock({ epochAtOnce: () => 0 }),
        Layer.mock(Tunnel, { moved: Effect.never, ready: () => true, reachedFrom: () => Effect.void, ...tunnel })
      ]),
      Layer.provideMerge(Layer.merge(DataPlaneRecording.layer, PortalSocketMemory.layer))
    )

  it.effect("the portal gateway's ear for its packet path: the next notice is handled", () =>
    Effect.suspend(() => {
      const find = diesOnce<undefined>(undefined)
      const payload = new TextEncoder().encode(
        '{"resource":"00000000-0000-4000-8000-000000000001","domain":"app.corp","proxy_ips":["100.96.0.1"]}'
      )
      return outlives(
        "ControlPlane.notices",
        Effect.gen(function* () {
          const recorder = yield* DataPlaneRecorder
          yield* settle
          for (const each of [alice, bob]) {
            yield* recorder.publish({
              _tag: "Control",
              epoch: 1,
              client: each,
              event: controlEvent.AssignedIps,
              payload
            })
          }
          yield* settle
          assert.deepStrictEqual(find.calls, [alice, bob])
        }).pipe(Effect.provide(portal({ find: find.method })))
      )
    })
  )

  it.effect("the connection to the portal: it is made again a second later, and follows the host's moves", () =>
    Effect.suspend(() => {
      const moves = Effect.runSync(Queue.unbounded<Effect.Effect<void>>())
      return outlives(
        "ControlPlane.link",
        Effect.gen(function* () {
          const { connects, isOpen } = yield* PortalMemory
          yield* settle
          assert.strictEqual(connects.length, 1)
          yield* Queue.offer(moves, Effect.die(new Error("a bug")))
          yield* TestClock.adjust("1 second")
          assert.strictEqual(connects.length, 2)
          yield* Queue.offer(moves, Effect.void)
          yield* settle
          assert.strictEqual(connects.length, 3)
          assert.isTrue(isOpen())
        }).pipe(Effect.provide(portal({}, { moved: Effect.flatten(Queue.take(moves)) })))
      )
    })
  )

  it.effect("the set-up of the tunnel: the portal's next addresses are taken", () =>
    Effect.suspend(() => {
      const configure = diesOnce(false)
      return outlives(
        "Tunnel.configure",
        Effect.gen(function* () {
          const portal = yield* start()
          yield* portal.push("init", wire.init())
          yield* TestClock.adjust("1 second")
          assert.lengthOf(configure.calls, 2)
        }).pipe(Effect.provide(portal({}, { configure: configure.method })))
      )
    })
  )

  const plan: TunnelPlan = {
    gateway4: "100.64.0.1",
    gateway6: "fd00:2021:1111::1",
    firewall: "off",
    masquerade: false,
    fixedRanges: true,
    keepPorts: false,
    trackUdp: true,
    ranges: defaultRanges,
    packets: packetPolicy,
    hostCandidates: true
  }
  const tunnel = (host: Partial<HostNetwork["Service"]>) =>
    TunnelLive.layer({ device: "tun-firezone", mtu: 1280, bindToDevice: false }).pipe(
      Layer.provide([
        Layer.mock(HostNetwork, {
          configure: () => Effect.succeed([]),
          lookAtRanges: Effect.void,
          ownAddresses: Effect.succeed([]),
          broadcasts: Effect.succeed([]),
          uplinkAddresses: () => Effect.succeed([]),
          changed: Effect.never,
          stirred: Effect.never,
          repair: () => Effect.succeed({ repaired: [], refused: [], remade: false }),
          ...host
        }),
        destinations(defaultRanges),
        ForeignNetworksLive.layer,
        IpFamiliesLive.layer,
        Layer.mock(DnsSockets, {})
      ]),
      Layer.provideMerge(DataPlaneRecording.layer)
    )

  it.effect("the eye on the host's addresses: their next change is told to the packet path", () =>
    Effect.suspend(() => {
      const changes = Effect.runSync(Queue.unbounded<void>())
      let own: Effect.Effect<ReadonlyArray<string>> = Effect.succeed(["192.0.2.1"])
      return outlives(
        "Tunnel.host",
        Effect.gen(function* () {
          const recorder = yield* DataPlaneRecorder
          yield* (yield* Tunnel).configure(plan)
          yield* settle
          own = Effect.die(new Error("a bug"))
          yield* Queue.offer(changes, undefined)
          yield* settle
          own = Effect.succeed(["192.0.2.2"])
          yield* Queue.offer(changes, undefined)
          yield* TestClock.adjust("1 second")
          const told = (yield* recorder.commands).flatMap((c) => (c._tag === "SetPolicy" ? [c.ownAddresses] : []))
          assert.deepStrictEqual(told, [["192.0.2.1"], ["192.0.2.2"]])
        }).pipe(Effect.provide(tunnel({ changed: Queue.take(changes), ownAddresses: Effect.suspend(() => own) })))
      )
    })
  )

  it.effect("the keeping of the host: it is compared at its next event", () =>
    Effect.suspend(() => {
      const stirs = Effect.runSync(Queue.unbounded<void>())
      const repair = diesOnce<HostRepair>({ repaired: [], refused: [], remade: false })
      return outlives(
        "Tunnel.keep",
        Effect.gen(function* () {
          yield* (yield* Tunnel).configure(plan)
          yield* Queue.offer(stirs, undefined)
          yield* TestClock.adjust("1 second")
          yield* Queue.offer(stirs, undefined)
          yield* settle
          assert.lengthOf(repair.calls, 2)
        }).pipe(Effect.provide(tunnel({ stirred: Queue.take(stirs), repair: repair.method })))
      )
    })
  )
})

describe("the rooms of a gateway", () => {
  it("have no loop that a bug would end: each is supervised, or a turn of one that is", () => {
    const root = fileURLToPath(new URL("../..", import.meta.url))
    const files = ["src", "layers"].flatMap((side) =>
      readdirSync(join(root, side), { recursive: true, encoding: "utf8" }).map((file) => `${side}/${file}`)
    )
    const gateway = files.filter((file) => file.endsWith(".ts") && !/\/(lab|memory|loops)\//.test(file))
    const loops = gateway.filter((file) =>
      /Effect\.forever\b|Schedule\.forever\b/.test(readFileSync(join(root, file), "utf8"))
    )
    assert.isAbove(gateway.length, 200)
    // Run by ControlPlane.link; and `status --watch`, which is no part of a gateway.
    assert.deepStrictEqual(loops, ["src/cli/showStatus.ts", "layers/control/firezone/portalLink.ts"])
  })
})
