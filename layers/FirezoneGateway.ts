/** A gateway of a Firezone portal put together: which implementation stands behind each service. */
import { randomBytes } from "node:crypto"
import * as os from "node:os"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import { Authorizations } from "../src/access/Authorizations.ts"
import { Clients } from "../src/access/Clients.ts"
import type { FirezoneConfig } from "../src/config/firezoneConfig.ts"
import type { HostPort } from "../src/config/GatewayConfig.ts"
import { ControlPlane } from "../src/control/ControlPlane.ts"
import type { HostFacts } from "../src/control/firezone/handshake.ts"
import { TunnelInterface } from "../src/control/firezone/TunnelInterface.ts"
import { DataPlane } from "../src/dataplane/DataPlane.ts"
import { DnsSockets } from "../src/host/DnsSockets.ts"
import { defaultRanges } from "../src/model/ranges.ts"
import { parseAddress } from "../src/packet/address.ts"
import { Resolutions } from "../src/resolution/Resolutions.ts"
import * as AuthorizationsLive from "./access/Authorizations.ts"
import * as ClientsLive from "./access/Clients.ts"
import * as ConnectionAcceptorLive from "./access/ConnectionAcceptor.ts"
import * as ControlPlaneFirezone from "./control/firezone/ControlPlaneFirezone.ts"
import * as DataPlaneLive from "./dataplane/DataPlane.ts"
import { destinationRules, makePolicy } from "./access/destinationRules.ts"
import * as DnsSocketsLive from "./host/DnsSockets.ts"
import { gatewayReport } from "./cli/gatewayReport.ts"
import { gatewayId } from "./host/gatewayId.ts"
import { serveHealth } from "./host/healthServer.ts"
import * as HostNetworkLive from "./host/HostNetwork.ts"
import { openServerSocket } from "./dataplane/native/fds.ts"
import { x25519Public } from "./dataplane/nodePrimitives.ts"
import { makePortalDns } from "./control/firezone/portalDns.ts"
import * as PortalSocketLive from "./host/PortalSocket.ts"
import * as RefreshLive from "./resolution/Refresh.ts"
import * as ResolutionsLive from "./resolution/Resolutions.ts"
import * as ResolverLive from "./dns/Resolver.ts"
import { sessionLimit } from "./dataplane/sessionLimit.ts"
import * as StatusSocket from "./cli/StatusSocket.ts"
import * as TunnelInterfaceLive from "./host/TunnelInterface.ts"

/** Runs a gateway of the portal until interrupted; everything it did to the host is undone then. */
export const runFirezoneGateway = Effect.fnUntraced(function* (config: FirezoneConfig) {
  const startedAt = yield* Clock.currentTimeMillis
  yield* StatusSocket.makeRoom(config.controlSocket)
  const firezoneId = config.firezoneId ?? (yield* gatewayId(config.stateDir))
  // A new one per process: what the clients have of an old one is worth nothing.
  const privateKey = new Uint8Array(randomBytes(32))
  const publicKey = Buffer.from(x25519Public(privateKey)).toString("base64")
  const name = config.name ?? os.hostname()
  return yield* Effect.gen(function* () {
    const tunnel = yield* TunnelInterface
    const controlPlane = yield* ControlPlane
    const dataPlane = yield* DataPlane
    const report = gatewayReport({ startedAt, publicKey, endpoint: portalEndpoint(config.apiUrl) })
    const context = yield* Effect.context<
      Authorizations | Clients | ControlPlane | DataPlane | DnsSockets | Resolutions
    >()
    yield* StatusSocket.serve(config.controlSocket, Effect.provide(report, context))
    yield* serveHealth(config.healthAddress, tunnel.ready)
    yield* Effect.logInfo("started").pipe(
      Effect.annotateLogs({ portal: new URL(config.apiUrl).host, id: firezoneId, name, publicKey })
    )
    return yield* Effect.raceAllFirst([dataPlane.failure, controlPlane.failure, tunnel.failure]).pipe(
      Effect.tapError((error) => Effect.logError(error.message))
    )
  }).pipe(
    Effect.scoped,
    Effect.provide(services(config, { firezoneId, name, privateKey, publicKey })),
    withLogFormat(config.logFormat)
  )
})

interface Identity {
  readonly firezoneId: string
  readonly name: string
  readonly privateKey: Uint8Array
  readonly publicKey: string
}

const services = (config: FirezoneConfig, identity: Identity) => {
  const { device, firewall, masquerade, mtu } = config
  const policy = makePolicy(defaultRanges)
  const tunnel = Layer.unwrap(
    Effect.map(makePortalDns, (dns) =>
      TunnelInterfaceLive.layer({
        device,
        mtu,
        firewall,
        masquerade,
        bindToDevice: true,
        dns,
        onOwnAddresses: (addresses) => policy.setOwnAddresses(addresses.flatMap((text) => parseAddress(text) ?? []))
      })
    )
  )
  return ControlPlaneFirezone.layer({
    legacy: config.legacy,
    maxPartition: Duration.millis(config.maxPartitionMs)
  }).pipe(
    Layer.provideMerge(tunnel),
    Layer.provideMerge(DnsSocketsLive.layer({ openSocket: openServerSocket })),
    Layer.provideMerge(RefreshLive.layer),
    Layer.provideMerge(ConnectionAcceptorLive.layer),
    Layer.provideMerge(AuthorizationsLive.layer),
    Layer.provideMerge(ControlPlaneFirezone.dismissal),
    Layer.provideMerge(ControlPlaneFirezone.layerSession),
    Layer.provideMerge(ClientsLive.layer),
    Layer.provideMerge(ResolutionsLive.layer),
    Layer.provideMerge(ResolverLive.layer({ sets: {} })),
    Layer.provideMerge(destinationRules(policy, defaultRanges)),
    Layer.provideMerge(
      DataPlaneLive.layer({
        device,
        port: config.listenPort,
        portFallback: true,
        privateKey: identity.privateKey,
        mtu,
        maxSessions: sessionLimit(masquerade)
      })
    ),
    Layer.provideMerge(HostNetworkLive.layer),
    Layer.provideMerge(
      PortalSocketLive.layer({
        apiUrl: config.apiUrl,
        endpoint: config.endpoint,
        token: config.token,
        publicKey: identity.publicKey,
        firezoneId: identity.firezoneId,
        name: identity.name,
        host: hostFacts()
      })
    )
  )
}

const portalEndpoint = (apiUrl: string): HostPort => {
  const { hostname, port, protocol } = new URL(apiUrl)
  return { host: hostname.replaceAll(/[[\]]/g, ""), port: Number(port) || (protocol === "wss:" ? 443 : 80) }
}

const hostFacts = (): HostFacts => ({
  os: os.type(),
  osVersion: os.release().split("-", 1)[0] ?? os.release(),
  arch: os.machine(),
  kernel: os.release()
})

const withLogFormat = (format: "human" | "json") =>
  format === "json"
    ? Effect.provide(Logger.layer([Logger.withConsoleError(Logger.formatJson)]))
    : <A, E, R>(effect: Effect.Effect<A, E, R>) => effect
