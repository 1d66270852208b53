/**
 * ChaCha20-Poly1305 (RFC 8439 §2.8) from OpenSSL's two halves: a third less work per packet than its EVP interface, whose
 * calls cost as much as the cipher itself. The functions are exported by official builds of Node.js but promised by
 * nobody, so the caller has to hold the results against another implementation first.
 */
import type { AeadKey, Primitives } from "../../src/wireguard/primitives.ts"
import { bind } from "./ffi.ts"
import { makeMemory, type NativeMemory } from "./memory.ts"

/** The functions of the running process; throws when one is missing. */
export const bindChaChaPoly = () => ({
  /** out, in, length, key (8 words), counter block (block number, then the nonce's 3 words). */
  chacha20: bind("void ChaCha20_ctr32(uintptr_t, uintptr_t, size_t, uintptr_t, uintptr_t)"),
  polySize: bind("size_t Poly1305_ctx_size()"),
  polyInit: bind("void Poly1305_Init(uintptr_t, uintptr_t)"),
  polyUpdate: bind("void Poly1305_Update(uintptr_t, uintptr_t, size_t)"),
  polyFinal: bind("void Poly1305_Final(uintptr_t, uintptr_t)")
})

export type ChaChaPoly = ReturnType<typeof bindChaChaPoly>

/** The packet cipher; short values with additional data are the business of `values`. */
export const makeChaChaPoly = (
  memory: NativeMemory,
  { chacha20, polyFinal, polyInit, polySize, polyUpdate }: ChaChaPoly,
  values: Primitives["aead"]
): Primitives["aead"] => {
  const { base } = memory
  const view = new DataView(memory.memory.buffer)
  // Keys are kept away from packets.
  const own = makeMemory(1)
  const { arena } = own
  const words = new Int32Array(own.memory.buffer)
  // A key stays in its place while packets under it follow each other; one place for each direction.
  const sealing = { at: arena.reserve(32), holder: null as AeadKey | null }
  const opening = { at: arena.reserve(32), holder: null as AeadKey | null }
  const blockAt = arena.reserve(16)
  const oneTimeAt = arena.reserve(32)
  const zerosAt = arena.reserve(32)
  // Up to 15 zero bytes that pad the ciphertext, then the lengths of additional data (none) and ciphertext.
  const trailerAt = arena.reserve(32)
  const tagAt = arena.reserve(16)
  const block = own.base + blockAt
  const oneTime = own.base + oneTimeAt
  const zeros = own.base + zerosAt
  const trailer = own.base + trailerAt + 16
  const tag = own.base + tagAt
  const context = own.base + arena.reserve(polySize())

  /** Of the additional data, which is empty, and of the ciphertext. */
  const writeLengths = (at: number, length: number): void => {
    view.setInt32(at, 0, true)
    view.setInt32(at + 4, 0, true)
    view.setInt32(at + 8, length, true)
    view.setInt32(at + 12, 0, true)
  }

  /**
   * Writes the tag of the ciphertext to the address `to`. Leaves the counter block at the data's first block, and
   * anything in the 16 bytes behind the ciphertext.
   */
  const authenticate = (key: number, counter: number, offset: number, length: number, to: number): void => {
    words[(blockAt >> 2) + 2] = counter | 0
    words[(blockAt >> 2) + 3] = Math.floor(counter / 4_294_967_296)
    words[blockAt >> 2] = 0
    chacha20(oneTime, zeros, 32, key, block)
    words[blockAt >> 2] = 1
    polyInit(context, oneTime)
    const pad = -length & 15
    const end = offset + length
    if (pad === 0) {
      // The lengths have just the room of the tag, so that one call does.
      writeLengths(end, length)
      polyUpdate(context, base + offset, length + 16)
    } else if (end + 32 <= view.byteLength) {
      // Padding and lengths reach beyond the tag's room: what is there comes back.
      const kept0 = view.getInt32(end + 16, true)
      const kept1 = view.getInt32(end + 20, true)
      const kept2 = view.getInt32(end + 24, true)
      const kept3 = view.getInt32(end + 28, true)
      view.setInt32(end, 0, true)
      view.setInt32(end + 4, 0, true)
      view.setInt32(end + 8, 0, true)
      view.setInt32(end + 12, 0, true)
      writeLengths(end + pad, length)
      polyUpdate(context, base + offset, length + pad + 16)
      view.setInt32(end + 16, kept0, true)
      view.setInt32(end + 20, kept1, true)
      view.setInt32(end + 24, kept2, true)
      view.setInt32(end + 28, kept3, true)
    } else {
      polyUpdate(context, base + offset, length)
      words[(trailerAt >> 2) + 6] = length
      polyUpdate(context, trailer - pad, pad + 16)
    }
    polyFinal(context, to)
  }

  return (secret) => {
    const other = values(secret)
    const key = new Int32Array(secret.slice().buffer)
    let freed = false

    const place = (slot: typeof sealing): number => {
      if (slot.holder !== aead) {
        if (freed) throw new Error("a freed key was used")
        words.set(key, slot.at >> 2)
        slot.holder = aead
      }
      return own.base + slot.at
    }

    const aead: AeadKey = {
      seal: (counter, src, length, dst) => {
        const at = place(sealing)
        words[blockAt >> 2] = 1
        words[(blockAt >> 2) + 2] = counter | 0
        words[(blockAt >> 2) + 3] = Math.floor(counter / 4_294_967_296)
        chacha20(base + dst, base + src, length, at, block)
        authenticate(at, counter, dst, length, base + dst + length)
      },
      open: (counter, offset, length) => {
        const at = place(opening)
        const end = offset + length
        const t0 = view.getInt32(end, true)
        const t1 = view.getInt32(end + 4, true)
        const t2 = view.getInt32(end + 8, true)
        const t3 = view.getInt32(end + 12, true)
        authenticate(at, counter, offset, length, tag)
        const made = tagAt >> 2
        // In time that does not depend on where two tags differ.
        const difference =
          (words[made]! ^ t0) | (words[made + 1]! ^ t1) | (words[made + 2]! ^ t2) | (words[made + 3]! ^ t3)
        if (difference !== 0) return false
        chacha20(base + offset, base + offset, length, at, block)
        return true
      },
      sealValue: other.sealValue,
      openValue: other.openValue,
      free: () => {
        freed = true
        key.fill(0)
        other.free()
        for (const slot of [sealing, opening]) {
          if (slot.holder !== aead) continue
          slot.holder = null
          words.fill(0, slot.at >> 2, (slot.at >> 2) + 8)
        }
        words.fill(0, oneTimeAt >> 2, (oneTimeAt >> 2) + 8)
      }
    }
    return aead
  }
}

