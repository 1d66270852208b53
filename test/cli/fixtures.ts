import { Activity } from "../../src/dataplane/Activity.ts"
import { makeStatusReport, type StatusInput } from "../../src/cli/makeStatusReport.ts"
import type { HostFacts } from "../../src/cli/doctorFacts.ts"
import { ClientId } from "../../src/model/Client.ts"
import { type Mapping, MappingId } from "../../src/model/Mapping.ts"
import { ResourceId } from "../../src/model/Resource.ts"
import { NameNotFound, Timeout } from "../../src/resolution/Resolver.ts"
import { key } from "../config/fixtures.ts"

const now = 1_800_000_000_000

export const mapping = (domain: string, client = "alice"): Mapping => ({
  id: MappingId.make(`${client}/gitlab/${domain}`),
  client: ClientId.make(client),
  resources: [ResourceId.make("gitlab")],
  name: { resolver: "corp", domain },
  proxyIps: ["100.96.0.1", "fd00:2021:1111:8000::1"],
  generation: 1
})

const client = (id: string, n: number) => ({
  id: ClientId.make(id),
  publicKey: key(n),
  presharedKey: null,
  tunnel4: `100.64.0.${n}`,
  tunnel6: `fd00:2021:1111::${n}`
})

const resource = { id: ResourceId.make("gitlab"), kind: "cidr", network: "10.0.0.0/8", filters: [], allow: [] } as const

export const input: StatusInput = {
  at: now,
  now,
  expiryAhead: 0,
  startedAt: now - 3_725_000,
  publicKey: key(7),
  endpoint: { host: "2001:db8::1", port: 51820 },
  http: { at: { host: "127.0.0.1", port: 9820 }, wrong: null },
  grants: [],
  site: null,
  presence: null,
  virtualAddress: null,
  draining: null,
  clients: [client("alice", 2), client("bob", 3)],
  gatewayKeys: new Map([["alice", key(7)]]),
  clientStates: new Map([
    [
      "alice",
      {
        _tag: "ClientState",
        epoch: 2,
        client: ClientId.make("alice"),
        publicKey: key(2),
        connected: true,
        endpoint: { address: "198.51.100.7", port: 4500 },
        lastTai64n: null,
        local: null,
        sentTick: 0,
        gatewayKey: null,
        behindMs: 0,
        handshakeAt: now - 95_000,
        path: "relayed"
      }
    ]
  ]),
  activity: new Activity(),
  twoPlaces: new Map(),
  mappings: [
    {
      mapping: mapping("gitlab.corp.internal"),
      state: { _tag: "Resolved", addresses: ["10.20.0.5"], since: now - 30_000, staleAt: now + 30_000, failure: null },
      nextTryAt: null,
      lookups: 3
    },
    {
      mapping: mapping("old.corp.internal"),
      state: {
        _tag: "Resolved",
        addresses: ["10.20.0.6"],
        since: now - 600_000,
        staleAt: now - 540_000,
        failure: new Timeout({ afterMs: 10_000 })
      },
      nextTryAt: now + 4000,
      lookups: 9
    },
    {
      mapping: mapping("none.corp.internal"),
      state: {
        _tag: "Unresolved",
        reason: new NameNotFound({ ttlSeconds: 60 }),
        attempts: 2,
        since: now - 5000,
        negativeUntil: now + 55_000
      },
      nextTryAt: now + 2000,
      lookups: 2
    },
    {
      mapping: mapping("new.corp.internal", "bob"),
      state: { _tag: "Resolving", since: now - 200, attempts: 1, silent: false },
      nextTryAt: now,
      lookups: 1
    }
  ],
  authorizations: [
    { client: client("alice", 2), resource, expiresAt: null },
    { client: client("bob", 3), resource, expiresAt: now + 90_000 }
  ],
  workerEpoch: 2,
  ipv6: { sockets: null, device: null, wayOut: null },
  foreignNetworks: [],
  host: { repaired: 0, devicesMade: 0, last: null, wrong: null },
  firewall: { judged: true, uncounted: null, lost: [], counters: { lost: 0, healed: 0 } },
  controlPlane: {
    kind: "file",
    connected: true,
    detail: "2 clients configured",
    filtered: {
      count: 3,
      last: {
        client: "alice",
        name: "nas.example.org",
        address: "10.77.0.10",
        why: "not a public address",
        at: now - 5_000
      }
    }
  },
  controlPlaneCounters: { questions: 3, unknown_source: 0 },
  dataPlaneCounters: { "outbound.forwarded": 12, "outbound.filtered": 0 },
  resolutionCounters: { lookups: 15 },
  dnsCounters: { udp_queries: 0 },
  dnsServers: [
    {
      server: "10.0.0.53:53",
      answeredAt: now - 2_000,
      silentSince: null,
      latencyMs: 3.6,
      oddities: ["no EDNS", "TCP only"]
    },
    {
      server: "tls://10.0.1.53:853#dns.corp",
      answeredAt: null,
      silentSince: now - 70_000,
      latencyMs: null,
      oddities: []
    }
  ],
  upstreamCounters: { queries: 8, resends: 0 },
  defects: {}
}

export const report = makeStatusReport(input)

/** A host that lacks nothing. */
export const doctorHost: HostFacts = {
  tools: [
    { name: "ip", version: "ip utility, iproute2-6.15.0", problem: null },
    { name: "nft", version: "nftables v1.1.3 (Commodore Bullmoose #4)", problem: null }
  ],
  tun: { found: null },
  portTaken: { found: null },
  dnsTaken: { found: null },
  deviceTaken: { found: null },
  httpTaken: { found: false },
  clock: { found: { synchronized: true, aheadMs: 0 } },
  forwarding: { found: { 4: null, 6: null } },
  conntrack: { found: { used: 12, most: 262_144 } },
  overlaps: { found: { conflict: null, foreign: [] } },
  firewall: { found: [] },
  uplinks: { found: [{ device: "eth0", mtu: 1500 }] },
  ownAddresses: { found: ["203.0.113.5"] },
  disk: { found: { problem: null, free: 9e9 } }
}
