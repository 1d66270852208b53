/** A standalone gateway put together: which implementation stands behind each service. */
import { join } from "node:path"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import { Authorizations } from "../src/access/Authorizations.ts"
import { Clients } from "../src/access/Clients.ts"
import type { ConnectionAcceptor } from "../src/access/ConnectionAcceptor.ts"
import type { ProxyRanges } from "../src/access/ProxyRanges.ts"
import type { StatusError } from "../src/cli/StatusClient.ts"
import { type GatewayConfig } from "../src/config/GatewayConfig.ts"
import { ControlPlane } from "../src/control/ControlPlane.ts"
import { packetPolicy } from "../src/control/standalone/packetPolicy.ts"
import { DataPlane } from "../src/dataplane/DataPlane.ts"
import type { DataPlaneError } from "../src/dataplane/DataPlaneError.ts"
import type { Upstream } from "../src/dns/Upstream.ts"
import { DnsSockets, type DnsSocketError } from "../src/host/DnsSockets.ts"
import { type HostError, HostNetwork } from "../src/host/HostNetwork.ts"
import { type StateError, StateStore } from "../src/host/StateStore.ts"
import type { DestinationPolicy } from "../src/nat/destinationPolicy.ts"
import { superviseForever } from "../src/loops/superviseForever.ts"
import { parseAddress } from "../src/packet/address.ts"
import { Resolutions } from "../src/resolution/Resolutions.ts"
import type { Resolver } from "../src/resolution/Resolver.ts"
import * as AuthorizationsLive from "./access/Authorizations.ts"
import * as ClientsLive from "./access/Clients.ts"
import * as ConnectionAcceptorLive from "./access/ConnectionAcceptor.ts"
import * as ControlPlaneStandalone from "./control/standalone/ControlPlaneStandalone.ts"
import * as DataPlaneLive from "./dataplane/DataPlane.ts"
import { destinationRules, makePolicy } from "./access/destinationRules.ts"
import * as DnsSocketsLive from "./host/DnsSockets.ts"
import { gatewayReport } from "./cli/gatewayReport.ts"
import * as HostNetworkLive from "./host/HostNetwork.ts"
import { openServerSocket } from "./dataplane/native/fds.ts"
import { makeNodePrimitives, x25519Public } from "./dataplane/nodePrimitives.ts"
import * as RefreshLive from "./resolution/Refresh.ts"
import * as ResolutionsLive from "./resolution/Resolutions.ts"
import * as ResolverLive from "./dns/Resolver.ts"
import * as UpstreamLive from "./dns/Upstream.ts"
import { sessionLimit } from "./dataplane/sessionLimit.ts"
import * as StateStoreLive from "./host/StateStore.ts"
import * as StatusSocket from "./cli/StatusSocket.ts"
import * as TunnelNamesLive from "./control/standalone/TunnelNames.ts"
import { warmUp } from "./control/standalone/warmUp.ts"

export interface GatewayOptions {
  /** Make a new private key although clients exist and the old one is missing. */
  readonly newKey?: boolean
  /** Puts a layer of one's own in the place of one of these, or in front of it. */
  readonly swap?: (live: GatewayParts) => GatewayParts
}

/** The layers that may be swapped. */
export interface GatewayParts {
  readonly acceptor: Layer.Layer<ConnectionAcceptor, never, Authorizations | Clients | ProxyRanges | Resolutions>
  readonly resolver: Layer.Layer<Resolver, never, Upstream>
  readonly dataPlane: Layer.Layer<DataPlane, DataPlaneError>
}

class KeyError extends Schema.TaggedError<KeyError>()("KeyError", { message: Schema.String }) {}

const dnsPort = 53

/** What the program around a gateway may ask. */
export type GatewayServices = Authorizations | Clients | ControlPlane | DataPlane | DnsSockets | Resolutions

/** Each with a `message` of one line for the operator. */
export type GatewayError = DataPlaneError | DnsSocketError | HostError | KeyError | StateError | StatusError

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
      const startedAt = yield* Clock.currentTimeMillis
      // Before the host is touched: a second gateway by mistake is told so, and the first one notices nothing.
      yield* StatusSocket.makeRoom(config.controlSocket)
      const key = yield* privateKey(options.newKey ?? false)
      const live = liveParts(config, key)
      return reported(config, startedAt, Buffer.from(x25519Public(key)).toString("base64")).pipe(
        Layer.provideMerge(services(config, options.swap?.(live) ?? live))
      )
    })
  ).pipe(Layer.provide(StateStoreLive.layer(join(config.stateDir, "state.db"))))

/** Runs a gateway until interrupted, or until it cannot go on. */
export const runGateway = (config: GatewayConfig, options?: GatewayOptions) =>
  DataPlane.pipe(
    Effect.flatMap(({ failure }) => Effect.tapError(failure, (error) => Effect.logError(error.message))),
    Effect.provide(layer(config, options))
  )

