import { equal, type Words, words } from "../packet/address.ts"
import {
  protocolIcmp,
  protocolIcmpv6,
  protocolTcp,
  protocolUdp,
  tcpAck,
  tcpFin,
  tcpRst,
  tcpSyn
} from "../packet/protocols.ts"
import { HashIndex, hashFlow } from "./hashIndex.ts"
import { LookAhead } from "./lookAhead.ts"
import {
  BYTES_IN,
  BYTES_OUT,
  CLASS_LINKS,
  CLIENT,
  CLIENT_LINKS,
  COLD_STRIDE,
  CONFIRMED,
  DESTINATION,
  FIN_IN,
  FIN_OUT,
  FIRST_OUT,
  FLOW,
  LAST_IN,
  LAST_OUT,
  LIVE,
  MAPPING,
  MAPPING_LINKS,
  NUMBERS_STRIDE,
  PORTS,
  REAL,
  type Reserve,
  RESOURCE,
  SessionRecords,
  STATE,
  STRIDE,
  SUSPENDED
} from "./sessionRecords.ts"
import { grownInts, SlotLists } from "./slotLists.ts"

/** Idle time after which a session goes, in milliseconds (RFC 5382 REQ-5, RFC 4787 REQ-5, RFC 5508 REQ-2). */
export const sessionTimeouts = { unconfirmed: 60_000, datagram: 120_000, tcp: 7_440_000, closed: 5_000 } as const

/**
 * Use is ordered by seconds of the clock: among sessions last used in the same second the first to be used in it goes
 * first, and one may go up to a second later than its time-out, never earlier.
 */
const sessionGranularity = 1_000

/**
 * Why a session ended: both sides closed it or one did so hard, nothing came for as long as it may be idle or nothing came
 * back at all, a newer one took its place, or what allowed it is gone.
 */
export type SessionEnd = "finished" | "reset" | "idle" | "unanswered" | "displaced" | "cut"

/** A new connection attempt: SYN without ACK, FIN or RST. */
export const isBareSyn = (tcpFlags: number): boolean => (tcpFlags & (tcpFin | tcpSyn | tcpRst | tcpAck)) === tcpSyn

export interface SessionsOptions {
  /** Sessions of the whole gateway. */
  readonly capacity: number
  /** Sessions of one client. */
  readonly perClient: number
  /** Any 32 random bits: makes the place of a flow in the table unpredictable. */
  readonly seed?: number
  /** Where the table's memory comes from; plain buffers unless given. */
  readonly reserve?: Reserve
}

/**
 * Forwarded flows: (client, protocol, inside port, destination, destination port) ↔ (client, protocol, outside port,
 * real address, same port), a bijection. For ICMP and ICMPv6 echo the inside port is the identifier and the
 * destination port 0; protocols without ports have 0 and 0. A session is a slot number, valid until the session ends.
 *
 * Clients, mappings and resources are small numbers that the caller gives out. `now` is monotonic milliseconds.
 * Nothing here allocates per packet; memory is reserved for `capacity` at once and touched when first used.
 */
export class Sessions extends SessionRecords {
  /** Sessions that were pushed out by a newer one at a bound. */
  evictions = 0
  /** Live sessions. */
  size = 0
  /** Those of them that are suspended. */
  private asleep = 0
  /** Called for each session that ends, while it can still be read. */
  onEnded: (slot: number, why: SessionEnd) => void = () => {}
  /** Called for each session that packets do not find any more since what allowed it is gone; it may come back. */
  onCut: () => void = () => {}
  /** For the packets that `findOutbound`, and `findInbound`, will be asked about next. */
  readonly outboundAhead: LookAhead
  readonly inboundAhead: LookAhead
  private readonly capacity: number
  private readonly perClient: number
  private readonly insideSeed: number
  private readonly outsideSeed: number
  private readonly inside: HashIndex
  private readonly outside: HashIndex
  private readonly byClass: SlotLists
  private readonly byClient: SlotLists
  private readonly byMapping: SlotLists
  private clientSizes = new Int32Array(64)
  private fresh = 0
  private free = 0

