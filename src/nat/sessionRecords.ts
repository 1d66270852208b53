import type { Words } from "../packet/address.ts"

// A record is two cache lines: 14 integers, four times, and the links of two lists.
export const STRIDE = 32
export const CLIENT = 0
export const FLOW = 1
export const DESTINATION = 2
export const PORTS = 6
export const REAL = 7
export const MAPPING = 11
export const RESOURCE = 12
export const STATE = 13
export const CLASS_LINKS = 22
export const CLIENT_LINKS = 24

export const TIMES = STRIDE / 2
export const LAST_OUT = 7
export const LAST_IN = 8
export const FIRST_OUT = 9
/** When the session last moved to the front of its lists: its last use, at most `sessionGranularity` ago. */
export const USED = 10

export const CONFIRMED = 1
export const FIN_OUT = 2
export const FIN_IN = 4
export const LIVE = 8

export const TCP = 6

/** The memory of the sessions: fixed records in one block, and how to read a session by its slot. */
export class SessionRecords {
  protected readonly records: Int32Array
  protected readonly times: Float64Array

  constructor(capacity: number) {
    const memory = new ArrayBuffer(capacity * STRIDE * 4)
    this.records = new Int32Array(memory)
    this.times = new Float64Array(memory)
  }

  clientOf(slot: number): number {
    return this.records[slot * STRIDE + CLIENT]!
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
    return this.times[slot * TIMES + FIRST_OUT]!
  }

  lastOutAt(slot: number): number {
    return this.times[slot * TIMES + LAST_OUT]!
  }

  /** −1 before the first reply. */
  lastInAt(slot: number): number {
    return this.times[slot * TIMES + LAST_IN]!
  }

  /** Whether anything has come back. */
  confirmed(slot: number): boolean {
    return (this.records[slot * STRIDE + STATE]! & CONFIRMED) !== 0
  }
}
