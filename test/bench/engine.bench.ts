/**
 * What a packet leaves on the heap: `npm run bench:engine` (needs `--expose-gc`). A client's datagram goes through the
 * whole engine (WireGuard, classification, session, translation) to the TUN device, and the real host's reply back to
 * the client; the device and the network are a few lines over the same arena that allocate nothing themselves. The
 * client's own WireGuard is measured along. Options: `--packets` per round, `--rounds`, `--size` (bytes), `--relayed` (the
 * client is behind a relay's channel), `--json`.
 */
import process from "node:process"
import { getHeapStatistics } from "node:v8"
import { makeMemory } from "../../layers/dataplane/native/memory.ts"
import { makePrimitives } from "../../layers/dataplane/native/primitives.ts"
import type { Command } from "../../src/dataplane/commands.ts"
import { countersByteLength } from "../../src/dataplane/counters.ts"
import { Engine } from "../../src/dataplane/engine/engine.ts"
import type { PacketIo } from "../../src/dataplane/engine/packetIo.ts"
import { makeVirtioHeader } from "../../src/dataplane/offload/virtioHeader.ts"
import { copyEndpoint, makeEndpoint } from "../../src/packet/endpoint.ts"
import { channelHeaderLength, firstChannelNumber, writeChannelHeader } from "../../src/ice/channelTable.ts"
import { StunMethod } from "../../src/ice/stunProtocol.ts"
import { RelayId } from "../../src/model/Relay.ts"
import { transportAddress } from "../../src/packet/transportAddress.ts"
import { ReceiveCode } from "../../src/wireguard/receiveCode.ts"
import { WireGuard } from "../../src/wireguard/WireGuard.ts"
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
import { TurnServer } from "../support/turnServer.ts"
import { option, report } from "./support/report.ts"
import { teller } from "../support/tell.ts"

const packets = option("packets", 1_000_000)
const rounds = option("rounds", 5)
const size = option("size", 1_200)
const relayed = process.argv.includes("--relayed")
const collect = (globalThis as { readonly gc?: () => void }).gc
if (collect === undefined) throw new Error("run this with node --expose-gc")

const real = "10.20.0.10"
const flows = 64
const memory = makeMemory(8)
const { arena } = memory
const { bytes } = arena
const view = new DataView(memory.memory.buffer)
const { primitives } = makePrimitives(memory)

// The client's side.
const template = arena.reserve(2_048)
const scratch = arena.reserve(256)
const slots = 64
const slotLength = 2_048
const replies = arena.reserve(slots * slotLength)
const clientKey = new Uint8Array(32).fill(1)
const gatewayKey = new Uint8Array(32).fill(0x41)
const clientEndpoint = makeEndpoint()
Object.assign(clientEndpoint.remote, addressWords("192.0.2.2"))
clientEndpoint.port = 40_001
const gatewayEndpoint = makeEndpoint()
Object.assign(gatewayEndpoint.remote, addressWords("192.0.2.1"))
gatewayEndpoint.port = 51_820

// The relay, for `--relayed`: its answers wait here until the gateway reads them.
const relay = new TurnServer({
  addresses: [transportAddress("203.0.113.1", 3_478)!],
  users: { ann: "secret" },
  relayed6: null
})
const relayEndpoint = makeEndpoint()
Object.assign(relayEndpoint.remote, addressWords("203.0.113.1"))
relayEndpoint.port = 3_478
const gatewayTransport = transportAddress("192.0.2.1", 51_820)!
const answers: Array<Uint8Array> = []
/** Bytes before each datagram of the client's. */
const header = relayed ? channelHeaderLength : 0

let now = 1_000
const wall = 1_800_000_000_000
let handshakeLength = 0
let toSend = 0
let sentPackets = 0
let received = 0
let replyAt = 0
let replyCount = 0
const replyLengths = new Int32Array(slots)

const client = new WireGuard({
  primitives,
  privateKey: clientKey,
  arena,
  send: (_, offset, length) => {
    bytes.copyWithin(scratch, offset, offset + length)
    handshakeLength = length
  },
  event: () => undefined
})
const peer = client.addPeer({
  publicKey: primitives.x25519(gatewayKey).publicKey,
  presharedKey: null,
  keepalive: 0,
  user: 0
})
copyEndpoint(gatewayEndpoint, peer.endpoint)
peer.hasEndpoint = true

const packet = buildUdp({
  source: tunnel4(1),
  destination: proxy4,
  sourcePort: 20_000,
  destinationPort: 7,
  payload: new Uint8Array(size - 28),
  // So that the port can be changed in place.
  withoutChecksum: true
})
bytes.set(packet, template)

