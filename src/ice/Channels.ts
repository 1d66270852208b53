/**
 * The channels of one allocation (RFC 8656 §12): which number stands for which peer, when a binding is renewed, when it
 * expires, and for how long number and peer rest after that.
 */
import type { Endpoint } from "../packet/endpoint.ts"
import { formatTransport, type TransportAddress } from "../packet/transportAddress.ts"
import { type Channel, type ChannelTable, firstChannelNumber, lastChannelNumber } from "./channelTable.ts"

/** A binding holds for 10 minutes (§12). */
const channelLifetime = 600_000
/** One that was used is renewed before the permission that came with it ends, after 5 minutes (§9). */
const channelRebind = 240_000
/** Number and peer of an expired one may come together again at once, with others only after 5 minutes (§12). */
const channelRest = 300_000
/** How often use is looked at. */
const sweepInterval = 2_000

/** A number and the peer it belongs to, also while they rest. */
export interface Binding {
  readonly number: number
  readonly peer: TransportAddress
  /** `undefined` while it rests. */
  channel: Channel | undefined
  /** A request is in flight or waits for its turn. */
  pending: boolean
  boundAt: number
  expiresAt: number
  /** Until then number and peer are nobody else's. */
  restsUntil: number
  usedAt: number
  /** The server said no: not asked again while it rests. */
  refused: boolean
}

export class Channels {
  private readonly table: ChannelTable
  private readonly byNumber: Array<Binding | undefined> = Array.from({ length: numbers })
  private readonly byPeer = new Map<string, Binding>()
  /** Live ones that need a request, oldest first. */
  private readonly waiting: Array<Binding> = []
  private next = 0
  private sweepAt = Infinity
  /** Something came through a channel before the last sweep. */
  private heard = false

  constructor(table: ChannelTable) {
    this.table = table
  }

  /**
   * The channel to `peer`: the one there is, else a new one whose request waits for `nextRequest`. `undefined` when the
   * server refused this peer lately, or all numbers or handles are taken.
   */
  open(
    peer: TransportAddress,
    relayed: TransportAddress,
    server: Readonly<Endpoint>,
    now: number
  ): Channel | undefined {
    const known = this.byPeer.get(formatTransport(peer))
    if (known !== undefined) {
      known.usedAt = now
      if (known.channel !== undefined || known.refused) return known.channel
    }
    const number = known?.number ?? this.freeNumber()
    if (number === undefined) return undefined
    const channel = this.table.add(number, peer, relayed, server)
    if (channel === undefined) return undefined
    const binding: Binding = known ?? {
      number,
      peer,
      channel,
      pending: false,
      boundAt: now,
      expiresAt: Infinity,
      restsUntil: Infinity,
      usedAt: now,
      refused: false
    }
    binding.channel = channel
    binding.expiresAt = Infinity
    binding.restsUntil = Infinity
    this.byNumber[number - firstChannelNumber] = binding
    this.byPeer.set(formatTransport(peer), binding)
    this.ask(binding)
    this.sweepAt = Math.min(this.sweepAt, now + sweepInterval)
    return channel
  }

  /** The live channel of a number. Constant time, without allocation. */
  byChannelNumber(number: number): Channel | undefined {
    return this.byNumber[number - firstChannelNumber]?.channel
  }

  /** The next binding to request, `undefined` when none waits. */
  nextRequest(): Binding | undefined {
    return this.waiting.shift()
  }

  /** The server confirmed what was sent first at `sentAt`. Expiry counts from there, rest from now: the careful ends. */
  confirm(binding: Binding, sentAt: number, now: number): void {
    binding.pending = false
    binding.boundAt = now
    binding.expiresAt = sentAt + channelLifetime
    binding.restsUntil = now + channelLifetime + channelRest
    if (binding.channel !== undefined) binding.channel.bound = true
  }

  /** The server will not have this pair; number and peer rest. Gives the channel that is no more. */
  refuse(binding: Binding, now: number): Channel | undefined {
    const { channel } = binding
    binding.pending = false
    binding.refused = true
    binding.restsUntil = Math.max(now + channelRest, binding.restsUntil === Infinity ? 0 : binding.restsUntil)
    this.end(binding)
    return channel
  }

  /** All are gone with their allocation: handles find nothing, numbers are free. Numbering goes on behind them. */
  clear(): void {
    for (const binding of this.byPeer.values()) this.end(binding)
    this.byPeer.clear()
    this.byNumber.fill(undefined)
    this.waiting.length = 0
    this.sweepAt = Infinity
    this.heard = false
  }

  nextDeadline(): number {
    return this.sweepAt
  }

  /**
   * Renews what was used, lets expire what was not, frees what has rested. Says what was heard since the last sweep:
   * `silence` when nothing came through any channel although data went out, or did come before: the server may be gone,
   * or may have forgotten us.
   */
  sweep(now: number): "data" | "silence" | "nothing" {
    if (now < this.sweepAt) return "nothing"
    this.sweepAt = now + sweepInterval
    let sent = false
    let received = false
    for (const [key, binding] of this.byPeer) {
      const { channel } = binding
      if (channel === undefined) {
        if (now >= binding.restsUntil) {
          this.byPeer.delete(key)
          this.byNumber[binding.number - firstChannelNumber] = undefined
        }
        continue
      }
      if (channel.sent || channel.received) {
        sent ||= channel.sent
        received ||= channel.received
        channel.sent = false
        channel.received = false
        binding.usedAt = now
      }
      if (now >= binding.expiresAt) this.end(binding)
      else if (channel.bound && now - binding.boundAt >= channelRebind && binding.usedAt > binding.boundAt) {
        this.ask(binding)
      }
    }
    if (this.byPeer.size === 0) this.sweepAt = Infinity
    const expected = sent || this.heard
    this.heard = received
    return received ? "data" : expected ? "silence" : "nothing"
  }

  private ask(binding: Binding): void {
    if (binding.pending) return
    binding.pending = true
    this.waiting.push(binding)
  }

  private end(binding: Binding): void {
    if (binding.channel !== undefined) this.table.remove(binding.channel)
    binding.channel = undefined
  }

  private freeNumber(): number | undefined {
    if (this.byPeer.size >= numbers) return undefined
    while (this.byNumber[this.next] !== undefined) this.next = (this.next + 1) % numbers
    const number = firstChannelNumber + this.next
    this.next = (this.next + 1) % numbers
    return number
  }
}

const numbers = lastChannelNumber - firstChannelNumber + 1
