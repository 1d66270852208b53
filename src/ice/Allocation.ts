/**
 * A TURN client at one relay (RFC 8656 over UDP), sans-IO: it binds on every family's socket to
 * learn our addresses, allocates a relayed address of each family over the socket that answered first, keeps both, and
 * repairs what the relay forgot. It never gives up: what failed is tried again with back-off.
 */
import { isIpv4 } from "../packet/address.ts"
import type { TransportAddress } from "../packet/transportAddress.ts"
import { type Binding, Channels } from "./Channels.ts"
import type { Channel, ChannelTable } from "./channelTable.ts"
import { backOff } from "./relayBackOff.ts"
import { candidatesWithout, isUsable, type LearnedCandidate, RelayAddress } from "./RelayAddress.ts"
import type { StunMessage } from "./stun.ts"
import { AddressFamily, StunAttribute, StunMethod } from "./stunProtocol.ts"
import { StunWriter } from "./StunWriter.ts"
import { type Transaction, Transactions } from "./Transactions.ts"
import { TurnCredentials } from "./turnCredentials.ts"

export type FailureReason = "Unreachable" | "WrongCredentials" | "Refused"

export interface AllocationOptions {
  /** One per family at most, at least one. */
  readonly addresses: ReadonlyArray<TransportAddress>
  readonly username: string
  readonly password: string
  readonly table: ChannelTable
  /** Fills with random bytes: transaction ids, and the jitter of back-offs. */
  readonly randomBytes: (out: Uint8Array) => void
  /** Sends a datagram; the kernel chooses the local address. */
  readonly transmit: (to: TransportAddress, bytes: Uint8Array) => void
  readonly events: AllocationEvents
}

/** Told synchronously, after the allocation's own state has changed. */
interface AllocationEvents {
  readonly found: (candidate: LearnedCandidate) => void
  readonly lost: (candidate: LearnedCandidate) => void
  /** There is no allocation for longer than a repair takes. Told again only for another reason. */
  readonly failed: (reason: FailureReason) => void
  readonly channelBound: (channel: Channel) => void
  /** The relay refused the peer. Channels that vanish with their allocation are not told one by one. */
  readonly channelRefused: (channel: Channel) => void
}

const defaultLifetime = 600_000

export class Allocation {
  private readonly options: AllocationOptions
  private readonly servers: ReadonlyArray<RelayAddress>
  private readonly transactions: Transactions<About>
  private readonly channels: Channels
  private credentials: TurnCredentials
  /** Those to go on with when the ones in use do not work any more. */
  private newest: TurnCredentials
  private state: "waiting" | "allocating" | "releasing" | "allocated" | "resting" = "waiting"
  /** The one that requests other than Binding go to. */
  private active: RelayAddress | undefined
  private relayed: ReadonlyArray<LearnedCandidate> = []
  private plan = 0
  /** When to refresh, or when the rest is over. */
  private timer = Infinity
  private allocatedAt = 0
  /** Since an allocation last held for a while. */
  private failures = 0
  /** Not answered lately where it should have: another one is tried first. */
  private avoided: RelayAddress | undefined
  private releases = 0
  private reported: FailureReason | undefined
  /** Since when the relay is asked whether it is still there, because nothing comes from it; Infinity: no doubt. */
  private doubted = Infinity
  private heard = -Infinity
  /** The relay has signed an answer: from then on, those without a signature are nobody's. */
  private signs = false

  constructor(options: AllocationOptions) {
    this.options = options
    this.credentials = new TurnCredentials(options.username, options.password)
    this.newest = this.credentials
    this.transactions = new Transactions(options.transmit)
    this.channels = new Channels(options.table)
    this.servers = options.addresses.map((address) => new RelayAddress(address))
  }

  /** True while it has relayed addresses. */
  get allocated(): boolean {
    return this.state === "allocated"
  }

  /** When it began to look as if the relay were gone; Infinity while nothing says so. */
  get doubtedAt(): number {
    return this.doubted
  }

  /** When the relay last answered a request in a way that only it can. */
  get heardAt(): number {
    return this.heard
  }

