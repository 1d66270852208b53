/** The key pairs of ours: the one that peers should know and, while it is being replaced, one that answers as well. */
import { OwnKey } from "./OwnKey.ts"
import type { Peer } from "./Peer.ts"
import type { Primitives } from "./primitives.ts"

export class OwnKeys {
  /** The one that peers should know. */
  current: OwnKey
  ending: OwnKey | null = null
  private readonly p: Primitives

  /** Copies the key, of 32 bytes. */
  constructor(p: Primitives, privateKey: Uint8Array) {
    this.p = p
    this.current = new OwnKey(p, privateKey)
  }

  /** Copies both, of 32 bytes each; a key that is here already stays as it is. Yields those that are no more, to be freed. */
  set(privateKey: Uint8Array, endingKey: Uint8Array | null): ReadonlyArray<OwnKey> {
    const before = [this.current, this.ending].filter((key) => key !== null)
    this.current = this.take(privateKey, before)
    const ending = endingKey === null ? null : this.take(endingKey, [...before, this.current])
    this.ending = ending === this.current ? null : ending
    return before.filter((key) => !this.has(key))
  }

  has(key: OwnKey): boolean {
    return key === this.current || key === this.ending
  }

  /** Whose first MAC the message has; the ending key is only looked at when it is not for the current one. */
  meantBy(message: Uint8Array): OwnKey | null {
    const { current, ending } = this
    if (current.issuer.hasMac1(message)) return current
    return ending?.issuer.hasMac1(message) === true ? ending : null
  }

  /**
   * Ours to call the peer with. First the one that it has proved to know, or else the ending one; after a call without an
   * answer the other one: it may have moved, and a restart have forgotten that.
   */
  toCall(peer: Peer): OwnKey {
    const { current, ending } = this
    if (ending === null) return current
    if (peer.outgoing !== null) return peer.outgoing.key === current ? ending : current
    return peer.ownKey !== null && this.p.equal(peer.ownKey, current.publicKey) ? current : ending
  }

  forgetPeer(peer: Peer): void {
    this.current.forgetPeer(peer)
    this.ending?.forgetPeer(peer)
  }

  /** They are of no more use. */
  free(): void {
    this.current.free()
    this.ending?.free()
  }

  private take(privateKey: Uint8Array, before: ReadonlyArray<OwnKey>): OwnKey {
    const key = new OwnKey(this.p, privateKey)
    const known = before.find(({ publicKey }) => this.p.equal(publicKey, key.publicKey))
    if (known === undefined) return key
    key.free()
    return known
  }
}
