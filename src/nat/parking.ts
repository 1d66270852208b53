import { equal, type Words } from "../packet/address.ts"
import { protocolTcp } from "../packet/protocols.ts"
import { isBareSyn } from "./sessions.ts"

export interface ParkingLimits {
  /** Packets of one mapping. */
  readonly perMapping: number
  /** Bytes of one client's packets. */
  readonly perClient: number
  /** Bytes of the gateway's memory for parked packets; each packet takes `parkedPacketSize`. */
  readonly total: number
  /** Milliseconds from `begin`, or from a mapping's first packet, unless `begin` says something else. */
  readonly holdFor: number
}

const parkingLimits: ParkingLimits = { perMapping: 8, perClient: 65_536, total: 16_777_216, holdFor: 2_000 }

/** Longer packets are not parked; more than any tunnel MTU. */
const parkedPacketSize = 2_048

/** What tells flows apart; a `PacketView` is one. */
export interface FlowView {
  readonly protocol: number
  readonly sourcePort: number
  readonly destinationPort: number
  readonly tcpFlags: number
  readonly destination: Readonly<Words>
}

/**
 * Packets that wait for a mapping's first lookup, as copies in memory of its own (reserved once, touched when used).
 * One time for each lookup, however late its first packet comes: a mapping's packets are parked for so long from the
 * lookup's beginning; after that it takes none until `release`d or forgotten.
 */
export class Parking {
  private readonly limits: ParkingLimits
  private memory: Uint8Array | undefined
  private readonly freeSlots: Array<number> = []
  private unusedSlots: number
  private readonly waiting = new Map<number, Waiting>()
  /** The mappings whose lookups are waited for. */
  private readonly times = new Map<number, Time>()
  private readonly over = new Set<number>()
  private readonly clientBytes = new Map<number, number>()

  constructor(limits: ParkingLimits = parkingLimits) {
    this.limits = limits
    this.unusedSlots = Math.floor(limits.total / parkedPacketSize)
  }

  /** Parked packets. */
  get size(): number {
    return Math.floor(this.limits.total / parkedPacketSize) - this.unusedSlots - this.freeSlots.length
  }

  /** Whether any mapping's time runs: `expire` has something to do in the end. */
  get waits(): boolean {
    return this.times.size > 0
  }

  /** The mapping's lookup has begun; one that is waited for already goes on from its beginning, for as long as is said now. */
  begin(mapping: number, now: number, holdFor: number = this.limits.holdFor): void {
    const time = this.times.get(mapping)
    if (time !== undefined) time.until = time.since + holdFor
    else if (!this.over.has(mapping)) this.times.set(mapping, { since: now, until: now + holdFor })
  }

  /**
   * Copies the packet. False: not parked, the caller answers as for an unusable mapping. A repeated SYN of a flow that
   * is parked already counts as parked.
   */
  park(
    mapping: number,
    client: number,
    bytes: Uint8Array,
    offset: number,
    length: number,
    view: FlowView,
    now: number
  ): boolean {
    const { limits } = this
    if (!this.times.has(mapping)) this.begin(mapping, now)
    if (!this.holds(mapping, now)) return false
    const held = this.waiting.get(mapping)
    const syn = view.protocol === protocolTcp && isBareSyn(view.tcpFlags)
    if (syn && held?.packets.some((p) => sameSyn(p, view)) === true) return true
    const clientBytes = this.clientBytes.get(client) ?? 0
    if (
      (held?.packets.length ?? 0) >= limits.perMapping ||
      clientBytes + length > limits.perClient ||
      length > parkedPacketSize
    ) {
      return false
    }
    const slot = this.freeSlots.pop() ?? (this.unusedSlots > 0 ? --this.unusedSlots : undefined)
    if (slot === undefined) return false
    this.memory ??= new Uint8Array(limits.total)
    this.memory.set(bytes.subarray(offset, offset + length), slot * parkedPacketSize)
    const packet: Parked = {
      slot,
      length,
      syn,
      sourcePort: view.sourcePort,
      destinationPort: view.destinationPort,
      destination: { ...view.destination }
    }
    if (held === undefined) this.waiting.set(mapping, { client, packets: [packet] })
    else held.packets.push(packet)
    this.clientBytes.set(client, clientBytes + length)
    return true
  }

  /** Whether the mapping's time runs: what is not parked then was too much. */
  holds(mapping: number, now: number): boolean {
    const time = this.times.get(mapping)
    return time !== undefined && now < time.until
  }

  /** Hands out the mapping's packets in order and ends its waiting: the lookup is over. `bytes` is good until `each` returns. */
  release(mapping: number, each: (bytes: Uint8Array, length: number) => void): void {
    this.over.delete(mapping)
    this.times.delete(mapping)
    const held = this.waiting.get(mapping)
    if (held === undefined) return
    this.waiting.delete(mapping)
    this.handOut(held, each)
  }

  /** The same for every mapping. */
  releaseAll(each: (mapping: number, bytes: Uint8Array, length: number) => void): void {
    for (const mapping of Array.from(this.times.keys())) {
      this.release(mapping, (bytes, length) => each(mapping, bytes, length))
    }
  }

  /** Drops the mapping's packets and its history. */
  forgetMapping(mapping: number): void {
    this.release(mapping, () => undefined)
  }

  /** Hands out the packets of mappings whose time is over, in order; from now on these mappings park nothing. */
  expire(now: number, each: (mapping: number, bytes: Uint8Array, length: number) => void): void {
    for (const [mapping, { until }] of this.times) {
      if (now < until) continue
      this.times.delete(mapping)
      this.over.add(mapping)
      const held = this.waiting.get(mapping)
      if (held === undefined) continue
      this.waiting.delete(mapping)
      this.handOut(held, (bytes, length) => each(mapping, bytes, length))
    }
  }

  private handOut(held: Waiting, each: (bytes: Uint8Array, length: number) => void): void {
    const left = (this.clientBytes.get(held.client) ?? 0) - held.packets.reduce((n, p) => n + p.length, 0)
    if (left > 0) this.clientBytes.set(held.client, left)
    else this.clientBytes.delete(held.client)
    for (const { slot, length } of held.packets) {
      const start = slot * parkedPacketSize
      each(this.memory!.subarray(start, start + length), length)
      this.freeSlots.push(slot)
    }
  }
}

interface Time {
  readonly since: number
  until: number
}

interface Waiting {
  readonly client: number
  readonly packets: Array<Parked>
}

interface Parked {
  readonly slot: number
  readonly length: number
  readonly syn: boolean
  readonly sourcePort: number
  readonly destinationPort: number
  readonly destination: Readonly<Words>
}

const sameSyn = (p: Parked, view: FlowView): boolean =>
  p.syn &&
  p.sourcePort === view.sourcePort &&
  p.destinationPort === view.destinationPort &&
  equal(p.destination, view.destination)
