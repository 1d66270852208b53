/**
 * The engine among a million flows: `npm run bench:crowd`. Clients' datagrams go through the whole engine to the TUN
 * device, and real hosts' replies back, each of a flow chosen at random, so that the processor's caches know none of
 * them. The clients seal beforehand and open nothing: the time is the gateway's alone. Best of the rounds, per packet.
 * Options: `--live` sessions, `--packets` per round, `--rounds`, `--size` (bytes), `--json`.
 */
import process from "node:process"
import { makeMemory, reserveTable } from "../../layers/dataplane/native/memory.ts"
import { makePrimitives } from "../../layers/dataplane/native/primitives.ts"
import { counterIndex, countersByteLength } from "../../src/dataplane/counters.ts"
import { Engine } from "../../src/dataplane/engine/engine.ts"
import type { PacketIo } from "../../src/dataplane/engine/packetIo.ts"
import { makeVirtioHeader } from "../../src/dataplane/offload/virtioHeader.ts"
import { copyEndpoint, type Endpoint, makeEndpoint } from "../../src/packet/endpoint.ts"
import { type Peer, WireGuard } from "../../src/wireguard/WireGuard.ts"
import {
  addresses,
  clientId,
  mappingId,
  nameCommands,
  policy,
  proxy4,
  tunnel4,
  upsertClient
} from "../support/engineWorld.ts"
import { addressWords, buildUdp } from "../support/packets.ts"
import { option, report } from "./support/report.ts"
import { teller } from "../support/tell.ts"

const live = option("live", 1_000_000)
const packets = option("packets", 400_000)
const rounds = option("rounds", 5)
const size = option("size", 128)
const perClient = 16_000
const clients = Math.ceil(live / perClient)
/** Datagrams, and replies, that are made ready at a time. */
const block = 8_192
const stride = (size + 63) & ~63
const sealedStride = stride + 64

const real = "10.20.0.10"
const memory = makeMemory(8 + Math.ceil((block * (stride + sealedStride)) / 1_048_576))
const { arena } = memory
const { bytes } = arena
const view = new DataView(memory.memory.buffer)
const { primitives } = makePrimitives(memory)
const gatewayKey = new Uint8Array(32).fill(0x41)
const sealed = arena.reserve(block * sealedStride)
const replies = arena.reserve(block * stride)
const scratch = arena.reserve(256)
const sealedBy = new Int32Array(block)
const sealedLengths = new Int32Array(block)
const wall = 1_800_000_000_000
let now = 1_000

/** A full-period generator over 2^32: the flows come in no order that a cache could follow. */
const state = new Uint32Array([1])
const random = (below: number): number => {
  state[0] = Math.imul(state[0]!, 1_664_525) + 1_013_904_223
  return Math.floor((state[0] / 0x1_0000_0000) * below)
}

interface Sender {
  readonly wireguard: WireGuard
  readonly peer: Peer
  readonly endpoint: Endpoint
  readonly template: number
}
let handshakeLength = 0
const gatewayEndpoint = makeEndpoint()
Object.assign(gatewayEndpoint.remote, addressWords("192.0.2.1"))
gatewayEndpoint.port = 51_820

const makeSender = (n: number): Sender => {
  const wireguard = new WireGuard({
    primitives,
    privateKey: new Uint8Array(32).fill(n),
    arena,
    send: (_, offset, length) => {
      bytes.copyWithin(scratch, offset, offset + length)
      handshakeLength = length
    },
    event: () => undefined
  })
  const config = { publicKey: primitives.x25519(gatewayKey).publicKey, presharedKey: null, keepalive: 0, user: n }
  const peer = wireguard.addPeer(config)
  copyEndpoint(gatewayEndpoint, peer.endpoint)
  peer.hasEndpoint = true
  const endpoint = makeEndpoint()
  Object.assign(endpoint.remote, addressWords("192.0.2.2"))
  endpoint.port = 40_000 + n
  const template = arena.reserve(stride)
  const flow = { source: tunnel4(n), destination: proxy4, sourcePort: 1_024, destinationPort: 7, withoutChecksum: true }
  bytes.set(buildUdp({ ...flow, payload: new Uint8Array(size - 28) }), template)
  return { wireguard, peer, endpoint, template }
}

