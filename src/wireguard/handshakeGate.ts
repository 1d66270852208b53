/**
 * What a handshake message must pass before anyone spends public-key work on it: knowledge of our public key (mac1),
 * a proven address while under load or over the limit (mac2), a token of its source, and a place in the queue.
 */
import type { Endpoint } from "../packet/endpoint.ts"
import { CookieIssuer } from "./cookie.ts"
import { EventRate, type HandshakeLimits, SourceBuckets } from "./handshakeLimits.ts"
import { HandshakeQueue } from "./handshakeQueue.ts"
import type { Primitives } from "./primitives.ts"
import { readWord } from "./protocol.ts"
import { ReceiveCode } from "./receiveCode.ts"

export class HandshakeGate {
  readonly queue: HandshakeQueue
  /** The cookie reply that belongs to the last `CookieSent`. */
  reply: Uint8Array = new Uint8Array(0)
  private readonly limits: HandshakeLimits
  private readonly issuer: CookieIssuer
  private readonly buckets: SourceBuckets
  private readonly handshakes = new EventRate()
  private readonly replies = new EventRate()
  private loadedUntil = Number.NEGATIVE_INFINITY

  constructor(p: Primitives, publicKey: Uint8Array, limits: HandshakeLimits) {
    this.limits = limits
    this.issuer = new CookieIssuer(p, publicKey)
    this.buckets = new SourceBuckets(limits, p)
    this.queue = new HandshakeQueue(limits.queue)
  }

  /** Returns a `ReceiveCode`: `Handled` once the message is queued; at `CookieSent` the caller sends `reply`. */
  admit(message: Uint8Array, from: Readonly<Endpoint>, now: number): number {
    if (!this.issuer.hasMac1(message)) return ReceiveCode.BadMac1
    const loaded = this.isLoaded(now)
    const proven = this.issuer.hasMac2(message, from, now)
    if (!proven && (loaded || !this.buckets.take(from, false, now))) {
      if (this.replies.count(now) > this.limits.cookieReplies) return ReceiveCode.RateLimited
      this.reply = this.issuer.reply(message, from, readWord(message, 4), now)
      return ReceiveCode.CookieSent
    }
    if (proven && !this.buckets.take(from, true, now)) return ReceiveCode.RateLimited
    return this.queue.put(message, from) ? ReceiveCode.Handled : ReceiveCode.QueueFull
  }

  /** Counts one message. Load lasts until a second after the mark was last exceeded. */
  private isLoaded(now: number): boolean {
    const { loadMark, queue } = this.limits
    if (this.handshakes.count(now) > loadMark || this.queue.size >= Math.ceil(queue / 8)) {
      this.loadedUntil = now + 1_000
    }
    return now < this.loadedUntil
  }
}
