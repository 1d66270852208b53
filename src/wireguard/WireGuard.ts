/**
 * WireGuard without IO: datagrams in the arena, time as an argument, both roles. The packet path (`receive` of data,
 * `seal`) allocates nothing; nothing throws on any bytes; unauthenticated input changes no peer.
 *
 * Call once per turn of the packet loop: `beginTurn`, `receive` for each datagram, `workHandshakes`, `advance`; then wait
 * until `nextDeadline()`.
 */
import type { Arena } from "../packet/arena.ts"
import { equal } from "../packet/address.ts"
import { copyEndpoint, type Endpoint, makeEndpoint, sameRemote } from "../packet/endpoint.ts"
import { CookieHolder } from "./cookie.ts"
import { HandshakeGate } from "./handshakeGate.ts"
import { defaultLimits, EventRate, type HandshakeLimits } from "./handshakeLimits.ts"
import { Handshakes } from "./handshakes.ts"
import type { OwnKey } from "./OwnKey.ts"
import { OwnKeys } from "./OwnKeys.ts"
import { Peer, type PeerEvent } from "./Peer.ts"
import * as Timers from "./peerTimers.ts"
import type { Primitives } from "./primitives.ts"
import * as Protocol from "./protocol.ts"
import { HandshakeOutcome, handshakeOutcomes, ReceiveCode } from "./receiveCode.ts"
import { SessionTable } from "./sessionTable.ts"
import { Deadlines } from "./timers.ts"
import type { Keypair } from "./transport.ts"

export { Peer, type PeerEvent } from "./Peer.ts"
export interface WireGuardOptions {
  readonly primitives: Primitives
  /** 32 bytes; copied. `setKeys` gives others. */
  readonly privateKey: Uint8Array
  /** 256 bytes are reserved for our own messages. */
  readonly arena: Arena
  /** Sends arena[offset, offset+length) as one datagram; called synchronously, the bytes may be reused after. */
  readonly send: (to: Readonly<Endpoint>, offset: number, length: number) => void
  /** Called outside the per-packet path. It may call `seal`, `initiate` and `removePeer`. */
  readonly event: (peer: Peer, event: PeerEvent) => void
  /** Somebody who knows a public key of ours, but whose own is no peer's, wants a session; neither key nor address is proven. */
  readonly stranger?: (publicKey: Uint8Array, from: Readonly<Endpoint>) => void
  readonly limits?: Partial<HandshakeLimits>
  /** Inner packets are zero-padded to 16 bytes, but not beyond this. Default 1420. */
  readonly mtu?: number
}

export interface PeerConfig {
  readonly publicKey: Uint8Array
  readonly presharedKey: Uint8Array | null
  /** The peer may start with this preshared key instead; which one it has, the first completed handshake shows. */
  readonly otherPresharedKey?: Uint8Array | null
  /** Persistent keepalive in seconds, 0 for none. */
  readonly keepalive: number
  readonly user: number
  /**
   * Our role when ICE finds the path; absent or `null`: the endpoint is all there is. A handshake is then tried for 20 s
   * only, and a response that does not authenticate ends it at once where there is no session (the sides were told
   * different keys, and somebody must ask for others). The controlled side does not start the first handshake.
   */
  readonly ice?: "controlled" | "controlling" | null
}

export class WireGuard {
  /** Handshake messages worked off so far, by `HandshakeOutcome`. */
  readonly handshakeCounts = new Float64Array(handshakeOutcomes.length)
  /** Sender of the last `Data` or `Keepalive`. */
  peer!: Peer
  /** Place of the last `Data` in the arena, padding included: trust the inner packet's own length. */
  plainOffset = 0
  plainLength = 0

  /** Nobody: for who has no key of its own. It has no session, ever. */
  readonly noPeer: Peer