let toRead = 0
let toReply = 0
let at = 0
let replyAt = 0
let written = 0
let sent = 0
let segment = 0
let handshakeOf = 0
const senders: Array<Sender> = []
const io: PacketIo = {
  receive: (offset, _capacity, from) => {
    if (handshakeLength > 0) {
      copyEndpoint(senders[handshakeOf]!.endpoint, from)
      bytes.copyWithin(offset, scratch, scratch + handshakeLength)
      segment = handshakeLength
      handshakeLength = 0
      return segment
    }
    if (toRead === 0) return 0
    toRead--
    copyEndpoint(senders[sealedBy[at]!]!.endpoint, from)
    segment = sealedLengths[at]!
    bytes.copyWithin(offset, sealed + at * sealedStride, sealed + at * sealedStride + segment)
    at++
    return segment
  },
  segmentSize: () => segment,
  shedHandshakes: () => {},
  trafficClass: () => 0,
  send: (to, offset, length) => {
    sent++
    const sender = senders[to.port - 40_001]!
    if (bytes[offset] !== 4) sender.wireguard.receive(offset, length, gatewayEndpoint, now)
    return true
  },
  readTun: (offset) => {
    if (toReply === 0) return 0
    toReply--
    bytes.copyWithin(offset, replies + replyAt * stride, replies + replyAt * stride + size)
    replyAt++
    return size
  },
  tunHeader: makeVirtioHeader(),
  writeTun: () => {
    written++
    return true
  },
  writeGathered: () => false
}

const counters = new Float64Array(countersByteLength / 8)
const engine = new Engine({
  epoch: 1,
  arena,
  io,
  primitives,
  privateKey: gatewayKey,
  counters,
  mtu: 1_420,
  maxSessions: 1_048_576,
  reserve: reserveTable
})
const tell = teller(engine)
tell(policy, now, wall)
for (let n = 1; n <= clients; n++) {
  senders.push(makeSender(n))
  const name = nameCommands(clientId(n), mappingId(n, "app.corp"), { proxyIps: [proxy4] })
  for (const command of [upsertClient(n), ...name, addresses(n, 1, "Resolved", [real])]) {
    tell(command, now, wall)
  }
  const { peer, wireguard } = senders[n - 1]!
  handshakeOf = n - 1
  wireguard.initiate(peer, now, wall)
  for (let i = 0; i < 4; i++) {
    engine.turn(now, wall)
    while (wireguard.workHandshakes(now)) {
      // Until none waits.
    }
    now += 25
  }
  engine.takeNotices()
  if (peer.current === null) throw new Error(`${clientId(n)} could not connect`)
}

/** Makes the k-th datagram of the block ready: one of the client's flow with this number. */
const seal = (k: number, n: number, flow: number): void => {
  const { peer, template, wireguard } = senders[n]!
  view.setUint16(template + 20, 1_024 + flow, false)
  sealedBy[k] = n
  sealedLengths[k] = wireguard.seal(peer, template, size, sealed + k * sealedStride, now)
}

/** The real host's answer to such a datagram: the outside port is the inside port, since each client has its own. */
const reply = (k: number, n: number, flow: number): void => {
  const to = replies + k * stride
  const { template } = senders[n]!
  bytes.copyWithin(to, template, template + size)
  view.setInt32(to + 16, view.getInt32(to + 12))
  view.setInt32(to + 12, realWord)
  view.setUint16(to + 20, 7)
  view.setUint16(to + 22, 1_024 + flow)
}
const realWord = addressWords(real).w3

/** Nanoseconds that the engine took for `count` datagrams and `backwards` replies that are ready. */
const pass = (count: number, backwards: number): number => {
  at = 0
  replyAt = 0
  const end = written + count
  const start = process.hrtime.bigint()
  const turns = Math.ceil(Math.max(count, backwards) / 16)
  for (let turn = 0; turn < turns; turn++) {
    toRead = Math.min(16, count - at)
    toReply = Math.min(16, backwards - replyAt)
    engine.turn(now, wall)
    if (turn % 8 === 0) now++
  }
  const took = Number(process.hrtime.bigint() - start)
  engine.takeNotices()
  if (written !== end) throw new Error(`${end - written} packets were lost`)
  return took
}

for (let flow = 0; flow < perClient; flow += 64) {
  for (let n = 0; n < clients; n++) {
    for (let k = 0; k < 64; k++) {
      seal(k, n, flow + k)
      reply(k, n, flow + k)
    }
    pass(64, 64)
  }
}
const created = counters[counterIndex["sessions.created"]]!
if (created !== perClient * clients) throw new Error(`${created} sessions`)

const measure = (outwards: boolean): number => {
  let took = 0
  for (let done = 0; done < packets; done += block) {
    for (let k = 0; k < block; k++) {
      const n = random(clients)
      if (outwards) seal(k, n, random(perClient))
      else reply(k, n, random(perClient))
    }
    const before = sent
    took += outwards ? pass(block, 0) : pass(0, block)
    if (!outwards && sent < before + block) throw new Error(`${before + block - sent} replies were lost`)
  }
  return took / (Math.ceil(packets / block) * block)
}
const best = (outwards: boolean): number => Math.min(...Array.from({ length: rounds }, () => measure(outwards)))

report(`${created} sessions of ${clients} clients, each packet (${size} bytes) of any of them`, [
  { name: "from a client to the device", value: best(true), unit: "ns/packet" },
  { name: "from the device to a client", value: best(false), unit: "ns/packet" }
])