  constructor(options: SessionsOptions) {
    const reserve = options.reserve ?? plain
    super(options.capacity, reserve)
    this.capacity = options.capacity
    this.perClient = options.perClient
    this.insideSeed = (options.seed ?? 0x5a11) | 0
    this.outsideSeed = Math.imul(this.insideSeed ^ 0x2545f491, 0x9e3779b1)
    this.inside = new HashIndex(options.capacity, reserve)
    this.outside = new HashIndex(options.capacity, reserve)
    this.outboundAhead = new LookAhead(this.inside, this.records, this.cold, this.insideSeed)
    this.inboundAhead = new LookAhead(this.outside, this.records, this.cold, this.outsideSeed)
    this.byClass = new SlotLists(this.cold, COLD_STRIDE, CLASS_LINKS, 4)
    this.byClient = new SlotLists(this.cold, COLD_STRIDE, CLIENT_LINKS, 128)
    this.byMapping = new SlotLists(this.cold, COLD_STRIDE, MAPPING_LINKS, 64)
  }

  /** The session of a packet from the client, or −1. */
  findOutbound(
    client: number,
    protocol: number,
    insidePort: number,
    destination: Readonly<Words>,
    destinationPort: number
  ): number {
    const { records, inside } = this
    const { buckets, mask, slotMask } = inside
    const flow = (protocol << 16) | insidePort
    const hash = hashFlow(this.insideSeed, client, flow, destination, destinationPort)
    for (let b = hash & mask; ; b = (b + 1) & mask) {
      const entry = buckets[b]!
      if (entry === 0) return -1
      if (((entry ^ hash) & ~slotMask) !== 0) continue
      const slot = (entry & slotMask) - 1
      const at = slot * STRIDE
      if (
        records[at + FLOW] === flow &&
        records[at + CLIENT] === client &&
        records[at + DESTINATION + 3] === destination.w3 &&
        records[at + DESTINATION + 2] === destination.w2 &&
        records[at + DESTINATION + 1] === destination.w1 &&
        records[at + DESTINATION] === destination.w0 &&
        records[at + PORTS]! >>> 16 === destinationPort
      ) {
        return slot
      }
    }
  }

  /** The session of a packet from outside, or −1: `outsidePort` is where it is going, `real` and `realPort` whence it came. */
  findInbound(client: number, protocol: number, outsidePort: number, real: Readonly<Words>, realPort: number): number {
    const { records, outside } = this
    const { buckets, mask, slotMask } = outside
    const hash = hashFlow(this.outsideSeed, client, (protocol << 16) | outsidePort, real, realPort)
    const ports = (realPort << 16) | outsidePort
    for (let b = hash & mask; ; b = (b + 1) & mask) {
      const entry = buckets[b]!
      if (entry === 0) return -1
      if (((entry ^ hash) & ~slotMask) !== 0) continue
      const slot = (entry & slotMask) - 1
      const at = slot * STRIDE
      if (
        records[at + PORTS] === ports &&
        records[at + CLIENT] === client &&
        records[at + FLOW]! >>> 16 === protocol &&
        records[at + REAL + 3] === real.w3 &&
        records[at + REAL + 2] === real.w2 &&
        records[at + REAL + 1] === real.w1 &&
        records[at + REAL] === real.w0
      ) {
        return slot
      }
    }
  }

