/**
 * The MACs of handshake messages and the cookie exchange that defends a loaded responder (whitepaper §5.4.4, §5.4.7).
 * A cookie proves that its holder can receive at an address and port; `mac2` is keyed with it.
 */
import { hchacha, xchacha20poly1305 } from "@noble/ciphers/chacha.js"
import type { Endpoint } from "../packet/endpoint.ts"
import { labelCookie, labelMac1 } from "./noise.ts"
import type { Primitives } from "./primitives.ts"
import { cookieLength, cookieSecretTime, cookieUseTime, messageCookie, writeWord } from "./protocol.ts"

const macLength = 16
const attemptsPerMessage = 8

/** The receiving side: checks the MACs of messages sent to one public key and issues cookies. */
export class CookieIssuer {
  private readonly p: Primitives
  private readonly mac1Key: Uint8Array
  private readonly cookieKeyWords: Uint32Array
  private readonly nonce = new Uint8Array(16)
  private readonly nonceWords = new Uint32Array(this.nonce.buffer)
  private readonly onceKey = new Uint8Array(32)
  private readonly onceWords = new Uint32Array(this.onceKey.buffer)
  private readonly secret = new Uint8Array(32)
  private secretAt = Number.NEGATIVE_INFINITY

  constructor(p: Primitives, publicKey: Uint8Array) {
    this.p = p
    this.mac1Key = p.blake2s(labelMac1, publicKey)
    this.cookieKeyWords = new Uint32Array(p.blake2s(labelCookie, publicKey).slice().buffer)
  }

  /** True when the sender of this handshake message knows our public key. */
  hasMac1(message: Uint8Array): boolean {
    const end = message.length - 2 * macLength
    return this.p.equal(
      this.p.blake2sMac(this.mac1Key, message.subarray(0, end)),
      message.subarray(end, end + macLength)
    )
  }

  /** True when the message carries a cookie of ours that was issued to `from` recently. */
  hasMac2(message: Uint8Array, from: Readonly<Endpoint>, now: number): boolean {
    const end = message.length - macLength
    if (isZero(message, end)) return false
    return this.p.equal(this.p.blake2sMac(this.cookieOf(from, now), message.subarray(0, end)), message.subarray(end))
  }

  /** The cookie reply (64 bytes) to a handshake message; `receiver` is the message's sender index. */
  reply(message: Uint8Array, from: Readonly<Endpoint>, receiver: number, now: number): Uint8Array {
    const end = message.length - 2 * macLength
    const reply = new Uint8Array(cookieLength)
    writeWord(reply, 0, messageCookie)
    writeWord(reply, 4, receiver)
    // XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha): the first 16 bytes of the nonce make a key that is used once, so that
    // the other 8 may be zero.
    this.p.randomBytes(this.nonce)
    reply.set(this.nonce, 8)
    hchacha(sigma, this.cookieKeyWords, this.nonceWords, this.onceWords)
    reply.set(this.p.sealOnce(this.onceKey, this.cookieOf(from, now), message.subarray(end, end + macLength)), 32)
    return reply
  }

  private cookieOf(from: Readonly<Endpoint>, now: number): Uint8Array {
    if (now - this.secretAt >= cookieSecretTime) {
      this.p.randomBytes(this.secret)
      this.secretAt = now
    }
    const source = new Uint8Array(18)
    writeWord(source, 0, from.remote.w0)
    writeWord(source, 4, from.remote.w1)
    writeWord(source, 8, from.remote.w2)
    writeWord(source, 12, from.remote.w3)
    source[16] = from.port >> 8
    source[17] = from.port
    return this.p.blake2sMac(this.secret, source)
  }
}

/** The sending side: writes the MACs of messages to one peer and keeps the cookie that the peer issued. */
export class CookieHolder {
  private readonly p: Primitives
  private readonly publicKey: Uint8Array
  /** Made when they are needed: a gateway that starts again adds all its peers at once. */
  private mac1Key: Uint8Array | undefined = undefined
  private cookieKey: Uint8Array | undefined = undefined
  private readonly cookie = new Uint8Array(macLength)
  private readonly lastMac1 = new Uint8Array(macLength)
  private cookieAt = Number.NEGATIVE_INFINITY
  /** Replies that are still looked at: one costs more than to make one up. */
  private attempts = 0

  constructor(p: Primitives, publicKey: Uint8Array) {
    this.p = p
    this.publicKey = publicKey.slice()
  }

  /** Writes both MACs at the end of a finished handshake message. */
  sign(message: Uint8Array, now: number): void {
    const end = message.length - 2 * macLength
    this.mac1Key ??= this.p.blake2s(labelMac1, this.publicKey)
    this.lastMac1.set(this.p.blake2sMac(this.mac1Key, message.subarray(0, end)))
    message.set(this.lastMac1, end)
    this.attempts = attemptsPerMessage
    if (now - this.cookieAt < cookieUseTime) {
      message.set(this.p.blake2sMac(this.cookie, message.subarray(0, end + macLength)), end + macLength)
    }
  }

  /** Takes the cookie out of a reply to the last signed message; false when it is no such reply. */
  accept(reply: Uint8Array, now: number): boolean {
    if (this.attempts === 0) return false
    this.attempts--
    this.cookieKey ??= this.p.blake2s(labelCookie, this.publicKey)
    try {
      const cipher = xchacha20poly1305(this.cookieKey, reply.slice(8, 32), this.lastMac1)
      this.cookie.set(cipher.decrypt(reply.slice(32, cookieLength)))
    } catch {
      return false
    }
    this.cookieAt = now
    this.attempts = 0
    return true
  }

  clear(): void {
    this.cookie.fill(0)
    this.cookieAt = Number.NEGATIVE_INFINITY
    this.attempts = 0
  }
}

/** ChaCha20's constant. */
const sigma = new Uint32Array(new TextEncoder().encode("expand 32-byte k").slice().buffer)

const isZero = (bytes: Uint8Array, from: number): boolean => {
  for (let i = from; i < bytes.length; i++) if (bytes[i] !== 0) return false
  return true
}
