/** The standalone control plane in memory: configuration, scripted upstream, a DNS service without sockets. */
import { assert } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import { TestClock } from "effect/testing"
import * as Authorizations from "../../layers/access/Authorizations.ts"
import * as Clients from "../../layers/access/Clients.ts"
import * as ConnectionAcceptor from "../../layers/access/ConnectionAcceptor.ts"
import { answerPolicy, proxyRanges } from "../../layers/access/destinationRules.ts"
import * as ControlPlaneStandalone from "../../layers/control/standalone/ControlPlaneStandalone.ts"
import * as Refresh from "../../layers/resolution/Refresh.ts"
import * as Resolutions from "../../layers/resolution/Resolutions.ts"
import * as NameFilesMemory from "../../layers/memory/NameFilesMemory.ts"
import * as ResolverMemory from "../../layers/memory/ResolverMemory.ts"
import * as TunnelMemory from "../../layers/memory/TunnelMemory.ts"
import { TunnelRecorder } from "../../layers/memory/TunnelMemory.ts"
import * as IpFamiliesLive from "../../layers/host/IpFamilies.ts"
import * as RegistryLive from "../../layers/control/standalone/Registry.ts"
import * as TunnelNamesLive from "../../layers/control/standalone/TunnelNames.ts"
import { Destinations } from "../../src/access/Destinations.ts"
import { type ConfiguredClient, defaultNetwork, type GatewayConfig } from "../../src/config/GatewayConfig.ts"
import { TunnelNames } from "../../src/control/standalone/TunnelNames.ts"
import type { DataPlane } from "../../src/dataplane/DataPlane.ts"
import { emptyMessage, isMalformed, type Message } from "../../src/dns/message.ts"
import { decode } from "../../src/dns/decode.ts"
import { encode } from "../../src/dns/encode.ts"
import { classInternet, recordType } from "../../src/dns/registry.ts"
import { reverseAddress } from "../../src/dns/reverse.ts"
import type { TunnelAnswer } from "../../src/dns/tunnelAnswer.ts"
import { handleQuery } from "../../src/dns/tunnelServer.ts"
import { StateError, StateStore } from "../../src/host/StateStore.ts"
import { ClientId } from "../../src/model/Client.ts"
import type { Resource } from "../../src/model/Resource.ts"
import { DestinationPolicy } from "../../src/nat/destinationPolicy.ts"
import { parseAddress } from "../../src/packet/address.ts"
import { ResolutionError, Timeout } from "../../src/resolution/Resolver.ts"
import { clientId, gateway4, gateway6, tunnel4, tunnel6, upsertClient } from "./engineWorld.ts"
import { upstreamMock } from "./upstreamMock.ts"

/** Clients 1 and 2 of `engineWorld`; 1 may reach every resource, 2 none. */
export const configOf = (resources: ReadonlyArray<Resource>, over: Partial<GatewayConfig> = {}): GatewayConfig => {
  const clients = [1, 2].map((n): ConfiguredClient => ({
    id: ClientId.make(clientId(n)),
    publicKey: upsertClient(n).publicKey,
    presharedKey: null,
    tunnel4: tunnel4(n),
    tunnel6: tunnel6(n),
    groups: []
  }))
  return {
    endpoint: { host: "vpn.example.com", port: 51_820 },
    listenPort: 51_820,
    sites: null,
    resolvers: new Map(),
    clients,
    resources,
    grants: resources.map((resource) => ({ resource, expiresAt: null, clients: [clients[0]!] })),
    zones: [],
    search: [],
    records: new Map(),
    block: [],
    tests: [],
    network: defaultNetwork,
    gateway4,
    gateway6,
    firewall: "off",
    masquerade: false,
    keepPorts: false,
    fwmark: null,
    trackUdp: true,
    stateDir: "",
    state: null,
    advertise: null,
    controlSocket: "",
    device: "sallyport0",
    otherNames: "forward",
    listenHttp: null,
    logLevel: "Info",
    logDns: false,
    metricsPerClient: false,
    logFormat: "human",
    reload: "on_command",
    warnings: [],
    ...over
  }
}

