/** One session: a pair of transport keys with their counters (whitepaper §5.4.6). */
import type { TransportKeys } from "./handshake.ts"
import type { Peer } from "./Peer.ts"
import type { AeadKey, Primitives } from "./primitives.ts"
import { rejectAfterMessages, rejectAfterTime, rekeyAfterMessages, rekeyAfterTime } from "./protocol.ts"
import { ReplayWindow } from "./replayWindow.ts"

export class Keypair {
  readonly peer: Peer
  /** Our public key that its handshake was made with. */
  readonly ownKey: Uint8Array
  /** Ours: what the other side writes as receiver. */
  readonly index: number
  /** Theirs. */
  readonly remoteIndex: number
  readonly initiator: boolean
  readonly createdAt: number
  readonly sending: AeadKey
  readonly receiving: AeadKey
  readonly window = new ReplayWindow()
  /** Counter of the next message. */
  counter = 0

  /** Binds `keys` and zeroes the given arrays. */
  constructor(
    p: Primitives,
    peer: Peer,
    ownKey: Uint8Array,
    keys: TransportKeys,
    index: number,
    remoteIndex: number,
    initiator: boolean,
    now: number
  ) {
    this.peer = peer
    this.ownKey = ownKey
    this.index = index
    this.remoteIndex = remoteIndex
    this.initiator = initiator
    this.createdAt = now
    this.sending = p.aead(keys.sending)
    this.receiving = p.aead(keys.receiving)
    keys.sending.fill(0)
    keys.receiving.fill(0)
  }

  canSend(now: number): boolean {
    return now - this.createdAt < rejectAfterTime && this.counter < rejectAfterMessages
  }

  /** True when a sender should start the next handshake: only the initiator does so by age, to avoid two at once. */
  wantsRekey(now: number): boolean {
    return (this.initiator && now - this.createdAt >= rekeyAfterTime) || this.counter >= rekeyAfterMessages
  }

  /** Zeroes both keys. */
  free(): void {
    this.sending.free()
    this.receiving.free()
  }
}
