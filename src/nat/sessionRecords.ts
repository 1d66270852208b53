import type { Words } from "../packet/address.ts"

// What a packet needs of a session is one cache line of integers: `records`. The rest is in `cold`.
export const STRIDE = 16
export const CLIENT = 0
export const FLOW = 1
export const DESTINATION = 2
export const PORTS = 6
export const REAL = 7
export const MAPPING = 11
export const RESOURCE = 12
export const STATE = 13
/** Milliseconds modulo 2^32. */
export const LAST_OUT = 14
export const LAST_IN = 15

/** A cache line as well. */
export const COLD_STRIDE = 16
export const CLASS_LINKS = 0
export const CLIENT_LINKS = 2
export const MAPPING_LINKS = 4
// Behind the links, as doubles.
export const NUMBERS_STRIDE = COLD_STRIDE / 2
export const FIRST_OUT = 3
export const BYTES_OUT = 4
export const BYTES_IN = 5

export const CONFIRMED = 1
export const FIN_OUT = 2
export const FIN_IN = 4
export const LIVE = 8
/** In no index: no packet finds it. */
export const SUSPENDED = 16

/**
 * This many zeroed integers. A table that is visited at random wants them to begin at a cache line, in large pages:
 * `layers/dataplane/native` knows how.
 */
export type Reserve = (length: number) => Int32Array

/** The memory of the sessions: fixed records in one block, and how to read a session by its slot. */
export class SessionRecords {
  protected readonly records: Int32Array
  protected readonly cold: Int32Array
  /** `cold` again. */
  protected readonly numbers: Float64Array
  /** The latest time seen, from which the stored low 32 bits of a time are completed. */
  protected clock = 0

  constructor(capacity: number, reserve: Reserve) {
    this.records = reserve(capacity * STRIDE)
    this.cold = reserve(capacity * COLD_STRIDE)
    this.numbers = new Float64Array(this.cold.buffer, this.cold.byteOffset, capacity * NUMBERS_STRIDE)
  }

  protocolOf(slot: number): number {
    return this.records[slot * STRIDE + FLOW]! >>> 16
  }

  insidePort(slot: number): number {
    return this.records[slot * STRIDE + FLOW]! & 0xffff
  }

  outsidePort(slot: number): number {
    return this.records[slot * STRIDE + PORTS]! & 0xffff
  }

  /** The same inside and outside. */
  destinationPort(slot: number): number {
    return this.records[slot * STRIDE + PORTS]! >>> 16
  }

  destinationInto(slot: number, to: Words): void {
    const at = slot * STRIDE + DESTINATION
    to.w0 = this.records[at]!
    to.w1 = this.records[at + 1]!
    to.w2 = this.records[at + 2]!
    to.w3 = this.records[at + 3]!
  }

  realInto(slot: number, to: Words): void {
    const at = slot * STRIDE + REAL
    to.w0 = this.records[at]!
    to.w1 = this.records[at + 1]!
    to.w2 = this.records[at + 2]!
    to.w3 = this.records[at + 3]!
  }

  /** −1: without translation. */
  mappingOf(slot: number): number {
    return this.records[slot * STRIDE + MAPPING]!
  }

  resourceOf(slot: number): number {
    return this.records[slot * STRIDE + RESOURCE]!
  }

  firstOutAt(slot: number): number {
    return this.numbers[slot * NUMBERS_STRIDE + FIRST_OUT]!
  }

  /** Bytes of packets that left for its real address, IP headers included; of fragments the first ones'. */
  bytesOut(slot: number): number {
    return this.numbers[slot * NUMBERS_STRIDE + BYTES_OUT]!
  }

  /** The same of those that came back. */
  bytesIn(slot: number): number {
    return this.numbers[slot * NUMBERS_STRIDE + BYTES_IN]!
  }

  clientOf(slot: number): number {
    return this.records[slot * STRIDE + CLIENT]!
  }

  /** Whole milliseconds. */
  lastOutAt(slot: number): number {
    return this.complete(this.records[slot * STRIDE + LAST_OUT]!)
  }

  /** Whole milliseconds; −1 before the first reply. */
  lastInAt(slot: number): number {
    return this.confirmed(slot) ? this.complete(this.records[slot * STRIDE + LAST_IN]!) : -1
  }

  /** Whether anything has come back. */
  confirmed(slot: number): boolean {
    return (this.records[slot * STRIDE + STATE]! & CONFIRMED) !== 0
  }

  /** Whether it waits, unseen by packets, for its resource to come back. */
  suspended(slot: number): boolean {
    return (this.records[slot * STRIDE + STATE]! & SUSPENDED) !== 0
  }

  protected lastUsedAt(slot: number): number {
    return Math.max(this.lastOutAt(slot), this.lastInAt(slot))
  }

  /** A session does not live through 2^31 ms without a packet. */
  private complete(low: number): number {
    return Math.floor(this.clock) - ((Math.floor(this.clock) - low) | 0)
  }
}
