/** A standalone gateway put together: what it has besides the services that both gateways share. */
import { join } from "node:path"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import type { Authorizations } from "../src/access/Authorizations.ts"
import type { Clients } from "../src/access/Clients.ts"
import { ControlError } from "../src/cli/ControlClient.ts"
import { load, type LoadError } from "../src/cli/load.ts"
import { fileChanges, type FollowedFile, readFollowed } from "../src/config/fileChanges.ts"
import type { GatewayConfig } from "../src/config/GatewayConfig.ts"
import type { PostgresAddress } from "../src/config/postgresAddress.ts"
import type { ConfigError } from "../src/config/problem.ts"
import { Registry } from "../src/control/Registry.ts"
import type { ControlPlane } from "../src/control/ControlPlane.ts"
import type { DataPlane } from "../src/dataplane/DataPlane.ts"
import type { DataPlaneError } from "../src/dataplane/DataPlaneError.ts"
import type { DnsSocketError, DnsSockets } from "../src/host/DnsSockets.ts"
import type { HostError, HostNetwork } from "../src/host/HostNetwork.ts"
import { NameFiles } from "../src/host/NameFiles.ts"
import { tellingReload } from "../src/host/ServiceManager.ts"
import { type StateError, StateStore } from "../src/host/StateStore.ts"
import { monotonicMillis } from "../src/loops/monotonic.ts"
import { makeOutlive } from "../src/loops/outlive.ts"
import type { Resolutions } from "../src/resolution/Resolutions.ts"
import { KeyRotation } from "../src/control/standalone/KeyRotation.ts"
import { Presence } from "../src/shared/Presence.ts"
import { setOfName } from "../src/control/standalone/chooseResource.ts"
import { packetPolicy } from "../src/control/standalone/packetPolicy.ts"
import { Site, type SiteMember } from "../src/shared/Site.ts"
import * as ControlSocket from "./cli/ControlSocket.ts"
import { explainRoute } from "./cli/explainRoute.ts"
import { layer as fileLogLevel } from "./cli/fileLogLevel.ts"
import { keyRoute } from "./cli/keyRoute.ts"
import { logRoute } from "./cli/logRoute.ts"
import { reloadRoute } from "./cli/reloadRoute.ts"
import { statusRoute } from "./cli/statusRoute.ts"
import { forgetRoute } from "./cli/forgetRoute.ts"
import { drainRoute } from "./cli/drainRoute.ts"
import { vipRoute } from "./cli/vipRoute.ts"
import * as ControlPlaneStandalone from "./control/standalone/ControlPlaneStandalone.ts"
import * as KeyRotationLive from "./control/standalone/KeyRotation.ts"
import * as RegistryLive from "./control/standalone/Registry.ts"
import * as TunnelNamesLive from "./control/standalone/TunnelNames.ts"
import { warmUp } from "./control/standalone/warmUp.ts"
import type { GatewayParts } from "./GatewayParts.ts"
import { gatewayFailure, gatewayServices } from "./gatewayServices.ts"
import { serveMonitor } from "./monitor/Monitor.ts"
import { tellService } from "./monitor/tellService.ts"
import { publicKeyOf } from "./host/keyText.ts"
import * as NameFilesLive from "./host/NameFiles.ts"
import * as StateStoreLive from "./host/StateStore.ts"

export type { GatewayParts } from "./GatewayParts.ts"

export interface GatewayOptions {
  /** Make a new private key although clients exist and the old one is missing. */
  readonly newKey?: boolean
  /** Reads the configuration anew for a reload, with what the gateway knows of names; left out: there is no file. */
  readonly read?: Effect.Effect<GatewayConfig, { readonly message: string }, NameFiles>
  /** Fails where the gateway is not to start, before anything is touched. */
  readonly mayStart?: Effect.Effect<void, ConfigError | LoadError, NameFiles>
  /** The file that is read: with `reload: on_change` in it, it is read anew when it has changed. */
  readonly file?: FollowedFile
  /** The log level follows the configuration's; left out: it is that of the program around the gateway. */
  readonly levelOfFile?: boolean
  /** Asks for a reload each time. */
  readonly reloads?: Stream.Stream<unknown>
  /** Puts a layer of one's own in the place of one of these, or in front of it. */
  readonly swap?: (live: GatewayParts) => GatewayParts
}

