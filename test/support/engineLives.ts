/** Engines by themselves, told every kind of command about few contested things, and what they hold afterwards. */
import { makeNodePrimitives } from "../../layers/dataplane/nodePrimitives.ts"
import { makeMemoryPacketIo, type MemoryPacketIo } from "../../layers/memory/memoryPacketIo.ts"
import type { Command, SetKnownEndpoints } from "../../src/dataplane/commands.ts"
import { countersByteLength, readCounters } from "../../src/dataplane/counters.ts"
import { Engine } from "../../src/dataplane/engine/engine.ts"
import type { EngineState } from "../../src/dataplane/engine/engineState.ts"
import type { RemoteCandidates } from "../../src/ice/remoteCandidates.ts"
import { RelayId } from "../../src/model/Relay.ts"
import { formatAddress, parseAddress } from "../../src/packet/address.ts"
import { Arena } from "../../src/packet/arena.ts"
import type { Endpoint } from "../../src/packet/endpoint.ts"
import { formatTransport } from "../../src/packet/transportAddress.ts"
import type { OwnKey } from "../../src/wireguard/OwnKey.ts"
import type { Peer } from "../../src/wireguard/WireGuard.ts"
import { network } from "./engineSteps.ts"
import {
  addresses,
  clientId,
  gatewayPrivateKey,
  mappingId,
  packetsAt,
  policy,
  resourceId,
  setMapping,
  upsertClient
} from "./engineWorld.ts"

export interface LoneEngine {
  readonly engine: Engine
  readonly io: MemoryPacketIo
  readonly readCounters: () => Record<string, number>
}

export const loneEngine = (
  onDatagram: (datagram: Uint8Array, to: Endpoint) => void = () => {},
  onPacket: (packet: Uint8Array) => void = () => {},
  privateKey: Uint8Array = gatewayPrivateKey
): LoneEngine => {
  const arena = new Arena(new ArrayBuffer(1 << 20))
  const io = makeMemoryPacketIo(arena, { datagram: (to, bytes) => onDatagram(bytes, to), packet: onPacket })
  const primitives = makeNodePrimitives(arena.bytes)
  const counters = new Float64Array(countersByteLength / 8)
  const sizes = { mtu: 1_280, maxSessions: 64 }
  return {
    io,
    readCounters: () => readCounters(counters),
    engine: new Engine({ epoch: 1, arena, io, primitives, counters, privateKey, ...sizes })
  }
}

const psk = (fill: number): string => Buffer.alloc(32, fill).toString("base64")

const known = (n: number, sentTick: number, call: boolean): SetKnownEndpoints => ({
  _tag: "SetKnownEndpoints",
  clients: [
    {
      client: clientId(n),
      endpoint: { address: "198.51.100.8", port: 4_000 + n },
      local: "192.0.2.1",
      lastTai64n: null,
      sentTick
    }
  ],
  call
})

const gatewayKeyText = Buffer.from(gatewayPrivateKey).toString("base64")

const ice = (side: string, role: "controlled" | "controlling" = "controlled") => ({
  local: { username: `gw${side}`, password: "gateway's password, long" },
  remote: { username: `cl${side}`, password: "client's password, longer" },
  role
})

const candidate = (port: number): string =>
  `candidate:1 1 udp 1694498815 203.0.113.7 ${port} typ srflx raddr 0.0.0.0 rport 0`

