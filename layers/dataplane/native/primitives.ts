/**
 * The live `Primitives`: transport packets by OpenSSL's EVP interface, straight on the arena (five times faster than a
 * `node:crypto` cipher per packet), or by the functions beneath it where they are there and agree with it (more than
 * twice as fast again); X25519 and BLAKE2s.
 * Everything else is `makeNodePrimitives`. The running node exports these symbols; where it does not, or a known answer
 * comes out wrong, node's own ciphers do the work.
 */
import type { Primitives } from "../../../src/wireguard/primitives.ts"
import { makeNodePrimitives } from "../nodePrimitives.ts"
import { chooseBlake2s } from "./blake2s.ts"
import { chooseBlake2sMac } from "./blake2sMac.ts"
import { agree, findChaChaPoly, type ChaChaPoly, makeChaChaPoly } from "./chachaPoly.ts"
import { bindEvp, type Evp } from "./evp.ts"
import { ifRight } from "./ifRight.ts"
import type { NativeMemory } from "./memory.ts"
import { chooseOnceCipher } from "./onceCipher.ts"
import { chooseX25519 } from "./x25519.ts"

/** `warning` is one line when packets go through the slow path. What is loaded can be told by tests. */
export const makePrimitives = (
  memory: NativeMemory,
  load: () => Evp = bindEvp,
  loadHalves: () => ChaChaPoly = findChaChaPoly
): { readonly primitives: Primitives; readonly warning: string | null } => {
  const node = makeNodePrimitives(memory.arena.bytes)
  const slow = (because: string) => ({
    primitives: node,
    warning: `packets are encrypted by node:crypto, at a fraction of the speed: ${because}; use an official build of Node.js`
  })
  let evp: Evp
  try {
    evp = load()
  } catch {
    return slow("this Node.js does not export OpenSSL's EVP functions")
  }
  const fast: Primitives = {
    ...node,
    ...chooseBlake2s(memory, node),
    blake2sMac: chooseBlake2sMac(node.blake2sMac),
    ...chooseOnceCipher(evp, node),
    x25519: chooseX25519(memory, node.x25519),
    aead: makeAead(memory, evp)
  }
  if (!knownAnswer(memory, fast)) return slow("OpenSSL's EVP functions failed their known-answer test")
  return { primitives: { ...fast, aead: fastest(memory, fast.aead, loadHalves) }, warning: null }
}

/** EVP where its halves cannot be called or do otherwise: packets cost more then, but nothing that anybody can mend. */
const fastest = (memory: NativeMemory, evp: Primitives["aead"], load: () => ChaChaPoly): Primitives["aead"] =>
  ifRight(
    () => makeChaChaPoly(memory, load()),
    (halves) => agree(memory, halves, evp),
    evp
  )

const makeAead = (memory: NativeMemory, evp: Evp): Primitives["aead"] => {
  const { arena, base } = memory
  const { decryptFinal, decryptInit, decryptUpdate, encryptFinal, encryptInit, encryptUpdate, control } = evp
  const bytes = arena.bytes
  const view = new DataView(memory.memory.buffer)
  const cipher = evp.chacha20Poly1305()
  const keyAt = arena.reserve(32)
  // RFC 8439's nonce as WireGuard fills it: four zero bytes, then the counter.
  const nonceAt = arena.reserve(16, 16)
  const nonce = base + nonceAt
  // `final` may write up to a block, which is nothing for a stream cipher: the spare is for its pointer to be valid.
  const spare = base + arena.reserve(32, 16)
  const written = base + arena.reserve(8, 8)
  bytes.fill(0, nonceAt, nonceAt + 16)

  const setNonce = (counter: number): void => {
    view.setUint32(nonceAt + 4, counter >>> 0, true)
    view.setUint32(nonceAt + 8, Math.floor(counter / 4294967296), true)
  }

  const context = (key: Uint8Array, init: Evp["encryptInit"]): number => {
    const made = evp.newContext()
    bytes.set(key, keyAt)
    const ready = made !== 0 && init(made, cipher, 0, base + keyAt, nonce) === 1
    bytes.fill(0, keyAt, keyAt + 32)
    if (ready) return made
    if (made !== 0) evp.freeContext(made)
    throw new Error("OpenSSL has no context for ChaCha20-Poly1305")
  }

  return (key) => {
    if (key.length !== 32) throw new RangeError(`a ChaCha20-Poly1305 key has 32 bytes, not ${key.length}`)
    // A key seals or opens, rarely both: contexts are made on first use.
    const own = key.slice()
    let sealing = 0
    let opening = 0
    let freed = false
    const alive = (): void => {
      if (freed) throw new Error("a freed key was used")
    }

    return {
      seal: (counter, src, length, dst) => {
        if (sealing === 0) {
          alive()
          sealing = context(own, encryptInit)
        }
        setNonce(counter)
        if (
          encryptInit(sealing, 0, 0, 0, nonce) !== 1 ||
          encryptUpdate(sealing, base + dst, written, base + src, length) !== 1 ||
          encryptFinal(sealing, spare, written) !== 1 ||
          control(sealing, AEAD_GET_TAG, 16, base + dst + length) !== 1
        ) {
          throw new Error("OpenSSL could not encrypt")
        }
      },
      open: (counter, offset, length) => {
        if (opening === 0) {
          alive()
          opening = context(own, decryptInit)
        }
        setNonce(counter)
        return (
          decryptInit(opening, 0, 0, 0, nonce) === 1 &&
          control(opening, AEAD_SET_TAG, 16, base + offset + length) === 1 &&
          decryptUpdate(opening, base + offset, written, base + offset, length) === 1 &&
          decryptFinal(opening, spare, written) === 1
        )
      },
      free: () => {
        // Freeing a context wipes the key schedule in it.
        if (sealing !== 0) evp.freeContext(sealing)
        if (opening !== 0) evp.freeContext(opening)
        sealing = 0
        opening = 0
        freed = true
        own.fill(0)
      }
    }
  }
}

const AEAD_GET_TAG = 0x10
const AEAD_SET_TAG = 0x11

/** RFC 8439 §2.8.2's key and plaintext under a nonce of WireGuard's form, without additional data. */
const knownAnswer = (memory: NativeMemory, primitives: Primitives): boolean => {
  const { arena } = memory
  const at = arena.reserve(256)
  const plain = new TextEncoder().encode(
    "Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it."
  )
  try {
    const key = primitives.aead(Uint8Array.from({ length: 32 }, (_, i) => 0x80 + i))
    arena.bytes.set(plain, at)
    key.seal(knownCounter, at, plain.length, at)
    const answer = Buffer.from(arena.bytes.subarray(at, at + plain.length + 16)).toString("hex")
    const opened = key.open(knownCounter, at, plain.length)
    const same = Buffer.compare(arena.bytes.subarray(at, at + plain.length), plain) === 0
    arena.bytes[at]! ^= 1
    const refused = !key.open(knownCounter, at, plain.length)
    key.free()
    return answer === expected && opened && same && refused
  } catch {
    return false
  }
}

/** More than 32 bits, so that both halves of the nonce count. */
const knownCounter = 0x6454443424140

const expected =
  "ffc95342491946b98f426b18aa435448a4e7bd178fa4930c3e128ea3304e55dfdc3593e3964f21ee3ebcf82355db46c88ab09b91fb89bb9d3072" +
  "762cfa6e0ebd57dff015bdb89b41a0e9e842d9716ba5d43cb3c00a43cc81f5387eb4f731457b32e6ef2bf8e9d143cf53eb79c92cc9d8f20c677b" +
  "845af195d45543ed0033809191b8"
