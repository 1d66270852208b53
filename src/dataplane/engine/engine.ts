/**
 * The packet engine: commands in, notices out, packets through. Plain synchronous code over one arena; time comes in
 * with each turn. The worker runs it over system calls, tests run the same over memory.
 */
import { counterIndex, handshakeBase, receiveBase } from "../counters.ts"
import type { Order } from "../orders.ts"
import type { Counters } from "../counters.ts"
import type { Notice } from "../notices.ts"
import { channelHeaderLength, ChannelTable } from "../../ice/channelTable.ts"
import { lookAheadFrom } from "../../nat/lookAhead.ts"
import type { Reserve } from "../../nat/sessionRecords.ts"
import type { Arena } from "../../packet/arena.ts"
import { type Endpoint, makeEndpoint } from "../../packet/endpoint.ts"
import { read16, write16 } from "../../packet/bytes.ts"
import { type Checksum, makeChecksum } from "../../packet/checksum.ts"
import { hearCongestion, isCongested } from "../../packet/trafficClass.ts"
import type { Primitives } from "../../wireguard/primitives.ts"
import { messageTransport } from "../../wireguard/protocol.ts"
import { ReceiveCode } from "../../wireguard/receiveCode.ts"
import { type Peer, type PeerEvent, WireGuard } from "../../wireguard/WireGuard.ts"
import { ClientEnd } from "./clientEnd.ts"
import { ClientReports } from "./clientReports.ts"
import { ControlEvents } from "./controlEvents.ts"
import { Connections } from "./connections.ts"
import { Executor } from "./executor.ts"
import { EngineState } from "./engineState.ts"
import { FlowProbes } from "./flowProbes.ts"
import { Handed, HandOver } from "./handOver.ts"
import { Inbound } from "./inbound.ts"
import { Initiations } from "./initiations.ts"
import { Link } from "./link.ts"
import { NamesInUse } from "./namesInUse.ts"
import { Outbound } from "./outbound.ts"
import type { Sockets } from "./ownAddresses.ts"
import { maxShedLevel, type PacketIo } from "./packetIo.ts"
import { TunWriter } from "./tunWriter.ts"
import { Uplink } from "./uplink.ts"
import { gsoNone } from "../offload/virtioHeader.ts"

export interface EngineOptions {
  readonly epoch: number
  readonly arena: Arena
  readonly io: PacketIo
  readonly primitives: Primitives
  /** 32 bytes; copied. */
  readonly privateKey: Uint8Array
  readonly counters: Counters
  readonly mtu: number
  readonly maxSessions: number
  /** From so many sessions on, packets that are read together are looked at ahead of their turn; see `LookAhead`. */
  readonly lookAheadFrom?: number
  /** Where the session table's memory comes from; plain arrays unless given. */
  readonly reserve?: Reserve
  /** Our UDP port, and the families that have a socket; needed for ICE and relays only. Both families unless given. */
  readonly sockets?: Sockets
  /** The sum over the arena; the plain one unless given. */
  readonly checksum?: Checksum
  /** What the system beneath takes; nothing unless given. */
  readonly offloads?: Offloads
}

/** Batches that the system takes: TCP and UDP super-packets on the TUN device, equal datagrams on the socket. */
export interface Offloads {
  readonly joinTcp: boolean
  readonly joinUdp: boolean
  readonly batch: boolean
}

const udpReceived = counterIndex["udp.received"]
const udpGathered = counterIndex["udp.gathered"]
const relayReceived = counterIndex["relay.received"]
const tunReceived = counterIndex["tun.received"]

/** Reads of each source per turn, so that none starves the others. */
const readsPerTurn = 16
/** Datagrams that have waited this long wait too long: most handshakes are dropped then, until none waits. */
const behindMs = 20
/** The system drops some as well, of ever more as long as we do not keep up, then of fewer after this long each. */
const shedMs = 100
const receiveCapacity = 65_536
/**
 * Datagrams are collected over several reads, this many bytes of them, before what became of them is written: a sender's
 * super-packet is longer than its longest batch of datagrams and comes in two reads, and some datagrams come singly.
 */
const collectedBytes = 524_288
/** Packets that are looked at ahead: this many bytes. */
const aheadBytes = 32_768
/** Expiry, silence, parking and evidence are looked at this often while there is something to look at. */
const housekeepingMs = 100

