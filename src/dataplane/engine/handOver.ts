/**
 * What the gateways of a site hand each other while one of them is drained. Its clients go over to another one, which gets
 * their packets in sessions that only the former one knows, and replies to flows that only that one translates; and the
 * former one has to send from an address that it has no more. Each is handed to who can do it, on the UDP port of WireGuard:
 *
 *     marker (1) gateway (1) zero (2) sender's number (12) counter (8)         24 bytes
 *     sealed: kind (1) zero (1) port (2) remote (16) local (16), what is handed over; tag (16)
 *
 * ChaCha20-Poly1305 with WireGuard's nonce, under a key that is made of the site's private key, the gateway and a random
 * number of its worker: no two senders have the same one. What came from another gateway is handed to none again.
 */
import { copyWords, parseAddress, type Words } from "../../packet/address.ts"
import type { Arena } from "../../packet/arena.ts"
import { read16, read32, write16, write32 } from "../../packet/bytes.ts"
import { copyEndpoint, type Endpoint, makeEndpoint, sameRemote } from "../../packet/endpoint.ts"
import type { AeadKey, Primitives } from "../../wireguard/primitives.ts"
import { readCounter, rejectAfterMessages, writeCounter } from "../../wireguard/protocol.ts"
import { ReplayWindow } from "../../wireguard/replayWindow.ts"
import type { SetSiblings } from "../commands.ts"
import { counterIndex } from "../counters.ts"
import type { ClientEntry } from "./clientTable.ts"
import type { EngineState } from "./engineState.ts"

const sent = counterIndex["hand_over.sent"]
const received = counterIndex["hand_over.received"]
const refused = counterIndex["hand_over.refused"]
const limited = counterIndex["hand_over.limited"]

export const Handed = {
  /** Nothing: where the sender is. */
  Nothing: 0,
  /** A datagram that a client has sent to `local` from `remote`. */
  FromClient: 1,
  /** A datagram that is to be sent from `local` to the client at `remote`. */
  ToClient: 2,
  /** An inner packet from the network to a client. */
  FromNetwork: 3,
  /** An inner packet from a client to the network. */
  ToNetwork: 4
} as const

/** None that WireGuard, STUN or TURN begins with. */
const marker = 0xf5
const numberLength = 12
/** It begins with when it was made, in epoch milliseconds. */
const timeLength = 6
const headerLength = 4 + numberLength + 8
const whereLength = 36
const tagLength = 16
const overhead = headerLength + whereLength + tagLength
/** Longer ones are not handed over. */
const longest = 1_900
/** Datagrams a second, each way: many more than a moment's packets, and few enough to be no flood's amplifier. */
const mostASecond = 100_000
/** So often a second a key is made for a number that may be another worker's of the gateway. */
const mostKeys = 10
/** The same from where the gateways are: from anywhere else nobody keeps them from each other. */
const mostKeysThere = 100
/** A client that has been here for so long has its packets and flows here. */
const settledMs = 5_000
const label = new TextEncoder().encode("sallyport hand-over v1")

interface Sibling {
  epoch: number
  /** As it was told last. */
  told: string
  draining: boolean
  readonly at: Endpoint
  reachable: boolean
  /** Of its worker; none was heard of yet. */
  receiving: AeadKey | undefined
  readonly number: Uint8Array
  window: ReplayWindow
}

export class HandOver {
  /** What came, after `open` said so, and between whom. `source.channel` says that it came by this gateway. */
  kind: number = Handed.Nothing
  plainOffset = 0
  plainLength = 0
  readonly source: Endpoint = makeEndpoint()
  /** Another gateway gives its clients away. */
  private isOpen = false
  private readonly state: EngineState
  private readonly p: Primitives
  private readonly at: number
  private key: Uint8Array
  private gateway = -1
  private sending: AeadKey | undefined = undefined
  private readonly number = new Uint8Array(numberLength)
  private counter = 0
  private readonly siblings = new Map<number, Sibling>()
  private secondAt = Number.NEGATIVE_INFINITY
  private out = 0
  private in = 0
  private keys = 0
  private keysThere = 0

  constructor(state: EngineState, primitives: Primitives, privateKey: Uint8Array, arena: Arena) {
    this.state = state
    this.p = primitives
    this.key = privateKey.slice()
    this.at = arena.reserve(longest + overhead + 64)
  }

