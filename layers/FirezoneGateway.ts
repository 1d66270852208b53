/** A gateway of a Firezone portal put together: what it has besides the services that both gateways share. */
import { randomBytes } from "node:crypto"
import { hostname } from "node:os"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { Authorizations } from "../src/access/Authorizations.ts"
import { Clients } from "../src/access/Clients.ts"
import { ControlError } from "../src/cli/ControlClient.ts"
import type { FirezoneConfig } from "../src/config/firezoneConfig.ts"
import { authorizedPolicy } from "../src/control/firezone/authorizedPolicy.ts"
import { portalEndpoint } from "../src/control/firezone/hostPort.ts"
import { ReloadRefused } from "../src/control/Registry.ts"
import { KeyRefused } from "../src/control/standalone/KeyRotation.ts"
import { noNameFiles } from "../src/host/NameFiles.ts"
import { monotonicMillis } from "../src/loops/monotonic.ts"
import { defaultRanges } from "../src/model/defaultRanges.ts"
import { packetPolicy } from "../src/control/firezone/packetPolicy.ts"
import * as ControlSocket from "./cli/ControlSocket.ts"
import { explainRoute } from "./cli/explainRoute.ts"
import { keyRoute } from "./cli/keyRoute.ts"
import { drainRoute } from "./cli/drainRoute.ts"
import { forgetRoute } from "./cli/forgetRoute.ts"
import { logRoute } from "./cli/logRoute.ts"
import { reloadRoute } from "./cli/reloadRoute.ts"
import { statusRoute } from "./cli/statusRoute.ts"
import { vipRoute } from "./cli/vipRoute.ts"
import * as ControlPlaneFirezone from "./control/firezone/ControlPlaneFirezone.ts"
import { x25519Public } from "./dataplane/nodePrimitives.ts"
import type { GatewayOptions } from "./Gateway.ts"
import { gatewayFailure, gatewayServices } from "./gatewayServices.ts"
import { gatewayId, holdGatewayId } from "./host/gatewayId.ts"
import { hostFacts } from "./host/hostFacts.ts"
import * as PortalSocketLive from "./host/PortalSocket.ts"
import { serveHealth, serveMonitor } from "./monitor/Monitor.ts"
import { tellService } from "./monitor/tellService.ts"

/** Runs a gateway of the portal until interrupted; everything it did to the host is undone then. */
export const runFirezoneGateway = Effect.fnUntraced(function* (
  config: FirezoneConfig,
  options: Pick<GatewayOptions, "swap"> = {}
) {
  const startedAt = yield* monotonicMillis
  yield* ControlSocket.makeRoom(config.controlSocket)
  const firezoneId = config.firezoneId ?? (yield* gatewayId(config.stateDir))
  if (config.firezoneId === null) yield* holdGatewayId(config.stateDir)
  // A new one per process: what the clients have of an old one is worth nothing.
  const privateKey = new Uint8Array(randomBytes(32))
  const publicKey = Buffer.from(x25519Public(privateKey)).toString("base64")
  const name = config.name ?? hostname()
  const { device } = config
  return yield* Effect.gen(function* () {
    const about = () => ({ startedAt, publicKey, endpoint: portalEndpoint(config.apiUrl) })
    const http = yield* serveMonitor({
      at: config.listenHttp,
      setting: "SALLYPORT_LISTEN_HTTP",
      perClient: () => config.metricsPerClient,
      about
    })
    yield* ControlSocket.serve(
      config.controlSocket,
      yield* Effect.all([
        statusRoute(about, http),
        explainRoute(Effect.map(authorizedSoFar, (policy) => ({ kind: "portal", ...policy, about: about(), device }))),
        reloadRoute(portalDecides),
        keyRoute(() => portalGivesKeys),
        forgetRoute(() => portalHasNoSite),
        drainRoute(portalHasNoSite),
        vipRoute(() => portalSends),
        logRoute
      ])
    )
    yield* serveHealth(config.healthAddress, "HEALTH_CHECK_ADDR")
    // Its tunnel is set up when the portal says how: a host that starts, or is upgraded, does not wait for that.
    yield* tellService(["worker"])
    yield* Effect.logInfo("started").pipe(
      Effect.annotateLogs({ portal: new URL(config.apiUrl).host, id: firezoneId, name, publicKey })
    )
    return yield* gatewayFailure
  }).pipe(Effect.scoped, Effect.provide(services(config, { firezoneId, name, privateKey, publicKey }, options)))
}, Effect.scoped)

const portalSends = new ControlError({
  message: "the portal says which gateway a client goes to; there is nobody to take over"
})

const portalHasNoSite = new ControlError({
  message: "the portal says which gateways there are; this one shares a PostgreSQL with none"
})

const portalDecides = new ReloadRefused({
  message: "the portal says what changes; there is no file to read again"
})

/** What the portal has told of its policy. Names outside of it clients ask others for than the gateway. */
const authorizedSoFar = Effect.gen(function* () {
  const clients = yield* (yield* Clients).list
  const grants = yield* (yield* Authorizations).list
  return { policy: { ...authorizedPolicy(grants), clients, resolvers: new Map() }, files: noNameFiles }
})

const portalGivesKeys = new KeyRefused({
  message: "the portal tells clients this gateway's key, another one with each start — restart it for a new one"
})

type Identity = Pick<PortalSocketLive.PortalSocketOptions, "firezoneId" | "name" | "publicKey"> & {
  readonly privateKey: Uint8Array
}

const services = (
  config: FirezoneConfig,
  { privateKey, ...identity }: Identity,
  { swap }: Pick<GatewayOptions, "swap">
) => {
  const { apiUrl, device, endpoint, firewall, keepPorts, legacy, listenPort: port, masquerade } = config
  const { mtu, token, trackUdp, version } = config
  return ControlPlaneFirezone.layer({
    device,
    firewall,
    masquerade,
    keepPorts,
    trackUdp,
    legacy,
    maxPartition: Duration.millis(config.maxPartitionMs)
  }).pipe(
    Layer.provide(PortalSocketLive.layer({ ...identity, apiUrl, endpoint, token, version, host: hostFacts() })),
    Layer.provideMerge(
      gatewayServices(
        {
          packets: {
            device,
            port,
            portFallback: true,
            privateKey,
            mtu,
            mark: config.fwmark,
            sharesPort: port === packetPolicy.dnsPort
          },
          masquerade,
          ranges: defaultRanges,
          sets: {},
          lastAuthorizationEnded: ControlPlaneFirezone.dismissal,
          dates: ControlPlaneFirezone.portalDates
        },
        swap
      )
    )
  )
}