export class Engine {
  private readonly state: EngineState
  private readonly wireguard: WireGuard
  private readonly channels = new ChannelTable()
  private readonly handOver: HandOver
  private readonly uplink: Uplink
  private readonly link: Link
  private readonly probes: FlowProbes
  private readonly inbound: Inbound
  private readonly outbound: Outbound
  private readonly client: ClientEnd
  private readonly control: ControlEvents
  private readonly connections: Connections
  private readonly tun: TunWriter
  private readonly reports: ClientReports
  private readonly namesInUse: NamesInUse
  private readonly executor: Executor
  private readonly checksum: Checksum
  private readonly lookAheadFrom: number
  private readonly udpAt: number
  private readonly tunAt: number
  private readonly from = makeEndpoint()
  private readonly late = (offset: number, length: number): void => this.inbound.late(offset, length)
  private readonly initiations: Initiations
  private housekeepingAt = 0
  /** Since when every turn has found as many datagrams as it reads, or more. */
  private fullSince = Number.POSITIVE_INFINITY
  /** How many handshake messages the system drops for us (see `PacketIo`), and until when. */
  private shedLevel = 0
  private shedUntil = 0
  /** What this worker's own totals were when they were last added to the counters, which outlive it. */
  private readonly counted = new Map<number, number>()

  constructor(options: EngineOptions) {
    const { arena, primitives } = options
    const random = new Uint8Array(4)
    primitives.randomBytes(random)
    const seed = new DataView(random.buffer).getInt32(0)
    this.state = new EngineState({
      epoch: options.epoch,
      arena,
      io: options.io,
      counters: options.counters,
      maxSessions: options.maxSessions,
      ...(options.reserve === undefined ? {} : { reserve: options.reserve }),
      hashSeed: seed
    })
    this.handOver = new HandOver(this.state, primitives, options.privateKey, arena)
    this.uplink = new Uplink(this.state, this.channels, this.handOver, arena)
    this.wireguard = new WireGuard({
      primitives,
      privateKey: options.privateKey,
      arena,
      mtu: options.mtu,
      send: (to, offset, length) => this.uplink.send(to, offset, length),
      event: (peer, event) => this.peerEvent(peer, event),
      stranger: (publicKey, from) => this.state.journal.stranger(publicKey, from)
    })
    const checksum = options.checksum ?? makeChecksum(arena.bytes)
    const { batch, joinTcp, joinUdp } = options.offloads ?? { batch: false, joinTcp: false, joinUdp: false }
    this.checksum = checksum
    this.link = new Link(this.state, this.wireguard, this.uplink, this.handOver, arena, checksum, batch)
    this.tun = new TunWriter(this.state, checksum, { tcp: joinTcp, udp: joinUdp })
    this.probes = new FlowProbes(this.state, this.link, arena, seed)
    this.inbound = new Inbound(this.state, this.link, this.probes, options.mtu)
    this.reports = new ClientReports(this.state)
    this.connections = new Connections(
      this.state,
      this.wireguard,
      this.uplink,
      this.reports,
      primitives,
      this.channels,
      options.sockets ?? { port: 0, ipv4: true, ipv6: true }
    )
    this.control = new ControlEvents(this.state, this.link, arena, (client) => this.connections.lost(client, "Goodbye"))
    this.outbound = new Outbound(
      this.state,
      this.link,
      this.probes,
      this.handOver,
      this.tun,
      this.control,
      arena,
      options.mtu
    )
    this.client = new ClientEnd(this.state, this.link, this.tun, this.control)
    this.initiations = new Initiations(this.state, this.wireguard, housekeepingMs, seed)
    this.namesInUse = new NamesInUse(this.state)
    this.executor = new Executor(
      this.state,
      this.wireguard,
      this.outbound,
      this.probes,
      this.control,
      this.connections,
      this.reports,
      this.initiations,
      this.handOver
    )
    this.lookAheadFrom = options.lookAheadFrom ?? lookAheadFrom
    this.udpAt = arena.reserve(collectedBytes + receiveCapacity + 64)
    // The virtio header lies before the packet.
    this.tunAt = arena.reserve(aheadBytes + receiveCapacity + 256) + 64
  }

  /**
   * Reads what waits (bounded), then timers and handshakes. True when more may be waiting. `ordersWait`: orders were given that
   * packets have this turn before.
   */
  turn(now: number, wall: number, ordersWait = false): boolean {
    const { state } = this
    state.now = now
    state.wall = wall
    this.outbound.ordersWait(ordersWait)
    state.count("worker.turns")
    const flooded = this.wireguard.beginTurn(now - this.fullSince >= behindMs, now)
    if (flooded) this.shedMore(now)
    else if (this.shedLevel > 0 && now >= this.shedUntil) this.shed(this.shedLevel - 1, now)
    const datagrams = this.readUdp(now)
    if (datagrams < readsPerTurn) this.fullSince = Number.POSITIVE_INFINITY
    else if (now < this.fullSince) this.fullSince = now
    const packets = this.readTun()
    if (now >= this.housekeepingAt) this.housekeeping()
    this.wireguard.workHandshakes(now)
    if (this.wireguard.nextDeadline() <= now) this.wireguard.advance(now, wall)
    if (this.connections.active) this.connections.advance()
    this.link.flushBatch()
    return datagrams === readsPerTurn || packets === readsPerTurn || this.wireguard.busy
  }