  /** All addresses that are valid now. */
  get candidates(): ReadonlyArray<LearnedCandidate> {
    return [...this.servers.flatMap((server) => server.candidates), ...this.relayed]
  }

  /** Whether channel data from there can be this allocation's. */
  isActive(serverIndex: number): boolean {
    return this.active !== undefined && this.active === this.servers[serverIndex]
  }

  /** The live channel of a number. Constant time, without allocation. */
  channel(number: number): Channel | undefined {
    return this.channels.byChannelNumber(number)
  }

  start(now: number): void {
    for (const server of this.servers) this.sendBinding(server, now)
  }

  /** Credentials from now on. An allocation that works goes on with those it was made with. */
  setCredentials(username: string, password: string, now: number): void {
    if (this.newest.same(username, password)) return
    this.newest = new TurnCredentials(username, password)
    if (this.state === "allocated") return
    this.drop(now)
    this.failures = 0
    this.reported = undefined
    for (const server of this.servers) if (!server.answers) this.sendBinding(server, now)
    this.connect(now)
  }

  /**
   * A channel to `peer`; `undefined` when there is no relayed address of its family, or no number left, or the relay
   * refused the peer lately. Can be used at once: the relay handles the request before the data unless they swap places.
   */
  open(peer: TransportAddress, now: number): Channel | undefined {
    const { active } = this
    const ours = this.relayed.find((candidate) => isIpv4(candidate.address.address) === isIpv4(peer.address))
    if (this.state !== "allocated" || active === undefined || ours === undefined || !isUsable(peer)) return undefined
    const channel = this.channels.open(peer, ours.address, active.endpoint, now)
    this.requestChannels(now)
    return channel
  }

  /** A STUN message that arrived from one of the relay's addresses. False when it answers none of our requests. */
  receive(message: StunMessage, from: TransportAddress, local: TransportAddress, now: number): boolean {
    const request = this.transactions.find(message, from)
    if (request === undefined || (message.class !== "success" && message.class !== "error")) return false
    if (message.method !== request.about.method) return false
    this.onAnswer(request, message, local, now)
    this.requestChannels(now)
    return true
  }

  /** Does what is due. */
  advance(now: number): void {
    const unanswered = this.transactions.advance(now)
    if (unanswered.some((about) => about.method !== StunMethod.binding)) this.onSilence(now)
    for (const about of unanswered) if (about.method === StunMethod.binding) this.onUnbound(about.server, now)
    for (const server of this.servers) if (now >= server.bindAt) this.sendBinding(server, now)
    if (now >= this.timer) {
      this.timer = Infinity
      if (this.state === "allocated") this.refresh(now)
      else if (this.state === "resting") this.connect(now)
    }
    const heard = this.channels.sweep(now)
    if (heard === "data") this.doubted = Infinity
    else if (heard === "silence" && this.state === "allocated") {
      this.doubted = Math.min(this.doubted, now)
      this.probe(now)
    }
    this.requestChannels(now)
  }

  /** Asks the relay whether it still has the allocation, in quick succession. */
  probe(now: number): void {
    this.refresh(now, true)
  }

  /** The relay does not answer, and there is one that does: no more patience with it. */
  giveUp(now: number): void {
    if (this.state === "allocated") this.onSilence(now)
  }

  nextDeadline(): number {
    let deadline = Math.min(this.timer, this.transactions.nextDeadline(), this.channels.nextDeadline())
    for (const server of this.servers) deadline = Math.min(deadline, server.bindAt)
    return deadline
  }

  /** Gives the allocation back, as far as one datagram does that. Nothing is told or done after this. */
  close(): void {
    const message = this.request(StunMethod.refresh).number(StunAttribute.lifetime, 0)
    if (this.active !== undefined && this.state !== "resting" && this.credentials.key !== undefined) {
      this.options.transmit(this.active.address, this.credentials.finish(message))
    }
    this.channels.clear()
    this.transactions.forget(() => true)
    this.relayed = []
    this.state = "waiting"
    this.timer = Infinity
    for (const server of this.servers) server.bindAt = Infinity
  }

