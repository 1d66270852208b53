/**
 * Builds one STUN message (RFC 8489): attributes in the order of the calls, then `finish`. Padding is zero.
 * Values come from this program, or were received in a datagram, so they fit.
 */
import { isIpv4 } from "../packet/address.ts"
import { write16, write32 } from "../packet/bytes.ts"
import type { TransportAddress } from "../packet/transportAddress.ts"
import { fingerprintOf, integrityOf } from "./stunIntegrity.ts"
import {
  AddressFamily,
  headerLength,
  magicCookie,
  StunAttribute,
  type StunClass,
  transportUdp
} from "./stunProtocol.ts"

export class StunWriter {
  private bytes = new Uint8Array(256)
  private length = headerLength

  /** `transaction`: 12 bytes, copied. */
  constructor(stunClass: StunClass, method: number, transaction: Uint8Array) {
    const type = (method & 0xf) | ((method & 0x70) << 1) | ((method & 0xf80) << 2) | classBits[stunClass]
    write16(this.bytes, 0, type)
    write32(this.bytes, 4, magicCookie)
    this.bytes.set(transaction, 8)
  }

  value(type: number, value: Uint8Array): this {
    this.attribute(type, value.length).set(value)
    return this
  }

  text(type: number, text: string): this {
    return this.value(type, encoder.encode(text))
  }

  /** An unsigned 32-bit number: PRIORITY, LIFETIME. */
  number(type: number, value: number): this {
    write32(this.attribute(type, 4), 0, value)
    return this
  }

  /** Without a value: USE-CANDIDATE. */
  flag(type: number): this {
    this.attribute(type, 0)
    return this
  }

  /** An XOR-…-ADDRESS (RFC 8489 §14.2). */
  address(type: number, a: TransportAddress): this {
    const v4 = isIpv4(a.address)
    const value = this.attribute(type, v4 ? 8 : 20)
    value[1] = v4 ? AddressFamily.ipv4 : AddressFamily.ipv6
    write16(value, 2, a.port ^ (magicCookie >>> 16))
    if (v4) {
      write32(value, 4, a.address.w3 ^ magicCookie)
      return this
    }
    write32(value, 4, a.address.w0)
    write32(value, 8, a.address.w1)
    write32(value, 12, a.address.w2)
    write32(value, 16, a.address.w3)
    for (let i = 0; i < 16; i++) value[4 + i]! ^= this.bytes[4 + i]!
    return this
  }

  error(code: number, reason: string): this {
    const text = encoder.encode(reason)
    const value = this.attribute(StunAttribute.errorCode, 4 + text.length)
    value[2] = Math.floor(code / 100)
    value[3] = code % 100
    value.set(text, 4)
    return this
  }

  channelNumber(channel: number): this {
    return this.number(StunAttribute.channelNumber, channel << 16)
  }

  /** REQUESTED-TRANSPORT UDP, the only one. */
  requestedTransport(): this {
    return this.number(StunAttribute.requestedTransport, transportUdp << 24)
  }

  /** REQUESTED-ADDRESS-FAMILY or ADDITIONAL-ADDRESS-FAMILY. */
  addressFamily(type: number, family: AddressFamily): this {
    return this.number(type, family << 24)
  }

  /** The message, with MESSAGE-INTEGRITY when there is a key, and with FINGERPRINT unless told otherwise. */
  finish(key?: Uint8Array, fingerprint = true): Uint8Array {
    if (key !== undefined) {
      this.value(StunAttribute.messageIntegrity, integrityOf(this.bytes, this.length, key))
    }
    if (fingerprint) {
      this.number(StunAttribute.fingerprint, fingerprintOf(this.bytes, this.length))
    }
    write16(this.bytes, 2, this.length - headerLength)
    return this.bytes.slice(0, this.length)
  }

  /** Appends an attribute of zeros and gives the place of its value. */
  private attribute(type: number, length: number): Uint8Array {
    const at = this.length
    const end = at + 4 + ((length + 3) & ~3)
    if (end > this.bytes.length) {
      const larger = new Uint8Array(2 * end)
      larger.set(this.bytes)
      this.bytes = larger
    }
    write16(this.bytes, at, type)
    write16(this.bytes, at + 2, length)
    this.length = end
    return this.bytes.subarray(at + 4, at + 4 + length)
  }
}

const classBits: Readonly<Record<StunClass, number>> = { request: 0, indication: 0x10, success: 0x100, error: 0x110 }
const encoder = new TextEncoder()