/** What the servers behind each resolver set answer; silent about anything else. */
export class UpstreamScript extends Context.Service<
  UpstreamScript,
  {
    readonly answers: Map<string, Message>
    readonly asked: Array<string>
    /** Nothing comes back, not even a failure: the questioner waits. */
    hangs: boolean
    /** How long they take. */
    takesMs: number
  }
>()("test/support/UpstreamScript") {}

const upstream = Layer.unwrap(
  Effect.map(UpstreamScript, (script) =>
    upstreamMock({
      exchange: (set, { domain, type }) =>
        Effect.suspend(() => {
          script.asked.push(`${set} ${domain} ${type}`)
          if (script.hangs) return Effect.never
          const answer = script.answers.get(`${set} ${domain} ${type}`)
          const end =
            answer === undefined
              ? new ResolutionError({ resolver: set, domain, reason: new Timeout({ afterMs: 4_000 }) })
              : Effect.succeed(answer)
          return script.takesMs === 0 ? end : Effect.delay(end, script.takesMs)
        })
    })
  )
).pipe(
  Layer.provideMerge(
    Layer.sync(UpstreamScript, () => UpstreamScript.of({ answers: new Map(), asked: [], hangs: false, takesMs: 0 }))
  )
)

/** Everything above a data plane, a resolver and a state store. */
export const layerNames = (config: GatewayConfig, files = NameFilesMemory.none) => {
  const destinations = Layer.sync(Destinations, () => {
    const policy = new DestinationPolicy()
    policy.setOwnAddresses(["198.51.100.1"].flatMap((text) => parseAddress(text) ?? []))
    return policy
  })
  return TunnelNamesLive.layer(config).pipe(
    Layer.provide(files),
    Layer.provideMerge(Refresh.layer),
    Layer.provideMerge(ConnectionAcceptor.layer),
    Layer.provideMerge(Authorizations.layer),
    Layer.provideMerge(Clients.layer),
    Layer.provideMerge(Resolutions.layer),
    Layer.provideMerge(ResolverMemory.layer),
    Layer.provideMerge(upstream),
    Layer.provideMerge([answerPolicy, proxyRanges(config.network)]),
    Layer.provideMerge([destinations, IpFamiliesLive.layer]),
    Layer.provideMerge(ControlPlaneStandalone.clientsStay)
  )
}

/** A standalone gateway on any data plane. */
export const layerGateway = <A, E>(
  config: GatewayConfig,
  dataPlane: Layer.Layer<DataPlane | A, E>,
  read?: RegistryLive.RegistryOptions["read"],
  files = NameFilesMemory.none,
  tunnel = TunnelMemory.layer
) =>
  ControlPlaneStandalone.layer().pipe(
    Layer.provideMerge(RegistryLive.layer({ config, ...(read && { read }) })),
    Layer.provideMerge(tunnel),
    Layer.provideMerge(layerNames(config, files)),
    Layer.provideMerge(dataPlane)
  )

/** A question as the tunnel server hands it on: what is known at once is what the long way comes to. */
export const askRaw = Effect.fnUntraced(function* (domain: string, type: number = recordType.A, source = tunnel4(1)) {
  const family = type === recordType.A ? 4 : type === recordType.AAAA ? 6 : null
  const reverse = type === recordType.PTR ? reverseAddress(domain) : null
  const names = yield* TunnelNames
  const question = { domain, type, family, reverse } as const
  const known = names.known(source, question)
  const answer = yield* names.answer(source, question)
  const isShed = answer._tag === "ServerFailure" || answer._tag === "Dropped"
  // What is known has a rate of its own.
  if (typeof known === "object" && !isShed) assert.deepStrictEqual(known, answer)
  return answer
})

/** A question that may wait a little for the name's first lookup; yields when the answer came, too. */
export const askPatiently = Effect.fnUntraced(function* (...question: Parameters<typeof askRaw>) {
  const before = yield* Clock.currentTimeMillis
  const asking = yield* Effect.forkChild(Effect.all([askRaw(...question), Clock.currentTimeMillis]), {
    startImmediately: true
  })
  yield* TestClock.adjust(0)
  if (asking.pollUnsafe() === undefined) yield* TestClock.adjust("140 millis")
  const [answer, at] = yield* Fiber.join(asking)
  return { answer, afterMs: at - before }
})

