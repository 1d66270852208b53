/** `sallyport connect`: the client's end on the same engine, from a wg-quick file. */
import { lookup } from "node:dns/promises"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import type { HostPort } from "../../src/config/GatewayConfig.ts"
import type { WireguardConf } from "../../src/config/wireguardConf.ts"
import { DataPlane } from "../../src/dataplane/DataPlane.ts"
import { clientPolicy, type UpsertClient } from "../../src/dataplane/commands.ts"
import { forEachNotice } from "../../src/loops/forEachNotice.ts"
import { ClientId } from "../../src/model/Client.ts"
import { ResourceId } from "../../src/model/Resource.ts"
import { formatAddress, parseAddress } from "../../src/packet/address.ts"
import { configureClient } from "../host/ClientNetwork.ts"
import * as DataPlaneLive from "../dataplane/DataPlane.ts"
import * as IpFamiliesLive from "../host/IpFamilies.ts"

class EndpointError extends Schema.TaggedError<EndpointError>()("EndpointError", { message: Schema.String }) {}

const device = "sallyport-c0"
const gateway = ClientId.make("gateway")
/** A client needs no sessions: its end translates nothing. */
const maxSessions = 16
const defaultMtu = 1280
const noAnswerMs = 10_000

/** Runs the client's end until interrupted. */
export const runConnect = (conf: WireguardConf) =>
  Effect.gen(function* () {
    const dataPlane = yield* DataPlane
    const endpoint = yield* resolveEndpoint(conf.peer.endpoint)
    yield* dataPlane.send(clientPolicy)
    const peer: UpsertClient = {
      _tag: "UpsertClient",
      client: gateway,
      publicKey: conf.peer.publicKey,
      presharedKey: conf.peer.presharedKey,
      tunnel4: conf.addresses.find(({ address }) => !address.includes(":"))?.address ?? "0.0.0.0",
      tunnel6: conf.addresses.find(({ address }) => address.includes(":"))?.address ?? "::",
      endpoint,
      lastTai64n: null,
      keepalive: conf.peer.keepalive,
      initiate: true
    }
    yield* dataPlane.send(peer)
    for (const network of conf.peer.allowedIps) {
      yield* dataPlane.send({
        _tag: "SetResource",
        client: gateway,
        resource: ResourceId.make(network),
        kind: "cidr",
        network,
        filters: [],
        allow: []
      })
    }
    yield* configureClient(device, conf)
    yield* tellOfConnection(`${conf.peer.endpoint.host}:${conf.peer.endpoint.port}`)
    yield* dataPlane.start
    yield* Effect.logInfo("connecting").pipe(
      Effect.annotateLogs({ device, endpoint: `${conf.peer.endpoint.host}:${conf.peer.endpoint.port}` })
    )
    if (conf.dns.length > 0) {
      yield* Effect.logInfo(
        `ask ${conf.dns.join(", ")} for names behind the gateway; this host's resolver is left alone`
      )
    }
    return yield* dataPlane.failure
  }).pipe(
    Effect.scoped,
    Effect.provide(
      DataPlaneLive.layer({
        device,
        port: conf.listenPort ?? 0,
        privateKey: new Uint8Array(Buffer.from(conf.privateKey, "base64")),
        mtu: conf.mtu ?? defaultMtu,
        maxSessions
      }).pipe(Layer.provide(IpFamiliesLive.layer))
    )
  )

/** Says when the gateway answers and when it no longer does. */
const tellOfConnection = Effect.fnUntraced(function* (endpoint: string) {
  let connected = false
  let everConnected = false
  yield* forEachNotice("Connect", {
    ClientState: (notice) => {
      if (notice.connected === connected) return Effect.void
      connected = notice.connected
      everConnected ||= connected
      return Effect.logInfo(connected ? "connected" : "the gateway is silent")
    },
    Fault: ({ message }) => Effect.logWarning(message)
  })
  yield* Effect.suspend(() =>
    everConnected
      ? Effect.void
      : Effect.logWarning(
          `no answer from ${endpoint} yet: check Endpoint, both ends' public keys, and that UDP gets through`
        )
  ).pipe(Effect.delay(noAnswerMs), Effect.forkScoped)
})

const resolveEndpoint = ({ host, port }: HostPort) => {
  const literal = parseAddress(host)
  if (literal !== undefined) return Effect.succeed({ address: formatAddress(literal), port })
  return Effect.tryPromise({
    try: () => lookup(host),
    catch: (cause) =>
      new EndpointError({
        message: `the endpoint ${host} does not resolve (${cause instanceof Error ? cause.message : String(cause)}): check Endpoint and this host's DNS`
      })
  }).pipe(Effect.map(({ address }) => ({ address, port })))
}
