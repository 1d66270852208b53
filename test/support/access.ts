/** The access and resolution services over the in-memory resolver and the recording data plane, and what tests ask of them. */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Random from "effect/Random"
import * as Authorizations from "../../layers/access/Authorizations.ts"
import * as Clients from "../../layers/access/Clients.ts"
import * as ConnectionAcceptor from "../../layers/access/ConnectionAcceptor.ts"
import { clientsStay } from "../../layers/control/standalone/ControlPlaneStandalone.ts"
import * as DataPlaneRecording from "../../layers/memory/DataPlaneRecording.ts"
import * as Refresh from "../../layers/resolution/Refresh.ts"
import * as Resolutions from "../../layers/resolution/Resolutions.ts"
import * as ResolverMemory from "../../layers/memory/ResolverMemory.ts"
import { ProxyRanges } from "../../src/access/ProxyRanges.ts"
import type { SetAddresses } from "../../src/dataplane/commands.ts"
import type { AccessRequest } from "../../src/model/AccessRequest.ts"
import { type Client, ClientId } from "../../src/model/Client.ts"
import { MappingId } from "../../src/model/Mapping.ts"
import { type DnsResource, type Resource, ResourceId } from "../../src/model/Resource.ts"
import { defaultRanges } from "../../src/model/defaultRanges.ts"
import { proxyMembership } from "../../src/model/ranges.ts"
import { AnswerPolicy } from "../../src/resolution/AnswerPolicy.ts"
import { mappingId } from "../../src/resolution/mappingTable.ts"
import {
  NameNotFound,
  NoAddresses,
  NoResolver,
  type ResolutionReason,
  ServerFailure,
  Timeout
} from "../../src/resolution/Resolver.ts"

/** Refuses no answer. */
export const anyAnswer = Layer.succeed(AnswerPolicy, () => [])

export const layerResolutionsUnder = (policy: Layer.Layer<AnswerPolicy>) =>
  Refresh.layer.pipe(
    Layer.provideMerge(Resolutions.layer),
    Layer.provideMerge(Layer.mergeAll(ResolverMemory.layer, DataPlaneRecording.layer, policy))
  )

export const layerResolutions = layerResolutionsUnder(anyAnswer)

export const layerGrants = Layer.merge(Authorizations.layer, Clients.layer).pipe(
  Layer.provideMerge(layerResolutions),
  Layer.provide(clientsStay)
)

export const defaultProxies = Layer.succeed(ProxyRanges, proxyMembership([defaultRanges.proxy4, defaultRanges.proxy6]))

export const layerAccess = ConnectionAcceptor.layer.pipe(Layer.provideMerge(Layer.merge(layerGrants, defaultProxies)))

/** Every delay has exactly its nominal length. */
export const withoutJitter = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.provideService(effect, Random.Random, { nextDoubleUnsafe: () => 0.5, nextIntUnsafe: () => 0 })

export const client = (n: number): Client => ({
  id: ClientId.make(`client-${n}`),
  publicKey: Buffer.alloc(32, n + 1).toString("base64"),
  presharedKey: null,
  tunnel4: `100.64.${n >> 8}.${(n & 255) + 1}`,
  tunnel6: `fd00:2021:1111::${(n + 1).toString(16)}`
})

export const dnsResource = (pattern: string, over: Partial<DnsResource> = {}): DnsResource => ({
  kind: "dns",
  id: ResourceId.make(`resource ${pattern}`),
  pattern,
  resolver: "system",
  filters: [],
  allow: [],
  ...over
})

export const cidrResource = (network: string): Extract<Resource, { kind: "cidr" }> => ({
  kind: "cidr",
  id: ResourceId.make(`resource ${network}`),
  network,
  filters: [],
  allow: []
})

/** The proxy IPs of a client's n-th name. */
export const proxies = (n: number): ReadonlyArray<string> => [
  `100.96.${n >> 8}.${n & 255}`,
  `fd00:2021:1111:8000::${n.toString(16)}`
]

export const request = (domain: string, over: Partial<AccessRequest> = {}): AccessRequest => ({
  client: client(0),
  resource: dnsResource(domain),
  expiresAt: null,
  name: { domain, proxyIps: proxies(1) },
  credentials: null,
  ...over
})

export const subscription = (domain: string, n = 0) => ({
  client: client(n).id,
  resource: dnsResource("**", { id: ResourceId.make("apps") }),
  domain,
  proxyIps: proxies(1),
  cause: "ClientAsked" as const
})

/** The data plane's latest word on every mapping, as a worker takes it: older lookups are ignored. */
export const latestAddresses = Effect.gen(function* () {
  const recorder = yield* DataPlaneRecording.DataPlaneRecorder
  const latest = new Map<MappingId, SetAddresses>()
  const covering = new Map<MappingId, ReadonlyArray<ResourceId>>()
  for (const command of yield* recorder.commands) {
    if (command._tag === "RemoveMapping") latest.delete(command.mapping)
    if (command._tag === "SetMapping") covering.set(command.mapping, command.resources)
    if (command._tag === "RevokeResource") {
      const ofClient = mappingId(command.client, null, "")
      for (const [mapping, resources] of covering) {
        if (!mapping.startsWith(ofClient)) continue
        const left = resources.filter((id) => id !== command.resource)
        covering.set(mapping, left)
        if (left.length === 0) latest.delete(mapping)
      }
    }
    if (command._tag !== "SetAddresses") continue
    const before = latest.get(command.mapping)
    if (before === undefined || before.lookup <= command.lookup) latest.set(command.mapping, command)
  }
  return latest
})

/** How many times the resolver was asked so far. */
export const lookups = Effect.gen(function* () {
  const script = yield* ResolverMemory.ResolverScript
  return (yield* script.calls).length
})

/** Every way in which a resolver can end without an address. */
export const failures: ReadonlyArray<readonly [name: string, behaviour: ResolverMemory.Behaviour, reason: string]> = [
  ...[
    new NameNotFound({ ttlSeconds: 5 }),
    new NoAddresses({ ttlSeconds: 5 }),
    new ServerFailure({ detail: "SERVFAIL" }),
    new Timeout({ afterMs: 10_000 }),
    new NoResolver({ detail: "no server is configured" })
  ].map((reason: ResolutionReason) => [`fails with ${reason._tag}`, ResolverMemory.fail(reason), reason._tag] as const),
  ["hangs", { _tag: "Hang" }, "Timeout"],
  ["is never answered", { _tag: "Silent" }, "Timeout"],
  ["dies with a defect", { _tag: "Die", defect: new Error("boom") }, "ServerFailure"],
  ["answers with nothing", ResolverMemory.answer([]), "NoAddresses"],
  ["answers with what is no address", ResolverMemory.answer(["not-an-address"]), "NoAddresses"]
]