  private onAnswer(request: Transaction<About>, message: StunMessage, local: TransportAddress, now: number): void {
    const { about, key } = request
    const error = message.class === "success" ? 0 : message.error()?.code
    if (error === undefined) return
    if (about.method === StunMethod.binding) {
      this.transactions.settle(message)
      return this.onBinding(about.server, message, local, now)
    }
    if (error === 401 || error === 438) return this.onChallenge(about, key !== undefined, error, message, now)
    // What is not authenticated can refuse us before we have authenticated, and do nothing else.
    if (key === undefined ? error === 0 : !this.isAuthentic(message, key)) return
    this.transactions.settle(message)
    if (key !== undefined) this.heardFrom(now)
    if (error === 0) this.onSuccess(about, request.sentAt, message, now)
    else this.onError(about, error, now)
  }

  /**
   * The portal's relays sign their answers since November 2024, those before do not sign any. Without a signature, an
   * answer is known by the transaction id, which only those on the way have seen.
   */
  private isAuthentic(message: StunMessage, key: Uint8Array): boolean {
    if (!message.hasIntegrity) return !this.signs
    const right = message.verify(key)
    this.signs ||= right
    return right
  }

  private heardFrom(now: number): void {
    this.heard = now
    this.doubted = Infinity
  }

  private onBinding(server: RelayAddress, message: StunMessage, local: TransportAddress, now: number): void {
    const cameBack = !server.answers
    const before = server.candidates
    const moved = server.answered(message.address(StunAttribute.xorMappedAddress), local, now)
    this.tellChange(before, server.candidates)
    if (this.state === "waiting" || (cameBack && this.state === "resting" && this.reported === "Unreachable")) {
      this.connect(now)
    } else if (moved && server === this.active && this.state === "allocated") {
      this.refresh(now)
    }
  }

  /** REALM and NONCE first; the request is then made anew, unless it was refused with what we know. */
  private onChallenge(about: TurnRequest, authenticated: boolean, error: number, message: StunMessage, now: number) {
    const verdict = this.credentials.challenge(message)
    if (verdict === "unusable") return
    this.transactions.settle(message)
    if (error === 401 && authenticated && verdict === "same realm") {
      if (this.credentials === this.newest) this.fail("WrongCredentials", now)
      else this.repair(now)
    } else if (about.challenges >= mostChallenges) {
      this.fail("Refused", now)
    } else {
      this.send({ ...about, challenges: about.challenges + 1 }, now)
    }
  }

  private onSuccess(about: TurnRequest, sentAt: number, message: StunMessage, now: number): void {
    switch (about.method) {
      case StunMethod.allocate:
        return this.onAllocated(message, now)
      case StunMethod.refresh:
        if (about.release) return this.allocate(now)
        return this.scheduleRefresh(message, now)
      case StunMethod.channelBind: {
        this.channels.confirm(about.binding, sentAt, now)
        const { channel } = about.binding
        if (channel !== undefined) this.options.events.channelBound(channel)
      }
    }
  }

  private onAllocated(message: StunMessage, now: number): void {
    const addresses = message.addresses(StunAttribute.xorRelayedAddress).filter(isUsable)
    const ofFamily = (v4: boolean) => addresses.find((address) => isIpv4(address.address) === v4)
    const relayed = [ofFamily(true), ofFamily(false)].filter((address) => address !== undefined)
    if (relayed.length === 0) return this.fail("Refused", now)
    this.state = "allocated"
    this.allocatedAt = now
    this.avoided = undefined
    this.reported = undefined
    this.relayed = relayed.map((address) => ({ kind: "relay", address, base: address }))
    this.scheduleRefresh(message, now)
    for (const candidate of this.relayed) this.options.events.found(candidate)
  }

