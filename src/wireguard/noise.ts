/** The symmetric part of Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s (whitepaper §5.4): hash chain and key derivation. */
import { kdf } from "./kdf.ts"
import type { Primitives } from "./primitives.ts"

const text = (value: string): Uint8Array => new TextEncoder().encode(value)

const construction = text("Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s")
const identifier = text("WireGuard v1 zx2c4 Jason@zx2c4.com")
export const labelMac1 = text("mac1----")
export const labelCookie = text("cookie--")

/**
 * Chaining key and hash of one handshake. Every operation advances them; `clear` zeroes them. Work on a `clone` where
 * the input may prove forged.
 */
export class SymmetricState {
  chainKey: Uint8Array
  hash: Uint8Array
  private readonly p: Primitives

  constructor(p: Primitives, chainKey: Uint8Array, hash: Uint8Array) {
    this.p = p
    this.chainKey = chainKey
    this.hash = hash
  }

  /** The state both sides start from: the protocol's names and the responder's public key. */
  static initial(p: Primitives, responderPublicKey: Uint8Array): SymmetricState {
    const chainKey = p.blake2s(construction)
    return new SymmetricState(p, chainKey, p.blake2s(p.blake2s(chainKey, identifier), responderPublicKey))
  }

  clone(): SymmetricState {
    return new SymmetricState(this.p, this.chainKey.slice(), this.hash.slice())
  }

  mixHash(data: Uint8Array): void {
    this.hash = this.p.blake2s(this.hash, data)
  }

  mixKey(input: Uint8Array): void {
    this.advance(kdf(this.p, this.chainKey, input, 1)[0]!)
  }

  /** Mixes `input` in and returns the key for the next sealed field. */
  mixKeyAndDerive(input: Uint8Array): Uint8Array {
    const [chainKey, key] = kdf(this.p, this.chainKey, input, 2)
    this.advance(chainKey!)
    return key!
  }

  /** Mixes the preshared key into chain and hash, and returns the key for the next sealed field. */
  mixPresharedKey(presharedKey: Uint8Array): Uint8Array {
    const [chainKey, hashed, key] = kdf(this.p, this.chainKey, presharedKey, 3)
    this.advance(chainKey!)
    this.mixHash(hashed!)
    hashed!.fill(0)
    return key!
  }

  /** Seals a field under `key` (which is zeroed) and mixes the result into the hash. */
  seal(key: Uint8Array, plain: Uint8Array): Uint8Array {
    const sealed = this.p.sealOnce(key, plain, this.hash)
    key.fill(0)
    this.mixHash(sealed)
    return sealed
  }

  /** Opens a field under `key` (which is zeroed) and mixes the sealed form into the hash; `undefined` when forged. */
  open(key: Uint8Array, sealed: Uint8Array): Uint8Array | undefined {
    const plain = this.p.openOnce(key, sealed, this.hash)
    key.fill(0)
    if (plain !== undefined) this.mixHash(sealed)
    return plain
  }

  /** The two transport keys, initiator-to-responder first. The state is zeroed. */
  split(): readonly [Uint8Array, Uint8Array] {
    const [first, second] = kdf(this.p, this.chainKey, none, 2)
    this.clear()
    return [first!, second!]
  }

  clear(): void {
    this.chainKey.fill(0)
    this.hash.fill(0)
  }

  private advance(chainKey: Uint8Array): void {
    this.chainKey.fill(0)
    this.chainKey = chainKey
  }
}

const none = new Uint8Array(0)