  /** All gateways of the site have this one. */
  setKey(key: Uint8Array): void {
    if (this.p.equal(key, this.key)) return
    this.key = key.slice()
    this.forgetKeys()
    for (const sibling of this.siblings.values()) forget(sibling)
  }

  set({ gateway, draining, siblings }: SetSiblings): void {
    if (gateway !== this.gateway) this.forgetKeys()
    this.gateway = gateway
    for (const [no, sibling] of this.siblings) {
      if (siblings.some((told) => told.gateway === no)) continue
      forget(sibling)
      this.siblings.delete(no)
    }
    for (const told of siblings) this.place(told)
    this.isOpen = siblings.some((told) => told.draining)
    if (!draining && !this.isOpen) return
    for (const [no, { reachable }] of this.siblings) if (reachable) this.send(no, Handed.Nothing, nowhere, this.at, 0)
  }

  /** Whether what is not known here of the client may be known at a gateway that gives it away. */
  concerns({ arrivedAt, arrives, peer }: ClientEntry): boolean {
    if (!this.isOpen) return false
    const { now } = this.state
    return arrives || !peer.hasSession(now) || now - arrivedAt < settledMs
  }

  /** Hands it to each gateway that gives its clients away. False: there is none, or none that it could be sent to. */
  pass(kind: number, of: Readonly<Endpoint>, offset: number, length: number): boolean {
    if (!this.isOpen) return false
    let isSent = false
    for (const [no, { draining }] of this.siblings) {
      if (draining && this.send(no, kind, of, offset, length)) isSent = true
    }
    return isSent
  }

  /** Sends a datagram to a client by the gateway of its endpoint's `channel`. False: that one is gone. */
  sendTo(client: Readonly<Endpoint>, offset: number, length: number): boolean {
    const no = gatewayOf(client.channel)
    if (!this.siblings.has(no)) return false
    this.send(no, Handed.ToClient, client, offset, length)
    return true
  }

  /** Opens what another gateway has sent, in place. False: it was none of theirs; what is refused is counted. */
  open(offset: number, length: number, from: Readonly<Endpoint>): boolean {
    const { bytes, counters } = this.state
    if (bytes[offset] !== marker || length < overhead) return false
    const sibling = this.siblings.get(bytes[offset + 1]!)
    const counter = readCounter(bytes, offset + 4 + numberLength)
    if (this.isOver("in")) counters[limited]!++
    else if (
      sibling === undefined ||
      counter >= rejectAfterMessages ||
      !this.authenticate(sibling, offset, length, counter, sameRemote(sibling.at, from))
    )
      counters[refused]!++
    else {
      counters[received]!++
      copyEndpoint(from, sibling.at)
      sibling.reachable = true
      this.read(offset + headerLength, length - overhead, bytes[offset + 1]!)
      return true
    }
    return false
  }

  close(): void {
    this.forgetKeys()
    this.key.fill(0)
    for (const sibling of this.siblings.values()) forget(sibling)
  }

  private place({ address, draining, epoch, gateway, port }: SetSiblings["siblings"][number]): void {
    const told = `${address} ${port}`
    const known = this.siblings.get(gateway)
    const sibling = known ?? {
      epoch,
      told: "",
      draining,
      at: makeEndpoint(),
      reachable: false,
      receiving: undefined,
      number: new Uint8Array(numberLength),
      window: new ReplayWindow()
    }
    this.siblings.set(gateway, sibling)
    // Its clock may have been set back meanwhile.
    if (sibling.epoch !== epoch) forget(sibling)
    sibling.epoch = epoch
    sibling.draining = draining
    const remote = address === null ? undefined : parseAddress(address)
    if (remote === undefined || sibling.told === told) return
    sibling.told = told
    copyEndpoint(nowhere, sibling.at)
    copyWords(remote, sibling.at.remote)
    sibling.at.port = port
    sibling.reachable = true
  }

  private send(no: number, kind: number, of: Readonly<Endpoint>, offset: number, length: number): boolean {
    const { at, state } = this
    const { bytes, counters, io } = state
    const sibling = this.siblings.get(no)
    if (sibling?.reachable !== true || length > longest || this.isOver("out")) {
      counters[limited]!++
      return false
    }
    const sending = (this.sending ??= this.newKey())
    bytes[at] = marker
    bytes[at + 1] = this.gateway
    write16(bytes, at + 2, 0)
    bytes.set(this.number, at + 4)
    writeCounter(bytes, at + 4 + numberLength, this.counter)
    const where = at + headerLength
    write16(bytes, where, kind << 8)
    write16(bytes, where + 2, of.port)
    writeWords(bytes, where + 4, of.remote)
    writeWords(bytes, where + 20, of.local)
    bytes.copyWithin(where + whereLength, offset, offset + length)
    sending.seal(this.counter++, where, whereLength + length, where)
    const isSent = io.send(sibling.at, at, length + overhead, length + overhead, 0)
    counters[isSent ? sent : limited]!++
    return isSent
  }

