/**
 * The way of an inner packet to its client: cut if it is a super-packet, seal, and send in batches of one destination;
 * or stage it until there is a WireGuard session.
 */
import { channelHeaderLength } from "../../ice/channelTable.ts"
import type { Arena } from "../../packet/arena.ts"
import type { Checksum } from "../../packet/checksum.ts"
import { copyEndpoint, makeEndpoint } from "../../packet/endpoint.ts"
import type { PacketView } from "../../packet/packetView.ts"
import { trafficClassOf } from "../../packet/trafficClass.ts"
import type { Peer, WireGuard } from "../../wireguard/WireGuard.ts"
import { Segmenter } from "../offload/segmenter.ts"
import { gsoNone, type VirtioHeader } from "../offload/virtioHeader.ts"
import { counterIndex } from "../counters.ts"
import type { ClientEntry } from "./clientTable.ts"
import type { EngineState } from "./engineState.ts"
import { Handed, type HandOver } from "./handOver.ts"
import type { Uplink } from "./uplink.ts"

const segments = counterIndex["tun.segments"]
const udpBatched = counterIndex["udp.batched"]

/** Room for a batch, or for one sealed packet of 65,535 bytes with header, padding and tag. */
const outCapacity = 65_536 + 64
/** Largest payload of one UDP_SEGMENT call, and datagrams in it (kernel: UDP_MAX_SEGMENTS). */
const batchBytes = 65_000
const batchDatagrams = 64
const padding = 16

export class Link {
  private readonly state: EngineState
  private readonly wireguard: WireGuard
  private readonly uplink: Uplink
  private readonly way: HandOver
  private readonly out: number
  private readonly stagedAt: number
  private readonly segmenter: Segmenter
  private readonly batching: boolean
  private readonly saved = new Uint8Array(padding)
  /** The batch under way: sealed datagrams of one size (the last may be shorter) and class, all to `batchTo`, at `out`. */
  private batchPeer: Peer | undefined = undefined
  private readonly batchTo = makeEndpoint()
  private batchLength = 0
  private batchCount = 0
  private batchSize = 0
  private batchClass = 0

  constructor(
    state: EngineState,
    wireguard: WireGuard,
    uplink: Uplink,
    handOver: HandOver,
    arena: Arena,
    checksum: Checksum,
    batching: boolean
  ) {
    this.state = state
    this.wireguard = wireguard
    this.uplink = uplink
    this.way = handOver
    this.out = arena.reserve(outCapacity)
    this.stagedAt = arena.reserve(outCapacity)
    this.segmenter = new Segmenter(arena.bytes, checksum)
    this.batching = batching
  }

  /** Sends the packet in `view`, as read from the TUN device with `header`. Its bytes may be overwritten. */
  deliver(client: ClientEntry, view: Readonly<PacketView>, header: Readonly<VirtioHeader>): void {
    if (header.kind === gsoNone) return this.toClient(client, view.offset, view.length)
    const { segmenter, state } = this
    if (!segmenter.begin(view, header)) return state.count("inbound.malformed")
    while (segmenter.next()) {
      state.counters[segments]!++
      // Padding would run into the next segment's payload.
      const end = segmenter.offset + segmenter.length
      const spill = segmenter.more && segmenter.length % padding !== 0
      if (spill) for (let i = 0; i < padding; i++) this.saved[i] = state.bytes[end + i]!
      this.toClient(client, segmenter.offset, segmenter.length)
      if (spill) for (let i = 0; i < padding; i++) state.bytes[end + i] = this.saved[i]!
    }
  }

  /** Hands such a packet to the gateway that its client comes from, if one gives it away. */
  handOver(client: ClientEntry, view: Readonly<PacketView>, header: Readonly<VirtioHeader>): boolean {
    const { segmenter, way } = this
    if (!way.concerns(client)) return false
    if (header.kind === gsoNone) return way.pass(Handed.FromNetwork, client.peer.endpoint, view.offset, view.length)
    if (!segmenter.begin(view, header)) return false
    while (segmenter.next()) way.pass(Handed.FromNetwork, client.peer.endpoint, segmenter.offset, segmenter.length)
    return true
  }

  /** Sends arena[offset, offset + length); 16 bytes behind it may be overwritten. */
  toClient(client: ClientEntry, offset: number, length: number): void {
    const { state } = this
    const { peer } = client
    const trafficClass = trafficClassOf(state.bytes, offset)
    if (this.batchCount > 0 && (this.batchPeer !== peer || this.batchClass !== trafficClass || !this.hasRoom(length))) {
      this.flushBatch()
    }
    const at = this.out + this.batchLength
    const header = peer.endpoint.channel === 0 ? 0 : channelHeaderLength
    const sealed = this.wireguard.seal(peer, offset, length, at + header, state.now)
    if (sealed === 0) {
      const kept = client.stage.put(state.bytes, offset, length, state.now)
      const pathless = client.byIce && (client.agent === undefined || client.agent.path === null)
      state.count(kept ? "inbound.staged" : pathless ? "inbound.no_path" : "inbound.stage_full")
      return
    }
    if (header > 0) {
      // One by one: that is for a moment.
      if (peer.endpoint.channel < 0) return this.uplink.send(peer.endpoint, at + header, sealed)
      this.uplink.writeHeader(peer.endpoint, at, sealed)
    }
    if (client.agent !== undefined) client.agent.activity(state.now)
    const whole = sealed + header
    if (this.batchCount > 0 && whole > this.batchSize) {
      // The datagrams of a batch are of one size: what is larger begins the next.
      const { batchLength } = this
      this.flushBatch()
      state.bytes.copyWithin(this.out, this.out + batchLength, this.out + batchLength + whole)
    }
    if (this.batchCount === 0) {
      this.batchPeer = peer
      copyEndpoint(peer.endpoint, this.batchTo)
      this.batchSize = whole
      this.batchClass = trafficClass
    }
    this.batchLength += whole
    this.batchCount++
    if (!this.batching || whole < this.batchSize || this.batchCount === batchDatagrams) this.flushBatch()
  }

  /** Sends what has been sealed. To be called before the engine waits. */
  flushBatch(): void {
    const { batchCount } = this
    if (this.batchPeer === undefined) return
    this.uplink.sendBatch(this.batchTo, this.out, this.batchLength, this.batchSize, batchCount, this.batchClass)
    if (batchCount > 1) this.state.counters[udpBatched]! += batchCount
    this.batchPeer = undefined
    this.batchLength = 0
    this.batchCount = 0
  }

  /** The peer is reached elsewhere from now on: what was sealed for it before still goes where it was sealed for. */
  moved(peer: Peer): void {
    if (this.batchPeer === peer) this.flushBatch()
  }

  /** The session is there: everything staged goes out, in order. */
  flush(client: ClientEntry): void {
    if (client.stage.isEmpty) return
    for (const packet of client.stage.take(this.state.now)) {
      this.state.bytes.set(packet, this.stagedAt)
      this.toClient(client, this.stagedAt, packet.length)
    }
    this.flushBatch()
  }

  /** A packet of this length, header, padding and tag included, still fits behind the batch. */
  private hasRoom(length: number): boolean {
    return this.batchLength + length + 64 <= batchBytes
  }
}
