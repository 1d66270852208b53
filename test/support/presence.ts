/** Gateways of a site that tell each other where clients are, over a store in memory, with data planes that keep what they are told. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import { TestClock } from "effect/testing"
import * as DataPlaneRecording from "../../layers/memory/DataPlaneRecording.ts"
import { DataPlaneRecorder } from "../../layers/memory/DataPlaneRecording.ts"
import * as PresenceStoreMemory from "../../layers/memory/PresenceStoreMemory.ts"
import { PresenceMemory } from "../../layers/memory/PresenceStoreMemory.ts"
import * as PresenceLive from "../../layers/shared/Presence.ts"
import * as VirtualAddressLive from "../../layers/shared/VirtualAddress.ts"
import { Registry } from "../../src/control/Registry.ts"
import type { SetKnownEndpoints, SetSiblings } from "../../src/dataplane/commands.ts"
import { DataPlane } from "../../src/dataplane/DataPlane.ts"
import type { ClientState } from "../../src/dataplane/notices.ts"
import { HostNetwork } from "../../src/host/HostNetwork.ts"
import { monotonicMillis } from "../../src/loops/monotonic.ts"
import { Presence } from "../../src/shared/Presence.ts"
import type { PresenceStore } from "../../src/shared/PresenceStore.ts"
import { Site, type SiteMember } from "../../src/shared/Site.ts"
import { VirtualAddress } from "../../src/shared/VirtualAddress.ts"
import { connectedState } from "./connectedState.ts"
import { clientId, upsertClient } from "./engineWorld.ts"
import { configOf } from "./standalone.ts"

const config = configOf([])
/** The address that clients dial. */
export const virtual = "198.51.100.1"

interface Gateway {
  /** The client has its handshake here now. */
  readonly connect: (n: number, label: number, more?: Partial<ClientState>) => Effect.Effect<void>
  /** Since it was asked last: clients by number that were told, and those that were to be called. */
  readonly told: Effect.Effect<{ readonly told: ReadonlyArray<number>; readonly called: ReadonlyArray<number> }>
  readonly commands: Effect.Effect<ReadonlyArray<SetKnownEndpoints>>
  readonly address: VirtualAddress["Service"]
  readonly report: NonNullable<Context.Service.Shape<typeof Presence>>["report"]
  readonly drain: NonNullable<Context.Service.Shape<typeof Presence>>["drain"]
  /** What its packet worker was told of the others last. */
  readonly siblings: Effect.Effect<SetSiblings | undefined>
  readonly end: Effect.Effect<void>
}

/** Long enough for what was seen to be told, and for that to be read. */
export const aMoment = Effect.repeat(TestClock.adjust("100 millis"), { times: 12 })
export const pass = (seconds: number) => Effect.repeat(TestClock.adjust("250 millis"), { times: seconds * 4 })

interface Options {
  readonly reachable?: () => boolean
  readonly addresses?: ReadonlyArray<string>
  readonly clients?: ReadonlyArray<number>
  /** Where it says that it is, and its host's address where PostgreSQL sees it. */
  readonly advertise?: string
  readonly seenAt?: string
  readonly store?: (live: Layer.Layer<PresenceStore>) => Layer.Layer<PresenceStore>
  /** Another process is this gateway. */
  readonly isTaken?: boolean
}

export const start = Effect.fnUntraced(function* (
  memory: PresenceMemory,
  no: number,
  {
    addresses = [virtual],
    advertise,
    clients = [1, 2],
    seenAt = `192.0.2.${100 + no}`,
    isTaken = false,
    reachable,
    store = (live) => live
  }: Options = {}
): Effect.fn.Return<Gateway, never, Scope.Scope> {
  const standing = Effect.succeed({ gateway: no, blocks: [], cursor: null, readAt: null })
  const shared = { standing, store: Effect.succeed({ _tag: "Connected", at: "memory", sinceMs: 0 }) }
  const policy = {
    version: 1,
    config: { ...config, advertise: advertise ?? null, clients: clients.map(configured) },
    site: null
  }
  const layer = PresenceLive.layer.pipe(
    Layer.provideMerge([DataPlaneRecording.layer, VirtualAddressLive.layer]),
    Layer.provide([
      store(PresenceStoreMemory.layer(memory, reachable)),
      Layer.mock(Registry, { current: () => policy }),
      Layer.mock(HostNetwork, { ownAddresses: Effect.succeed([...addresses, seenAt]) }),
      Layer.succeed(Site, { shared, source: { isTaken } } as unknown as SiteMember)
    ])
  )
  const scope = yield* Scope.fork(yield* Scope.Scope)
  const services = yield* Scope.provide(Layer.build(Layer.fresh(layer)), scope)
  const recorder = Context.get(services, DataPlaneRecorder)
  for (const n of clients)
    yield* Context.get(services, DataPlane).send({ ...upsertClient(1), client: clientId(n), ...deviceOf(n) })
  yield* recorder.forget
  const commands = Effect.map(recorder.commands, (all) =>
    all.flatMap((command) => (command._tag === "SetKnownEndpoints" ? [command] : []))
  )
  const numbers = (all: ReadonlyArray<SetKnownEndpoints>, isCall: boolean) =>
    all
      .filter(({ call }) => call === isCall)
      .flatMap(({ clients }) => clients.map(({ client }) => Number(/\d+$/.exec(client)?.[0])))
  return {
    connect: (n, label, more) =>
      Effect.flatMap(monotonicMillis, (handshakeAt) =>
        recorder.publish({
          ...connectedState(n),
          publicKey: deviceOf(n).publicKey,
          endpoint: { address: "192.0.2.1", port: 40_000 + n },
          local: virtual,
          lastTai64n: label.toString(16).padStart(24, "0"),
          sentTick: label,
          handshakeAt,
          ...more
        })
      ),
    told: Effect.tap(
      Effect.map(commands, (all) => ({ told: numbers(all, false), called: numbers(all, true) })),
      () => recorder.forget
    ),
    commands,
    address: Context.get(services, VirtualAddress),
    report: Context.get(services, Presence)!.report,
    drain: Context.get(services, Presence)!.drain,
    siblings: Effect.map(recorder.commands, (all) => all.findLast((command) => command._tag === "SetSiblings")),
    end: Scope.close(scope, Exit.void)
  }
})

export const deviceOf = (n: number) => ({
  publicKey: Buffer.from(
    new Uint8Array(32)
      .fill(7)
      .fill(n >> 8, 0, 1)
      .fill(n & 255, 1, 2)
  ).toString("base64"),
  tunnel4: `100.64.${1 + (n >> 8)}.${n & 255}`,
  tunnel6: `fd00:2021:1111::${n.toString(16)}`
})
const configured = (n: number) => ({ id: clientId(n), presharedKey: null, groups: [], ...deviceOf(n) })

/** They have met for so long that each would notice if the other one ended. */
export const two = Effect.gen(function* () {
  const memory = new PresenceMemory()
  const [a, b] = [yield* start(memory, 0), yield* start(memory, 1)]
  yield* pass(16)
  return { memory, a, b }
})