  /** Monotonic milliseconds of the next moment at which `turn` has something to do without any input. */
  nextDeadline(): number {
    const { state } = this
    const idle = state.sessions.size === 0 && !state.parking.waits && !this.initiations.waiting && !this.reports.waiting
    const deadline = Math.min(this.wireguard.nextDeadline(), this.connections.nextDeadline())
    const end = this.shedLevel > 0 ? this.shedUntil : Number.POSITIVE_INFINITY
    return Math.min(deadline, end, idle ? Number.POSITIVE_INFINITY : this.housekeepingAt)
  }

  takeNotices(): ReadonlyArray<Notice> {
    return this.state.notices.take()
  }

  /** Forgets every key. The engine must not be used afterwards. */
  close(): void {
    this.connections.close()
    this.handOver.close()
    this.wireguard.close()
  }

  /** There is a socket of IPv6 from now on. */
  gainIpv6(): void {
    this.connections.gainIpv6()
  }

  /** Carries out what `DesiredState` decided. */
  execute(order: Order, now: number, wall: number): void {
    this.state.now = now
    this.state.wall = wall
    const waited = this.initiations.waiting
    this.executor.execute(order)
    if (!waited && this.initiations.waiting) this.housekeepingAt = now
    this.link.flushBatch()
  }

  /** One step at a time: what waits already is still to be read. */
  private shedMore(now: number): void {
    const raisedAt = this.shedUntil - shedMs
    if (this.shedLevel > 0 && now - raisedAt < behindMs) return
    if (this.shedLevel === 0) this.state.count("udp.shed")
    this.shed(Math.min(this.shedLevel + 1, maxShedLevel), now)
  }

  private shed(level: number, now: number): void {
    if (level !== this.shedLevel) this.state.io.shedHandshakes(level)
    this.shedLevel = level
    this.shedUntil = now + shedMs
  }

  /** The time comes in as an argument: read from a field it would be boxed for every packet. */
  private readUdp(now: number): number {
    const { connections, state, wireguard, from, udpAt } = this
    const { counters } = state
    const ahead = state.sessions.size >= this.lookAheadFrom
    let reads = 0
    let start = udpAt
    for (; reads < readsPerTurn; reads++) {
      const received = state.io.receive(start, receiveCapacity, from)
      if (received === 0) break
      const segment = state.io.segmentSize()
      if (segment < received) counters[udpGathered]! += Math.ceil(received / segment)
      const congested = isCongested(state.io.trafficClass())
      const ice = connections.active
      const relayed = ice && connections.isRelay(from)
      const source = relayed ? connections.behind : from
      for (let at = 0; at < received; at += segment) {
        let offset = start + at
        let length = received - at < segment ? received - at : segment
        counters[udpReceived]!++
        if (relayed) {
          if (!connections.fromRelay(offset, length, from)) continue
          counters[relayReceived]!++
          length = read16(state.bytes, offset + 2)
          offset += channelHeaderLength
        }
        if (ice && connections.isStun(offset, length)) {
          connections.stun(offset, length, source)
          continue
        }
        let code: number = wireguard.receive(offset, length, source, now)
        if (code > ReceiveCode.Handled) code = this.notTaken(code, offset, length, source, now)
        counters[receiveBase + code]!++
        if (code !== ReceiveCode.Data) continue
        const client = state.clients.get(wireguard.peer.user)
        if (client === undefined) continue
        if (congested && !hearCongestion(state.bytes, wireguard.plainOffset, wireguard.plainLength)) {
          state.count("udp.congested")
          continue
        }
        if (client.agent !== undefined) client.agent.activity(now)
        if (state.packets.end === "client")
          this.client.fromGateway(client, wireguard.plainOffset, wireguard.plainLength)
        else this.outbound.add(client, wireguard.plainOffset, wireguard.plainLength)
        if (!ahead) this.outbound.work()
      }
      start += (received + 63) & ~63
      if (start - udpAt > collectedBytes) {
        // The next read overwrites what was collected.
        this.outbound.flush()
        start = udpAt
      }
    }
    this.outbound.flush()
    this.probes.release(this.late)
    this.link.flushBatch()
    return reads
  }

