/** A standalone gateway put together: what it has besides the services that both gateways share. */
import { join } from "node:path"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { Authorizations } from "../src/access/Authorizations.ts"
import type { Clients } from "../src/access/Clients.ts"
import type { ControlError } from "../src/cli/ControlClient.ts"
import type { GatewayConfig } from "../src/config/GatewayConfig.ts"
import type { ControlPlane } from "../src/control/ControlPlane.ts"
import type { DataPlane } from "../src/dataplane/DataPlane.ts"
import type { DataPlaneError } from "../src/dataplane/DataPlaneError.ts"
import type { DnsSocketError, DnsSockets } from "../src/host/DnsSockets.ts"
import type { HostError } from "../src/host/HostNetwork.ts"
import { type StateError, StateStore } from "../src/host/StateStore.ts"
import { monotonicMillis } from "../src/loops/monotonic.ts"
import type { Resolutions } from "../src/resolution/Resolutions.ts"
import { setOfName } from "../src/control/standalone/chooseResource.ts"
import { packetPolicy } from "../src/control/standalone/packetPolicy.ts"
import * as ControlSocket from "./cli/ControlSocket.ts"
import { logRoute } from "./cli/logRoute.ts"
import { statusRoute } from "./cli/statusRoute.ts"
import * as ControlPlaneStandalone from "./control/standalone/ControlPlaneStandalone.ts"
import * as TunnelNamesLive from "./control/standalone/TunnelNames.ts"
import { warmUp } from "./control/standalone/warmUp.ts"
import { x25519Public } from "./dataplane/nodePrimitives.ts"
import type { GatewayParts } from "./GatewayParts.ts"
import { gatewayFailure, gatewayServices } from "./gatewayServices.ts"
import { serveMonitor } from "./monitor/Monitor.ts"
import * as NameFilesLive from "./host/NameFiles.ts"
import * as StateStoreLive from "./host/StateStore.ts"

export type { GatewayParts } from "./GatewayParts.ts"

export interface GatewayOptions {
  /** Make a new private key although clients exist and the old one is missing. */
  readonly newKey?: boolean
  /** Puts a layer of one's own in the place of one of these, or in front of it. */
  readonly swap?: (live: GatewayParts) => GatewayParts
}

/** What the program around a gateway may ask. */
export type GatewayServices = Authorizations | Clients | ControlPlane | DataPlane | DnsSockets | Resolutions

/** Each with a `message` of one line for the operator. */
export type GatewayError = DataPlaneError | DnsSocketError | HostError | StateError | ControlError

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
      const startedAt = yield* monotonicMillis
      // Before the host is touched: a second gateway by mistake is told so, and the first one notices nothing.
      yield* ControlSocket.makeRoom(config.controlSocket)
      const key = new Uint8Array(Buffer.from(yield* (yield* StateStore).privateKey, "base64"))
      const publicKey = Buffer.from(x25519Public(key)).toString("base64")
      const { clients, device, endpoint, listenPort: port } = config
      const reported = Effect.gen(function* () {
        yield* serveMonitor(config.listenHttp, "listen_http")
        yield* ControlSocket.serve(config.controlSocket, [
          yield* statusRoute({ startedAt, publicKey, endpoint }),
          yield* logRoute
        ])
        yield* Effect.logInfo("ready").pipe(Effect.annotateLogs({ port, device, publicKey, clients: clients.length }))
      })
      return Layer.effectDiscard(reported).pipe(Layer.provideMerge(services(config, key, options)))
    })
  ).pipe(Layer.provide(StateStoreLive.layer(join(config.stateDir, "state.db"), options)))

/** Runs a gateway until interrupted, or until it cannot go on. */
export const runGateway = (config: GatewayConfig, options?: GatewayOptions) =>
  Effect.provide(gatewayFailure, layer(config, options))

const services = (config: GatewayConfig, privateKey: Uint8Array, { swap }: GatewayOptions) => {
  const { device, fwmark, listenPort: port, masquerade, network: ranges, resolvers } = config
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
    sets: Object.fromEntries(resolvers),
    setOf: setOfName(config),
    lastAuthorizationEnded: ControlPlaneStandalone.clientsStay
  }
  return ControlPlaneStandalone.layer({ config, warmUp }).pipe(
    Layer.provide(TunnelNamesLive.layer(config)),
    Layer.provide(NameFilesLive.layer({ block: config.block })),
    Layer.provideMerge(gatewayServices(floors, swap))
  )
}