  /**
   * A new session, unconfirmed, first used `now`; then call `outbound` for its first packet as for every other.
   * The outside port is the inside port if that is free, else the next free one (after 32 taken ones in a row
   * any free one), never 0; −1 when none is left.
   * At a bound the least recently used unconfirmed session goes, else the least recently used one: the client's own
   * at the client's bound, anybody's at the gateway's. A session with the same inside is replaced.
   * `mapping` is −1 for a flow without translation.
   */
  insert(
    client: number,
    protocol: number,
    insidePort: number,
    destination: Readonly<Words>,
    destinationPort: number,
    real: Readonly<Words>,
    mapping: number,
    resource: number,
    now: number
  ): number {
    this.clock = now
    this.makeRoomFor(client, mapping)
    const existing = this.findOutbound(client, protocol, insidePort, destination, destinationPort)
    if (existing >= 0) this.remove(existing, this.isFinished(existing) ? "finished" : "displaced")
    const outsidePort = this.chooseOutsidePort(client, protocol, insidePort, destination, real, destinationPort)
    if (outsidePort < 0) return -1
    if (this.clientSizes[client]! >= this.perClient) this.evictOf(client)
    else if (this.size >= this.capacity) this.evictAny()

    const slot = this.takeSlot()
    const { records } = this
    const at = slot * STRIDE
    records[at + CLIENT] = client
    records[at + FLOW] = (protocol << 16) | insidePort
    records[at + DESTINATION] = destination.w0
    records[at + DESTINATION + 1] = destination.w1
    records[at + DESTINATION + 2] = destination.w2
    records[at + DESTINATION + 3] = destination.w3
    records[at + PORTS] = (destinationPort << 16) | outsidePort
    records[at + REAL] = real.w0
    records[at + REAL + 1] = real.w1
    records[at + REAL + 2] = real.w2
    records[at + REAL + 3] = real.w3
    records[at + MAPPING] = mapping
    records[at + RESOURCE] = resource
    records[at + STATE] = LIVE
    records[at + LAST_OUT] = now
    const numbers = slot * NUMBERS_STRIDE
    this.numbers[numbers + FIRST_OUT] = now
    this.numbers[numbers + BYTES_OUT] = 0
    this.numbers[numbers + BYTES_IN] = 0
    this.inside.add(this.insideHash(slot), slot)
    this.outside.add(this.outsideHash(slot), slot)
    this.byClass.addFirst(UNCONFIRMED, slot)
    this.byClient.addFirst(client * 2, slot)
    this.clientSizes[client]!++
    if (mapping >= 0) this.byMapping.addFirst(mapping, slot)
    this.size++
    return slot
  }

  /** Counts bytes from the client. */
  sent(slot: number, bytes: number): void {
    this.numbers[slot * NUMBERS_STRIDE + BYTES_OUT]! += bytes
  }

  /** Counts bytes from outside. */
  received(slot: number, bytes: number): void {
    this.numbers[slot * NUMBERS_STRIDE + BYTES_IN]! += bytes
  }

  /**
   * Notes a packet from the client. True when the session ended with it (RST): the packet is still to be forwarded,
   * and the slot's ports and addresses can be read until the next `insert`.
   */
  outbound(slot: number, tcpFlags: number, now: number): boolean {
    return this.note(slot, LAST_OUT, tcpFlags, FIN_OUT, 0, now)
  }

  /** Notes a packet from outside, which confirms the session. True as for `outbound`. */
  inbound(slot: number, tcpFlags: number, now: number): boolean {
    return this.note(slot, LAST_IN, tcpFlags, FIN_IN, CONFIRMED, now)
  }

  /**
   * Whether a bare SYN on this session starts a new one (`remove`, then `insert`): it saw a FIN, or its target has
   * changed and nothing has come back for 2 s.
   */
  mayRestart(slot: number, now: number, targetDiffers: boolean): boolean {
    if ((this.records[slot * STRIDE + STATE]! & (FIN_OUT | FIN_IN)) !== 0) return true
    return targetDiffers && now - Math.max(this.lastInAt(slot), this.firstOutAt(slot)) >= 2_000
  }