/** What the program around a gateway may ask. */
export type GatewayServices = Authorizations | Clients | ControlPlane | DataPlane | DnsSockets | Resolutions

/** Each with a `message` of one line for the operator. */
export type GatewayError =
  | ConfigError
  | ControlError
  | DataPlaneError
  | DnsSocketError
  | HostError
  | LoadError
  | StateError

/**
 * A gateway: ready when it is built, and all that it did to the host is undone with its scope. `DataPlane.failure` tells
 * when it cannot go on.
 */
export const layer = (
  config: GatewayConfig,
  options: GatewayOptions = {}
): Layer.Layer<GatewayServices, GatewayError> =>
  Layer.unwrap(
    Effect.gen(function* () {
      const { file, levelOfFile, mayStart = Effect.void } = options
      const read = options.read && file ? readFollowed(file, options.read) : options.read
      // They log at the level that the registry has; it asks them when it reads the file anew.
      const known = yield* Deferred.make<NameFiles["Service"]>()
      const reading = read && { read: Effect.provideServiceEffect(read, NameFiles, Deferred.await(known)) }
      const told = Effect.flatMap(NameFiles, (files) => Deferred.succeed(known, files))
      const level = Effect.map(Registry, (registry) =>
        levelOfFile === true ? fileLogLevel(() => registry.current().config.logLevel) : Layer.empty
      )
      const policy = Effect.map(Registry, (registry) => () => registry.current().config)
      const site = config.state === null ? Layer.empty : siteOf(config.state, config.stateDir, policy)
      const presence = config.state === null ? Layer.empty : presenceOf(config.state)
      const kept = config.state === null ? null : yield* keptIn(config.stateDir)
      const files = Effect.map(policy, (current) => NameFilesLive.layer({ block: current().block }))
      return gateway(options, presence).pipe(
        Layer.provide(site),
        Layer.provide(StateStoreLive.layer(join(config.stateDir, "state.db"), options)),
        Layer.provide(Layer.effectDiscard(Effect.andThen(told, mayStart))),
        Layer.provide(Layer.unwrap(files)),
        Layer.provide(Layer.unwrap(level)),
        Layer.provide(RegistryLive.layer({ config, policy: kept, ...reading }))
      )
    })
  )

/** What a gateway alone never loads. */
const siteOf = (
  address: PostgresAddress,
  stateDir: string,
  policy: Effect.Effect<() => GatewayConfig, never, Registry>
) =>
  Layer.unwrap(
    Effect.gen(function* () {
      const site = yield* load(() => import("./shared/site.ts"))
      const SharedStore = yield* load(() => import("./postgres/SharedStore.ts"))
      const NodeFileSystem = yield* load(() => import("@effect/platform-node/NodeFileSystem"))
      return site
        .layer(stateDir, yield* policy)
        .pipe(Layer.provide(SharedStore.layer(address)), Layer.provide(NodeFileSystem.layer))
    })
  )

/** The same. */
const keptIn = (stateDir: string) =>
  Effect.flatMap(
    load(() => import("./shared/keptPolicy.ts")),
    ({ readKept }) => readKept(stateDir)
  )

/** The same. */
const presenceOf = (address: PostgresAddress) =>
  Layer.unwrap(
    Effect.gen(function* () {
      const presence = yield* load(() => import("./shared/Presence.ts"))
      const PresenceStore = yield* load(() => import("./postgres/PresenceStore.ts"))
      const VirtualAddress = yield* load(() => import("./shared/VirtualAddress.ts"))
      const NodeFileSystem = yield* load(() => import("@effect/platform-node/NodeFileSystem"))
      return presence.layer.pipe(
        Layer.provide(PresenceStore.layer(address)),
        Layer.provide(VirtualAddress.layer),
        Layer.provide(NodeFileSystem.layer)
      )
    })
  )

type PresenceLayer = Layer.Layer<never, LoadError, DataPlane | HostNetwork | Registry>

