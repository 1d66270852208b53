/**
 * STUN messages (RFC 8489): strict reading of any bytes, without copies and without throwing. What an attribute
 * says counts only when it stands before MESSAGE-INTEGRITY; of a repeated attribute the first one counts.
 */
import { mappedPrefix, words } from "../packet/address.ts"
import { read16, read32 } from "../packet/bytes.ts"
import type { TransportAddress } from "../packet/transportAddress.ts"
import { equalBytes, fingerprintOf, integrityLength, integrityOf } from "./stunIntegrity.ts"
import { AddressFamily, headerLength, magicCookie, StunAttribute, type StunClass } from "./stunProtocol.ts"

/** More than any message of ICE or TURN has. */
const maxAttributes = 32

/** True when the datagram can only be STUN, as opposed to ChannelData or WireGuard: two zero bits and the cookie. */
export const looksLikeStun = (bytes: Uint8Array): boolean =>
  bytes.length >= headerLength && bytes[0]! < 0x40 && read32(bytes, 4) === magicCookie

/**
 * `undefined` unless the datagram is exactly one well-formed message: length exact and a multiple of 4, every attribute
 * inside, FINGERPRINT, if there is one, last and right. The message keeps a view of `bytes`.
 */
export const parseStun = (bytes: Uint8Array): StunMessage | undefined => {
  if (!looksLikeStun(bytes) || bytes.length % 4 !== 0 || read16(bytes, 2) !== bytes.length - headerLength) {
    return undefined
  }
  const attributes: Array<Attribute> = []
  let integrityAt = 0
  let seen = 0
  for (let at = headerLength; at < bytes.length;) {
    const type = read16(bytes, at)
    const length = read16(bytes, at + 2)
    const next = at + 4 + ((length + 3) & ~3)
    if (next > bytes.length || ++seen > maxAttributes) return undefined
    if (type === StunAttribute.fingerprint) {
      const right = length === 4 && next === bytes.length && read32(bytes, at + 4) >>> 0 === fingerprintOf(bytes, at)
      if (!right) return undefined
    } else if (integrityAt === 0) {
      if (type === StunAttribute.messageIntegrity) {
        if (length !== integrityLength) return undefined
        integrityAt = at
      }
      attributes.push({ type, value: bytes.subarray(at + 4, at + 4 + length) })
    }
    at = next
  }
  return new StunMessage(bytes, attributes, integrityAt)
}

/** A received message. Each reader gives `undefined` where the attribute is absent or has another shape. */
export class StunMessage {
  readonly class: StunClass
  readonly method: number
  /** 12 bytes, a view. */
  readonly transaction: Uint8Array
  private readonly bytes: Uint8Array
  private readonly attributes: ReadonlyArray<Attribute>
  /** Where MESSAGE-INTEGRITY starts; 0 without. */
  private readonly integrityAt: number

  /** Of bytes that `parseStun` found well-formed. */
  constructor(bytes: Uint8Array, attributes: ReadonlyArray<Attribute>, integrityAt: number) {
    const type = read16(bytes, 0)
    this.class = classes[((type >>> 7) & 2) | ((type >>> 4) & 1)]!
    this.method = (type & 0xf) | ((type >>> 1) & 0x70) | ((type >>> 2) & 0xf80)
    this.transaction = bytes.subarray(8, headerLength)
    this.bytes = bytes
    this.attributes = attributes
    this.integrityAt = integrityAt
  }

  get hasIntegrity(): boolean {
    return this.integrityAt > 0
  }

  /** True when MESSAGE-INTEGRITY is there and made with `key`; compared in constant time. */
  verify(key: Uint8Array): boolean {
    if (this.integrityAt === 0) return false
    const value = this.bytes.subarray(this.integrityAt + 4, this.integrityAt + 4 + integrityLength)
    return equalBytes(integrityOf(this.bytes, this.integrityAt, key), value)
  }

  has(type: number): boolean {
    return this.value(type) !== undefined
  }

  /** The value's bytes, a view of the message. */
  value(type: number): Uint8Array | undefined {
    return this.attributes.find((attribute) => attribute.type === type)?.value
  }

  /** UTF-8; broken sequences come out as replacement characters. */
  text(type: number): string | undefined {
    const value = this.value(type)
    return value === undefined ? undefined : decoder.decode(value)
  }

  /** An unsigned 32-bit number: PRIORITY, LIFETIME. */
  number(type: number): number | undefined {
    const value = this.value(type)
    return value?.length === 4 ? read32(value, 0) >>> 0 : undefined
  }

  /** An XOR-…-ADDRESS (RFC 8489 §14.2). */
  address(type: number): TransportAddress | undefined {
    const value = this.value(type)
    return value === undefined ? undefined : readXorAddress(value, this.transaction)
  }

  /** All well-formed addresses of one type: a TURN server answers with one XOR-RELAYED-ADDRESS per family. */
  addresses(type: number): ReadonlyArray<TransportAddress> {
    return this.attributes
      .filter((attribute) => attribute.type === type)
      .map((attribute) => readXorAddress(attribute.value, this.transaction))
      .filter((address) => address !== undefined)
  }

  /** ERROR-CODE: 300 to 699 and the reason's text. */
  error(): { readonly code: number; readonly reason: string } | undefined {
    const value = this.value(StunAttribute.errorCode)
    if (value === undefined || value.length < 4) return undefined
    const hundreds = value[2]! & 7
    if (hundreds < 3 || hundreds > 6 || value[3]! > 99) return undefined
    return { code: hundreds * 100 + value[3]!, reason: decoder.decode(value.subarray(4)) }
  }

  /** The types of all attributes that count, in order. */
  types(): ReadonlyArray<number> {
    return this.attributes.map((attribute) => attribute.type)
  }
}

interface Attribute {
  readonly type: number
  readonly value: Uint8Array
}

const classes: ReadonlyArray<StunClass> = ["request", "indication", "success", "error"]
const decoder = new TextDecoder()

const readXorAddress = (value: Uint8Array, transaction: Uint8Array): TransportAddress | undefined => {
  if (value.length < 8) return undefined
  const port = read16(value, 2) ^ (magicCookie >>> 16)
  if (value[1] === AddressFamily.ipv4 && value.length === 8) {
    return { address: words(0, 0, mappedPrefix, read32(value, 4) ^ magicCookie), port }
  }
  if (value[1] !== AddressFamily.ipv6 || value.length !== 20) return undefined
  return {
    address: words(
      read32(value, 4) ^ magicCookie,
      read32(value, 8) ^ read32(transaction, 0),
      read32(value, 12) ^ read32(transaction, 4),
      read32(value, 16) ^ read32(transaction, 8)
    ),
    port
  }
}
