/**
 * ChaCha20-Poly1305 (RFC 8439 §2.8) from OpenSSL's two halves, all calls of a packet at once: about a third of the time of
 * its EVP interface, whose calls cost more than the cipher itself. The functions are exported by official builds of Node.js
 * but promised by nobody, so the caller has to hold the results against another implementation first.
 */
import type { AeadKey, Primitives } from "../../../src/wireguard/primitives.ts"
import { addressOfFunction, type CallList, makeCallLists, type MakeCallList } from "./callList.ts"
import { bind } from "./ffi.ts"
import { makeMemory, type NativeMemory } from "./memory.ts"

/** Addresses of the functions in the running process; throws when one is missing. */
export const findChaChaPoly = () => ({
  /** out, in, length, key (8 words), counter block (block number, then the nonce's 3 words). */
  chacha20: addressOfFunction("ChaCha20_ctr32"),
  /** context, 32-byte key. */
  polyInit: addressOfFunction("Poly1305_Init"),
  /** context, data, length. */
  polyUpdate: addressOfFunction("Poly1305_Update"),
  /** context, tag. */
  polyFinal: addressOfFunction("Poly1305_Final"),
  polySize: bind("size_t Poly1305_ctx_size()")(),
  move: addressOfFunction("memmove")
})

export type ChaChaPoly = ReturnType<typeof findChaChaPoly>

/** ChaCha20's block: the first one under a nonce is the one-time key of Poly1305, the second begins the data. */
const blockBytes = 64
const roomBytes = 65_536 + 2 * blockBytes

/**
 * The packet cipher. How calls are made can be told by tests: one by one, as where no machine code can be, it still takes
 * less time than EVP.
 */
export const makeChaChaPoly = (
  memory: NativeMemory,
  functions: ChaChaPoly,
  makeLists: (memory: NativeMemory) => MakeCallList = makeCallLists
): Primitives["aead"] => {
  const { base } = memory
  const view = new DataView(memory.memory.buffer)
  // Keys are kept away from packets.
  const own = makeMemory(1)
  const words = new Int32Array(own.memory.buffer)
  const tagAt = own.arena.reserve(16)
  const makeList = makeLists(own)
  const sealing = new Direction(own, functions, makeList, "seal", own.base + tagAt)
  const opening = new Direction(own, functions, makeList, "open", own.base + tagAt)

  return (secret) => {
    if (secret.length !== 32) throw new RangeError(`a ChaCha20-Poly1305 key has 32 bytes, not ${secret.length}`)
    const key = new Int32Array(secret.slice().buffer)
    let freed = false
    const use = (direction: Direction): void => {
      if (freed) throw new Error("a freed key was used")
      direction.take(aead, key)
    }
    const aead: AeadKey = {
      seal: (counter, src, length, dst) => {
        if (sealing.holder !== aead) use(sealing)
        sealing.run(counter, base + src, length, base + dst)
      },
      open: (counter, offset, length) => {
        if (opening.holder !== aead) use(opening)
        opening.run(counter, base + offset, length, base + offset)
        const end = offset + length
        const made = tagAt >> 2
        // In time that does not depend on where two tags differ.
        return (
          ((words[made]! ^ view.getInt32(end, true)) |
            (words[made + 1]! ^ view.getInt32(end + 4, true)) |
            (words[made + 2]! ^ view.getInt32(end + 8, true)) |
            (words[made + 3]! ^ view.getInt32(end + 12, true))) ===
          0
        )
      },
      free: () => {
        freed = true
        key.fill(0)
        if (sealing.holder === aead) sealing.clear()
        if (opening.holder === aead) opening.clear()
      }
    }
    return aead
  }
}

/**
 * The calls that seal, or open, a packet. They work in a room of their own, where one run of ChaCha20 gives one-time key and
 * data together and padding and lengths stand behind the ciphertext: between packets of one length only addresses change.
 */
class Direction {
  /** Whose key is in place: it stays while packets under it follow each other. */
  holder: AeadKey | null = null
  private readonly kind: "seal" | "open"
  private readonly own: NativeMemory
  private readonly words: Int32Array
  private readonly keyAt: number
  private readonly counterAt: number
  /** A block of zeros and the packet; the one-time key and what became of the packet. */
  private readonly before: number
  private readonly after: number
  private readonly calls: CallList
  private length = -1

  /** The tag goes behind a sealed packet, and of an opened one to the address `tag`. */
  constructor(own: NativeMemory, functions: ChaChaPoly, makeList: MakeCallList, kind: "seal" | "open", tag: number) {
    const { arena, base } = own
    const { chacha20, move, polyFinal, polyInit, polySize, polyUpdate } = functions
    this.kind = kind
    this.own = own
    this.words = new Int32Array(own.memory.buffer)
    this.keyAt = arena.reserve(32)
    this.counterAt = arena.reserve(16)
    this.before = arena.reserve(roomBytes)
    this.after = arena.reserve(roomBytes)
    const context = base + arena.reserve(polySize)
    const before = base + this.before
    const after = base + this.after
    const sealed = (kind === "seal" ? after : before) + blockBytes
    // The zeros are filled in by `prepare` and `run`.
    this.calls = makeList([
      [move, before + blockBytes, 0, 0],
      [chacha20, after, before, 0, base + this.keyAt, base + this.counterAt],
      [polyInit, context, after],
      [polyUpdate, context, sealed, 0],
      [polyFinal, context, tag],
      [move, 0, after + blockBytes, 0]
    ])
  }

  run(counter: number, from: number, length: number, to: number): void {
    const { calls, counterAt, words } = this
    words[(counterAt >> 2) + 2] = counter | 0
    words[(counterAt >> 2) + 3] = Math.floor(counter / 4_294_967_296)
    if (length !== this.length) this.prepare(length)
    calls.set(0, 1, from)
    if (this.kind === "seal") calls.set(4, 1, to + length)
    calls.set(5, 0, to)
    calls.run()
  }

  take(holder: AeadKey, key: Int32Array): void {
    this.holder = holder
    this.words.set(key, this.keyAt >> 2)
  }

  /** Leaves neither keys nor a packet. */
  clear(): void {
    this.holder = null
    this.length = -1
    this.words.fill(0, this.keyAt >> 2, (this.keyAt >> 2) + 8)
    this.own.arena.bytes.fill(0, this.before, this.before + roomBytes)
    this.own.arena.bytes.fill(0, this.after, this.after + roomBytes)
  }

  private prepare(length: number): void {
    const { calls, own } = this
    this.length = length
    const padded = (length + 15) & ~15
    const end = (this.kind === "seal" ? this.after : this.before) + blockBytes + length
    // Zeros to the next 16 bytes, then the lengths of the additional data (none) and of the ciphertext.
    own.arena.bytes.fill(0, end, end + padded - length + 16)
    this.words[(end + padded - length + 8) >> 2] = length
    calls.set(0, 2, length)
    calls.set(1, 2, blockBytes + length)
    calls.set(3, 2, padded + 16)
    calls.set(5, 2, length)
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
