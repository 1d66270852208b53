import type { Words } from "../packet/address.ts"
import { hashFlow } from "./hashIndex.ts"

/** So many flows are known at a time; a power of two. */
const capacity = 8_192
/** A flow lies in one of so many places. */
const places = 8
/** Milliseconds: a flow is known for so long, and is probed again after. */
const knownMs = 5_000
const againMs = 1_000

/**
 * TCP flows of (client, inside port, real address, real port) that a client was asked about: when, and by which
 * acknowledgement number. Rows are numbers from 0 up. Memory is reserved with the first one.
 */
export class ProbedFlows {
  private readonly seed: number
  private rows: Int32Array | undefined
  private times = new Float64Array(0)

  constructor(seed: number) {
    this.seed = seed
  }

  /** The row of a flow that may be probed now, and counts as probed from now on; −1: it was just now, or too many were. */
  take(client: number, ports: number, real: Readonly<Words>, acknowledgement: number, now: number): number {
    const rows = (this.rows ??= new Int32Array(capacity * ROW))
    if (this.times.length === 0) this.times = new Float64Array(capacity)
    const { times } = this
    const known = this.find(client, ports, real)
    if (known >= 0 && now - times[known]! < againMs) return -1
    const row = known >= 0 ? known : this.freePlace(client, ports, real, now)
    if (row < 0) return -1
    const at = row * ROW
    rows[at] = client + 1
    rows[at + 1] = ports
    rows[at + 2] = real.w0
    rows[at + 3] = real.w1
    rows[at + 4] = real.w2
    rows[at + 5] = real.w3
    rows[at + 6] = acknowledgement
    times[row] = now
    return row
  }

  /** The row of a flow that the client was asked about a short while ago; −1: it was not. */
  asked(client: number, ports: number, real: Readonly<Words>, now: number): number {
    if (this.rows === undefined) return -1
    const row = this.find(client, ports, real)
    return row >= 0 && now - this.times[row]! < knownMs ? row : -1
  }

  /** Whether a reset with this sequence number is what one answers to the probe who does not know the flow (RFC 9293 §3.10.7.1). */
  isAnswer(client: number, ports: number, real: Readonly<Words>, sequence: number, now: number): boolean {
    const row = this.asked(client, ports, real, now)
    return row >= 0 && this.rows![row * ROW + 6] === sequence
  }

  forgetClient(client: number): void {
    const { rows } = this
    if (rows === undefined) return
    for (let at = 0; at < rows.length; at += ROW) {
      if (rows[at] !== client + 1) continue
      rows.fill(0, at, at + ROW)
      this.times[at / ROW] = 0
    }
  }

  private find(client: number, ports: number, real: Readonly<Words>): number {
    const rows = this.rows!
    const first = this.firstPlace(client, ports, real)
    for (let row = first; row < first + places; row++) {
      const at = row * ROW
      if (
        rows[at] === client + 1 &&
        rows[at + 1] === ports &&
        rows[at + 5] === real.w3 &&
        rows[at + 4] === real.w2 &&
        rows[at + 3] === real.w1 &&
        rows[at + 2] === real.w0
      ) {
        return row
      }
    }
    return -1
  }

  private freePlace(client: number, ports: number, real: Readonly<Words>, now: number): number {
    const first = this.firstPlace(client, ports, real)
    for (let row = first; row < first + places; row++) {
      if (this.rows![row * ROW] === 0 || now - this.times[row]! >= knownMs) return row
    }
    return -1
  }

  private firstPlace(client: number, ports: number, real: Readonly<Words>): number {
    return hashFlow(this.seed, client, ports, real, 0) & (capacity - places)
  }
}

/** Client + 1 (0: none), ports, four words, acknowledgement number. */
const ROW = 7