const gateway = (options: GatewayOptions, presence: PresenceLayer) =>
  Layer.unwrap(
    Effect.gen(function* () {
      const startedAt = yield* monotonicMillis
      const registry = yield* Registry
      const { config } = registry.current()
      // Before the host is touched: a second gateway by mistake is told so, and the first one notices nothing.
      yield* ControlSocket.makeRoom(config.controlSocket)
      const { privateKey } = yield* (yield* StateStore).keys
      const key = new Uint8Array(Buffer.from(privateKey, "base64"))
      const publicKey = publicKeyOf(privateKey)
      const { clients, device, listenPort: port } = config
      const reported = Effect.gen(function* () {
        const files = yield* NameFiles
        const keys = yield* KeyRotation
        const presence = yield* Presence
        const site = yield* Site
        const sitePolicy = site === null ? () => null : yield* followSite(site, config.stateDir)
        const about = () => {
          const { endpoint, grants } = registry.current().config
          return { startedAt, ...keys.current(), endpoint, grants, sitePolicy: sitePolicy() }
        }
        const http = yield* serveMonitor({
          at: config.listenHttp,
          setting: "listen_http",
          perClient: () => registry.current().config.metricsPerClient,
          about
        })
        const explained = () =>
          ({ kind: "file", policy: registry.current().config, files, about: about(), device }) as const
        const reload = yield* tellingReload(registry.reload)
        yield* ControlSocket.serve(
          config.controlSocket,
          yield* Effect.all([
            statusRoute(about, http),
            explainRoute(Effect.sync(explained)),
            reloadRoute(reload, options.file?.path),
            keyRoute(keys.change),
            forgetRoute((gateway) => site?.forget(gateway) ?? siteless),
            drainRoute(presence?.drain ?? siteless),
            vipRoute((state) => presence?.address.tell(state) ?? alone),
            logRoute
          ])
        )
        const outlive = makeOutlive("Registry.reload")
        const wanted = () => registry.current().config.reload === "on_change"
        const changes = options.file === undefined ? Stream.empty : fileChanges(options.file, wanted)
        yield* Stream.merge(options.reloads ?? Stream.empty, changes).pipe(
          Stream.runForEach(() => outlive(Effect.ignore(reload))),
          Effect.forkScoped
        )
        yield* tellService(["tunnel", "worker"])
        yield* Effect.logInfo("ready").pipe(Effect.annotateLogs({ port, device, publicKey, clients: clients.length }))
      })
      return Layer.effectDiscard(reported).pipe(Layer.provideMerge(services(registry, key, presence, options)))
    })
  )

/** What a gateway alone never loads. */
const followSite = (site: SiteMember, stateDir: string) =>
  Effect.flatMap(
    load(() => import("./shared/followPolicy.ts")),
    ({ followPolicy }) => followPolicy(site, stateDir)
  )

const alone = new ControlError({
  message: "this gateway shares its clients with no other, so it has nobody to take over — set state: in its file"
})

const siteless = new ControlError({ message: "this gateway has no site — name one in its file (state:)" })

/** Runs a gateway until interrupted, or until it cannot go on. */
export const runGateway = (config: GatewayConfig, options?: GatewayOptions) =>
  Effect.provide(gatewayFailure, layer(config, options))

const services = (
  registry: Registry["Service"],
  privateKey: Uint8Array,
  presence: PresenceLayer,
  { swap }: GatewayOptions
) => {
  const { config } = registry.current()
  const { device, fwmark, listenPort: port, masquerade, network: ranges } = config
  const floors = {
    packets: {
      device,
      port,
      privateKey,
      mtu: ranges.mtu,
      mark: fwmark,
      sharesPort: port === packetPolicy.dnsPort
    },
    masquerade,
    ranges,
    sets: () => registry.current().config.resolvers,
    setOf: setOfCurrentName(registry),
    lastAuthorizationEnded: ControlPlaneStandalone.clientsStay
  }
  return ControlPlaneStandalone.layer({ warmUp }).pipe(
    Layer.provide(TunnelNamesLive.layer(config)),
    // Before the packets begin: the worker starts with all keys.
    Layer.provideMerge(KeyRotationLive.layer({ publicKeyOf })),
    Layer.provideMerge(presence),
    Layer.provideMerge(gatewayServices(floors, swap))
  )
}

/** Remembers what follows from the policy for as long as it is the current one. */
const setOfCurrentName = (registry: Registry["Service"]) => {
  let known: { readonly config: GatewayConfig; readonly setOf: (domain: string) => string | null } | undefined
  return (domain: string): string | null => {
    const { config } = registry.current()
    if (known?.config !== config) known = { config, setOf: setOfName(config) }
    return known.setOf(domain)
  }
}
