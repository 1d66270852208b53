/** `sallyport connect`: the client's end on the same engine, from a wg-quick file. */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import type { ConnectOptions } from "../../src/cli/Programs.ts"
import type { WireguardConf } from "../../src/config/wireguardConf.ts"
import { DataPlane } from "../../src/dataplane/DataPlane.ts"
import { clientPolicy } from "../../src/dataplane/commands.ts"
import { chooseEndpoint } from "../../src/host/endpointChoice.ts"
import { forEachNotice } from "../../src/loops/forEachNotice.ts"
import { superviseForever } from "../../src/loops/superviseForever.ts"
import { ClientId } from "../../src/model/Client.ts"
import { ResourceId } from "../../src/model/Resource.ts"
import type { SocketAddress } from "../../src/model/SocketAddress.ts"
import { formatHostPort } from "../../src/packet/endpoint.ts"
import { useNameServers } from "../host/clientResolver.ts"
import { makeClientNetwork } from "../host/ClientNetwork.ts"
import * as ForeignNetworksLive from "../host/ForeignNetworks.ts"
import * as HostNetworkLive from "../host/HostNetwork.ts"
import { endpointAddresses, isName } from "../host/endpointAddresses.ts"
import * as DataPlaneLive from "../dataplane/DataPlane.ts"
import * as IpFamiliesLive from "../host/IpFamilies.ts"
import { tellingFirst } from "./stopping.ts"

const defaultDevice = "sallyport-c0"
const gateway = ClientId.make("gateway")
/** A client needs no sessions: its end translates nothing. */
const maxSessions = 16
const defaultMtu = 1280
const noAnswerMs = 10_000
/** The session of a gateway that has left this many initiations unanswered is worth nothing. */
const silentAfter = 3
const silent = "the gateway is silent"
/** A name that does not resolve at the start is asked for again after this long. */
const lookupAgainMs = 2_000

/** Runs the client's end until interrupted. */
export const runConnect = (conf: WireguardConf & { readonly privateKey: string }, options: ConnectOptions) => {
  const mtu = conf.mtu ?? defaultMtu
  const device = options.device ?? defaultDevice
  return connect(conf, { device, mtu, dns: options.dns }).pipe(
    Effect.scoped,
    Effect.provide(
      Layer.merge(
        DataPlaneLive.layer({
          device,
          port: conf.listenPort ?? 0,
          privateKey: new Uint8Array(Buffer.from(conf.privateKey, "base64")),
          mtu,
          maxSessions,
          ...(conf.mark === null ? {} : { mark: conf.mark })
        }),
        HostNetworkLive.layer
      ).pipe(Layer.provide([ForeignNetworksLive.layer, IpFamiliesLive.layer]))
    )
  )
}

const connect = Effect.fnUntraced(function* (
  conf: WireguardConf,
  { device, dns, mtu }: { readonly device: string; readonly dns: boolean; readonly mtu: number }
) {
  for (const note of conf.notes) yield* Effect.logWarning(note)
  const dataPlane = yield* DataPlane
  const { endpoint: wanted } = conf.peer
  const label = formatHostPort(wanted.host, wanted.port)
  const network = yield* makeClientNetwork(device, mtu, conf)
  yield* dataPlane.send(clientPolicy)
  const start = yield* firstAddress(conf)
  yield* network.setEndpoint(start.address)
  yield* dial(conf, start)
  const unanswered = yield* Queue.sliding<number>(1)
  yield* tellOfConnection(label, unanswered, ({ address }) =>
    Effect.catch(network.setEndpoint(address), ({ message }) => Effect.logWarning(message))
  )
  yield* dataPlane.start
  yield* Effect.logInfo("connecting").pipe(Effect.annotateLogs({ device, endpoint: label }))
  if (dns) yield* useNameServers(device, conf)
  else if (conf.dns.length > 0) {
    yield* Effect.logInfo(
      `ask ${conf.dns.join(", ")} for names behind the gateway; this host's resolver is left alone (--dns sets it up)`
    )
  }
  if (isName(wanted)) {
    const follow = followName(conf, start, unanswered, (next) =>
      Effect.andThen(network.setEndpoint(next.address), dial(conf, next))
    )
    yield* Effect.forkScoped(follow)
  }
  return yield* tellingFirst(dataPlane.failure)
})

