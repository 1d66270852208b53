/**
 * `Primitives` over node:crypto for a given arena. Used by tests and wherever the native ones are not available; its
 * packet AEAD and its X25519 make several objects per call. The rest makes none with a native part: those of some
 * hundred handshakes would hold a garbage collection up for tens of milliseconds.
 */
import * as Crypto from "node:crypto"
import { chacha20poly1305 } from "@noble/ciphers/chacha.js"
import { blake2s } from "@noble/hashes/blake2.js"
import type { AeadKey, Primitives, X25519Secret } from "../../src/wireguard/primitives.ts"

export const makeNodePrimitives = (arena: Uint8Array): Primitives => ({
  randomBytes: (out) => {
    Crypto.randomFillSync(out)
  },
  x25519: (secret) => new NodeX25519Secret(secret),
  blake2s: (...parts) => hash(concat(0, parts)),
  hmacBlake2s: (key, ...parts) => {
    const block = key.length > blockLength ? hash(key) : key
    const inner = concat(blockLength, parts)
    const outer = new Uint8Array(blockLength + hashLength)
    for (let i = 0; i < blockLength; i++) {
      inner[i] = (block[i] ?? 0) ^ 0x36
      outer[i] = (block[i] ?? 0) ^ 0x5c
    }
    const digest = hash(inner)
    outer.set(digest, blockLength)
    const result = hash(outer)
    for (const secret of [inner, outer, digest]) secret.fill(0)
    return result
  },
  blake2sMac: (key, message) => blake2s(message, { key, dkLen: tagLength }),
  sealOnce: (key, plain, additional) => chacha20poly1305(key, zeroNonce, additional).encrypt(plain),
  openOnce: (key, sealed, additional) => {
    if (sealed.length < tagLength) return undefined
    try {
      return chacha20poly1305(key, zeroNonce, additional).decrypt(sealed)
    } catch {
      return undefined
    }
  },
  aead: (key) => new NodeAeadKey(arena, key),
  equal: (a, b) => a.length === b.length && Crypto.timingSafeEqual(a, b)
})

/** The X25519 public key of a 32-byte secret. */
export const x25519Public = (secret: Uint8Array): Uint8Array => new NodeX25519Secret(secret).publicKey

class NodeX25519Secret implements X25519Secret {
  readonly publicKey: Uint8Array
  private key: Crypto.KeyObject | undefined

  constructor(secret: Uint8Array) {
    const der = Buffer.concat([pkcs8Prefix, secret])
    this.key = Crypto.createPrivateKey({ key: der, format: "der", type: "pkcs8" })
    der.fill(0)
    const spki = Crypto.createPublicKey(this.key).export({ format: "der", type: "spki" })
    this.publicKey = new Uint8Array(spki.subarray(spki.length - 32))
  }

  agree(publicKey: Uint8Array): Uint8Array | undefined {
    if (this.key === undefined) throw new Error("this X25519 secret was freed")
    try {
      const key = Crypto.createPublicKey({ key: Buffer.concat([spkiPrefix, publicKey]), format: "der", type: "spki" })
      return new Uint8Array(Crypto.diffieHellman({ privateKey: this.key, publicKey: key }))
    } catch {
      // OpenSSL refuses an all-zero result, which only low-order points give.
      return undefined
    }
  }

  free(): void {
    this.key = undefined
  }
}

class NodeAeadKey implements AeadKey {
  private readonly arena: Uint8Array
  private readonly key: Uint8Array
  private readonly nonce = new Uint8Array(12)
  private readonly view = new DataView(this.nonce.buffer)
  private freed = false

  constructor(arena: Uint8Array, key: Uint8Array) {
    this.arena = arena
    this.key = key.slice()
  }

  seal(counter: number, src: number, length: number, dst: number): void {
    const cipher = Crypto.createCipheriv(algorithm, this.usableKey(), this.nonceOf(counter), {
      authTagLength: tagLength
    })
    const sealed = cipher.update(this.arena.subarray(src, src + length))
    cipher.final()
    this.arena.set(sealed, dst)
    this.arena.set(cipher.getAuthTag(), dst + length)
  }

  open(counter: number, offset: number, length: number): boolean {
    const decipher = Crypto.createDecipheriv(algorithm, this.usableKey(), this.nonceOf(counter), {
      authTagLength: tagLength
    })
    decipher.setAuthTag(this.arena.subarray(offset + length, offset + length + tagLength))
    try {
      const plain = decipher.update(this.arena.subarray(offset, offset + length))
      decipher.final()
      this.arena.set(plain, offset)
      return true
    } catch {
      return false
    }
  }

  free(): void {
    this.key.fill(0)
    this.freed = true
  }

  /** A zeroed key would still encrypt, readable by anyone. */
  private usableKey(): Uint8Array {
    if (this.freed) throw new Error("this AEAD key was freed")
    return this.key
  }

  private nonceOf(counter: number): Uint8Array {
    this.view.setUint32(4, counter >>> 0, true)
    this.view.setUint32(8, Math.floor(counter / 0x1_0000_0000), true)
    return this.nonce
  }
}

const algorithm = "chacha20-poly1305"
const tagLength = 16
const zeroNonce = new Uint8Array(12)
/** Of BLAKE2s. */
const blockLength = 64
const hashLength = 32

const hash = (data: Uint8Array): Uint8Array => new Uint8Array(Crypto.hash("blake2s256", data, "buffer"))

/** The parts behind `space` zero bytes. */
const concat = (space: number, parts: ReadonlyArray<Uint8Array>): Uint8Array => {
  let length = space
  for (const part of parts) length += part.length
  const all = new Uint8Array(length)
  let at = space
  for (const part of parts) {
    all.set(part, at)
    at += part.length
  }
  return all
}

/** RFC 8410 encodings of an X25519 key, up to its 32 bytes. */
const spkiPrefix = Buffer.from("302a300506032b656e032100", "hex")
const pkcs8Prefix = Buffer.from("302e020100300506032b656e04220420", "hex")
