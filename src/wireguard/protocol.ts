/** Numbers of the WireGuard protocol (whitepaper §5.4 and §6). Times are milliseconds, sizes bytes. */

export const messageInitiation = 1
export const messageResponse = 2
export const messageCookie = 3
export const messageTransport = 4

export const initiationLength = 148
export const responseLength = 92
export const cookieLength = 64
/** Type, receiver index, counter. */
export const transportHeader = 16
const tagLength = 16
/** A transport message without payload: a keepalive. */
export const transportMinimum = transportHeader + tagLength

export const rekeyAfterTime = 120_000
export const rejectAfterTime = 180_000
export const rekeyTimeout = 5_000
/** A third of a second at most, so that two sides that started together do not stay in step. */
export const rekeyJitter = 334
export const rekeyAttemptTime = 90_000
/** Where ICE has found a path, a handshake needs no longer patience: without an answer the peer has another key. */
export const iceAttemptTime = 20_000
export const keepaliveTimeout = 10_000
/** A cookie secret lives this long; a received cookie is used a little shorter. */
export const cookieSecretTime = 120_000
export const cookieUseTime = 115_000
/** Initiations of one peer closer together than this are dropped (50 per second at most). */
export const initiationSpacing = 20

/**
 * The whitepaper's limits are 2^60 and 2^64 − 2^13 − 1; counters here are safe integers. A peer that counts
 * further than this is refused, and would have had to send for a thousand years within 180 seconds.
 */
export const rekeyAfterMessages = 2 ** 52
export const rejectAfterMessages = 2 ** 53 - 8193

/** Little-endian 32-bit word as a signed number: message types and receiver indices. */
export const readWord = (bytes: Uint8Array, offset: number): number =>
  bytes[offset]! | (bytes[offset + 1]! << 8) | (bytes[offset + 2]! << 16) | (bytes[offset + 3]! << 24)

export const writeWord = (bytes: Uint8Array, offset: number, value: number): void => {
  bytes[offset] = value
  bytes[offset + 1] = value >> 8
  bytes[offset + 2] = value >> 16
  bytes[offset + 3] = value >> 24
}

/** Little-endian 64-bit counter; anything above the safe integers reads as a number above every limit. */
export const readCounter = (bytes: Uint8Array, offset: number): number =>
  (readWord(bytes, offset + 4) >>> 0) * 0x1_0000_0000 + (readWord(bytes, offset) >>> 0)

export const writeCounter = (bytes: Uint8Array, offset: number, value: number): void => {
  writeWord(bytes, offset, value | 0)
  writeWord(bytes, offset + 4, Math.floor(value / 0x1_0000_0000) | 0)
}