  private readonly p: Primitives
  private readonly bytes: Uint8Array
  private readonly scratch: number
  private readonly send: WireGuardOptions["send"]
  private readonly event: WireGuardOptions["event"]
  private readonly stranger: NonNullable<WireGuardOptions["stranger"]>
  private readonly limits: HandshakeLimits
  private readonly mtu: number
  private readonly keys: OwnKeys
  private readonly peers = new Map<string, Peer>()
  private readonly sessions: SessionTable
  private readonly handshakes: Handshakes
  private readonly deadlines = new Deadlines<Peer>()
  /** Peers that wait for an initiation of ours, oldest first, and where it goes if not to their endpoint. */
  private readonly pending = new Map<Peer, Readonly<Endpoint> | undefined>()
  private readonly gate: HandshakeGate
  private readonly random = new Uint8Array(2)
  /** Handshake messages and cookies of this turn that may still be looked at. */
  private left: number
  private came = 0
  private readonly heard = new EventRate()
  private floodedUntil = Number.NEGATIVE_INFINITY

  constructor(options: WireGuardOptions) {
    this.p = options.primitives
    this.bytes = options.arena.bytes
    this.scratch = options.arena.reserve(256)
    this.send = options.send
    this.event = options.event
    this.stranger = options.stranger ?? (() => {})
    this.limits = { ...defaultLimits, ...options.limits }
    this.left = this.limits.seenPerTurn
    this.mtu = options.mtu ?? 1420
    this.keys = new OwnKeys(this.p, options.privateKey)
    this.sessions = new SessionTable(this.p)
    this.handshakes = new Handshakes(this.p, this.sessions, (key) => this.hearing(key))
    this.gate = new HandshakeGate(this.p, this.limits)
    this.noPeer = new Peer(new Uint8Array(32), new CookieHolder(this.p, new Uint8Array(32)), -1)
    this.noPeer.removed = true
  }

  /** The one that peers should know. */
  get publicKey(): Uint8Array {
    return this.keys.current.publicKey
  }

  /**
   * Our private keys from now on, each of 32 bytes and copied: the one that peers should know, and one that answers as
   * well. Sessions go on whatever key they began with; a handshake that is under way with one that is gone is given up.
   */
  setKeys(privateKey: Uint8Array, endingKey: Uint8Array | null): void {
    for (const key of this.keys.set(privateKey, endingKey)) {
      for (const peer of this.peers.values()) if (peer.outgoing?.key === key) this.sessions.setOutgoing(peer, null)
      key.free()
    }
  }

  /** Adds a peer, or updates the one with this key; its sessions stay unless the preshared key changed. */
  addPeer(config: PeerConfig): Peer {
    const key = keyText(config.publicKey)
    const psk = config.presharedKey ?? noPresharedKey
    let peer = this.peers.get(key)
    if (peer === undefined) {
      peer = new Peer(config.publicKey, new CookieHolder(this.p, config.publicKey), config.user)
      peer.jitter = this.makeJitter()
      this.peers.set(key, peer)
    } else if (!this.p.equal(peer.presharedKey, psk)) {
      this.pending.delete(peer)
      this.sessions.drop(peer)
      Timers.disarm(peer)
      peer.unusedAnswers = 0
    }
    peer.user = config.user
    peer.deaf = false
    peer.presharedKey.set(psk)
    const other = config.otherPresharedKey ?? null
    peer.setOtherKey(other === null || this.p.equal(other, psk) ? null : other.slice())
    const ice = config.ice ?? null
    peer.impatient = ice !== null
    peer.passive = ice === "controlled" && peer.lastHandshakeAt === neverYet
    if (peer.keepalive !== config.keepalive) {
      peer.keepalive = config.keepalive
      peer.persistentAt = config.keepalive > 0 && peer.current !== null ? 0 : Number.POSITIVE_INFINITY
      this.schedule(peer)
    }
    return peer
  }

  /**
   * Ends its sessions, forgets where it is, and takes no handshake of it until it is added again: to its sender it looks
   * as if the peer had been removed. Old initiations stay refused.
   */
  resetPeer(peer: Peer): void {
    peer.deaf = true
    this.pending.delete(peer)
    this.deadlines.remove(peer)
    this.sessions.drop(peer)
    Timers.disarm(peer)
    peer.hasEndpoint = false
    peer.lastHandshakeAt = neverYet
    peer.initiatedAt = neverYet
  }

  /** Sends go there until an authentic message comes from elsewhere. */
  setEndpoint(peer: Peer, to: Readonly<Endpoint>): void {
    if (!peer.removed) this.moveEndpoint(peer, to)
  }