export const ask = (...question: Parameters<typeof askRaw>) =>
  Effect.map(askPatiently(...question), ({ answer }) => answer)

export const askSix = (domain: string, source = tunnel4(1)) => askPatiently(domain, recordType.AAAA, source)

/** The message in which a client gets the answer to its question. */
export const messageFor = Effect.fnUntraced(function* (name: string, type: number, answer: TunnelAnswer) {
  const bytes = encode({ ...emptyMessage, id: 1, questions: [{ name, type, class: classInternet }] })!
  const message = decode((yield* handleQuery(bytes, "udp", () => Effect.succeed(answer)))!)
  if (isMalformed(message)) return assert.fail(message.reason)
  return message
})

/** A query in bytes to the running DNS service; the decoded answer. Fails when it takes more than 150 ms. */
export const query = Effect.fnUntraced(function* (domain: string, type: number = recordType.A, source = tunnel4(1)) {
  const handler = (yield* TunnelRecorder).dns()
  const bytes = encode({
    ...emptyMessage,
    id: 7,
    recursionDesired: true,
    questions: [{ name: domain, type, class: classInternet }]
  })
  assert.isNotNull(bytes)
  const asking = yield* Effect.forkChild(handler(bytes, { address: source, port: 5_353 }, "udp"), {
    startImmediately: true
  })
  yield* TestClock.adjust(0)
  if (asking.pollUnsafe() === undefined) yield* TestClock.adjust("140 millis")
  if (asking.pollUnsafe() === undefined) return assert.fail("not answered within 150 ms")
  const answer = yield* Fiber.join(asking)
  assert.isNotNull(answer)
  const message = decode(answer, 64)
  if (isMalformed(message)) return assert.fail("malformed answer")
  return message
})

export const addressesIn = (message: Message): ReadonlyArray<string> =>
  message.answers.flatMap(({ data }) => (data._tag === "Address" ? [data.address] : []))

/**
 * A state store whose writes fail while `full` is set, and take a while when `slow` is. While `read` is, another process
 * reads the file, so that no key can be forgotten.
 */
export class Disk extends Context.Service<Disk, { full: boolean; slow: boolean; read: boolean; writes: number }>()(
  "test/support/Disk"
) {}

export const layerDisk = <E>(store: Layer.Layer<StateStore, E>) =>
  Layer.effectContext(
    Effect.gen(function* () {
      const inner = yield* StateStore
      const disk = Disk.of({ full: false, slow: false, read: false, writes: 0 })
      const write = <A>(effect: Effect.Effect<A, StateError>): Effect.Effect<A, StateError> =>
        Effect.suspend(() => {
          if (disk.full) return new StateError({ message: "the disk is full" })
          disk.writes++
          return disk.slow ? Effect.andThen(Effect.yieldNow, effect) : effect
        })
      return Context.make(
        StateStore,
        StateStore.of({
          ...inner,
          putKeys: (keys) =>
            disk.read ? new StateError({ message: "another process reads it" }) : write(inner.putKeys(keys)),
          putKeyLeft: (leftMs) => write(inner.putKeyLeft(leftMs)),
          putClients: (clients) => write(inner.putClients(clients)),
          putMapping: (mapping) => write(inner.putMapping(mapping)),
          removeMapping: (mapping, releasedAt) => write(inner.removeMapping(mapping, releasedAt)),
          takeRested: (...of) => write(inner.takeRested(...of)),
          reserveSlots: (...of) => write(inner.reserveSlots(...of))
        })
      ).pipe(Context.add(Disk, disk))
    })
  ).pipe(Layer.provide(store))

/** Every log line from now on. */
export const withLogLines = <A, E, R>(run: (lines: ReadonlyArray<string>) => Effect.Effect<A, E, R>) => {
  const lines: Array<string> = []
  return run(lines).pipe(
    Effect.provide(Logger.layer([Logger.map(Logger.formatLogFmt, (line) => void lines.push(line))]))
  )
}