/** Waits for as long as the name does not resolve: a host that starts may have no DNS yet. */
const firstAddress = Effect.fnUntraced(function* ({ peer: { endpoint } }: WireguardConf) {
  let told = false
  const [first] = yield* endpointAddresses(endpoint).pipe(
    Effect.tapError(({ message }) => {
      if (told || !isName(endpoint)) return Effect.void
      told = true
      return Effect.logWarning(`${message}: waiting for it; check Endpoint and this host's DNS`)
    }),
    Effect.catchIf(
      () => isName(endpoint),
      () => Effect.as(Effect.sleep(lookupAgainMs), [])
    ),
    Effect.repeat({ until: (addresses) => addresses.length > 0 })
  )
  return first!
})

/** Handshakes go there from now on; what the gateway is asked for is the same. */
const dial = Effect.fnUntraced(function* (conf: WireguardConf, endpoint: SocketAddress) {
  const dataPlane = yield* DataPlane
  // The gateway ignores handshakes that are stamped earlier than those it had.
  const sentTick = (yield* dataPlane.clients).get(gateway)?.sentTick ?? 0
  yield* dataPlane.send({ _tag: "RemoveClient", client: gateway })
  yield* dataPlane.send({
    _tag: "UpsertClient",
    client: gateway,
    publicKey: conf.peer.publicKey,
    presharedKey: conf.peer.presharedKey,
    tunnel4: conf.addresses.find(({ address }) => !address.includes(":"))?.address ?? "0.0.0.0",
    tunnel6: conf.addresses.find(({ address }) => address.includes(":"))?.address ?? "::",
    endpoint,
    lastTai64n: null,
    sentTick,
    keepalive: conf.peer.keepalive,
    initiate: true
  })
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
})

/** Looks the endpoint's name up again each time that an initiation was not answered, and goes where it leads by then. */
const followName = <E>(
  { peer: { endpoint } }: WireguardConf,
  start: SocketAddress,
  unanswered: Queue.Dequeue<number>,
  move: (next: SocketAddress) => Effect.Effect<unknown, E, DataPlane>
) => {
  let current = start
  let before = 0
  let lost = false
  const turn = Effect.gen(function* () {
    const count = yield* Queue.take(unanswered)
    if (count <= before) before = 0
    const addresses = yield* endpointAddresses(endpoint)
    lost = false
    const next = chooseEndpoint(current, addresses, count - before)
    if (next === null) return
    yield* Effect.logInfo(`no answer from ${current.address}: trying ${next.address}, an address of ${endpoint.host}`)
    current = next
    before = count
    yield* move(next)
  }).pipe(
    Effect.catch((error) => {
      if (lost) return Effect.void
      lost = true
      return Effect.logWarning(error instanceof Error ? error.message : String(error))
    })
  )
  return superviseForever("Connect.endpoint", turn)
}

/**
 * Says when the gateway answers and when it no longer does, and passes on how many initiations in a row got nothing, and
 * from where the gateway sends: it may call from another address than it was dialled at, and is answered there.
 */
const tellOfConnection = Effect.fnUntraced(function* (
  endpoint: string,
  unanswered: Queue.Queue<number>,
  answeredAt: (from: SocketAddress) => Effect.Effect<void>
) {
  let connected = false
  let everConnected = false
  let count = 0
  yield* forEachNotice("Connect", {
    ClientState: (notice) => {
      if (notice.handshakeAt !== null && notice.connected) count = 0
      const { connected: isUp, endpoint: from } = notice
      const follow = isUp && from !== null ? answeredAt(from) : Effect.void
      if (isUp === connected) return follow
      connected = isUp
      everConnected ||= connected
      return Effect.andThen(follow, Effect.logInfo(connected ? "connected" : silent))
    },
    HandshakeUnanswered: () => {
      count++
      const tell = connected && count >= silentAfter
      connected &&= !tell
      return Effect.andThen(tell ? Effect.logInfo(silent) : Effect.void, Queue.offer(unanswered, count))
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
