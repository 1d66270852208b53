/** One remote WireGuard key: its endpoint, sessions, timers and counters. Made by `WireGuard.addPeer`. */
import { type Endpoint, makeEndpoint } from "../packet/endpoint.ts"
import type { CookieHolder } from "./cookie.ts"
import type { Initiated } from "./handshake.ts"
import type { OwnKey } from "./OwnKey.ts"
import type { Timed } from "./timers.ts"
import { tai64nLength } from "./tai64n.ts"
import type { Keypair } from "./transport.ts"

/**
 * `HandshakeDone`: a new session may send (flush staged packets now). `EndpointChanged`: an authentic message came
 * from another address or port, or to another address of ours. `Expired`: the last usable session is past 180 s.
 * `HandshakeUnanswered`: an initiation of ours was not, and another one follows. `HandshakeFailed`: no answer for the whole
 * attempt time, or the peer's key is unusable; the next `seal` or `initiate` tries again.
 */
export type PeerEvent = "HandshakeDone" | "EndpointChanged" | "Expired" | "HandshakeUnanswered" | "HandshakeFailed"

const never = Number.POSITIVE_INFINITY

export class Peer implements Timed {
  readonly publicKey: Uint8Array
  /** Opaque number of the engine. */
  user: number
  /** Where to send; meaningful while `hasEndpoint`. Both may be set from outside. */
  readonly endpoint: Endpoint = makeEndpoint()
  hasEndpoint = false
  /** Monotonic milliseconds of the last completed handshake; -Infinity before. */
  lastHandshakeAt = -never
  /** Latest timestamp of an accepted initiation. May be set after a restart, so that old initiations change nothing. */
  readonly latestTai64n = new Uint8Array(tai64nLength)
  /**
   * Milliseconds that the handshake of the session in use was stamped before `latestTai64n`: the peer's clock was ahead
   * once. 0 while its timestamps grow.
   */
  behindMs = 0
  /** Tick of our last initiation's timestamp; may be set after a restart, since the peer ignores earlier ones. */
  lastTick = 0
  /** Bytes of authentic datagrams received, and of datagrams sealed or sent, WireGuard headers included. */
  rxBytes = 0
  txBytes = 0

  /** Our public key of the last handshake that both sides have proved; may be set after a restart. `null`: not known. */
  ownKey: Uint8Array | null = null

  /**
   * Handshakes of it in a row that were answered, and begun again before a packet used the answer: its preshared key is
   * another one, or answers do not reach it.
   */
  unusedAnswers = 0

  /** Monotonic milliseconds of the last authentic message from it; -Infinity before. */
  heardAt = -never

  /** Monotonic milliseconds of our last initiation; -Infinity before. */
  initiatedAt = -never

  /** @internal */ readonly cookies: CookieHolder
  /** @internal */ readonly presharedKey = new Uint8Array(32)
  /** @internal Tried in turns with `presharedKey` until one of them has proven right; see `setOtherKey`. */
  otherKey: Uint8Array | null = null
  /** @internal */ removed = false
  /** @internal */ keepalive = 0
  /** @internal Its handshakes are not answered. */ deaf = false
  /** @internal Does not start a handshake; until the first one is complete. */ passive = false
  /** @internal Gives a handshake up early. */ impatient = false
  /** Monotonic milliseconds of the last inner packet either way; -Infinity before. */
  dataAt = -never
  /** @internal */ previous: Keypair | null = null
  /** @internal */ current: Keypair | null = null
  /** @internal */ next: Keypair | null = null
  /** @internal Like `next`, of an initiation that may be a replay. */ unproven: Keypair | null = null
  /** @internal By how much it was stamped too early. */ unprovenBehindMs = 0
  /** @internal */ outgoing: Outgoing | null = null
  /** @internal The initiation under way is not repeated: see `WireGuard.callAt`. */ calledOnce = false
  /** @internal */ acceptedAt = -never
  /** @internal When the last `unproven` one was answered. */ doubtedAt = -never
  /** @internal Added to timers that both sides might otherwise run in step. */ jitter = 0
  /** @internal Set once per session when data arrives so late that a rekey is asked for early. */ rekeyAsked = false
  /** @internal */ wantsKeepalive = false
  /** @internal */ retransmitAt = never
  /** @internal */ keepaliveAt = never
  /** @internal */ handshakeAt = never
  /** @internal */ persistentAt = never
  /** @internal */ expireAt = never
  /** @internal */ heapIndex = -1
  /** @internal */ deadline = never

  constructor(publicKey: Uint8Array, cookies: CookieHolder, user: number) {
    this.publicKey = publicKey.slice()
    this.cookies = cookies
    this.user = user
  }

  /** @internal Takes the array; zeroes the one before. */
  setOtherKey(key: Uint8Array | null): void {
    this.otherKey?.fill(0)
    this.otherKey = key
  }

  /** @internal The other key's turn, if there is one. */
  swapKeys(): void {
    const { otherKey, presharedKey } = this
    if (otherKey === null) return
    for (let i = 0; i < presharedKey.length; i++) {
      const byte = presharedKey[i]!
      presharedKey[i] = otherKey[i]!
      otherKey[i] = byte
    }
  }

  /** True when `seal` would succeed. */
  hasSession(now: number): boolean {
    return this.current !== null && this.current.canSend(now)
  }
}

/** Our initiation that waits for its answer. */
export interface Outgoing {
  readonly index: number
  /** Ours that it was made with. */
  readonly key: OwnKey
  readonly initiated: Initiated
  /** When the first initiation of this attempt was sent. */
  readonly startedAt: number
}
