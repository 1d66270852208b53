/**
 * `Primitives` over node:crypto for a given arena. Used by tests and wherever the native ones are not available; its
 * AEAD makes several objects per packet.
 */
import * as Crypto from "node:crypto"
import type { AeadKey, Primitives } from "../src/wireguard/primitives.ts"

export const makeNodePrimitives = (arena: Uint8Array): Primitives => ({
  randomBytes: (out) => {
    Crypto.randomFillSync(out)
  },
  x25519Public: (secret) => {
    const spki = Crypto.createPublicKey(privateKey(secret)).export({ format: "der", type: "spki" })
    return new Uint8Array(spki.subarray(spki.length - 32))
  },
  x25519: (secret, publicKey) => {
    try {
      const key = Crypto.createPublicKey({
        key: Buffer.concat([spkiPrefix, publicKey]),
        format: "der",
        type: "spki"
      })
      return new Uint8Array(Crypto.diffieHellman({ privateKey: privateKey(secret), publicKey: key }))
    } catch {
      // OpenSSL refuses an all-zero result, which only low-order points give.
      return undefined
    }
  },
  blake2s: (...parts) => {
    const hash = Crypto.createHash("blake2s256")
    for (const part of parts) hash.update(part)
    return new Uint8Array(hash.digest())
  },
  hmacBlake2s: (key, ...parts) => {
    const hmac = Crypto.createHmac("blake2s256", key)
    for (const part of parts) hmac.update(part)
    return new Uint8Array(hmac.digest())
  },
  aead: (key) => new NodeAeadKey(arena, key),
  equal: (a, b) => a.length === b.length && Crypto.timingSafeEqual(a, b)
})

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
    const sealed = this.sealValue(counter, this.arena.subarray(src, src + length), nothing)
    this.arena.set(sealed, dst)
  }

  open(counter: number, offset: number, length: number): boolean {
    const plain = this.openValue(counter, this.arena.subarray(offset, offset + length + tagLength), nothing)
    if (plain === undefined) return false
    this.arena.set(plain, offset)
    return true
  }

  sealValue(counter: number, plain: Uint8Array, additional: Uint8Array): Uint8Array {
    const cipher = Crypto.createCipheriv(algorithm, this.usableKey(), this.nonceOf(counter), {
      authTagLength: tagLength
    })
    cipher.setAAD(additional, { plaintextLength: plain.length })
    const sealed = new Uint8Array(plain.length + tagLength)
    sealed.set(cipher.update(plain))
    cipher.final()
    sealed.set(cipher.getAuthTag(), plain.length)
    return sealed
  }

  openValue(counter: number, sealed: Uint8Array, additional: Uint8Array): Uint8Array | undefined {
    const length = sealed.length - tagLength
    if (length < 0) return undefined
    const decipher = Crypto.createDecipheriv(algorithm, this.usableKey(), this.nonceOf(counter), {
      authTagLength: tagLength
    })
    decipher.setAAD(additional, { plaintextLength: length })
    decipher.setAuthTag(sealed.subarray(length))
    try {
      const plain = new Uint8Array(decipher.update(sealed.subarray(0, length)))
      decipher.final()
      return plain
    } catch {
      return undefined
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
const nothing = new Uint8Array(0)

/** RFC 8410 encodings of an X25519 key, up to its 32 bytes. */
const spkiPrefix = Buffer.from("302a300506032b656e032100", "hex")
const pkcs8Prefix = Buffer.from("302e020100300506032b656e04220420", "hex")

const privateKey = (secret: Uint8Array): Crypto.KeyObject => {
  const der = Buffer.concat([pkcs8Prefix, secret])
  const key = Crypto.createPrivateKey({ key: der, format: "der", type: "pkcs8" })
  der.fill(0)
  return key
}