  /** Moves an unconfirmed session to another real address. False, and nothing changed: confirmed, or no port is left. */
  rebind(slot: number, real: Readonly<Words>): boolean {
    const { records } = this
    const at = slot * STRIDE
    if ((records[at + STATE]! & CONFIRMED) !== 0) return false
    this.realInto(slot, scratch)
    if (equal(scratch, real)) return true
    const flow = records[at + FLOW]!
    const port = records[at + PORTS]! >>> 16
    this.destinationInto(slot, scratch)
    const outsidePort = this.chooseOutsidePort(records[at + CLIENT]!, flow >>> 16, flow & 0xffff, scratch, real, port)
    if (outsidePort < 0) return false
    this.outside.remove(this.outsideHash(slot), slot)
    records[at + PORTS] = (port << 16) | outsidePort
    records[at + REAL] = real.w0
    records[at + REAL + 1] = real.w1
    records[at + REAL + 2] = real.w2
    records[at + REAL + 3] = real.w3
    this.outside.add(this.outsideHash(slot), slot)
    return true
  }

  /** Removes sessions whose time is up, at most `budget`; the number removed (`budget`: there may be more). */
  expire(now: number, budget: number): number {
    this.clock = now
    let removed = 0
    for (let c = UNCONFIRMED; c <= CLOSED; c++) {
      const before = now - classTimeout(c)
      for (let slot = this.byClass.last(c); slot >= 0 && removed < budget; slot = this.byClass.last(c)) {
        if (this.lastUsedAt(slot) > before) break
        this.remove(slot, classEnd(c))
        removed++
      }
    }
    return removed
  }

  remove(slot: number, why: SessionEnd = "cut"): void {
    const { records } = this
    const at = slot * STRIDE
    const client = records[at + CLIENT]!
    const state = records[at + STATE]!
    if ((state & LIVE) === 0) return
    this.onEnded(slot, why)
    const mapping = records[at + MAPPING]!
    if ((state & SUSPENDED) === 0) {
      this.inside.remove(this.insideHash(slot), slot)
      this.outside.remove(this.outsideHash(slot), slot)
      if (why === "cut") this.onCut()
    } else {
      this.asleep--
    }
    this.byClass.remove(this.classOf(slot), slot)
    this.byClient.remove(client * 2 + (state & CONFIRMED), slot)
    records[at + STATE] = state & ~(LIVE | SUSPENDED)
    this.cold[slot * COLD_STRIDE + CLASS_LINKS + 1] = this.free
    this.free = slot + 1
    this.clientSizes[client]!--
    if (mapping >= 0) this.byMapping.remove(mapping, slot)
    this.size--
  }

  /** Removes the client's sessions for which `gone` holds. Costs as much as the client has. */
  removeWhere(client: number, gone: (slot: number) => boolean): void {
    if (this.sizeOf(client) === 0) return
    for (let list = client * 2; list <= client * 2 + 1; list++) {
      for (let slot = this.byClient.first(list); slot >= 0;) {
        const next = this.byClient.next(slot)
        if (gone(slot)) this.remove(slot)
        slot = next
      }
    }
  }

  forgetClient(client: number): void {
    this.removeWhere(client, () => true)
  }

  /** The client may not use the resource: flows that do not move to another with a mapping are suspended, without one they end. */
  withdraw(client: number, resource: number, moves: (slot: number) => boolean): void {
    this.removeWhere(client, (slot) => {
      if (this.resourceOf(slot) !== resource || this.suspended(slot) || moves(slot)) return false
      if (this.mappingOf(slot) < 0) return true
      this.suspend(slot)
      return false
    })
  }

  /**
   * The client may use the resource (again): suspended flows go on by it where `may` allows it and they can, or end. Those of
   * other resources that it does not allow wait on.
   */
  resume(client: number, resource: number, may: (slot: number) => boolean): void {
    if (this.asleep === 0) return
    this.removeWhere(client, (slot) => {
      if (!this.suspended(slot)) return false
      if (!may(slot)) return this.resourceOf(slot) === resource
      this.move(slot, resource)
      return !this.wake(slot)
    })
  }

  /** The flow goes on by another resource. */
  move(slot: number, resource: number): void {
    this.records[slot * STRIDE + RESOURCE] = resource
  }