  private authenticate(sibling: Sibling, offset: number, length: number, counter: number, isThere: boolean): boolean {
    const { bytes } = this.state
    const isKnown = sibling.receiving !== undefined && sibling.number.every((byte, i) => byte === bytes[offset + 4 + i])
    // Who has recorded what an earlier worker of the gateway has sent comes with its number.
    if (!isKnown && sibling.receiving !== undefined && isEarlier(bytes, offset + 4, sibling.number)) return false
    if (!isKnown && (isThere ? this.keysThere++ >= mostKeysThere : this.keys++ >= mostKeys)) return false
    const key = isKnown
      ? sibling.receiving!
      : this.keyOf(bytes[offset + 1]!, bytes.subarray(offset + 4, offset + 4 + numberLength))
    const isFresh = !isKnown || sibling.window.isFresh(counter)
    const isTheirs = isFresh && key.open(counter, offset + headerLength, length - headerLength - tagLength)
    if (!isKnown && !isTheirs) key.free()
    if (!isTheirs) return false
    if (!isKnown) {
      forget(sibling)
      sibling.receiving = key
      sibling.number.set(bytes.subarray(offset + 4, offset + 4 + numberLength))
      sibling.window = new ReplayWindow()
    }
    sibling.window.mark(counter)
    return true
  }

  private read(at: number, length: number, gateway: number): void {
    const { source, state } = this
    this.kind = state.bytes[at]!
    source.port = read16(state.bytes, at + 2)
    readWords(state.bytes, at + 4, source.remote)
    readWords(state.bytes, at + 20, source.local)
    source.channel = channelOf(gateway)
    this.plainOffset = at + whereLength
    this.plainLength = length
  }

  /** Of all that goes out, or comes in, within one second. */
  private isOver(way: "in" | "out"): boolean {
    const { now } = this.state
    if (now - this.secondAt >= 1_000) {
      this.secondAt = now
      this.in = 0
      this.out = 0
      this.keys = 0
      this.keysThere = 0
    }
    return ++this[way] > mostASecond
  }

  private newKey(): AeadKey {
    this.p.randomBytes(this.number)
    for (let i = timeLength - 1, left = Math.floor(this.state.wall); i >= 0; i--, left = Math.floor(left / 256)) {
      this.number[i] = left % 256
    }
    this.counter = 0
    return this.keyOf(this.gateway, this.number)
  }

  private keyOf(gateway: number, number: Uint8Array): AeadKey {
    const key = this.p.blake2s(label, this.key, Uint8Array.of(gateway), number)
    const bound = this.p.aead(key)
    key.fill(0)
    return bound
  }

  private forgetKeys(): void {
    this.sending?.free()
    this.sending = undefined
  }
}

/** Whether the number at `at` was made before that one. */
const isEarlier = (bytes: Uint8Array, at: number, number: Uint8Array): boolean => {
  for (let i = 0; i < timeLength; i++) if (bytes[at + i] !== number[i]) return bytes[at + i]! < number[i]!
  return false
}

const forget = (sibling: Sibling): void => {
  sibling.receiving?.free()
  sibling.receiving = undefined
}

/** Relays' channels are above 0. */
const channelOf = (gateway: number): number => -1 - gateway
const gatewayOf = (channel: number): number => -1 - channel

const nowhere: Readonly<Endpoint> = makeEndpoint()

const writeWords = (bytes: Uint8Array, at: number, a: Readonly<Words>): void => {
  write32(bytes, at, a.w0)
  write32(bytes, at + 4, a.w1)
  write32(bytes, at + 8, a.w2)
  write32(bytes, at + 12, a.w3)
}

const readWords = (bytes: Uint8Array, at: number, a: Words): void => {
  a.w0 = read32(bytes, at)
  a.w1 = read32(bytes, at + 4)
  a.w2 = read32(bytes, at + 8)
  a.w3 = read32(bytes, at + 12)
}
