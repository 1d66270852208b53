/**
 * ChaCha20-Poly1305 for the fields of handshakes and for cookies by OpenSSL's EVP interface, which takes a quarter of the
 * time of an implementation in JavaScript: under a flood of handshakes the sealing of cookies costs most.
 */
import type { Primitives } from "../../../src/wireguard/primitives.ts"
import type { Evp } from "./evp.ts"
import { ifRight } from "./ifRight.ts"
import { makeMemory } from "./memory.ts"

export type OnceCipher = Pick<Primitives, "sealOnce" | "openOnce">

/** OpenSSL's if it is right, else `otherwise`; longer values than a handshake has go to `otherwise`, too. */
export const chooseOnceCipher = (evp: Evp, otherwise: OnceCipher): OnceCipher =>
  ifRight(() => makeOnceCipher(evp, otherwise), agree, otherwise)

/** A handshake's longest field has 48 bytes, its additional data 32. */
const roomBytes = 256
const tagLength = 16
const keyLength = 32

const makeOnceCipher = (evp: Evp, otherwise: OnceCipher): OnceCipher => {
  // Keys and plain text are kept away from packets.
  const { arena, base } = makeMemory(1)
  const { bytes } = arena
  const secretAt = arena.reserve(keyLength)
  const nonce = base + arena.reserve(16, 16)
  const dataAt = arena.reserve(roomBytes)
  const additionalAt = arena.reserve(roomBytes)
  const spare = base + arena.reserve(32, 16)
  const written = base + arena.reserve(8, 8)
  const cipher = evp.chacha20Poly1305()
  const context = evp.newContext()
  if (context === 0) throw new Error("OpenSSL has no context for ChaCha20-Poly1305")

  const fits = (value: Uint8Array, additional: Uint8Array): boolean =>
    value.length <= roomBytes - tagLength && additional.length <= roomBytes

  /** The key is in the context until `clear`. */
  const begin = (init: Evp["encryptInit"], key: Uint8Array, value: Uint8Array, additional: Uint8Array): boolean => {
    if (key.length !== keyLength) throw new RangeError(`a ChaCha20-Poly1305 key has 32 bytes, not ${key.length}`)
    bytes.set(key, secretAt)
    bytes.set(value, dataAt)
    bytes.set(additional, additionalAt)
    return init(context, cipher, 0, base + secretAt, nonce) === 1
  }

  const clear = (): void => {
    bytes.fill(0, secretAt, secretAt + keyLength)
    bytes.fill(0, dataAt, dataAt + roomBytes)
    evp.encryptInit(context, cipher, 0, base + secretAt, nonce)
  }

  const update = (kind: Evp["encryptUpdate"], length: number, additional: number): boolean =>
    kind(context, 0, written, base + additionalAt, additional) === 1 &&
    kind(context, base + dataAt, written, base + dataAt, length) === 1

  return {
    sealOnce: (key, plain, additional) => {
      if (!fits(plain, additional)) return otherwise.sealOnce(key, plain, additional)
      const { length } = plain
      const sealed =
        begin(evp.encryptInit, key, plain, additional) &&
        update(evp.encryptUpdate, length, additional.length) &&
        evp.encryptFinal(context, spare, written) === 1 &&
        evp.control(context, AEAD_GET_TAG, tagLength, base + dataAt + length) === 1
      const result = bytes.slice(dataAt, dataAt + length + tagLength)
      clear()
      if (!sealed) throw new Error("OpenSSL could not encrypt")
      return result
    },
    openOnce: (key, sealed, additional) => {
      if (!fits(sealed, additional) || sealed.length < tagLength) return otherwise.openOnce(key, sealed, additional)
      const length = sealed.length - tagLength
      const opened =
        begin(evp.decryptInit, key, sealed, additional) &&
        evp.control(context, AEAD_SET_TAG, tagLength, base + dataAt + length) === 1 &&
        update(evp.decryptUpdate, length, additional.length) &&
        evp.decryptFinal(context, spare, written) === 1
      const result = opened ? bytes.slice(dataAt, dataAt + length) : undefined
      clear()
      return result
    }
  }
}

const AEAD_GET_TAG = 0x10
const AEAD_SET_TAG = 0x11

const agree = (made: OnceCipher, reference: OnceCipher): boolean =>
  [0, 12, 16, 32].every((length) => {
    const key = Uint8Array.from({ length: keyLength }, (_, i) => i * 5)
    const plain = Uint8Array.from({ length }, (_, i) => i * 7)
    const sealed = made.sealOnce(key, plain, key)
    const bent = sealed.slice()
    bent[length]! ^= 4
    return (
      Buffer.compare(sealed, reference.sealOnce(key, plain, key)) === 0 &&
      Buffer.compare(made.openOnce(key, sealed, key) ?? key, plain) === 0 &&
      made.openOnce(key, bent, key) === undefined
    )
  })
