/**
 * Keyed BLAKE2s-128 by OpenSSL's EVP interface: each handshake message costs one before anything is known of its sender,
 * and an implementation in JavaScript takes eight times as long.
 */
import type { Primitives } from "../../../src/wireguard/primitives.ts"
import { bindBlake2sMac, type EvpBlake2sMac } from "./evp.ts"
import { ifRight } from "./ifRight.ts"
import { makeMemory, writePointer } from "./memory.ts"

export type Blake2sMac = Primitives["blake2sMac"]

/** OpenSSL's if it is there and right, else `otherwise`; longer messages than a handshake's go to `otherwise`, too. */
export const chooseBlake2sMac = (otherwise: Blake2sMac, load: () => EvpBlake2sMac = bindBlake2sMac): Blake2sMac =>
  ifRight(() => makeBlake2sMac(load(), otherwise), agree, otherwise)

const roomBytes = 256
const longestKey = 32
const macLength = 16

const makeBlake2sMac = (evp: EvpBlake2sMac, otherwise: Blake2sMac): Blake2sMac => {
  // Keys are kept away from packets.
  const { arena, base, memory } = makeMemory(1)
  const { bytes } = arena
  const method = evp.fetch(0, "BLAKE2SMAC", 0)
  const context = method === 0 ? 0 : evp.newContext(method)
  if (context === 0) throw new Error("OpenSSL has no keyed BLAKE2s")
  const keyAt = arena.reserve(longestKey)
  const messageAt = arena.reserve(roomBytes)
  const macAt = arena.reserve(macLength)
  const written = base + arena.reserve(8, 8)
  setSize(new DataView(memory.buffer), arena.reserve(3 * 64), base, evp, context)

  return (key, message) => {
    const { length } = message
    if (length > roomBytes || key.length === 0 || key.length > longestKey) return otherwise(key, message)
    bytes.set(key, keyAt)
    bytes.set(message, messageAt)
    const made =
      evp.init(context, base + keyAt, key.length, 0) === 1 &&
      evp.update(context, base + messageAt, length) === 1 &&
      evp.final(context, base + macAt, written, macLength) === 1
    bytes.fill(0, keyAt, keyAt + longestKey)
    if (!made) throw new Error("OpenSSL could not make a MAC")
    return bytes.slice(macAt, macAt + macLength)
  }
}

/** Sets the MAC's length by a list of one `OSSL_PARAM`: key 0, type 8, data 16, size 24, then one of zeros as the end. */
const setSize = (view: DataView, at: number, base: number, evp: EvpBlake2sMac, context: number): void => {
  const nameAt = at + 128
  const valueAt = at + 160
  for (const [i, letter] of Array.from("size").entries()) view.setUint8(nameAt + i, letter.charCodeAt(0))
  view.setUint32(valueAt, macLength, true)
  writePointer(view, at, base + nameAt)
  view.setUint32(at + 8, OSSL_PARAM_UNSIGNED_INTEGER, true)
  writePointer(view, at + 16, base + valueAt)
  view.setUint32(at + 24, 8, true)
  if (evp.setParameters(context, base + at) !== 1) throw new Error("OpenSSL's BLAKE2s has one length only")
}

const OSSL_PARAM_UNSIGNED_INTEGER = 2

/** Whether both make the same of messages around the block's length, under keys of both lengths in use. */
const agree = (made: Blake2sMac, reference: Blake2sMac): boolean =>
  [0, 1, 18, 63, 64, 65, 116, 132, roomBytes].every((length) => {
    const message = Uint8Array.from({ length }, (_, i) => i * 7)
    const key = Uint8Array.from({ length: 32 }, (_, i) => i * 5 + 1)
    return [key, key.subarray(0, 16)].every((k) => Buffer.compare(made(k, message), reference(k, message)) === 0)
  })
