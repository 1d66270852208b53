/**
 * The MACs of handshake messages and the cookie exchange that defends a loaded responder (whitepaper §5.4.4, §5.4.7).
 * A cookie proves that its holder can receive at an address and port; `mac2` is keyed with it.
 */
import { xchacha20poly1305 } from "@noble/ciphers/chacha.js"
import { blake2s } from "@noble/hashes/blake2.js"
import type { Endpoint } from "../packet/endpoint.ts"
import { labelCookie, labelMac1 } from "./noise.ts"
import type { Primitives } from "./primitives.ts"
import { cookieLength, cookieSecretTime, cookieUseTime, messageCookie, writeWord } from "./protocol.ts"

const macLength = 16

/** BLAKE2s-128 keyed with `key`. */
const mac = (key: Uint8Array, message: Uint8Array): Uint8Array => blake2s(message, { key, dkLen: macLength })

/** The receiving side: checks the MACs of messages sent to one public key and issues cookies. */
export class CookieIssuer {
  private readonly p: Primitives
  private readonly mac1Key: Uint8Array
  private readonly cookieKey: Uint8Array
  private readonly secret = new Uint8Array(32)
  private secretAt = Number.NEGATIVE_INFINITY

  constructor(p: Primitives, publicKey: Uint8Array) {
    this.p = p
    this.mac1Key = p.blake2s(labelMac1, publicKey)
    this.cookieKey = p.blake2s(labelCookie, publicKey)
  }

  /** True when the sender of this handshake message knows our public key. */
  hasMac1(message: Uint8Array): boolean {
    const end = message.length - 2 * macLength
    return this.p.equal(mac(this.mac1Key, message.subarray(0, end)), message.subarray(end, end + macLength))
  }

  /** True when the message carries a cookie of ours that was issued to `from` recently. */
  hasMac2(message: Uint8Array, from: Readonly<Endpoint>, now: number): boolean {
    const end = message.length - macLength
    if (isZero(message, end)) return false
    return this.p.equal(mac(this.cookieOf(from, now), message.subarray(0, end)), message.subarray(end))
  }

  /** The cookie reply (64 bytes) to a handshake message; `receiver` is the message's sender index. */
  reply(message: Uint8Array, from: Readonly<Endpoint>, receiver: number, now: number): Uint8Array {
    const end = message.length - 2 * macLength
    const reply = new Uint8Array(cookieLength)
    writeWord(reply, 0, messageCookie)
    writeWord(reply, 4, receiver)
    const nonce = reply.subarray(8, 32)
    this.p.randomBytes(nonce)
    const cipher = xchacha20poly1305(this.cookieKey, nonce, message.slice(end, end + macLength))
    reply.set(cipher.encrypt(this.cookieOf(from, now)), 32)
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
    return mac(this.secret, source)
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
  private waiting = false

  constructor(p: Primitives, publicKey: Uint8Array) {
    this.p = p
    this.publicKey = publicKey.slice()
  }

  /** Writes both MACs at the end of a finished handshake message. */
  sign(message: Uint8Array, now: number): void {
    const end = message.length - 2 * macLength
    this.mac1Key ??= this.p.blake2s(labelMac1, this.publicKey)
    this.lastMac1.set(mac(this.mac1Key, message.subarray(0, end)))
    message.set(this.lastMac1, end)
    this.waiting = true
    if (now - this.cookieAt < cookieUseTime) {
      message.set(mac(this.cookie, message.subarray(0, end + macLength)), end + macLength)
    }
  }

  /** Takes the cookie out of a reply to the last signed message; false when it is no such reply. */
  accept(reply: Uint8Array, now: number): boolean {
    if (!this.waiting) return false
    this.cookieKey ??= this.p.blake2s(labelCookie, this.publicKey)
    try {
      const cipher = xchacha20poly1305(this.cookieKey, reply.slice(8, 32), this.lastMac1)
      this.cookie.set(cipher.decrypt(reply.slice(32, cookieLength)))
    } catch {
      return false
    }
    this.cookieAt = now
    this.waiting = false
    return true
  }

  clear(): void {
    this.cookie.fill(0)
    this.cookieAt = Number.NEGATIVE_INFINITY
    this.waiting = false
  }
}

const isZero = (bytes: Uint8Array, from: number): boolean => {
  for (let i = from; i < bytes.length; i++) if (bytes[i] !== 0) return false
  return true
}
