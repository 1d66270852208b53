/** Gateways of sites without packets: what each says, hears and keeps of its site is the real thing, over a real PostgreSQL. */
import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import { Context, Effect, Exit, Layer, Queue, Result, Scope } from "effect"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as RegistryLive from "../../../layers/control/standalone/Registry.ts"
import * as StateStoreLive from "../../../layers/host/StateStore.ts"
import * as DataPlaneRecording from "../../../layers/memory/DataPlaneRecording.ts"
import * as StateStoreMemory from "../../../layers/memory/StateStoreMemory.ts"
import * as PresenceStoreLive from "../../../layers/postgres/PresenceStore.ts"
import * as SharedStoreLive from "../../../layers/postgres/SharedStore.ts"
import { followPolicy } from "../../../layers/shared/followPolicy.ts"
import * as PresenceLive from "../../../layers/shared/Presence.ts"
import * as SiteLive from "../../../layers/shared/site.ts"
import * as VirtualAddressLive from "../../../layers/shared/VirtualAddress.ts"
import { parseConfig } from "../../../src/config/parseConfig.ts"
import type { PostgresAddress } from "../../../src/config/postgresAddress.ts"
import { Registry } from "../../../src/control/Registry.ts"
import { HostNetwork } from "../../../src/host/HostNetwork.ts"
import { StateStore } from "../../../src/host/StateStore.ts"
import { Site } from "../../../src/shared/Site.ts"

/** With a client of this name: the policy of a site, or what a gateway's own file says. */
export const policyOf = (client: string): string => `endpoint: vpn.example.com:51820
clients: { ${client}: { public_key: "EQsUrJtCmFw+6Rbbti5ZXLABihpVzRQCdzvvGSTGPHk=" } }
`
const config = Result.getOrThrow(parseConfig(policyOf("first"), "sallyport.yaml"))

/** What members tell the bench, when it happens. */
export interface Heard {
  readonly name: (domain: string) => void
  readonly policy: (version: number) => void
}

/** A directory for a member that is to find its copy again. */
export const aDirectory = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "sallyport-member-"))),
  (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
)

/** @param directory where its state and its copy of the site are kept; `null`: in memory */
export const startMember = Effect.fnUntraced(function* (
  address: PostgresAddress,
  policies: string,
  heard: Heard,
  directory: string | null = null
) {
  const scope = yield* Scope.fork(yield* Effect.scope)
  const state = directory === null ? StateStoreMemory.layer : StateStoreLive.layer(join(directory, "state.db"))
  const site = Layer.unwrap(
    Effect.map(Registry, (registry) => SiteLive.layer(directory, () => registry.current().config))
  )
  const layer = PresenceLive.layer.pipe(
    Layer.provide([
      DataPlaneRecording.layer,
      VirtualAddressLive.layer,
      PresenceStoreLive.layer(address),
      Layer.mock(HostNetwork, { ownAddresses: Effect.succeed([]) })
    ]),
    Layer.provideMerge(site),
    Layer.provide(SharedStoreLive.layer(address)),
    Layer.provideMerge([state, RegistryLive.layer({ config })]),
    Layer.provide(NodeFileSystem.layer)
  )
  const services = yield* Scope.provide(Layer.build(Layer.fresh(layer)), scope)
  const own = Context.get(services, StateStore)
  const registry = Context.get(services, Registry)
  const { shared, source, standing, ...member } = Context.get(services, Site)!
  yield* Effect.gen(function* () {
    yield* registry.follow(({ after }) =>
      Effect.sync(() => {
        if (after.site !== null) heard.policy(after.site.version)
        return { sessions: { cut: 0, untouched: 0 }, warnings: [] }
      })
    )
    yield* Effect.provideService(followPolicy({ ...member, shared }, policies), Registry, registry)
    yield* Effect.forkScoped(
      Effect.forever(
        Effect.map(Queue.take(shared.news), ({ changes }) =>
          changes.forEach(({ _tag, mapping }) => {
            if (_tag === "Put") heard.name(mapping.domain)
          })
        )
      )
    )
  }).pipe(Scope.provide(scope))
  let given = 0
  return {
    /** A client asks for a name that nobody has given yet. */
    give: (domain: string) =>
      own.putMapping({
        client: `client-${given % 100}`,
        slot: source.slotAt(Math.floor(given++ / 100)),
        domain,
        resource: "bench",
        lastUsedAt: 1_800_000_000_000
      }),
    /** When the site was read to its end last, in epoch milliseconds; `null`: never. */
    readAt: Effect.map(standing, ({ readAt }) => readAt),
    isConnected: Effect.map(standing, ({ store }) => store._tag === "Connected"),
    untold: Effect.map(standing, ({ untold }) => untold),
    /** Names that others gave. */
    known: Effect.map(shared.mappings, ({ length }) => length),
    /** It has slots, so that it can give names. */
    isReady: Effect.map(standing, ({ slots }) => slots.own > 0),
    end: Scope.close(scope, Exit.void)
  }
})

export type Member = Effect.Success<ReturnType<typeof startMember>>