  /** What became of a datagram that is nothing for WireGuard as it came. */
  private notTaken(code: number, offset: number, length: number, from: Readonly<Endpoint>, now: number): number {
    const { handOver, initiations } = this
    if (code === ReceiveCode.Malformed && handOver.open(offset, length, from)) return this.handedOver(now)
    // Answers to what we have given up are no reason to ask again.
    if (code !== ReceiveCode.UnknownReceiver || this.state.bytes[offset] !== messageTransport) return code
    if (initiations.knows(from)) handOver.pass(Handed.FromClient, from, offset, length)
    initiations.heard(from, length, now)
    return code
  }

  private handedOver(now: number): number {
    const { handOver, wireguard } = this
    const { kind, plainLength: length, plainOffset: offset, source } = handOver
    if (kind === Handed.FromClient) return wireguard.receive(offset, length, source, now)
    if (kind === Handed.ToClient) this.uplink.sendAs(source, offset, length)
    else if (kind === Handed.FromNetwork) this.inbound.late(offset, length)
    else if (kind === Handed.ToNetwork) this.outbound.handedOver(offset, length)
    return ReceiveCode.Handled
  }

  private readTun(): number {
    const { inbound, state, tunAt } = this
    const ahead = state.packets.end !== "client" && state.sessions.size >= this.lookAheadFrom
    let reads = 0
    let start = tunAt
    for (; reads < readsPerTurn; reads++) {
      const length = state.io.readTun(start, receiveCapacity)
      if (length === 0) break
      state.counters[tunReceived]!++
      if (!this.completeChecksum(start, length)) continue
      if (state.packets.end === "client") {
        this.client.toGateway(start, length)
      } else if (ahead && state.io.tunHeader.kind === gsoNone) {
        inbound.add(start, length)
        // Room for padding behind it, and for the next one's virtio header.
        start += (length + 127) & ~63
        if (start - tunAt <= aheadBytes) continue
        inbound.work()
        start = tunAt
      } else {
        inbound.work()
        inbound.packet(start, length)
        start = tunAt
      }
    }
    inbound.work()
    this.link.flushBatch()
    return reads
  }

  /** The kernel leaves a checksum to us; that of a super-packet's segments is made when they are cut. */
  private completeChecksum(at: number, length: number): boolean {
    const { state } = this
    const { checksumOffset, checksumStart, kind, partial } = state.io.tunHeader
    if (!partial || kind !== gsoNone) return true
    const field = at + checksumStart + checksumOffset
    if (checksumStart + checksumOffset + 2 > length) {
      state.count("inbound.malformed")
      return false
    }
    const sum = ~this.checksum(at + checksumStart, length - checksumStart, 0) & 0xffff
    write16(state.bytes, field, sum === 0 ? 0xffff : sum)
    return true
  }

  private housekeeping(): void {
    const { state } = this
    this.housekeepingAt = state.now + housekeepingMs
    state.sessions.expire(state.now, 1_000)
    state.set("sessions.live", state.sessions.awake)
    this.countUpTo(counterIndex["sessions.evicted"], state.sessions.evictions)
    this.countUpTo(counterIndex["notices.coalesced"], state.notices.coalesced)
    this.countUpTo(counterIndex["notices.limited"], state.notices.limited)
    this.outbound.expire()
    for (let m = state.silence.next(state.now); m >= 0; m = state.silence.next(state.now))
      state.suspect(m, "Unanswered")
    this.initiations.work()
    this.reports.tellDue()
    this.namesInUse.tellDue()
    state.journal.tellDue()
    for (const [i, n] of this.wireguard.handshakeCounts.entries()) this.countUpTo(handshakeBase + i, n)
  }

  private countUpTo(counter: number, total: number): void {
    this.state.counters[counter]! += total - (this.counted.get(counter) ?? 0)
    this.counted.set(counter, total)
  }

  private peerEvent(peer: Peer, event: PeerEvent): void {
    const client = this.state.clients.get(peer.user)
    if (client === undefined) return
    // A gateway waits for its clients; a client may look for its gateway elsewhere.
    if (event === "HandshakeUnanswered") {
      const { epoch, notices, packets } = this.state
      if (packets.end === "client") notices.put({ _tag: "HandshakeUnanswered", epoch, client: client.id })
      return
    }
    if (event === "HandshakeFailed" && client.agent !== undefined) {
      return this.connections.lost(client, "HandshakeFailed")
    }
    if (event === "EndpointChanged") {
      this.link.moved(peer)
      this.initiations.placed(client)
    }
    if (event === "HandshakeDone") {
      this.link.flush(client)
      this.initiations.met(client)
      this.probes.met(client)
    }
    this.reports.event(client, event)
  }
}