/** Whether both ciphers seal and open alike, at lengths that take OpenSSL through each of its code paths. */
export const agree = (memory: NativeMemory, cipher: Primitives["aead"], reference: Primitives["aead"]): boolean => {
  const { arena } = memory
  const { bytes } = arena
  const at = arena.reserve(testLengths.at(-1)! + 16)
  const to = arena.reserve(testLengths.at(-1)! + 16)
  const secret = Uint8Array.from({ length: 32 }, (_, i) => 0x80 + i)
  const [a, b] = [cipher(secret), reference(secret)]
  const right = testLengths.every((length) => {
    for (let i = 0; i < length; i++) bytes[at + i] = i * 7
    a.seal(testCounter + length, at, length, to)
    if (!b.open(testCounter + length, to, length)) return false
    for (let i = 0; i < length; i++) if (bytes[to + i] !== ((i * 7) & 255)) return false
    b.seal(testCounter + length, at, length, to)
    if (!a.open(testCounter + length, to, length)) return false
    for (let i = 0; i < length; i++) if (bytes[to + i] !== ((i * 7) & 255)) return false
    b.seal(testCounter + length, at, length, to)
    bytes[to + (length >> 1)]! ^= 4
    return !a.open(testCounter + length, to, length)
  })
  a.free()
  b.free()
  return right
}

/** More than 32 bits. */
const testCounter = 0x6454443424140
const testLengths = [
  0, 1, 15, 16, 17, 63, 64, 65, 127, 192, 255, 256, 257, 511, 513, 1_024, 1_025, 1_280, 1_420, 1_500, 4_097
]
