/**
 * X25519 by OpenSSL's EVP interface: a secret's own objects live until it is freed, all others until the call returns,
 * where `node:crypto` leaves several per agreement to the garbage collector. To import a secret costs as much as an
 * agreement, since OpenSSL computes its public key.
 */
import { bindX25519, type EvpX25519 } from "./evp.ts"
import { ifRight } from "./ifRight.ts"
import type { NativeMemory } from "./memory.ts"
import type { Primitives } from "../../../src/wireguard/primitives.ts"

export type X25519 = Primitives["x25519"]

/** OpenSSL's if it is there and right, else `otherwise`. */
export const chooseX25519 = (memory: NativeMemory, otherwise: X25519, load: () => EvpX25519 = bindX25519): X25519 =>
  ifRight(() => makeX25519(memory, load()), knownAnswer, otherwise)

const makeX25519 = (memory: NativeMemory, evp: EvpX25519): X25519 => {
  const { arena, base } = memory
  const { bytes } = arena
  const secretAt = arena.reserve(32)
  const publicAt = arena.reserve(32)
  const resultAt = arena.reserve(32)
  const lengthAt = arena.reserve(8, 8)

  const importSecret = (secret: Uint8Array): number => {
    if (secret.length !== 32) throw new RangeError(`an X25519 secret has 32 bytes, not ${secret.length}`)
    bytes.set(secret, secretAt)
    const key = evp.newPrivate(EVP_PKEY_X25519, 0, base + secretAt, 32)
    bytes.fill(0, secretAt, secretAt + 32)
    if (key === 0) throw new Error("OpenSSL refuses an X25519 secret")
    return key
  }

  /** Copies the result out of the arena, where no trace of it stays. */
  const takeResult = (): Uint8Array => {
    const result = bytes.slice(resultAt, resultAt + 32)
    bytes.fill(0, resultAt, resultAt + 32)
    return result
  }

  const setLength = (): number => {
    bytes.fill(0, lengthAt, lengthAt + 8)
    bytes[lengthAt] = 32
    return base + lengthAt
  }

  const agree = (context: number, publicKey: Uint8Array): Uint8Array | undefined => {
    bytes.set(publicKey.subarray(0, 32), publicAt)
    const other = publicKey.length === 32 ? evp.newPublic(EVP_PKEY_X25519, 0, base + publicAt, 32) : 0
    // OpenSSL refuses an all-zero result, which only low-order points give.
    const agreed =
      other !== 0 && evp.setPeer(context, other, 0) === 1 && evp.derive(context, base + resultAt, setLength()) === 1
    if (other !== 0) evp.freeKey(other)
    // What is left in OpenSSL's queue would surface in an unrelated call of node's.
    if (!agreed) evp.clearErrors()
    return agreed ? takeResult() : undefined
  }

  return (secret) => {
    const key = importSecret(secret)
    const publicKey = evp.getPublic(key, base + resultAt, setLength()) === 1 ? takeResult() : undefined
    // It keeps the key.
    let context = evp.newContext(key, 0)
    evp.freeKey(key)
    const free = (): void => {
      if (context !== 0) evp.freeContext(context)
      context = 0
    }
    if (publicKey === undefined || context === 0 || evp.deriveInit(context) !== 1) {
      free()
      throw new Error("OpenSSL does not take an X25519 secret")
    }
    return {
      publicKey,
      agree: (other) => {
        if (context === 0) throw new Error("this X25519 secret was freed")
        return agree(context, other)
      },
      free
    }
  }
}

/** Its number (NID) in OpenSSL. */
const EVP_PKEY_X25519 = 1034

const hex = (bytes: Uint8Array | undefined): string => Buffer.from(bytes ?? []).toString("hex")

const knownAnswer = (x25519: X25519): boolean => {
  const secret = x25519(scalar)
  const right = hex(secret.agree(point)) === agreement && hex(secret.agree(nine)) === hex(secret.publicKey)
  secret.free()
  return right
}

/** RFC 7748 §5.2: the first vector; and the base point, from which one step leads to the public key. */
const scalar = Buffer.from("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4", "hex")
const point = Buffer.from("e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c", "hex")
const agreement = "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552"
const nine = Uint8Array.from({ length: 32 }, (_, i) => (i === 0 ? 9 : 0))
