/** A gateway's engine between a client and nothing: no system calls, no cipher; packets are there as often as it reads. */
import { makeNativeChecksum } from "../../../layers/dataplane/native/checksum.ts"
import { makeMemory } from "../../../layers/dataplane/native/memory.ts"
import { makePrimitives } from "../../../layers/dataplane/native/primitives.ts"
import { countersByteLength, readCounters } from "../../../src/dataplane/counters.ts"
import { Engine } from "../../../src/dataplane/engine/engine.ts"
import type { PacketIo } from "../../../src/dataplane/engine/packetIo.ts"
import { gsoNone, gsoTcp4, makeVirtioHeader } from "../../../src/dataplane/offload/virtioHeader.ts"
import { copyEndpoint, makeEndpoint } from "../../../src/packet/endpoint.ts"
import type { Primitives } from "../../../src/wireguard/primitives.ts"
import { messageTransport, rekeyTimeout, writeCounter, writeWord } from "../../../src/wireguard/protocol.ts"
import { WireGuard } from "../../../src/wireguard/WireGuard.ts"
import {
  addresses,
  clientId,
  gatewayPrivateKey,
  gatewayPublicKey,
  mappingId,
  nameCommands,
  policy,
  proxy4,
  tunnel4,
  upsertClient
} from "../../support/engineWorld.ts"
import { addressWords, buildTcp, buildUdp } from "../../support/packets.ts"
import { teller } from "../../support/tell.ts"

export const superPayload = { segment: 1_368, count: 44 } as const

const mtu = 1_420
const real = "10.20.0.10"
const readsPerTurn = 16
const clientPort = 40_001
const ports = { sourcePort: 50_000, destinationPort: 443 }
const back = { sourcePort: 443, destinationPort: 50_000 }

export interface Steps {
  /** How many packets one step takes through the engine. */
  readonly packets: number
  readonly step: () => void
}

