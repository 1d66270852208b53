/**
 * A key pair of ours: it tells the messages that are meant for it, and has the secrets that it shares with peers. A
 * gateway has two of them while its key is being replaced.
 */
import { CookieIssuer } from "./cookie.ts"
import type { Remote } from "./handshake.ts"
import type { Peer } from "./Peer.ts"
import type { Primitives, X25519Secret } from "./primitives.ts"

export class OwnKey {
  readonly publicKey: Uint8Array
  readonly secret: X25519Secret
  readonly issuer: CookieIssuer
  /** Of both static keys, made when they are needed. */
  private readonly shared = new Map<Peer, Uint8Array>()

  /** Copies the key, of 32 bytes. */
  constructor(p: Primitives, privateKey: Uint8Array) {
    this.secret = p.x25519(privateKey)
    this.publicKey = this.secret.publicKey
    this.issuer = new CookieIssuer(p, this.publicKey)
  }

  /** The peer as this key meets it; `undefined` when the peer's public key is a low-order point. */
  remoteOf(peer: Peer): Remote | undefined {
    const staticSecret = this.shared.get(peer) ?? this.secret.agree(peer.publicKey)
    if (staticSecret === undefined) return undefined
    this.shared.set(peer, staticSecret)
    return { publicKey: peer.publicKey, staticSecret, presharedKey: peer.presharedKey }
  }

  forgetPeer(peer: Peer): void {
    this.shared.get(peer)?.fill(0)
    this.shared.delete(peer)
  }

  /** Forgets the key and all that was made with it: it is of no more use. */
  free(): void {
    this.secret.free()
    for (const secret of this.shared.values()) secret.fill(0)
    this.shared.clear()
  }
}
