/**
 * BLAKE2s by OpenSSL's EVP interface, where `node:crypto` leaves a buffer per digest to the garbage collector: a
 * handshake takes some fifty.
 */
import { bindBlake2s, type EvpBlake2s } from "./evp.ts"
import { ifRight } from "./ifRight.ts"
import type { NativeMemory } from "./memory.ts"
import type { Primitives } from "../../../src/wireguard/primitives.ts"

export type Blake2s = Pick<Primitives, "blake2s" | "hmacBlake2s">

/** OpenSSL's if it is there and right, else `otherwise`; longer input than a handshake has goes to `otherwise`, too. */
export const chooseBlake2s = (
  memory: NativeMemory,
  otherwise: Blake2s,
  load: () => EvpBlake2s = bindBlake2s
): Blake2s => ifRight(() => makeBlake2s(memory, load(), otherwise), agree, otherwise)

/** The longest input that is digested here; an initiation has 148 bytes. */
const roomBytes = 512
/** Of BLAKE2s. */
const blockLength = 64
const hashLength = 32

const makeBlake2s = (memory: NativeMemory, evp: EvpBlake2s, otherwise: Blake2s): Blake2s => {
  const { arena, base } = memory
  const { bytes } = arena
  const method = evp.fetch(0, "BLAKE2S-256", 0)
  if (method === 0) throw new Error("OpenSSL has no BLAKE2s")
  const innerAt = arena.reserve(blockLength + roomBytes)
  const outerAt = arena.reserve(blockLength + hashLength)
  const resultAt = arena.reserve(hashLength)

  const digest = (at: number, length: number, to: number): void => {
    if (evp.digest(base + at, length, base + to, 0, method, 0) !== 1) throw new Error("OpenSSL could not digest")
  }

  /** Where the parts end that were put behind each other at `at`. */
  const put = (at: number, parts: ReadonlyArray<Uint8Array>): number => {
    for (const part of parts) {
      bytes.set(part, at)
      at += part.length
    }
    return at
  }

  /** Copies the result out of the arena, where neither it nor what it was made of stays. */
  const take = (end: number): Uint8Array => {
    const result = bytes.slice(resultAt, resultAt + hashLength)
    bytes.fill(0, innerAt, end)
    bytes.fill(0, resultAt, resultAt + hashLength)
    return result
  }

  return {
    blake2s: (...parts) => {
      if (lengthOf(parts) > roomBytes) return otherwise.blake2s(...parts)
      const end = put(innerAt, parts)
      digest(innerAt, end - innerAt, resultAt)
      return take(end)
    },
    hmacBlake2s: (key, ...parts) => {
      if (key.length > blockLength || lengthOf(parts) > roomBytes) return otherwise.hmacBlake2s(key, ...parts)
      for (let i = 0; i < blockLength; i++) {
        const byte = key[i] ?? 0
        bytes[innerAt + i] = byte ^ 0x36
        bytes[outerAt + i] = byte ^ 0x5c
      }
      const end = put(innerAt + blockLength, parts)
      digest(innerAt, end - innerAt, outerAt + blockLength)
      digest(outerAt, blockLength + hashLength, resultAt)
      bytes.fill(0, outerAt, outerAt + blockLength + hashLength)
      return take(end)
    }
  }
}

const lengthOf = (parts: ReadonlyArray<Uint8Array>): number => parts.reduce((sum, part) => sum + part.length, 0)

/** Whether both digest alike, at lengths around the block's. */
const agree = (made: Blake2s, reference: Blake2s): boolean =>
  [0, 1, 32, 63, 64, 65, 128, 148, roomBytes].every((length) => {
    const part = Uint8Array.from({ length }, (_, i) => i * 7)
    const key = part.subarray(0, blockLength)
    return (
      Buffer.compare(made.blake2s(part, key), reference.blake2s(part, key)) === 0 &&
      Buffer.compare(made.hmacBlake2s(key, part), reference.hmacBlake2s(key, part)) === 0
    )
  })