const io: PacketIo = {
  receive: (offset, _capacity, from) => {
    copyEndpoint(relayed ? relayEndpoint : clientEndpoint, from)
    if (answers.length > 0) {
      const answer = answers.shift()!
      bytes.set(answer, offset)
      segment = answer.length
      return segment
    }
    if (handshakeLength > 0) {
      segment = handshakeLength + header
      bytes.copyWithin(offset + header, scratch, scratch + handshakeLength)
      if (relayed) writeChannelHeader(bytes, offset, firstChannelNumber, handshakeLength)
      handshakeLength = 0
      return segment
    }
    if (toSend === 0) return 0
    toSend--
    sentPackets++
    view.setUint16(template + 20, 20_000 + (sentPackets % flows), false)
    const sealed = client.seal(peer, template, size, offset + header, now)
    if (relayed) writeChannelHeader(bytes, offset, firstChannelNumber, sealed)
    segment = sealed + header
    return segment
  },
  segmentSize: () => segment,
  shedHandshakes: () => {},
  trafficClass: () => 0,
  send: (_to, offset, length) => {
    if (relayed && bytes[offset]! < 0x40) {
      const request = { from: gatewayTransport, to: relay.addresses[0]!, bytes: bytes.slice(offset, offset + length) }
      for (const answer of relay.receive(request, now)) answers.push(answer.bytes)
      return true
    }
    const code = client.receive(offset + header, length - header, gatewayEndpoint, now)
    if (code === ReceiveCode.Data) received++
    return true
  },
  readTun: (offset) => {
    if (replyCount === 0) return 0
    const slot = (replyAt - replyCount + slots) % slots
    replyCount--
    const from = replies + slot * slotLength
    const length = replyLengths[slot]!
    bytes.copyWithin(offset, from, from + length)
    return length
  },
  tunHeader: makeVirtioHeader(),
  writeTun: (offset, length) => {
    if (replyCount === slots) return false
    // The real host answers: addresses and ports change places, which leaves the header's checksum right.
    const to = replies + replyAt * slotLength
    bytes.copyWithin(to, offset, offset + length)
    const source = view.getInt32(to + 12)
    view.setInt32(to + 12, view.getInt32(to + 16))
    view.setInt32(to + 16, source)
    const port = view.getUint16(to + 20)
    view.setUint16(to + 20, view.getUint16(to + 22))
    view.setUint16(to + 22, port)
    replyLengths[replyAt] = length
    replyAt = (replyAt + 1) % slots
    replyCount++
    return true
  },
  writeGathered: () => false
}
let segment = 0

const engine = new Engine({
  epoch: 1,
  arena,
  io,
  primitives,
  privateKey: gatewayKey,
  counters: new Float64Array(countersByteLength / 8),
  mtu: 1_420,
  maxSessions: 65_536
})
const tell = teller(engine)
const commands: ReadonlyArray<Command> = [
  policy,
  upsertClient(1),
  ...nameCommands(clientId(1), mappingId(1, "app.corp"), { proxyIps: [proxy4] }),
  addresses(1, 1, "Resolved", [real])
]
for (const command of commands) tell(command, now, wall)
if (relayed) connectByRelay()

/** The gateway learns of the client's relayed address and binds the first channel to it. */
function connectByRelay(): void {
  const ice = {
    local: { username: "gateway", password: "gateway's" },
    remote: { username: "client", password: "client's" },
    role: "controlled"
  } as const
  const candidate = `candidate:1 1 udp 1000 192.0.2.2 ${clientEndpoint.port} typ relay raddr 0.0.0.0 rport 0`
  const addresses = [{ address: "203.0.113.1", port: 3_478 }]
  tell({ ...upsertClient(1), ice }, now, wall)
  tell(
    { _tag: "SetRelays", relays: [{ id: RelayId.make("a"), addresses, username: "ann", password: "secret" }] },
    now,
    wall
  )
  tell({ _tag: "AddCandidate", client: clientId(1), candidate }, now, wall)
  for (let i = 0; i < 100; i++) engine.turn(now++, wall)
  if (relay.count(StunMethod.channelBind) !== 1) throw new Error("the relay bound no channel")
}

const turn = (): void => {
  engine.turn(now, wall)
  while (client.workHandshakes(now)) {
    // Until none waits.
  }
  if (client.nextDeadline() <= now) client.advance(now, wall)
  engine.takeNotices()
}
client.initiate(peer, now, wall)
for (let i = 0; i < 4; i++) turn()
if (peer.current === null) throw new Error(`${clientId(1)} could not connect`)

/** Sends `count` packets and takes as many replies; a millisecond passes every 64. */
const run = (count: number): void => {
  const end = received + count
  let left = count
  let idle = 0
  for (let turns = 0; ; turns++) {
    const more = Math.min(16 - toSend, left)
    toSend += more
    left -= more
    const before = received
    turn()
    if (received >= end) return
    idle = received === before ? idle + 1 : 0
    if (idle > 10_000) throw new Error(`${end - received} packets were lost`)
    if (turns % 4 === 0) now++
  }
}

run(300_000)
const grown: Array<number> = []
const garbage: Array<number> = []
const times: Array<number> = []
for (let round = 0; round < rounds; round++) {
  collect()
  collect()
  const heap = process.memoryUsage().heapUsed
  const allocated = getHeapStatistics().total_allocated_bytes
  const start = process.hrtime.bigint()
  // Each sent packet and each reply is one.
  run(packets / 2)
  times.push(Number(process.hrtime.bigint() - start) / packets)
  garbage.push((getHeapStatistics().total_allocated_bytes - allocated) / packets)
  collect()
  collect()
  grown.push((process.memoryUsage().heapUsed - heap) / packets)
}

report(
  `${relayed ? "relayed: " : ""}${rounds} rounds of ${packets} packets of ${size} bytes through the engine, both ways`,
  [
    { name: "heap growth, worst round", value: Math.max(...grown), unit: "B/packet", target: 1 },
    { name: "garbage, median round", value: garbage.toSorted((a, b) => a - b)[rounds >> 1]!, unit: "B/packet" },
    { name: "time with the client's half, best round", value: Math.min(...times), unit: "ns/packet" }
  ]
)