  private onError(about: TurnRequest, error: number, now: number): void {
    if (about.method === StunMethod.channelBind && error !== allocationMismatch) {
      const channel = this.channels.refuse(about.binding, now)
      if (channel !== undefined) this.options.events.channelRefused(channel)
    } else if (about.method === StunMethod.allocate && error === allocationMismatch && this.state === "allocating") {
      this.release(now)
    } else if (about.method === StunMethod.allocate && error === familyNotSupported && this.plan + 1 < plans.length) {
      this.plan++
      this.allocate(now)
    } else if (about.method === StunMethod.refresh && about.release && error === allocationMismatch) {
      this.allocate(now)
    } else if (about.method === StunMethod.allocate || this.state === "releasing") {
      this.fail("Refused", now)
    } else {
      this.repair(now)
    }
  }

  /** A request to the active server was not answered. */
  private onSilence(now: number): void {
    this.avoided = this.active
    if (this.active !== undefined) this.sendBinding(this.active, now)
    this.fail("Unreachable", now)
  }

  private onUnbound(server: RelayAddress, now: number): void {
    const before = server.candidates
    server.silent(this.backOff("Unreachable", server.failures + 1), now)
    this.tellChange(before, [])
    if (this.state === "resting" || (this.active !== undefined && this.active !== server)) return
    this.drop(now)
    this.connect(now)
  }

  /** Over a server that answers, if possible the one before; else as soon as one does. */
  private connect(now: number): void {
    const answering = this.servers.filter((server) => server.answers)
    const good = answering.filter((server) => server !== this.avoided)
    this.active = good.find((server) => server === this.active) ?? good[0] ?? answering[0]
    this.state = "waiting"
    this.timer = Infinity
    this.credentials = this.newest
    this.plan = 0
    this.releases = 0
    if (this.active !== undefined) this.allocate(now)
    else if (!this.servers.some((server) => this.isBinding(server))) this.report("Unreachable")
  }

  private allocate(now: number): void {
    this.state = "allocating"
    this.send({ method: StunMethod.allocate, challenges: 0 }, now)
  }

  /** The relay has an allocation for our address, of an earlier life of ours or by a request whose answer was lost. */
  private release(now: number): void {
    if (++this.releases > mostReleases) return this.repair(now, false)
    this.state = "releasing"
    this.send({ method: StunMethod.refresh, release: true, urgent: false, challenges: 0 }, now)
  }

  private refresh(now: number, urgent = false): void {
    const isRefresh = (about: About) => about.method === StunMethod.refresh
    if (this.state !== "allocated" || this.transactions.some(isRefresh)) return
    this.send({ method: StunMethod.refresh, release: false, urgent, challenges: 0 }, now)
  }

  private scheduleRefresh(message: StunMessage, now: number): void {
    const seconds = message.number(StunAttribute.lifetime)
    const half = (seconds === undefined ? defaultLifetime : seconds * 1000) / 2
    this.timer = now + Math.min(Math.max(half, shortestRefresh), longestRefresh)
  }

  /** The allocation is gone at a relay that answers: a new one, at once unless that was done just before. */
  private repair(now: number, atOnce = true): void {
    this.drop(now)
    this.failures++
    if (atOnce && this.failures === 1) return this.connect(now)
    if (this.failures > quietRepairs) this.report("Refused")
    this.rest("Unreachable", now)
  }

  private fail(reason: FailureReason, now: number): void {
    this.drop(now)
    this.failures++
    this.report(reason)
    this.rest(reason, now)
  }

  private rest(reason: FailureReason, now: number): void {
    if (this.state !== "waiting") return
    this.state = "resting"
    this.timer = now + this.backOff(reason, this.failures)
  }

  private report(reason: FailureReason): void {
    if (this.reported === reason) return
    this.reported = reason
    this.options.events.failed(reason)
  }

  /** Forgets the allocation, its channels and all that is asked about it. */
  private drop(now: number): void {
    if (this.state === "allocated" && now - this.allocatedAt >= stableAfter) this.failures = 0
    const lost = this.relayed
    this.relayed = []
    this.doubted = Infinity
    this.state = "waiting"
    this.timer = Infinity
    this.channels.clear()
    this.transactions.forget((about) => about.method !== StunMethod.binding)
    for (const candidate of lost) this.options.events.lost(candidate)
  }

