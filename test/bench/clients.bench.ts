/**
 * What clients cost a gateway: `npm run bench:clients` (needs `--expose-gc`). Memory per configured client, per client with a
 * WireGuard session, and per forwarded flow; and the time of a packet of a client picked at random among few and among all
 * of them: no step of it walks the clients, what it takes longer among many is waiting for memory. Options: `--clients`,
 * `--flows`, `--json`.
 */
import process from "node:process"
import { makeMemory } from "../../layers/dataplane/native/memory.ts"
import { makePrimitives } from "../../layers/dataplane/native/primitives.ts"
import { countersByteLength, readCounters } from "../../src/dataplane/counters.ts"
import { ClientTable } from "../../src/dataplane/engine/clientTable.ts"
import { Engine } from "../../src/dataplane/engine/engine.ts"
import type { PacketIo } from "../../src/dataplane/engine/packetIo.ts"
import { makeVirtioHeader } from "../../src/dataplane/offload/virtioHeader.ts"
import type { ClientId } from "../../src/model/Client.ts"
import type { MappingId } from "../../src/model/Mapping.ts"
import { copyEndpoint, makeEndpoint } from "../../src/packet/endpoint.ts"
import { type Peer, WireGuard } from "../../src/wireguard/WireGuard.ts"
import { addresses, gatewayPrivateKey, gatewayPublicKey, nameCommands, policy, proxy4 } from "../support/engineWorld.ts"
import { addressWords, buildUdp } from "../support/packets.ts"
import { type Measure, option, report } from "./support/report.ts"
import { teller } from "../support/tell.ts"

const count = option("clients", 10_000)
const flows = option("flows", 1_000_000)
const few = Math.min(100, count)
const collect = (globalThis as { readonly gc?: () => void }).gc
if (collect === undefined) throw new Error("run this with node --expose-gc")

const memory = makeMemory(16)
const { arena } = memory
const { bytes } = arena
const { primitives } = makePrimitives(memory)
const at = arena.reserve(4_096)
const out = arena.reserve(4_096)
const wall = 1_800_000_000_000
let now = 60_000

/** Heap and what lies outside of it (typed arrays), in bytes. */
const used = (): number => {
  collect()
  collect()
  const { arrayBuffers, heapUsed } = process.memoryUsage()
  return heapUsed + arrayBuffers
}

// The clients' side: one datagram at a time goes either way.
let datagram = 0
let sender = 0
const endpoint = makeEndpoint()
endpoint.remote.w2 = 0xffff
const fromClient = (_: unknown, offset: number, length: number): void => {
  bytes.copyWithin(out, offset, offset + length)
  datagram = length
}
const fleet: Array<{ readonly wireguard: WireGuard; readonly peer: Peer; readonly key: string }> = []
for (let i = 0; i < count; i++) {
  const privateKey = new Uint8Array(32).fill(1)
  new DataView(privateKey.buffer).setUint32(4, i)
  const wireguard = new WireGuard({ primitives, privateKey, arena, send: fromClient, event: () => undefined })
  const peer = wireguard.addPeer({ publicKey: gatewayPublicKey, presharedKey: null, keepalive: 0, user: i })
  peer.hasEndpoint = true
  fleet.push({ wireguard, peer, key: Buffer.from(wireguard.publicKey).toString("base64") })
}

const io: PacketIo = {
  receive: (offset, _, from) => {
    if (datagram === 0) return 0
    const length = datagram
    bytes.copyWithin(offset, out, out + length)
    datagram = 0
    // Each has an address of its own: handshakes are limited by address.
    endpoint.remote.w3 = (198 << 24) | (18 << 16) | sender
    endpoint.port = 51_820
    copyEndpoint(endpoint, from)
    segment = length
    return length
  },
  segmentSize: () => segment,
  shedHandshakes: () => {},
  trafficClass: () => 0,
  send: (_, offset, length) => {
    const { wireguard } = fleet[sender]!
    wireguard.receive(offset, length, endpoint, now)
    wireguard.workHandshakes(now)
    return true
  },
  readTun: () => 0,
  tunHeader: makeVirtioHeader(),
  writeTun: () => true,
  writeGathered: () => true
}
let segment = 0
const counters = new Float64Array(countersByteLength / 8)
const engine = new Engine({
  epoch: 1,
  arena,
  io,
  primitives,
  privateKey: gatewayPrivateKey,
  counters,
  mtu: 1_420,
  maxSessions: 1_048_576
})
const tell = teller(engine)
const turn = (): void => {
  engine.turn(now, wall)
  engine.takeNotices()
}
const idOf = (i: number): ClientId => `client-${i}` as ClientId
const tunnel4 = (i: number): string => `100.65.${i >> 8}.${i & 255}`
const measures: Array<Measure> = []
const perClient = (name: string, before: number): void =>
  void measures.push({ name, value: (used() - before) / count / 1_024, unit: "KiB" })