/** Two clients that claim each other's keys and addresses, and names that claim each other's proxies. */
export const contested: ReadonlyArray<Command> = [
  policy,
  { ...policy, packets: packetsAt.portal },
  { ...policy, packets: packetsAt.site },
  { _tag: "SetKeys", privateKey: psk(11), endingKey: gatewayKeyText },
  { _tag: "SetKeys", privateKey: psk(11), endingKey: null },
  { _tag: "SetKeys", privateKey: gatewayKeyText, endingKey: psk(11) },
  { _tag: "SetKeys", privateKey: psk(12), endingKey: psk(11) },
  { _tag: "SetKeys", privateKey: "none", endingKey: null },
  { _tag: "SetHostCandidates", addresses: [{ address: "192.0.2.1", port: 52_625 }] },
  {
    _tag: "SetRelays",
    relays: [
      {
        id: RelayId.make("a"),
        addresses: [{ address: "203.0.113.1", port: 3_478 }],
        username: "ann",
        password: "secret"
      }
    ]
  },
  ...[1, 2].flatMap((n): ReadonlyArray<Command> => [
    upsertClient(n),
    { ...upsertClient(n), keepalive: 25 },
    { ...upsertClient(n), publicKey: upsertClient(3 - n).publicKey },
    { ...upsertClient(n), publicKey: upsertClient(7).publicKey },
    { ...upsertClient(n), tunnel4: upsertClient(3 - n).tunnel4 },
    { ...upsertClient(n), tunnel6: upsertClient(3 - n).tunnel6 },
    { ...upsertClient(n), presharedKey: psk(5) },
    { ...upsertClient(n), endpoint: { address: "198.51.100.7", port: 4_000 + n }, initiate: true },
    known(n, 1_000_000, true),
    known(n, 2_000_000, false),
    { ...upsertClient(n), endpoint: null, gatewayKey: psk(21) },
    { ...upsertClient(n), endpoint: null, gatewayKey: psk(22) },
    { ...upsertClient(n), ice: ice("a") },
    { ...upsertClient(n), ice: ice("a"), presharedKey: psk(5) },
    { ...upsertClient(n), ice: ice("a"), presharedKey: psk(6) },
    { ...upsertClient(n), ice: ice("b") },
    { ...upsertClient(n), ice: ice("a"), tunnel4: upsertClient(3 - n).tunnel4 },
    { _tag: "AddCandidate", client: clientId(n), candidate: candidate(1_000) },
    { _tag: "AddCandidate", client: clientId(n), candidate: candidate(2_000) },
    { _tag: "RemoveCandidate", client: clientId(n), candidate: candidate(1_000) },
    { _tag: "RemoveClient", client: clientId(n) },
    { _tag: "DisconnectClient", client: clientId(n) },
    network("app", null, { client: clientId(n), kind: "dns" }),
    network("other", null, { client: clientId(n), kind: "dns" }),
    network("lab", "10.20.0.0/16", { client: clientId(n) }),
    network("lab", "10.30.0.0/16", { client: clientId(n) }),
    network("world", null, { client: clientId(n) }),
    { _tag: "RevokeResource", client: clientId(n), resource: resourceId("app") },
    { _tag: "RevokeResource", client: clientId(n), resource: resourceId("other") },
    { _tag: "RevokeResource", client: clientId(n), resource: resourceId("lab") },
    setMapping(n, "a.corp", ["100.96.0.4", "100.96.0.5"]),
    setMapping(n, "b.corp", ["100.96.0.5"]),
    setMapping(n, "b.corp", ["100.96.0.9"], 2),
    setMapping(n, "a.corp", ["100.96.0.9"], 3),
    setMapping(n, "b.corp", ["100.96.0.4"], 1, ["other"]),
    setMapping(n, "a.corp", ["100.96.0.4", "100.96.0.5"], 1, ["app", "other"]),
    setMapping(n, "a.corp", ["100.96.0.4", "100.96.0.5"], 1, ["other"]),
    { ...setMapping(n, "a.corp", ["100.96.0.4"], 4), client: clientId(3 - n) },
    addresses(n, 1, "Resolving", [], "a.corp"),
    addresses(n, 1, "Resolved", ["10.20.0.10"], "a.corp"),
    addresses(n, 3, "Unresolved", [], "a.corp"),
    addresses(n, 2, "Resolved", ["10.20.0.11"], "b.corp"),
    addresses(n, 4, "Unasked", [], "a.corp"),
    { _tag: "LapseMapping", mapping: mappingId(n, "a.corp") },
    { _tag: "LapseMapping", mapping: mappingId(n, "b.corp") },
    { _tag: "RemoveMapping", mapping: mappingId(n, "a.corp") },
    { _tag: "RemoveMapping", mapping: mappingId(n, "b.corp") }
  ])
]

const proxies = ["100.96.0.4", "100.96.0.5", "100.96.0.9"]

interface Inside {
  readonly state: EngineState
  readonly wireguard: {
    readonly peers: ReadonlyMap<string, Peer>
    readonly ownKey: OwnKey
    readonly endingKey: OwnKey | null
  }
  readonly connections: {
    readonly connections: ReadonlyMap<
      number,
      { readonly ice: unknown; readonly agent: { readonly remotes: RemoteCandidates } }
    >
  }
}

/** What packets would meet: for each client, whose it is and what it may reach. */
export const holds = (engine: Engine): ReadonlyArray<unknown> => {
  const { connections, state, wireguard } = engine as unknown as Inside
  const { clients, resources, translations } = state
  const hexOf = (bytes: Uint8Array | null): string => (bytes === null ? "-" : Buffer.from(bytes).toString("hex"))
  return [
    state.packets,
    [wireguard.ownKey, wireguard.endingKey].map((key) => hexOf(key?.publicKey ?? null)),
    state.resources.find(resourceId("app")) >= 0,
    ...[1, 2].map((n) => {
      const client = clients.find(clientId(n))
      if (client === undefined) return `${n} is not there`
      const { peer } = client
      const connection = connections.connections.get(client.index)
      return {
        key: peer.removed ? "none" : hexOf(peer.publicKey),
        known: [...wireguard.peers.values()].filter(({ user }) => user === client.index).length,
        gatewayKey: peer.removed ? "none" : hexOf(peer.ownKey),
        presharedKeys: [hexOf(peer.presharedKey), hexOf(peer.otherKey)],
        keepalive: peer.removed ? 0 : peer.keepalive,
        addresses: [client.tunnel4, client.tunnel6].map(formatAddress),
        owners: [clients.owner(client.tunnel4)?.id, clients.owner(client.tunnel6)?.id],
        ice: connection?.ice ?? null,
        candidates: connection?.agent.remotes.list.map(({ address }) => formatTransport(address)).toSorted(),
        numbers: peer.removed ? [] : [client.number, client.connection, client.flows],
        resources: [...client.resources.values()]
          .map(
            ({ id, kind, network: to }) => `${id} ${kind} ${to === null ? "" : formatAddress(to.address)}/${to?.prefix}`
          )
          .toSorted(),
        routes: ["10.20.0.1", "10.30.0.1", "198.51.100.1"].map((to) => {
          const index = state.routes.choose(client.index, parseAddress(to)!, 6, 443)
          return index < 0 ? index : resources.name(index)
        }),
        mappings: [...client.mappings].map((m) => `${state.mappings.name(m)} ${translations.version(m)}`).toSorted(),
        proxies: proxies.map((text) => {
          const proxy = parseAddress(text)!
          const m = translations.find(client.index, proxy)
          if (m < 0) return "none"
          return {
            mapping: state.mappings.name(m),
            resources: translations.resourcesOf(m).map((each) => resources.name(each)),
            state: translations.state(m),
            addresses: translations.addresses(m, proxy).map(formatAddress)
          }
        })
      }
    })
  ]
}