  /** Forgets the peer and zeroes its keys. */
  removePeer(peer: Peer): void {
    if (peer.removed) return
    peer.removed = true
    peer.hasEndpoint = false
    this.peers.delete(keyText(peer.publicKey))
    this.pending.delete(peer)
    this.deadlines.remove(peer)
    this.sessions.drop(peer)
    Timers.disarm(peer)
    peer.presharedKey.fill(0)
    peer.setOtherKey(null)
    this.keys.forgetPeer(peer)
    peer.cookies.clear()
  }

  findPeer(publicKey: Uint8Array): Peer | undefined {
    return this.peers.get(keyText(publicKey))
  }

  private hearing(publicKey: Uint8Array): Peer | undefined {
    const peer = this.findPeer(publicKey)
    return peer?.deaf === true ? undefined : peer
  }

  /** Removes all peers and frees our own keys: this object is of no more use. */
  close(): void {
    for (const peer of this.peers.values()) this.removePeer(peer)
    this.keys.free()
  }

  /**
   * `behind`: more has been coming than is worked off, so that data waits behind what is looked at now. Yields whether it is
   * handshake messages that data waits for: more came in the last turn than are looked at.
   */
  beginTurn(behind: boolean, now: number): boolean {
    const flooded = behind && now < this.floodedUntil
    const many = this.came > this.limits.seenBehind
    this.left = flooded ? this.limits.seenBehind : this.limits.seenPerTurn
    this.came = 0
    return flooded && many
  }

  /** Takes one datagram, in place. Returns a `ReceiveCode`. */
  receive(offset: number, length: number, from: Readonly<Endpoint>, now: number): number {
    if (length < Protocol.transportMinimum) return ReceiveCode.Malformed
    const type = Protocol.readWord(this.bytes, offset)
    if (type === Protocol.messageTransport) return this.receiveTransport(offset, length, from, now)
    if (type >= Protocol.messageInitiation && type <= Protocol.messageCookie) {
      if (this.heard.count(now) > this.limits.loadMark) this.floodedUntil = now + 1_000
      this.came++
      if (this.left === 0) return ReceiveCode.OverBudget
      this.left--
    }
    if (type === Protocol.messageInitiation && length === Protocol.initiationLength) {
      const message = this.bytes.subarray(offset, offset + length)
      const key = this.keys.meantBy(message)
      // One that was compared with a second key is as much work as another message.
      if (key !== this.keys.current && this.keys.ending !== null && this.left > 0) this.left--
      return key === null ? ReceiveCode.BadMac1 : this.receiveHandshake(message, key, from, now)
    }
    if (type === Protocol.messageResponse && length === Protocol.responseLength) {
      const key = this.sessions.handshake(Protocol.readWord(this.bytes, offset + 8))?.outgoing?.key
      if (key === undefined) return ReceiveCode.UnknownReceiver
      const message = this.bytes.subarray(offset, offset + length)
      return key.issuer.hasMac1(message) ? this.receiveHandshake(message, key, from, now) : ReceiveCode.BadMac1
    }
    if (type === Protocol.messageCookie && length === Protocol.cookieLength) return this.receiveCookie(offset, now)
    return ReceiveCode.Malformed
  }

  /**
   * Seals arena[src, src+length) into a transport message at `dst` and returns the datagram's length. Writes zero
   * padding behind the packet (15 bytes at most). `src` is `dst + 16` or does not overlap the message. Returns 0 when
   * no session is usable: a handshake is then started by the next `advance` if an endpoint is known.
   */
  seal(peer: Peer, src: number, length: number, dst: number, now: number): number {
    const keypair = peer.current
    if (keypair === null || !keypair.canSend(now)) {
      this.want(peer, now)
      return 0
    }
    const size = length >= this.mtu ? length : Math.min((length + 15) & ~15, this.mtu)
    for (let at = src + length; at < src + size; at++) this.bytes[at] = 0
    Protocol.writeWord(this.bytes, dst, Protocol.messageTransport)
    Protocol.writeWord(this.bytes, dst + 4, keypair.remoteIndex)
    Protocol.writeCounter(this.bytes, dst + 8, keypair.counter)
    keypair.sending.seal(keypair.counter, src, size, dst + Protocol.transportHeader)
    keypair.counter++
    const total = size + Protocol.transportMinimum
    peer.txBytes += total
    Timers.messageSent(peer, now)
    if (length > 0) {
      peer.dataAt = now
      Timers.dataSent(peer, now)
    }
    this.schedule(peer)
    if (keypair.wantsRekey(now)) this.want(peer, now)
    return total
  }

