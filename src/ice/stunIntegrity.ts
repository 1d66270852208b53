/** MESSAGE-INTEGRITY (RFC 8489 §14.5), its keys (§9.1.1, §9.2.2) and FINGERPRINT (§14.7). */
import { hmac } from "@noble/hashes/hmac.js"
import { md5, sha1 } from "@noble/hashes/legacy.js"
import { concatBytes, utf8ToBytes } from "@noble/hashes/utils.js"
import { write16 } from "../packet/bytes.ts"
import { headerLength } from "./stunProtocol.ts"

export const integrityLength = 20

/** The key of short-term credentials (ICE): the password's bytes. */
export const shortTermKey = (password: string): Uint8Array => utf8ToBytes(password)

/** The key of long-term credentials (TURN); the realm in the bytes that the server sent. */
export const longTermKey = (username: string, realm: Uint8Array, password: string): Uint8Array =>
  md5(concatBytes(utf8ToBytes(`${username}:`), realm, utf8ToBytes(`:${password}`)))

/**
 * HMAC-SHA1 over the message up to `end`, where the MESSAGE-INTEGRITY attribute starts, with the length that the header
 * has when that attribute is the last one.
 */
export const integrityOf = (message: Uint8Array, end: number, key: Uint8Array): Uint8Array => {
  const header = message.slice(0, headerLength)
  write16(header, 2, end + 4 + integrityLength - headerLength)
  return hmac.create(sha1, key).update(header).update(message.subarray(headerLength, end)).digest()
}

/** CRC-32 over the message up to `end`, where the FINGERPRINT attribute starts, XOR "STUN"; an unsigned word. */
export const fingerprintOf = (message: Uint8Array, end: number): number => {
  const length = end + 8 - headerLength
  let crc = -1
  for (let i = 0; i < end; i++) {
    const byte = i === 2 ? length >>> 8 : i === 3 ? length & 255 : message[i]!
    crc = crcTable[(crc ^ byte) & 255]! ^ (crc >>> 8)
  }
  return (~crc ^ 0x5354554e) >>> 0
}

/** Equality in time that depends on the length only. */
export const equalBytes = (a: Uint8Array, b: Uint8Array): boolean => {
  if (a.length !== b.length) return false
  let difference = 0
  for (let i = 0; i < a.length; i++) difference |= a[i]! ^ b[i]!
  return difference === 0
}

const crcTable = Int32Array.from({ length: 256 }, (_, n) => {
  let c = n
  for (let bit = 0; bit < 8; bit++) c = (c & 1) === 1 ? (c >>> 1) ^ 0xedb88320 : c >>> 1
  return c
})