  /** Removes the mapping's sessions for which `gone` holds. */
  removeOf(mapping: number, gone: (slot: number) => boolean): void {
    this.byMapping.grow(mapping + 1)
    for (let slot = this.byMapping.first(mapping); slot >= 0;) {
      const next = this.byMapping.next(slot)
      if (gone(slot)) this.remove(slot)
      slot = next
    }
  }

  /** Costs as much as the mapping has, like `forgetMapping`: a client's thousands of names may end together. */
  suspendMapping(mapping: number): void {
    this.byMapping.grow(mapping + 1)
    for (let slot = this.byMapping.first(mapping); slot >= 0; slot = this.byMapping.next(slot)) this.suspend(slot)
  }

  forgetMapping(mapping: number): void {
    this.byMapping.grow(mapping + 1)
    for (let slot = this.byMapping.first(mapping); slot >= 0; slot = this.byMapping.first(mapping)) this.remove(slot)
  }

  /** Live sessions that packets find. */
  get awake(): number {
    return this.size - this.asleep
  }

  sizeOf(client: number): number {
    return this.clientSizes[client] ?? 0
  }

  /** Whether another session of the client would cost it one that has been answered. */
  displacesConfirmed(client: number): boolean {
    return this.sizeOf(client) >= this.perClient && this.byClient.first(client * 2) < 0
  }

  /** Whether the mapping has sessions. */
  uses(mapping: number): boolean {
    return this.byMapping.first(mapping) >= 0
  }

  private suspend(slot: number): void {
    if (this.suspended(slot)) return
    this.inside.remove(this.insideHash(slot), slot)
    this.outside.remove(this.outsideHash(slot), slot)
    this.records[slot * STRIDE + STATE]! |= SUSPENDED
    this.asleep++
    this.onCut()
  }

  /** False, and nothing changed: another flow has its place by now. */
  private wake(slot: number): boolean {
    const client = this.records[slot * STRIDE + CLIENT]!
    const protocol = this.protocolOf(slot)
    const port = this.destinationPort(slot)
    this.realInto(slot, scratch)
    if (this.findInbound(client, protocol, this.outsidePort(slot), scratch, port) >= 0) return false
    this.destinationInto(slot, scratch)
    if (this.findOutbound(client, protocol, this.insidePort(slot), scratch, port) >= 0) return false
    this.records[slot * STRIDE + STATE]! &= ~SUSPENDED
    this.inside.add(this.insideHash(slot), slot)
    this.outside.add(this.outsideHash(slot), slot)
    this.asleep--
    return true
  }

  private takeSlot(): number {
    if (this.free === 0) return this.fresh++
    const slot = this.free - 1
    this.free = this.cold[slot * COLD_STRIDE + CLASS_LINKS + 1]!
    return slot
  }

  private note(slot: number, time: number, flags: number, fin: number, confirmed: number, now: number): boolean {
    const { records } = this
    const at = slot * STRIDE
    const tcpFlags = records[at + FLOW]! >>> 16 === protocolTcp ? flags : 0
    if ((tcpFlags & tcpRst) !== 0) {
      this.remove(slot, "reset")
      return true
    }
    const before = records[at + STATE]!
    const after = before | confirmed | ((tcpFlags & tcpFin) === 0 ? 0 : fin)
    this.clock = now
    const second = Math.floor(this.lastUsedAt(slot) / sessionGranularity)
    if (after !== before || second !== Math.floor(now / sessionGranularity)) {
      const client = records[at + CLIENT]! * 2
      this.byClass.remove(this.classOf(slot), slot)
      this.byClient.remove(client + (before & CONFIRMED), slot)
      records[at + STATE] = after
      this.byClass.addFirst(this.classOf(slot), slot)
      this.byClient.addFirst(client + (after & CONFIRMED), slot)
    }
    records[at + time] = now
    return false
  }

  /** A FIN has passed. */
  private isFinished(slot: number): boolean {
    return (this.records[slot * STRIDE + STATE]! & (FIN_IN | FIN_OUT)) !== 0
  }