  /** Starts a handshake now if none is under way and an endpoint is known. */
  initiate(peer: Peer, now: number, wall: number): void {
    if (peer.removed || peer.outgoing !== null || !peer.hasEndpoint) return
    this.pending.delete(peer)
    this.sendInitiation(peer, now, wall)
  }

  /** Has `advance` start a handshake if none is under way and an endpoint is known; one that is under way is gone on with. */
  call(peer: Peer): void {
    if (peer.removed || !peer.hasEndpoint) return
    if (peer.outgoing === null) this.pending.set(peer, undefined)
    else peer.calledOnce = false
  }

  /**
   * Has `advance` send an initiation to somebody who may be the peer: there, from the address of ours that he sent to. As
   * nothing proves who he is, nothing else of the peer changes, and the initiation is not repeated by itself.
   */
  callAt(peer: Peer, from: Readonly<Endpoint>): void {
    if (peer.removed || this.pending.has(peer)) return
    const to = makeEndpoint()
    copyEndpoint(from, to)
    this.pending.set(peer, to)
  }

  /** Works off some queued handshake messages (`perTurn`); true if more wait. */
  workHandshakes(now: number): boolean {
    for (let i = 0; i < this.limits.perTurn && this.gate.queue.take(); i++) {
      const { from, key, message } = this.gate.queue
      const outcome = !this.keys.has(key)
        ? HandshakeOutcome.GivenUp
        : message[0] === Protocol.messageInitiation
          ? this.workInitiation(message, key, from, now)
          : this.workResponse(message, from, now)
      this.handshakeCounts[outcome]!++
    }
    return this.gate.queue.size > 0
  }

  /** Runs due timers, then sends some of the initiations that became due (`perTurn`). */
  advance(now: number, wall: number): void {
    for (let peer = this.deadlines.takeDue(now); peer !== undefined; peer = this.deadlines.takeDue(now)) {
      this.runTimers(peer, now)
      if (!peer.removed) this.schedule(peer)
    }
    let budget = this.limits.perTurn
    for (const [peer, to] of this.pending) {
      if (budget-- === 0) break
      this.pending.delete(peer)
      this.sendInitiation(peer, now, wall, to)
    }
  }

  /** Whether handshake messages wait for `workHandshakes`, or initiations for `advance`. */
  get busy(): boolean {
    return this.gate.queue.size > 0 || this.pending.size > 0
  }

  /** Monotonic milliseconds of the next due timer, `Infinity` if none, 0 while handshake work waits. */
  nextDeadline(): number {
    return this.busy ? 0 : this.deadlines.next()
  }

  private receiveTransport(offset: number, length: number, from: Readonly<Endpoint>, now: number): number {
    const keypair = this.sessions.keypair(Protocol.readWord(this.bytes, offset + 4))
    if (keypair === undefined) return ReceiveCode.UnknownReceiver
    const counter = Protocol.readCounter(this.bytes, offset + 8)
    if (counter >= Protocol.rejectAfterMessages || now - keypair.createdAt >= Protocol.rejectAfterTime) {
      return ReceiveCode.SessionExpired
    }
    if (!keypair.window.isFresh(counter)) return ReceiveCode.Replayed
    const plain = length - Protocol.transportMinimum
    const start = offset + Protocol.transportHeader
    if (!keypair.receiving.open(counter, start, plain)) return ReceiveCode.Forged
    keypair.window.mark(counter)
    const peer = keypair.peer
    peer.rxBytes += length
    Timers.messageReceived(peer, now)
    if (plain > 0) {
      peer.dataAt = now
      Timers.dataReceived(peer, now)
    }
    this.moveEndpoint(peer, from)
    if (keypair === peer.unproven) {
      this.sessions.prove(peer)
      this.confirm(keypair, now, peer.unprovenBehindMs)
    } else if (keypair === peer.next) {
      this.confirm(keypair, now, 0)
    }
    if (peer.removed) return ReceiveCode.UnknownReceiver
    this.rekeyLate(peer, now)
    this.schedule(peer)
    this.peer = peer
    this.plainOffset = start
    this.plainLength = plain
    return plain === 0 ? ReceiveCode.Keepalive : ReceiveCode.Data
  }

