/**
 * The code on the way of a tunnel DNS question, run before the first client asks: a JavaScript engine compiles what it
 * runs, and the first hundreds of questions after a start would wait for that. Nothing of it reaches the network, the
 * disk or the packet worker, and nothing of it stays.
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Metric from "effect/Metric"
import { type ConfiguredClient, defaultNetwork, type GatewayConfig } from "../../../src/config/GatewayConfig.ts"
import { TunnelNames } from "../../../src/control/standalone/TunnelNames.ts"
import { DataPlane } from "../../../src/dataplane/DataPlane.ts"
import { encodeQuery } from "../../../src/dns/query.ts"
import { emptyMessage, type Message } from "../../../src/dns/message.ts"
import { classInternet, recordType } from "../../../src/dns/registry.ts"
import { handleQuery } from "../../../src/dns/tunnelServer.ts"
import { Upstream, type UpstreamQuestion } from "../../../src/dns/Upstream.ts"
import { atOnce } from "../../../src/loops/later.ts"
import { ClientId } from "../../../src/model/Client.ts"
import { type DnsResource, ResourceId } from "../../../src/model/Resource.ts"
import * as Authorizations from "../../access/Authorizations.ts"
import * as Clients from "../../access/Clients.ts"
import * as ConnectionAcceptor from "../../access/ConnectionAcceptor.ts"
import { answerPolicy, destinations, proxyRanges } from "../../access/destinationRules.ts"
import { Site } from "../../../src/shared/Site.ts"
import { EventLog } from "../../../src/events/EventLog.ts"
import { SetProbe } from "../../../src/resolution/SetProbe.ts"
import * as IpFamiliesLive from "../../host/IpFamilies.ts"
import * as DataPlaneRecording from "../../memory/DataPlaneRecording.ts"
import * as Resolutions from "../../resolution/Resolutions.ts"
import * as Resolver from "../../dns/Resolver.ts"
import * as NameFilesMemory from "../../memory/NameFilesMemory.ts"
import * as StateStoreMemory from "../../memory/StateStoreMemory.ts"
import { clientsStay } from "./ControlPlaneStandalone.ts"
import * as TunnelNamesLive from "./TunnelNames.ts"

const clients = 50
/** 0.2 s of work, after which most of the code on the way is compiled: those who come right after a restart come all at once. */
const questionsPerClient = 16
/** And so many about names outside, which other servers are asked for. */
const forwardsPerClient = 4
const questions = clients * (questionsPerClient + forwardsPerClient)

/**
 * Answers questions about names that do not exist, of clients that do not exist, in services of their own; yields how
 * many got addresses, of clients that the data plane took.
 */
export const warmUp: Effect.Effect<number> = Effect.suspend(() => {
  const config = warmUpConfig()
  const answers = Effect.gen(function* () {
    const names = yield* TunnelNames
    yield* Effect.orDie(names.restore)
    let answered = 0
    for (let i = 0; i < questions; i++) {
      const { tunnel4 } = config.clients[i % clients]!
      const domain = i < clients * questionsPerClient ? `n${i}.warm-up.invalid` : `n${i}.example`
      const query = encodeQuery({ id: i, domain, type: recordType.A }, true)!
      const reply = yield* handleQuery(query, "udp", (question) => names.answer(tunnel4, question))
      // Answer records, as the header counts them.
      if (reply !== null && reply[7]! > 0) answered++
      // Handshakes and replies of the packet worker go on meanwhile.
      if (i % 8 === 7) yield* Effect.yieldNow
    }
    const taken = (yield* DataPlane).desired.clients().length
    return Math.min(answered, taken * (questionsPerClient + forwardsPerClient))
  })
  return answers.pipe(
    // `local`: the layers have the running gateway's names, and its services must not be taken for them.
    Effect.provide([services(config), Logger.layer([])], { local: true }),
    Effect.withTracerEnabled(false),
    // Nobody's accepts and lookups are in no statistics.
    Effect.provideService(Metric.MetricRegistry, new Map())
  )
})

const services = (config: GatewayConfig): Layer.Layer<TunnelNames | DataPlane> =>
  TunnelNamesLive.layer(config).pipe(
    Layer.provide(NameFilesMemory.none),
    Layer.provide(ConnectionAcceptor.layer),
    Layer.provide([Authorizations.layer, Clients.layer]),
    Layer.provide([Resolutions.layer, clientsStay]),
    Layer.provideMerge(DataPlaneRecording.layer),
    Layer.provide([Resolver.layer({ sets: {} }), StateStoreMemory.layer]),
    Layer.provide([upstream, answerPolicy, proxyRanges(config.network)]),
    Layer.provide([
      destinations(config.network),
      IpFamiliesLive.layer,
      Layer.succeed(EventLog, EventLog.defaultValue()),
      Layer.succeed(SetProbe, SetProbe.defaultValue()),
      Layer.succeed(Site, null)
    ]),
    // A state in memory does not fail.
    Layer.orDie
  )

/** Servers that answer at once. */
const upstream = Layer.succeed(Upstream, {
  exchange: (_, question) => Effect.succeed(answerTo(question)),
  ask: (_, question) => atOnce({ _tag: "Answer", message: answerTo(question) }),
  epoch: () => Effect.succeed(0),
  epochAtOnce: () => 0,
  counters: Effect.succeed({}),
  servers: Effect.succeed([])
})

const answerTo = ({ domain, type }: UpstreamQuestion): Message => ({
  ...emptyMessage,
  response: true,
  answers:
    type === recordType.A
      ? [{ name: domain, type, class: classInternet, ttl: 60, data: { _tag: "Address", address: "9.9.9.9" } }]
      : []
})

const warmUpConfig = (): GatewayConfig => {
  const resource: DnsResource = {
    kind: "dns",
    id: ResourceId.make("warm-up"),
    filters: [],
    allow: [],
    pattern: "*.warm-up.invalid",
    resolver: "warm-up"
  }
  const known = Array.from({ length: clients }, (_, i): ConfiguredClient => ({
    id: ClientId.make(`warm-up-${i}`),
    // As long as a key is, or the data plane would have none of it.
    publicKey: `${`${i}`.padStart(3, "0").padEnd(43, "A")}=`,
    presharedKey: null,
    tunnel4: `100.64.1.${i}`,
    tunnel6: `fd00:2021:1111::1:${i.toString(16)}`,
    groups: []
  }))
  return {
    endpoint: { host: "warm-up.invalid", port: 1 },
    listenPort: 1,
    sites: null,
    resolvers: new Map(),
    clients: known,
    resources: [resource],
    grants: [{ resource, expiresAt: null, clients: known }],
    zones: [],
    search: [],
    records: new Map(),
    block: [],
    tests: [],
    network: defaultNetwork,
    gateway4: "100.64.0.1",
    gateway6: "fd00:2021:1111::1",
    firewall: "off",
    masquerade: false,
    keepPorts: false,
    fwmark: null,
    trackUdp: true,
    stateDir: "",
    state: null,
    controlSocket: "",
    device: "",
    otherNames: "forward",
    advertise: null,
    listenHttp: null,
    metricsPerClient: false,
    logLevel: "Info",
    logDns: false,
    logFormat: "human",
    reload: "on_command",
    warnings: []
  }
}
