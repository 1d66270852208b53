/** Gateways of one site, in memory where nothing else is said, with data planes that keep what they are told. */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { TestClock } from "effect/testing"
import * as fs from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as DataPlaneRecording from "../../layers/memory/DataPlaneRecording.ts"
import { answer, ResolverScript } from "../../layers/memory/ResolverMemory.ts"
import * as SharedStoreMemory from "../../layers/memory/SharedStoreMemory.ts"
import * as StateStoreMemory from "../../layers/memory/StateStoreMemory.ts"
import * as SiteLive from "../../layers/shared/site.ts"
import type { GatewayConfig } from "../../src/config/GatewayConfig.ts"
import { TunnelNames } from "../../src/control/standalone/TunnelNames.ts"
import type { StateError, StateStore } from "../../src/host/StateStore.ts"
import { ClientId } from "../../src/model/Client.ts"
import { Resolutions } from "../../src/resolution/Resolutions.ts"
import type { SharedStore } from "../../src/shared/SharedStore.ts"
import { clientId } from "./engineWorld.ts"
import { ask, layerNames } from "./standalone.ts"

export interface Gateway {
  /** The IPv4 proxies that the client is told; none: an error. */
  readonly told: (domain: string) => Effect.Effect<ReadonlyArray<string>>
  /** The name that the client's packets to the address are for. */
  readonly owner: (address: string) => Effect.Effect<string | undefined>
}

const folder = Effect.acquireRelease(
  Effect.sync(() => fs.mkdtempSync(join(tmpdir(), "sallyport-site-"))),
  (path) => Effect.sync(() => fs.rmSync(path, { recursive: true }))
)

/** What outlives a process. */
export interface Disk {
  readonly state: Layer.Layer<StateStore>
  readonly directory: string
}

export const disk: Effect.Effect<Disk, never, Scope.Scope> = Effect.gen(function* () {
  const built = yield* Layer.build(Layer.fresh(StateStoreMemory.layer))
  return { state: Layer.succeedContext(built), directory: yield* folder }
})

/** Long enough for a batch and its way back, with turns for all that happens. */
export const aMoment = Effect.repeat(TestClock.adjust("10 millis"), { times: 50 })

const memberAt = (store: Layer.Layer<SharedStore>, directory: string | null, config: GatewayConfig) =>
  SiteLive.layer(directory, () => config).pipe(Layer.provide(store))

/** What a gateway of the site has beside its own state. */
export const memberOf = (site: SharedStoreMemory.SiteMemory, directory: string | null, config: GatewayConfig) =>
  memberAt(SharedStoreMemory.layer(site), directory, config)

/** `store`: the site's; `null`: the gateway is alone. */
export const servicesAt = (
  store: Layer.Layer<SharedStore> | null,
  { directory, state }: Disk,
  config: GatewayConfig
) => {
  const gateway = layerNames(config).pipe(
    Layer.provideMerge(DataPlaneRecording.layer),
    Layer.provide(store === null ? Layer.empty : memberAt(store, directory, config)),
    Layer.provide(state)
  )
  return Layer.build(Layer.fresh(gateway))
}

/** `site`: `null`: the gateway is alone. */
export const servicesOf = (site: SharedStoreMemory.SiteMemory | null, disk: Disk, config: GatewayConfig) =>
  servicesAt(site === null ? null : SharedStoreMemory.layer(site), disk, config)

/** Names exist, and those of before are known again. */
export const restoreNames = Effect.gen(function* () {
  yield* Effect.flatMap(ResolverScript, (script) => script.set("*", answer(["10.0.0.1"])))
  yield* Effect.flatMap(TunnelNames, ({ restore }) => restore)
})

/** The name that the client's packets to the address are for. */
export const ownerOf = (address: string): Effect.Effect<string | undefined, never, Resolutions> =>
  Effect.flatMap(Resolutions, ({ ownerOf }) => ownerOf(ClientId.make(clientId(1)), address)).pipe(
    Effect.map((mapping) => mapping?.name.domain)
  )

export const startNames = Effect.fnUntraced(function* (
  site: SharedStoreMemory.SiteMemory | null,
  disk: Disk,
  config: GatewayConfig
): Effect.fn.Return<Gateway, StateError, Scope.Scope> {
  const services = yield* servicesOf(site, disk, config)
  const run = <A, E>(effect: Effect.Effect<A, E, ResolverScript | Resolutions | TunnelNames>) =>
    Effect.provide(effect, services)
  yield* run(restoreNames)
  yield* aMoment
  return {
    told: (domain) =>
      run(ask(domain)).pipe(
        Effect.map((given) => (given._tag === "Addresses" ? given.addresses : [])),
        Effect.tap(() => aMoment)
      ),
    owner: (address) => run(ownerOf(address))
  }
})