const empty = used()
tell(policy, now, wall)
const configuring = performance.now()
for (const [i, { key }] of fleet.entries()) {
  const client = idOf(i)
  tell(
    {
      _tag: "UpsertClient",
      client,
      publicKey: key,
      presharedKey: null,
      tunnel4: tunnel4(i),
      tunnel6: `fd00:2021:1111::1:${(i + 1).toString(16)}`,
      endpoint: null,
      lastTai64n: null,
      keepalive: 0,
      initiate: false
    },
    now,
    wall
  )
  const mapping = `${client}/app/app.corp` as MappingId
  for (const command of nameCommands(client, mapping, { proxyIps: [proxy4] })) tell(command, now, wall)
  tell({ ...addresses(1, 1, "Resolved", ["10.20.0.10"]), mapping }, now, wall)
}
const configured = performance.now() - configuring
perClient("memory per configured client with one mapping", empty)
measures.push({ name: "time to take one in", value: (configured * 1_000) / count, unit: "us" })

const before = used()
for (const [i, { peer, wireguard }] of fleet.entries()) {
  sender = i
  // Not all at once, since handshakes are limited per second; but all within the life of a session.
  now += 10
  wireguard.initiate(peer, now, wall)
  for (let n = 0; n < 3; n++) turn()
  if (peer.current === null) throw new Error(`client ${i} could not connect`)
}
perClient("and for a WireGuard session, both ends of it", before)

const size = 1_200
const packet = buildUdp({
  source: tunnel4(0),
  destination: proxy4,
  sourcePort: 20_000,
  destinationPort: 443,
  payload: new Uint8Array(size - 28),
  withoutChecksum: true
})
const view = new DataView(memory.memory.buffer)
/** Addresses, ports and header checksum of a packet from client `i`. */
const prepare = (i: number, port: number): void => {
  bytes.set(packet, at)
  view.setUint32(at + 12, ((100 << 24) | (65 << 16) | i) >>> 0)
  view.setUint16(at + 20, port)
  view.setUint16(at + 10, 0)
  let sum = 0
  for (let n = 0; n < 20; n += 2) sum += view.getUint16(at + n)
  sum = (sum & 0xffff) + (sum >>> 16)
  view.setUint16(at + 10, ~((sum & 0xffff) + (sum >>> 16)) & 0xffff)
}
const seed = new Uint32Array([1])
const random = (below: number): number => {
  seed[0] = Math.imul(seed[0]!, 1_664_525) + 1_013_904_223
  return Math.floor((seed[0] / 0x1_0000_0000) * below)
}
const forwarded = (): number => readCounters(counters)["outbound.forwarded"]!
const through = (among: number, packets: number): number => {
  const start = performance.now()
  const first = forwarded()
  for (let n = 0; n < packets; n++) {
    sender = random(among)
    prepare(sender, 20_000)
    datagram = fleet[sender]!.wireguard.seal(fleet[sender]!.peer, at, size, out, now)
    turn()
  }
  if (forwarded() - first !== packets) throw new Error(`${packets - forwarded() + first} packets were lost`)
  return ((performance.now() - start) * 1_000_000) / packets
}
through(count, 100_000)
for (const among of [few, count]) {
  measures.push({
    name: `turn with one packet of a client among ${among}, its own seal included`,
    value: Math.min(...Array.from({ length: 3 }, () => through(among, 50_000))),
    unit: "ns"
  })
}

for (const among of [few, count]) {
  const table = new ClientTable()
  const words = Array.from({ length: among }, (_, i) => [
    addressWords(tunnel4(i)),
    addressWords(`fd00:2021:1111::1:${(i + 1).toString(16)}`)
  ])
  for (const [i, [four, six]] of words.entries()) table.place(table.add(idOf(i), fleet[i]!.peer), four!, six!)
  const lookups = 1_000_000
  let found = 0
  const run = (): number => {
    const start = performance.now()
    for (let n = 0; n < lookups; n++) if (table.owner(words[random(among)]![n & 1]!) !== undefined) found++
    return ((performance.now() - start) * 1e6) / lookups
  }
  const value = Math.min(...Array.from({ length: 5 }, run))
  if (found !== 5 * lookups) throw new Error("a client was not found")
  measures.push({ name: `client of a tunnel address among ${among}`, value, unit: "ns" })
}

// Sessions take their memory at the start and touch it as they come: what counts is what is resident.
const resident = (): number => process.memoryUsage.rss()
const start = resident()
const sessionsBefore = readCounters(counters)["sessions.created"]!
for (let n = 0; n < flows; n++) {
  sender = n % count
  prepare(sender, 1_024 + Math.floor(n / count))
  datagram = fleet[sender]!.wireguard.seal(fleet[sender]!.peer, at, size, out, now)
  turn()
}
const created = readCounters(counters)["sessions.created"]! - sessionsBefore
measures.push({
  name: `resident memory per flow, ${created} of them`,
  value: (resident() - start) / created,
  unit: "B"
})
report(`${count} clients`, measures)
