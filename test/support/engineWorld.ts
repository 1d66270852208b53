/** One gateway in memory with the addresses of the default ranges, and clients for it. */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as DataPlaneMemory from "../../layers/memory/DataPlaneMemory.ts"
import { makeNodePrimitives } from "../../layers/dataplane/nodePrimitives.ts"
import { packetPolicy as portalPackets } from "../../src/control/firezone/packetPolicy.ts"
import { packetPolicy as standalonePackets, packetPolicyOf } from "../../src/control/standalone/packetPolicy.ts"
import { DataPlane } from "../../src/dataplane/DataPlane.ts"
import type { Command, SetAddresses, SetMapping, SetPolicy, UpsertClient } from "../../src/dataplane/commands.ts"
import type { ClientId } from "../../src/model/Client.ts"
import type { MappingId } from "../../src/model/Mapping.ts"
import type { PortFilter } from "../../src/model/PortFilter.ts"
import type { ResourceId } from "../../src/model/Resource.ts"
import { MemoryClient } from "./memoryClient.ts"

export const primitives = makeNodePrimitives(new Uint8Array(64))

/** 32 bytes. */
export const key = (fill: number): Uint8Array => new Uint8Array(32).fill(fill)

export const gatewayPrivateKey = key(0x41)
export const gatewayPublicKey = primitives.x25519(gatewayPrivateKey).publicKey

export const gateway4 = "100.64.0.1"
export const gateway6 = "fd00:2021:1111::1"

const postgres = { hosts: [], user: "", database: "", tls: false, authorities: null, passwordFile: null }

/** What packets meet under each control plane, at a gateway of several, and where nothing is masqueraded. */
export const packetsAt = {
  portal: portalPackets,
  standalone: standalonePackets,
  site: packetPolicyOf({ masquerade: true, state: postgres }),
  routed: packetPolicyOf({ masquerade: false, state: null })
} as const

export const policy: SetPolicy = {
  _tag: "SetPolicy",
  packets: standalonePackets,
  gateway4,
  gateway6,
  tunnelNetworks: ["100.64.0.0/11", "fd00:2021:1111::/107"],
  proxyNetworks: ["100.96.0.0/11", "fd00:2021:1111:8000::/107"],
  foreignNetworks: [],
  ownAddresses: ["192.0.2.1", "10.20.0.1"],
  broadcasts: ["10.20.255.255"],
  wayOut6: true
}

export const layer: Layer.Layer<DataPlane | DataPlaneMemory.MemoryNetwork> = DataPlaneMemory.layer({
  privateKey: gatewayPrivateKey,
  maxSessions: 4_096
})

/** The same over a system that takes batches of every kind. */
export const offloadingLayer: Layer.Layer<DataPlane | DataPlaneMemory.MemoryNetwork> = DataPlaneMemory.layer({
  privateKey: gatewayPrivateKey,
  maxSessions: 4_096,
  offloads: { joinTcp: true, joinUdp: true, batch: true }
})

/** Both again with every packet looked at ahead of its turn, as in a large table of sessions. */
export const lookingAhead = {
  layer: DataPlaneMemory.layer({ privateKey: gatewayPrivateKey, maxSessions: 4_096, lookAheadFrom: 0 }),
  offloadingLayer: DataPlaneMemory.layer({
    privateKey: gatewayPrivateKey,
    maxSessions: 4_096,
    offloads: { joinTcp: true, joinUdp: true, batch: true },
    lookAheadFrom: 0
  })
}

export const clientId = (n: number): ClientId => `client-${n}` as ClientId
export const resourceId = (name: string): ResourceId => name as ResourceId
export const mappingId = (client: number, domain: string): MappingId => `${clientId(client)}/app/${domain}` as MappingId

export const tunnel4 = (n: number): string => `100.64.1.${n}`
export const tunnel6 = (n: number): string => `fd00:2021:1111::1:${n}`

/** Client `n` (1…9): its key, its addresses, its UDP port 40000 + n. */
export const makeClient = (n: number): MemoryClient =>
  new MemoryClient({ privateKey: key(n), gatewayKey: gatewayPublicKey, port: 40_000 + n })

export const upsertClient = (n: number): UpsertClient => ({
  _tag: "UpsertClient",
  client: clientId(n),
  publicKey: Buffer.from(primitives.x25519(key(n)).publicKey).toString("base64"),
  presharedKey: null,
  tunnel4: tunnel4(n),
  tunnel6: tunnel6(n),
  endpoint: null,
  local: null,
  lastTai64n: null,
  sentTick: 0,
  gatewayKey: null,
  keepalive: 0,
  initiate: false
})

export const proxy4 = "100.96.0.4"
export const proxy6 = "fd00:2021:1111:8000::4"

/** Of client `n`; `covering` are the resources that the name is of. */
export const setMapping = (
  n: number,
  domain: string,
  proxyIps: ReadonlyArray<string>,
  generation = 1,
  covering: ReadonlyArray<string> = ["app"]
): SetMapping => ({
  _tag: "SetMapping",
  mapping: mappingId(n, domain),
  client: clientId(n),
  resources: covering.map(resourceId),
  proxyIps,
  generation
})

/** DNS resource `app` of this client and a mapping of `domain` to the proxies. */
export const nameCommands = (
  client: ClientId,
  mapping: MappingId,
  options: { readonly filters?: ReadonlyArray<PortFilter>; readonly proxyIps?: ReadonlyArray<string> } = {}
): ReadonlyArray<Command> => [
  {
    _tag: "SetResource",
    client,
    resource: resourceId("app"),
    kind: "dns",
    network: null,
    filters: options.filters ?? [],
    allow: []
  },
  {
    _tag: "SetMapping",
    mapping,
    client,
    resources: [resourceId("app")],
    proxyIps: options.proxyIps ?? [proxy4, proxy6],
    generation: 1
  }
]

/** Client, DNS resource `app` and a mapping of `domain` to the proxies; no lookup has ended. */
export const setUp = Effect.fnUntraced(function* (
  n: number,
  {
    domain = "app.corp",
    ...options
  }: {
    readonly filters?: ReadonlyArray<PortFilter>
    readonly domain?: string
    readonly proxyIps?: ReadonlyArray<string>
  } = {}
) {
  const dataPlane = yield* DataPlane
  yield* dataPlane.start
  for (const command of [policy, upsertClient(n), ...nameCommands(clientId(n), mappingId(n, domain), options)])
    yield* dataPlane.send(command)
})

export const addresses = (
  n: number,
  lookup: number,
  state: SetAddresses["state"],
  list: ReadonlyArray<string> = [],
  domain = "app.corp"
): SetAddresses => ({
  _tag: "SetAddresses",
  mapping: mappingId(n, domain),
  lookup,
  state,
  addresses: list,
  staleAt: Number.MAX_SAFE_INTEGER
})