  private receiveHandshake(message: Uint8Array, key: OwnKey, from: Readonly<Endpoint>, now: number): number {
    const code = this.gate.admit(message, key, from, now)
    if (code === ReceiveCode.CookieSent) {
      this.bytes.set(this.gate.reply, this.scratch)
      this.send(from, this.scratch, this.gate.reply.length)
    }
    return code
  }

  private receiveCookie(offset: number, now: number): number {
    const index = Protocol.readWord(this.bytes, offset + 4)
    const peer = this.sessions.handshake(index) ?? this.sessions.keypair(index)?.peer
    if (peer === undefined) return ReceiveCode.UnknownReceiver
    const reply = this.bytes.subarray(offset, offset + Protocol.cookieLength)
    return peer.cookies.accept(reply, now) ? ReceiveCode.Handled : ReceiveCode.Forged
  }

  private workInitiation(message: Uint8Array, key: OwnKey, from: Readonly<Endpoint>, now: number): number {
    const outcome = this.handshakes.answer(message, key, now)
    const { peer, response, senderKey } = this.handshakes
    if (outcome === HandshakeOutcome.UnknownPeer && this.findPeer(senderKey) === undefined)
      this.stranger(senderKey, from)
    if (outcome === HandshakeOutcome.Unproven) {
      peer.cookies.sign(response, now)
      this.bytes.set(response, this.scratch)
      this.send(from, this.scratch, response.length)
      this.schedule(peer)
    }
    if (outcome !== HandshakeOutcome.Answered) return outcome
    peer.rxBytes += message.length
    Timers.messageReceived(peer, now)
    this.moveEndpoint(peer, from)
    if (peer.removed) return outcome
    this.sendHandshake(peer, peer.endpoint, response, now)
    this.schedule(peer)
    return outcome
  }

  private workResponse(message: Uint8Array, from: Readonly<Endpoint>, now: number): number {
    const sender = this.sessions.handshake(Protocol.readWord(message, 8))
    const outcome = this.handshakes.complete(message, now)
    // Anybody who saw the initiation can make such an answer: it must not end a session that works.
    if (outcome === HandshakeOutcome.Forged && sender?.impatient === true && !sender.hasSession(now))
      this.giveUp(sender)
    if (outcome !== HandshakeOutcome.Completed) return outcome
    const { keypair, peer } = this.handshakes
    peer.rxBytes += message.length
    Timers.messageReceived(peer, now)
    this.moveEndpoint(peer, from)
    this.completed(keypair, now)
    // The responder may send only after a packet of ours: if nothing was staged, it gets a keepalive.
    if (peer.current === keypair && keypair.counter === 0) this.sendKeepalive(peer, now)
    if (!peer.removed) this.schedule(peer)
    return outcome
  }

  /** The initiator proved that it has the keys of `next`. */
  private confirm(keypair: Keypair, now: number, behindMs: number): void {
    const { peer } = keypair
    peer.behindMs = behindMs
    peer.setOtherKey(null)
    this.sessions.promote(peer)
    this.sessions.setOutgoing(peer, null)
    this.completed(keypair, now)
  }

  private completed({ ownKey, peer }: Keypair, now: number): void {
    if (peer.removed) return
    peer.ownKey = ownKey
    this.pending.delete(peer)
    peer.retransmitAt = Number.POSITIVE_INFINITY
    peer.lastHandshakeAt = now
    peer.unusedAnswers = 0
    peer.passive = false
    this.event(peer, "HandshakeDone")
  }

  /** `elsewhere`: to there, see `callAt`. */
  private sendInitiation(peer: Peer, now: number, wall: number, elsewhere?: Readonly<Endpoint>): void {
    if (elsewhere === undefined) peer.calledOnce = false
    else if (peer.outgoing === null || peer.calledOnce) {
      peer.calledOnce = true
      this.sessions.setOutgoing(peer, null)
    }
    const to = elsewhere ?? (peer.hasEndpoint ? peer.endpoint : undefined)
    const message = to && this.handshakes.begin(peer, this.keys.toCall(peer), now, wall)
    if (to === undefined || message === undefined) return this.giveUp(peer)
    peer.initiatedAt = now
    peer.jitter = this.makeJitter()
    peer.retransmitAt = now + Protocol.rekeyTimeout + peer.jitter
    this.sendHandshake(peer, to, message, now)
    this.schedule(peer)
  }