export const makeEngineBench = () => {
  const memory = makeMemory(8)
  const { arena } = memory
  const { bytes } = arena
  const { copy, checksum } = makeNativeChecksum(memory)
  const live = makePrimitives(memory).primitives
  const primitives: Primitives = {
    ...live,
    aead: (key) => ({
      ...live.aead(key),
      seal: (_, src, length, dst) => copy(dst, src, length),
      open: () => true
    })
  }
  const stock = arena.reserve(256 * 1024)
  const out = arena.reserve(64 * 1024)
  const from = makeEndpoint()
  Object.assign(from.remote, addressWords("192.0.2.2"))
  from.port = clientPort

  // What the engine reads: a number of reads, each the same bytes.
  let datagrams = 0
  let datagramBytes = 0
  let segment = 0
  let packets = 0
  let packetBytes = 0
  let toCopy = 0
  let counter = 0
  const queue: Array<Uint8Array> = []
  const tunHeader = makeVirtioHeader()
  const answers: Array<Uint8Array> = []
  let quiet = false

  const io: PacketIo = {
    receive: (offset, _capacity, endpoint) => {
      const handshake = queue.shift()
      if (handshake !== undefined) {
        bytes.set(handshake, offset)
        segment = handshake.length
        copyEndpoint(from, endpoint)
        return handshake.length
      }
      if (datagrams === 0) return 0
      datagrams--
      copy(offset, stock, datagramBytes)
      for (let at = 0; at < datagramBytes; at += segment) writeCounter(bytes, offset + at + 8, counter++)
      copyEndpoint(from, endpoint)
      return datagramBytes
    },
    segmentSize: () => segment,
    shedHandshakes: () => {},
    trafficClass: () => 0,
    send: (_, offset, length) => {
      if (!quiet) answers.push(bytes.slice(offset, offset + length))
      return true
    },
    readTun: (offset) => {
      if (packets === 0) return 0
      packets--
      copy(offset, stock, toCopy)
      return packetBytes
    },
    tunHeader,
    writeTun: () => true,
    writeGathered: () => true
  }
  const counters = new Float64Array(countersByteLength / 8)
  const engine = new Engine({
    epoch: 1,
    arena,
    io,
    primitives,
    privateKey: gatewayPrivateKey,
    counters,
    mtu,
    maxSessions: 65_536,
    checksum,
    offloads: { joinTcp: true, joinUdp: true, batch: true }
  })
  const tell = teller(engine)
  const wall = 1.7e12
  const now = 60_000
  const turn = (): void => void engine.turn(now, wall)
  for (const command of [
    policy,
    upsertClient(1),
    ...nameCommands(clientId(1), mappingId(1, "app.corp"), { proxyIps: [proxy4] }),
    addresses(1, 1, "Resolved", [real])
  ]) {
    tell(command, now, wall)
  }

  const client = new WireGuard({
    primitives,
    privateKey: new Uint8Array(32).fill(1),
    arena,
    mtu,
    send: (_, offset, length) => void queue.push(bytes.slice(offset, offset + length)),
    event: () => {}
  })
  const peer = client.addPeer({ publicKey: gatewayPublicKey, presharedKey: null, keepalive: 0, user: 0 })
  peer.hasEndpoint = true
  client.initiate(peer, now, wall)
  while (queue.length + answers.length > 0) {
    turn()
    for (const answer of answers.splice(0)) {
      bytes.set(answer, out)
      client.receive(out, answer.length, from, now)
      client.workHandshakes(now)
    }
  }
  quiet = true

  /** Puts sealed packets into the stock, one behind the other; their length. */
  const seal = (inner: ReadonlyArray<Uint8Array>): number => {
    let length = 0
    for (const packet of inner) {
      bytes.set(packet, out)
      length += client.seal(peer, out, packet.length, stock + length, now)
    }
    return length
  }
  /** A first packet each way, so that its session is an ordinary one. */
  const open = (outward: Uint8Array, inward: Uint8Array): void => {
    datagramBytes = segment = seal([outward])
    counter = Math.max(counter, peer.current?.counter ?? 0)
    datagrams = 1
    turn()
    bytes.set(inward, stock)
    packetBytes = toCopy = inward.length
    Object.assign(tunHeader, makeVirtioHeader())
    packets = 1
    turn()
  }
  const outside = { source: tunnel4(1), destination: proxy4, ...ports }
  const inside = { source: real, destination: tunnel4(1), ...back }

  open(buildTcp({ ...outside, flags: 0x02 }), buildTcp({ ...inside, flags: 0x12 }))
  open(buildUdp(outside), buildUdp(inside))

  const outboundSteps = (inner: ReadonlyArray<Uint8Array>, perRead: number): Steps => {
    let prepared = false
    return {
      packets: perRead * readsPerTurn,
      step: () => {
        if (!prepared) {
          prepared = true
          datagramBytes = seal(inner)
          counter = Math.max(counter, peer.current?.counter ?? 0)
          segment = datagramBytes / inner.length
        }
        datagrams = readsPerTurn
        turn()
      }
    }
  }
  const inboundSteps = (packet: Uint8Array, headerBytes: number, perRead: number): Steps => {
    let prepared = false
    return {
      packets: perRead * readsPerTurn,
      step: () => {
        if (!prepared) {
          prepared = true
          bytes.set(packet, stock)
          packetBytes = packet.length
          toCopy = headerBytes
          Object.assign(tunHeader, makeVirtioHeader())
          if (perRead > 1) {
            tunHeader.partial = true
            tunHeader.kind = gsoTcp4
            tunHeader.segmentSize = superPayload.segment
            tunHeader.checksumStart = 20
            tunHeader.checksumOffset = 16
          } else tunHeader.kind = gsoNone
        }
        packets = readsPerTurn
        turn()
      }
    }
  }
  /** Datagrams of a session that the engine does not know, when its client has been silent for a while. */
  const unknownSteps = (port: number): Steps => ({
    packets: readsPerTurn,
    step: () => {
      bytes.fill(9, stock, stock + 128)
      writeWord(bytes, stock, messageTransport)
      datagramBytes = segment = 128
      datagrams = readsPerTurn
      from.port = port
      engine.turn(now + 2 * rekeyTimeout, wall)
      from.port = clientPort
    }
  })
  const outbound = outboundSteps(
    Array.from({ length: superPayload.count }, (_, i) =>
      buildTcp({
        ...outside,
        flags: 0x10,
        sequence: 1 + i * superPayload.segment,
        identification: i,
        payload: new Uint8Array(superPayload.segment)
      })
    ),
    superPayload.count
  )
  const inbound = inboundSteps(
    buildTcp({ ...inside, flags: 0x10, payload: new Uint8Array(superPayload.segment * superPayload.count) }),
    40,
    superPayload.count
  )
  const outboundUdp = outboundSteps([buildUdp({ ...outside, payload: new Uint8Array(1_200) })], 1)
  const inboundUdp = inboundSteps(buildUdp({ ...inside, payload: new Uint8Array(1_200) }), 1_228, 1)
  return {
    outbound,
    inbound,
    outboundUdp,
    inboundUdp,
    unknown: unknownSteps(clientPort),
    unknownElsewhere: unknownSteps(clientPort + 1),
    /** One line when packets did not take the whole way. */
    problem: (): string | null => {
      const all = readCounters(counters)
      const known = all["udp.received"]! - all["wireguard.unknown_receiver"]!
      const lost = known - all["outbound.forwarded"]! + all["tun.received"]! - all["inbound.forwarded"]!
      return all["tun.joined"]! > 0 && all["udp.batched"]! > 0 && lost < 100 ? null : JSON.stringify(all)
    }
  }
}
