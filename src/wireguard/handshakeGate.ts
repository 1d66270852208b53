/**
 * What a handshake message for a key of ours (mac1) must pass before anyone spends public-key work on it: a proven address
 * while under load or over the limit (mac2), a token of its source, and a place in the queue.
 *
 * Stock clients use a cookie only 5 s after they got it. So under load a source that was quiet is let in without one,
 * as long as the queue is short and no more than `loadMark` of them come in a second: beside a flood from sources that
 * keep sending, a client still connects at once, and what a forger of sources can cost stays bounded.
 */
import { TokenBucket } from "../nat/TokenBucket.ts"
import type { Endpoint } from "../packet/endpoint.ts"
import { EventRate, type HandshakeLimits, SourceBuckets } from "./handshakeLimits.ts"
import { HandshakeQueue } from "./handshakeQueue.ts"
import type { OwnKey } from "./OwnKey.ts"
import type { Primitives } from "./primitives.ts"
import { readWord } from "./protocol.ts"
import { ReceiveCode } from "./receiveCode.ts"

export class HandshakeGate {
  readonly queue: HandshakeQueue
  /** The cookie reply that belongs to the last `CookieSent`. */
  reply: Uint8Array = new Uint8Array(0)
  private readonly limits: HandshakeLimits
  private readonly buckets: SourceBuckets
  private readonly quiet: SourceBuckets
  private readonly handshakes = new EventRate()
  private readonly admitted = new EventRate()
  private readonly replies: TokenBucket
  private loadedUntil = Number.NEGATIVE_INFINITY

  constructor(p: Primitives, limits: HandshakeLimits) {
    this.limits = limits
    this.buckets = new SourceBuckets(limits, p)
    this.quiet = new SourceBuckets({ ...limits, perSecond: quietPerSecond, burst: quietBurst }, p)
    this.replies = new TokenBucket({
      perSecond: limits.cookieReplies,
      burst: Math.ceil(limits.cookieReplies / repliesAtOnce)
    })
    this.queue = new HandshakeQueue(limits.queue)
  }

  /** Returns a `ReceiveCode`: `Handled` once the message is queued; at `CookieSent` the caller sends `reply`. */
  admit(message: Uint8Array, key: OwnKey, from: Readonly<Endpoint>, now: number): number {
    const loaded = this.isLoaded(now)
    const proven = key.issuer.hasMac2(message, from, now)
    if (!proven && !this.isWelcome(from, loaded, now)) {
      if (!this.replies.take(now)) return ReceiveCode.RateLimited
      this.reply = key.issuer.reply(message, from, readWord(message, 4), now)
      return ReceiveCode.CookieSent
    }
    if (proven && !this.buckets.take(from, true, now)) return ReceiveCode.RateLimited
    return this.queue.put(message, key, from) ? ReceiveCode.Handled : ReceiveCode.QueueFull
  }

  /** Whether a source that has not proved its address is let in all the same. Every message counts, refused ones too. */
  private isWelcome(from: Readonly<Endpoint>, loaded: boolean, now: number): boolean {
    const wasQuiet = this.quiet.take(from, false, now)
    if (!loaded) return this.buckets.take(from, false, now)
    return wasQuiet && !this.isCrowded() && this.admitted.count(now) <= this.limits.loadMark
  }

  /** Counts one message. Load lasts until a second after the mark was last exceeded. */
  private isLoaded(now: number): boolean {
    if (this.handshakes.count(now) > this.limits.loadMark || this.isCrowded()) this.loadedUntil = now + 1_000
    return now < this.loadedUntil
  }

  private isCrowded(): boolean {
    return this.queue.size >= Math.ceil(this.limits.queue / 8)
  }
}

/** A flood that comes steadily must not use up a second's replies in the second's first moments. */
const repliesAtOnce = 20

/** A source is quiet that sends a handshake message every 4 s, or two after a pause: a client's repetition comes after 5 s. */
const quietPerSecond = 0.25
const quietBurst = 2
