/**
 * The cryptography that WireGuard (and later STUN and TURN) needs from outside. Keys and short
 * values are ordinary byte arrays; transport packets stay where they are in the arena.
 */
export interface Primitives {
  /** Fills `out` from the system's cryptographic generator. */
  readonly randomBytes: (out: Uint8Array) => void
  /** Makes a 32-byte secret ready for X25519 (RFC 7748). It is copied; `free` forgets the copy. */
  readonly x25519: (secret: Uint8Array) => X25519Secret
  /** BLAKE2s-256 (RFC 7693) over the concatenation of the parts. */
  readonly blake2s: (...parts: ReadonlyArray<Uint8Array>) => Uint8Array
  /** HMAC-BLAKE2s-256 over the concatenation of the parts. */
  readonly hmacBlake2s: (key: Uint8Array, ...parts: ReadonlyArray<Uint8Array>) => Uint8Array
  /** BLAKE2s-128 with a key of 1 to 32 bytes (RFC 7693 §2.9): 16 bytes. */
  readonly blake2sMac: (key: Uint8Array, message: Uint8Array) => Uint8Array
  /**
   * Seals a short value with additional data under a ChaCha20-Poly1305 key (RFC 8439) that is used for nothing else: its
   * nonce is zero. The 16-byte tag is behind it.
   */
  readonly sealOnce: (key: Uint8Array, plain: Uint8Array, additional: Uint8Array) => Uint8Array
  /** Opens what `sealOnce` made; `undefined` when forged. */
  readonly openOnce: (key: Uint8Array, sealed: Uint8Array, additional: Uint8Array) => Uint8Array | undefined
  /** Binds a ChaCha20-Poly1305 key to the arena. The key is copied; `free` zeroes it. */
  readonly aead: (key: Uint8Array) => AeadKey
  /** Equality in time that depends on the length only. */
  readonly equal: (a: Uint8Array, b: Uint8Array) => boolean
}

/** A key pair of X25519, ready for any number of agreements until it is freed. */
export interface X25519Secret {
  readonly publicKey: Uint8Array
  /** The shared secret with the owner of `publicKey`, or `undefined` for a low-order point (an all-zero result). */
  readonly agree: (publicKey: Uint8Array) => Uint8Array | undefined
  readonly free: () => void
}

/** ChaCha20-Poly1305 under one key with WireGuard's nonce: 4 zero bytes, then the counter, little-endian. */
export interface AeadKey {
  /** Seals arena[src, src+length) to arena[dst, dst+length) and its 16-byte tag behind it. `src` may equal `dst`. */
  readonly seal: (counter: number, src: number, length: number, dst: number) => void
  /** Opens `length` ciphertext bytes (tag behind them, not counted) in place; false leaves the bytes undefined. */
  readonly open: (counter: number, offset: number, length: number) => boolean
  readonly free: () => void
}
