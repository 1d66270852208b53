/**
 * Who a receiver index belongs to, and the rotation of a peer's keys: `next` (a responder's, until its first packet
 * proves that the initiator has it), `current` (what we send with) and `previous` (for packets still under way).
 */
import type { Outgoing, Peer } from "./Peer.ts"
import { armExpiry } from "./peerTimers.ts"
import type { Primitives } from "./primitives.ts"
import { readWord, rejectAfterTime } from "./protocol.ts"
import type { Keypair } from "./transport.ts"

export class SessionTable {
  private readonly p: Primitives
  private readonly keypairs = new Map<number, Keypair>()
  private readonly handshakes = new Map<number, Peer>()
  private readonly random = new Uint8Array(4)

  constructor(p: Primitives) {
    this.p = p
  }

  keypair(index: number): Keypair | undefined {
    return this.keypairs.get(index)
  }

  /** The peer whose outstanding initiation has this sender index. */
  handshake(index: number): Peer | undefined {
    return this.handshakes.get(index)
  }

  /** A random index nobody uses, as a signed word. */
  freeIndex(): number {
    for (;;) {
      this.p.randomBytes(this.random)
      const index = readWord(this.random, 0)
      if (!this.keypairs.has(index) && !this.handshakes.has(index)) return index
    }
  }

  /** Replaces the outstanding initiation; its ephemeral key is freed and its chain zeroed. */
  setOutgoing(peer: Peer, outgoing: Outgoing | null): void {
    const old = peer.outgoing
    if (old !== null) {
      this.handshakes.delete(old.index)
      old.initiated.ephemeral.free()
      old.initiated.state.clear()
    }
    peer.outgoing = outgoing
    if (outgoing !== null) this.handshakes.set(outgoing.index, peer)
  }

  /** We initiated: the session may be used at once. */
  installInitiated(peer: Peer, keypair: Keypair): void {
    if (peer.next === null) {
      this.free(peer.previous)
      peer.previous = peer.current
    } else {
      // Both sides initiated at once: the other one may send with the key that we answered with.
      this.free(peer.previous)
      this.free(peer.current)
      peer.previous = peer.next
      peer.next = null
    }
    peer.current = keypair
    this.add(peer, keypair)
  }

  /** We answered: the session waits for its first packet. */
  installAnswered(peer: Peer, keypair: Keypair): void {
    this.free(peer.next)
    peer.next = keypair
    this.add(peer, keypair)
  }

  /** We answered what may be a replay: nothing else of the peer changes. */
  installUnproven(peer: Peer, keypair: Keypair): void {
    this.free(peer.unproven)
    peer.unproven = keypair
    this.add(peer, keypair)
  }

  /** The first authentic packet under `unproven` came: its sender is there, as one of `next` is. */
  prove(peer: Peer): void {
    this.free(peer.next)
    peer.next = peer.unproven
    peer.unproven = null
  }

  /** The first authentic packet under `next` came. */
  promote(peer: Peer): void {
    this.free(peer.previous)
    peer.previous = peer.current
    peer.current = peer.next
    peer.next = null
    peer.rekeyAsked = false
    armExpiry(peer)
  }

  /** Retires every key that is too old; true when the sending one was among them. */
  expire(peer: Peer, now: number): boolean {
    if (this.isOld(peer.previous, now)) peer.previous = this.free(peer.previous)
    if (this.isOld(peer.next, now)) peer.next = this.free(peer.next)
    if (this.isOld(peer.unproven, now)) peer.unproven = this.free(peer.unproven)
    const expired = this.isOld(peer.current, now)
    if (expired) peer.current = this.free(peer.current)
    armExpiry(peer)
    return expired
  }

  /** Zeroes all keys of the peer. */
  drop(peer: Peer): void {
    this.setOutgoing(peer, null)
    peer.previous = this.free(peer.previous)
    peer.current = this.free(peer.current)
    peer.next = this.free(peer.next)
    peer.unproven = this.free(peer.unproven)
    armExpiry(peer)
  }

  private add(peer: Peer, keypair: Keypair): void {
    this.keypairs.set(keypair.index, keypair)
    if (peer.current === keypair) peer.rekeyAsked = false
    armExpiry(peer)
  }

  private isOld(keypair: Keypair | null, now: number): boolean {
    return keypair !== null && now - keypair.createdAt >= rejectAfterTime
  }

  private free(keypair: Keypair | null): null {
    if (keypair !== null) {
      this.keypairs.delete(keypair.index)
      keypair.free()
    }
    return null
  }
}