/** `sallyport status` is answered from now on. */
const reported = (
  config: GatewayConfig,
  startedAt: number,
  publicKey: string
): Layer.Layer<never, StatusError, GatewayServices> =>
  Layer.effectDiscard(
    Effect.gen(function* () {
      const context = yield* Effect.context<GatewayServices>()
      const report = Effect.provide(gatewayReport({ startedAt, publicKey, endpoint: config.endpoint }), context)
      yield* StatusSocket.serve(config.controlSocket, report)
      yield* Effect.logInfo("ready").pipe(
        Effect.annotateLogs({
          port: config.listenPort,
          device: config.device,
          publicKey,
          clients: config.clients.length
        })
      )
    })
  )

const liveParts = (config: GatewayConfig, privateKey: Uint8Array): GatewayParts => ({
  acceptor: ConnectionAcceptorLive.layer,
  resolver: ResolverLive.layerResolver(resolverSets(config)),
  dataPlane: DataPlaneLive.layer({
    device: config.device,
    port: config.listenPort,
    privateKey,
    mtu: config.network.mtu,
    maxSessions: sessionLimit(config.masquerade)
  })
})

const resolverSets = (config: GatewayConfig) => ({ sets: Object.fromEntries(config.resolvers) })

const services = (config: GatewayConfig, parts: GatewayParts) => {
  const policy = makePolicy(config.network)
  const refusesOutside = (text: string): boolean => {
    const address = parseAddress(text)
    return address === undefined || policy.judgeForInternet(address, 0) !== undefined
  }
  return ControlPlaneStandalone.layer({ config, device: config.device, warmUp }).pipe(
    Layer.provideMerge(TunnelNamesLive.layer({ config, refusesOutside })),
    Layer.provideMerge(DnsSocketsLive.layer({ openSocket: openServerSocket })),
    Layer.provideMerge(RefreshLive.layer),
    Layer.provideMerge(parts.acceptor),
    Layer.provideMerge(AuthorizationsLive.layer),
    Layer.provideMerge(ControlPlaneStandalone.clientsStay),
    Layer.provideMerge(ClientsLive.layer),
    Layer.provideMerge(ResolutionsLive.layer),
    Layer.provideMerge(hostLayer(config, policy)),
    Layer.provideMerge(parts.resolver),
    Layer.provideMerge(UpstreamLive.layer(resolverSets(config))),
    Layer.provideMerge(destinationRules(policy, config.network)),
    Layer.provideMerge(parts.dataPlane),
    Layer.provideMerge(HostNetworkLive.layer)
  )
}

/** Prepares the host and keeps the packet path informed of the host's own addresses. */
const hostLayer = (
  config: GatewayConfig,
  policy: DestinationPolicy
): Layer.Layer<never, HostError, DataPlane | HostNetwork> =>
  Layer.effectDiscard(
    Effect.gen(function* () {
      const host = yield* HostNetwork
      const dataPlane = yield* DataPlane
      const { network } = config
      const tunnelNetworks = [network.tunnel4, network.tunnel6]
      const proxyNetworks = [network.proxy4, network.proxy6]
      const warnings = yield* host.configure({
        device: config.device,
        mtu: network.mtu,
        gateway4: config.gateway4,
        gateway6: config.gateway6,
        tunnelNetworks,
        proxyNetworks,
        listenPort: config.listenPort,
        dnsPort,
        firewall: config.firewall,
        masquerade: config.masquerade,
        allowGatewayHost: config.resources.some((resource) => resource.allow.includes("gateway_host"))
      })
      for (const warning of warnings) yield* Effect.logWarning(warning)
      const tell = Effect.gen(function* () {
        const ownAddresses = yield* host.ownAddresses
        policy.setOwnAddresses(ownAddresses.flatMap((text) => parseAddress(text) ?? []))
        yield* dataPlane.send({
          _tag: "SetPolicy",
          packets: packetPolicy,
          gateway4: config.gateway4,
          gateway6: config.gateway6,
          tunnelNetworks,
          proxyNetworks,
          ownAddresses
        })
      })
      yield* tell
      const follow = Effect.andThen(
        host.changed,
        Effect.catch(tell, (error) => Effect.logError(error.message))
      )
      yield* Effect.forkScoped(superviseForever("Tunnel.host", follow))
    })
  )

/** The one persisted key. A gateway whose clients know a lost key does not get another one silently. */
const privateKey = Effect.fnUntraced(function* (newKey: boolean) {
  const store = yield* StateStore
  const stored = yield* store.privateKey
  if (stored !== null) return new Uint8Array(Buffer.from(stored, "base64"))
  if ((yield* store.clients).length > 0 && !newKey) {
    return yield* new KeyError({
      message:
        "the gateway's private key is gone although clients know it: restore the state directory, or start once with --new-key and give every client the new public key"
    })
  }
  const key = new Uint8Array(32)
  makeNodePrimitives(new Uint8Array(0)).randomBytes(key)
  yield* store.setPrivateKey(Buffer.from(key).toString("base64"))
  return key
})