  private classOf(slot: number): number {
    const state = this.records[slot * STRIDE + STATE]!
    if ((state & CONFIRMED) === 0) return UNCONFIRMED
    if (this.records[slot * STRIDE + FLOW]! >>> 16 !== protocolTcp) return DATAGRAM
    return (state & (FIN_IN | FIN_OUT)) === (FIN_IN | FIN_OUT) ? CLOSED : ESTABLISHED
  }

  /**
   * After `NEAR` taken ports in a row the search goes on from a place and in strides that depend on the flow, and
   * reaches every port: a client that fills ports cannot make each further session cost a walk along them.
   */
  private chooseOutsidePort(
    client: number,
    protocol: number,
    insidePort: number,
    destination: Readonly<Words>,
    real: Readonly<Words>,
    realPort: number
  ): number {
    if (
      protocol !== protocolTcp &&
      protocol !== protocolUdp &&
      protocol !== protocolIcmp &&
      protocol !== protocolIcmpv6
    ) {
      return this.findInbound(client, protocol, insidePort, real, realPort) < 0 ? insidePort : -1
    }
    for (let n = 0; n < NEAR; n++) {
      const port = (insidePort + n) & 0xffff
      if (port !== 0 && this.findInbound(client, protocol, port, real, realPort) < 0) return port
    }
    const hash = hashFlow(this.insideSeed, client, (protocol << 16) | insidePort, destination, realPort)
    const stride = (hash >>> 16) | 1
    for (let n = 0, port = hash & 0xffff; n < 0x10000; n++, port = (port + stride) & 0xffff) {
      if (port !== 0 && this.findInbound(client, protocol, port, real, realPort) < 0) return port
    }
    return -1
  }

  private evictOf(client: number): void {
    const unconfirmed = this.byClient.last(client * 2)
    this.remove(unconfirmed >= 0 ? unconfirmed : this.byClient.last(client * 2 + 1), "displaced")
    this.evictions++
  }

  private evictAny(): void {
    let victim = this.byClass.last(UNCONFIRMED)
    for (let c = DATAGRAM; c <= CLOSED && this.byClass.last(UNCONFIRMED) < 0; c++) {
      const slot = this.byClass.last(c)
      if (slot < 0) continue
      if (victim < 0 || this.lastUsedAt(slot) < this.lastUsedAt(victim)) victim = slot
    }
    this.remove(victim, "displaced")
    this.evictions++
  }

  private insideHash(slot: number): number {
    const { records, insideSeed } = this
    const at = slot * STRIDE
    this.destinationInto(slot, scratch)
    return hashFlow(insideSeed, records[at + CLIENT]!, records[at + FLOW]!, scratch, records[at + PORTS]! >>> 16)
  }

  private outsideHash(slot: number): number {
    const { records, outsideSeed } = this
    const at = slot * STRIDE
    const ports = records[at + PORTS]!
    this.realInto(slot, scratch)
    const flow = (records[at + FLOW]! & 0xff0000) | (ports & 0xffff)
    return hashFlow(outsideSeed, records[at + CLIENT]!, flow, scratch, ports >>> 16)
  }

  private makeRoomFor(client: number, mapping: number): void {
    if (client >= this.clientSizes.length) this.clientSizes = grownInts(this.clientSizes, client + 1)
    this.byClient.grow(client * 2 + 2)
    this.byMapping.grow(mapping + 1)
  }
}

const plain: Reserve = (length) => new Int32Array(length)

const NEAR = 32

const UNCONFIRMED = 0
const DATAGRAM = 1
const ESTABLISHED = 2
const CLOSED = 3

const classTimeout = (c: number): number =>
  c === UNCONFIRMED
    ? sessionTimeouts.unconfirmed
    : c === DATAGRAM
      ? sessionTimeouts.datagram
      : c === ESTABLISHED
        ? sessionTimeouts.tcp
        : sessionTimeouts.closed

const classEnd = (c: number): SessionEnd => (c === UNCONFIRMED ? "unanswered" : c === CLOSED ? "finished" : "idle")

const scratch = words()
