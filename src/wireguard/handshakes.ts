/**
 * Handshakes of known peers: from a message to new keys and back. Changes a peer only once its message proved
 * authentic; timers, endpoints and sending are the caller's.
 */
import { createInitiation, createResponse, openIntroduction, openResponse, openTimestamp } from "./handshake.ts"
import type { OwnKey } from "./OwnKey.ts"
import type { Peer } from "./Peer.ts"
import type { Primitives } from "./primitives.ts"
import { initiationSpacing, readWord } from "./protocol.ts"
import { HandshakeOutcome } from "./receiveCode.ts"
import type { SessionTable } from "./sessionTable.ts"
import { isLater, millisOf, tai64nLength, tickOf, writeTick } from "./tai64n.ts"
import { Keypair } from "./transport.ts"

export class Handshakes {
  /** Result registers of the last `Answered` or `Unproven` (peer, response) or `Completed` (peer, keypair). */
  peer!: Peer
  response!: Uint8Array
  keypair!: Keypair
  /** Who sent the last initiation that could be opened, by its own word: nothing proves that it has the key. */
  senderKey: Uint8Array = new Uint8Array(32)
  private readonly p: Primitives
  private readonly sessions: SessionTable
  private readonly findPeer: (publicKey: Uint8Array) => Peer | undefined

  constructor(p: Primitives, sessions: SessionTable, findPeer: (publicKey: Uint8Array) => Peer | undefined) {
    this.p = p
    this.sessions = sessions
    this.findPeer = findPeer
  }

  /**
   * Makes an initiation for the peer by this key of ours and remembers it as outstanding; the message lacks its MACs.
   * `undefined` when the peer's public key is a low-order point.
   */
  begin(peer: Peer, key: OwnKey, now: number, wall: number): Uint8Array | undefined {
    const remote = key.remoteOf(peer)
    if (remote === undefined) return undefined
    const timestamp = new Uint8Array(tai64nLength)
    peer.lastTick = Math.max(tickOf(wall), peer.lastTick + 1)
    writeTick(peer.lastTick, timestamp, 0)
    const index = this.sessions.freeIndex()
    const initiated = createInitiation(this.p, key.secret, remote, index, timestamp)
    if (initiated === undefined) return undefined
    this.sessions.setOutgoing(peer, { index, key, initiated, startedAt: peer.outgoing?.startedAt ?? now })
    return initiated.message
  }

  /**
   * Works off an initiation for this key of ours; returns a `HandshakeOutcome`. At `Answered` the session waits for its
   * first packet.
   *
   * An initiation that is stamped before the last accepted one is a recorded one that somebody sends again, or comes from
   * a peer whose clock was ahead when it was here last: WireGuard refuses both, the second one until its clock has
   * caught up. Who sends it cannot be told from the message, nor from any clock, but by what comes next: only who holds
   * the initiation's ephemeral key can send a packet under the keys of our answer. So it is answered (`Unproven`) and
   * changes nothing: neither the peer's sessions and endpoint nor `latestTai64n`, which still tells recordings apart from
   * what is new. A replay costs us the work of one handshake, within the same limits as any, and its sender gets an
   * answer shorter than the question. The first packet under those keys makes the session the peer's
   * (`SessionTable.prove`).
   */
  answer(message: Uint8Array, key: OwnKey, now: number): number {
    const introduced = openIntroduction(this.p, key.secret, message)
    if (introduced === undefined) return HandshakeOutcome.Forged
    this.senderKey = introduced.senderKey
    const peer = this.findPeer(introduced.senderKey)
    const remote = peer === undefined ? undefined : key.remoteOf(peer)
    if (peer === undefined || remote === undefined) {
      introduced.state.clear()
      return HandshakeOutcome.UnknownPeer
    }
    const timestamp = openTimestamp(introduced, remote, message)
    const refused = refusal(peer, timestamp, now)
    if (timestamp === undefined || refused !== undefined) {
      introduced.state.clear()
      return refused ?? HandshakeOutcome.Forged
    }
    const isNew = isLater(timestamp, peer.latestTai64n)
    if (isNew) {
      peer.latestTai64n.set(timestamp)
      peer.acceptedAt = now
      // It starts again instead of taking our answer, which is what one with the wrong key looks like from here.
      if (peer.next !== null) {
        peer.unusedAnswers++
        peer.swapKeys()
      }
    } else {
      peer.doubtedAt = now
      peer.unprovenBehindMs = millisOf(peer.latestTai64n) - millisOf(timestamp)
    }
    const index = this.sessions.freeIndex()
    const remoteIndex = readWord(message, 4)
    const response = createResponse(this.p, introduced, remote, index, remoteIndex)
    if (response === undefined) return HandshakeOutcome.Forged
    this.peer = peer
    this.response = response.message
    this.keypair = new Keypair(this.p, peer, key.publicKey, response.keys, index, remoteIndex, false, now)
    if (isNew) this.sessions.installAnswered(peer, this.keypair)
    else this.sessions.installUnproven(peer, this.keypair)
    return isNew ? HandshakeOutcome.Answered : HandshakeOutcome.Unproven
  }

  /** Works off a response; returns a `HandshakeOutcome`. At `Completed` the session is usable. */
  complete(message: Uint8Array, now: number): number {
    const index = readWord(message, 8)
    const peer = this.sessions.handshake(index)
    const outgoing = peer?.outgoing
    const remote = peer === undefined ? undefined : outgoing?.key.remoteOf(peer)
    if (peer === undefined || outgoing === undefined || outgoing === null || remote === undefined) {
      return HandshakeOutcome.GivenUp
    }
    const { key } = outgoing
    const keys = openResponse(key.secret, remote, outgoing.initiated, message)
    if (keys === undefined) return HandshakeOutcome.Forged
    this.sessions.setOutgoing(peer, null)
    this.peer = peer
    this.keypair = new Keypair(this.p, peer, key.publicKey, keys, index, readWord(message, 4), true, now)
    this.sessions.installInitiated(peer, this.keypair)
    return HandshakeOutcome.Completed
  }
}

/** Why an initiation with this (opened) timestamp is not answered, if so. */
const refusal = (peer: Peer, timestamp: Uint8Array | undefined, now: number): number | undefined => {
  if (timestamp === undefined) return HandshakeOutcome.Forged
  if (isLater(timestamp, peer.latestTai64n)) {
    return now - peer.acceptedAt < initiationSpacing ? HandshakeOutcome.TooFast : undefined
  }
  const isSame = !isLater(peer.latestTai64n, timestamp)
  return isSame || now - peer.doubtedAt < initiationSpacing ? HandshakeOutcome.Replayed : undefined
}
