/**
 * How much handshake work strangers may cause. A source is an IPv4 address or an IPv6 /64. Sources that proved their
 * address with a cookie have a bucket of their own, so that a forger cannot use up a victim's.
 */
import { isIpv4 } from "../packet/address.ts"
import type { Endpoint } from "../packet/endpoint.ts"
import type { Primitives } from "./primitives.ts"

export interface HandshakeLimits {
  /** Handshake messages per second and source. */
  readonly perSecond: number
  /** Handshake messages a source may send at once after a pause. */
  readonly burst: number
  /**
   * Handshake messages per second, all sources together, above which sources must prove their address, and how many a
   * second of sources that were quiet need not even then; 0: all must, always.
   */
  readonly loadMark: number
  /** Handshake messages of a turn whose MACs are looked at; the rest is dropped by its type. */
  readonly seenPerTurn: number
  /** The same while the packet loop does not keep up. */
  readonly seenBehind: number
  /** Cookie replies per second, all sources together, evenly spread. */
  readonly cookieReplies: number
  /** Messages that wait for `workHandshakes` at most. */
  readonly queue: number
  /** Handshakes worked off per `workHandshakes` and started per `advance`. */
  readonly perTurn: number
  /** Rows of the table of sources, 8 sources each; a power of two. */
  readonly sourceRows: number
}

export const defaultLimits: HandshakeLimits = {
  perSecond: 20,
  burst: 40,
  loadMark: 1_000,
  seenPerTurn: 64,
  seenBehind: 4,
  cookieReplies: 40_000,
  queue: 4_096,
  perTurn: 2,
  sourceRows: 2_048
}

/** Counts the events of one second at a time. */
export class EventRate {
  private windowAt = Number.NEGATIVE_INFINITY
  private events = 0

  /** Counts one event; returns how many this second has seen. */
  count(now: number): number {
    if (now - this.windowAt >= 1_000) {
      this.windowAt = now
      this.events = 0
    }
    return ++this.events
  }
}

/**
 * Token buckets per source in a table of fixed size. Sources that meet in a full row displace the one that has been
 * quiet longest; rows are chosen by a secret hash, so nobody can aim at a row.
 */
export class SourceBuckets {
  private readonly limits: HandshakeLimits
  private readonly seed = new Int32Array(2)
  private readonly kind: Uint8Array
  private readonly high: Int32Array
  private readonly low: Int32Array
  private readonly tokens: Float64Array
  private readonly at: Float64Array

  constructor(limits: HandshakeLimits, p: Primitives) {
    this.limits = limits
    const sources = limits.sourceRows * ways
    this.kind = new Uint8Array(sources)
    this.high = new Int32Array(sources)
    this.low = new Int32Array(sources)
    this.tokens = new Float64Array(sources)
    this.at = new Float64Array(sources)
    p.randomBytes(new Uint8Array(this.seed.buffer))
  }

  /** Takes one token of the source's bucket; false when it is empty. */
  take(from: Readonly<Endpoint>, proven: boolean, now: number): boolean {
    const v4 = isIpv4(from.remote)
    const kind = (v4 ? 1 : 2) + (proven ? 2 : 0)
    const high = v4 ? 0 : from.remote.w0
    const low = v4 ? from.remote.w3 : from.remote.w1
    const slot = this.find(kind, high, low, now)
    const { burst, perSecond } = this.limits
    const tokens = Math.min(burst, this.tokens[slot]! + ((now - this.at[slot]!) * perSecond) / 1_000)
    this.at[slot] = now
    this.tokens[slot] = tokens >= 1 ? tokens - 1 : tokens
    return tokens >= 1
  }

  private find(kind: number, high: number, low: number, now: number): number {
    let h = this.seed[0]! ^ kind
    h = mix(Math.imul(h ^ high, 0x85eb_ca6b) ^ this.seed[1]!)
    h = mix(Math.imul(h ^ low, 0xc2b2_ae35))
    const row = (h & (this.limits.sourceRows - 1)) * ways
    let oldest = row
    for (let slot = row; slot < row + ways; slot++) {
      if (this.kind[slot] === kind && this.high[slot] === high && this.low[slot] === low) return slot
      if (this.at[slot]! < this.at[oldest]! || (this.kind[slot] === 0 && this.kind[oldest] !== 0)) oldest = slot
    }
    this.kind[oldest] = kind
    this.high[oldest] = high
    this.low[oldest] = low
    this.tokens[oldest] = this.limits.burst
    this.at[oldest] = now
    return oldest
  }
}

const ways = 8

const mix = (h: number): number => {
  const a = Math.imul(h ^ (h >>> 16), 0x7feb_352d)
  const b = Math.imul(a ^ (a >>> 15), 0x846c_a68b | 0)
  return b ^ (b >>> 16)
}