  private tellChange(before: ReadonlyArray<LearnedCandidate>, after: ReadonlyArray<LearnedCandidate>): void {
    for (const candidate of candidatesWithout(before, after)) this.options.events.lost(candidate)
    for (const candidate of candidatesWithout(after, before)) this.options.events.found(candidate)
  }

  private requestChannels(now: number): void {
    while (this.state === "allocated" && this.transactions.size < mostRequests) {
      const binding = this.channels.nextRequest()
      if (binding === undefined) return
      if (binding.channel === undefined) binding.pending = false
      else this.send({ method: StunMethod.channelBind, binding, challenges: 0 }, now)
    }
  }

  private sendBinding(server: RelayAddress, now: number): void {
    server.bindAt = Infinity
    if (this.isBinding(server)) return
    const about = { method: StunMethod.binding, server } as const
    const message = this.request(about.method)
    this.transactions.send(message.finish(undefined, false), { about, to: server.address, sentAt: now, key: undefined })
  }

  private isBinding(server: RelayAddress): boolean {
    return this.transactions.some((about) => about.method === StunMethod.binding && about.server === server)
  }

  /** Sends an authenticated request to the active server. */
  private send(about: TurnRequest, now: number): void {
    const { active, credentials } = this
    if (active === undefined) return
    const message = this.request(about.method)
    switch (about.method) {
      case StunMethod.allocate:
        message.requestedTransport()
        plans[this.plan]!(message)
        break
      case StunMethod.refresh:
        if (about.release) message.number(StunAttribute.lifetime, 0)
        break
      case StunMethod.channelBind:
        message.channelNumber(about.binding.number).address(StunAttribute.xorPeerAddress, about.binding.peer)
    }
    const { key } = credentials
    const urgent = about.method === StunMethod.refresh && about.urgent
    this.transactions.send(credentials.finish(message), { about, to: active.address, sentAt: now, key, urgent })
  }

  private request(method: number): StunWriter {
    const transaction = new Uint8Array(12)
    this.options.randomBytes(transaction)
    return new StunWriter("request", method, transaction).text(StunAttribute.software, "sallyport")
  }

  private backOff(reason: FailureReason, failures: number): number {
    const random = new Uint8Array(1)
    this.options.randomBytes(random)
    return backOff(reason, failures, random[0]! / 256)
  }
}

type About = BindingRequest | TurnRequest

interface BindingRequest {
  readonly method: typeof StunMethod.binding
  readonly server: RelayAddress
}

/** `challenges`: how often the relay already asked to make the request anew, with its nonce. */
type TurnRequest =
  | { readonly method: typeof StunMethod.allocate; readonly challenges: number }
  | {
      readonly method: typeof StunMethod.refresh
      readonly release: boolean
      readonly urgent: boolean
      readonly challenges: number
    }
  | { readonly method: typeof StunMethod.channelBind; readonly binding: Binding; readonly challenges: number }

/** What families to ask for: both; else, at a relay that takes 440 for an answer, one. */
const plans: ReadonlyArray<(message: StunWriter) => void> = [
  (message) =>
    message
      .addressFamily(StunAttribute.additionalAddressFamily, AddressFamily.ipv6)
      .addressFamily(draftAdditionalAddressFamily, AddressFamily.ipv6),
  () => {},
  (message) => message.addressFamily(StunAttribute.requestedAddressFamily, AddressFamily.ipv6)
]

/** ADDITIONAL-ADDRESS-FAMILY as coturn 4 numbers it, after a draft (draft-martinsen-tram-ssoda). */
const draftAdditionalAddressFamily = 0x8032
const allocationMismatch = 437
const familyNotSupported = 440
/** A nonce may run out while the request is under way; not always. */
const mostChallenges = 3
/** How often one is given back in order to get another, before that waits. */
const mostReleases = 3
/** In flight at once, so that a thousand channels after a relay's restart are no burst of a thousand requests. */
const mostRequests = 32
/** Repairs in a row that are nobody's concern. */
const quietRepairs = 3
/** An allocation that was held for this long ends a row of failures. */
const stableAfter = 10_000
const shortestRefresh = 5_000
const longestRefresh = 1_800_000