  private sendHandshake(peer: Peer, to: Readonly<Endpoint>, message: Uint8Array, now: number): void {
    peer.cookies.sign(message, now)
    this.bytes.set(message, this.scratch)
    peer.txBytes += message.length
    Timers.messageSent(peer, now)
    this.send(to, this.scratch, message.length)
  }

  private sendKeepalive(peer: Peer, now: number): void {
    if (!peer.hasEndpoint) return
    const length = this.seal(peer, this.scratch + Protocol.transportHeader, 0, this.scratch, now)
    if (length > 0) this.send(peer.endpoint, this.scratch, length)
  }

  private giveUp(peer: Peer): void {
    this.pending.delete(peer)
    this.sessions.setOutgoing(peer, null)
    peer.retransmitAt = Number.POSITIVE_INFINITY
    peer.keepaliveAt = Number.POSITIVE_INFINITY
    this.event(peer, "HandshakeFailed")
  }

  private runTimers(peer: Peer, now: number): void {
    if (peer.retransmitAt <= now) {
      peer.retransmitAt = Number.POSITIVE_INFINITY
      const patience = peer.impatient ? Protocol.iceAttemptTime : Protocol.rekeyAttemptTime
      if (peer.outgoing !== null && peer.calledOnce) {
        this.sessions.setOutgoing(peer, null)
      } else if (peer.outgoing === null || now - peer.outgoing.startedAt >= patience) {
        this.giveUp(peer)
      } else {
        this.pending.set(peer, undefined)
        this.event(peer, "HandshakeUnanswered")
      }
    }
    if (peer.expireAt <= now && this.sessions.expire(peer, now)) this.event(peer, "Expired")
    if (peer.handshakeAt <= now) {
      peer.handshakeAt = Number.POSITIVE_INFINITY
      this.want(peer, now)
    }
    if (peer.keepaliveAt <= now) {
      const again = peer.wantsKeepalive
      peer.keepaliveAt = Number.POSITIVE_INFINITY
      this.sendKeepalive(peer, now)
      if (again && !peer.removed) Timers.dataReceived(peer, now)
    }
    if (peer.persistentAt <= now) {
      peer.persistentAt = now + peer.keepalive * 1_000
      this.sendKeepalive(peer, now)
    }
  }

  /** Asks for an initiation, at most one per 5 s and none while one is under way. */
  private want(peer: Peer, now: number): void {
    const isTooSoon = peer.outgoing === null && now - peer.initiatedAt < Protocol.rekeyTimeout
    if (!peer.passive && !isTooSoon) this.call(peer)
  }

  /** A session that receives only is renewed by its initiator before it becomes too old to answer on. */
  private rekeyLate(peer: Peer, now: number): void {
    const keypair = peer.current
    if (keypair === null || !keypair.initiator || peer.rekeyAsked) return
    if (now - keypair.createdAt < Protocol.rejectAfterTime - Protocol.keepaliveTimeout - Protocol.rekeyTimeout) return
    peer.rekeyAsked = true
    this.want(peer, now)
  }

  private moveEndpoint(peer: Peer, from: Readonly<Endpoint>): void {
    const moved = !peer.hasEndpoint || !sameRemote(peer.endpoint, from) || !equal(peer.endpoint.local, from.local)
    copyEndpoint(from, peer.endpoint)
    peer.hasEndpoint = true
    if (moved) this.event(peer, "EndpointChanged")
  }

  private schedule(peer: Peer): void {
    this.deadlines.atLatest(peer, Timers.dueAt(peer))
  }

  private makeJitter(): number {
    this.p.randomBytes(this.random)
    return (this.random[0]! | (this.random[1]! << 8)) % Protocol.rekeyJitter
  }
}

const neverYet = Number.NEGATIVE_INFINITY

const noPresharedKey = new Uint8Array(32)

const keyText = (publicKey: Uint8Array): string => String.fromCharCode(...publicKey)
