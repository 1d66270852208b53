/**
 * One connection's ICE agent (RFC 8445, trickle: RFC 8838), sans-IO, for one component over UDP, as the portal's peers
 * run it: full ICE with aggressive and repeatable nomination, checks as the only sign of life, no role conflicts, no
 * error answers. Candidates come and go at any time. Call `advance` when `nextDeadline()` has come.
 */
import type { IceCredentials } from "../model/AccessRequest.ts"
import { isIpv4 } from "../packet/address.ts"
import { read32, write32 } from "../packet/bytes.ts"
import { sameTransport, type TransportAddress } from "../packet/transportAddress.ts"
import { type Candidate, reflexivePriority } from "./candidate.ts"
import { byPreference, byPriority, CandidatePair, type IcePath } from "./candidatePair.ts"
import { type IceRole, isAnswer, isCheck, usernameFrom, writeAnswer, writeCheck } from "./iceMessages.ts"
import {
  type CheckTimings,
  disconnectedTime,
  eagerTimings,
  type IceTimings,
  noCandidatesTime,
  patientTimings
} from "./iceTimings.ts"
import { RemoteCandidates } from "./remoteCandidates.ts"
import type { StunMessage } from "./stun.ts"
import { shortTermKey } from "./stunIntegrity.ts"
import { StunAttribute, transactionLength } from "./stunProtocol.ts"
import { keyOf } from "./Transactions.ts"
import { TokenBucket } from "../nat/TokenBucket.ts"

export interface IceAgentOptions {
  readonly role: IceRole
  readonly local: IceCredentials
  readonly remote: IceCredentials
  /** 8 random bytes. */
  readonly tieBreaker: Uint8Array
  readonly randomBytes: (out: Uint8Array) => void
  /** Milliseconds, on the same clock as in every other call. */
  readonly now: number
  /** Sends a STUN message from `path.local` to `path.remote`. Must not call back into the agent. */
  readonly transmit: (path: IcePath, bytes: Uint8Array) => void
  /** The path for data from now on; `null` while there is none. */
  readonly nominated: (path: IcePath | null) => void
  /** The peer just nominated, or took our nomination of, the path that is in use already. */
  readonly affirmed?: (path: IcePath) => void
  /** Once, from `advance`: the agent is of no use any more. */
  readonly failed: (reason: IceFailure) => void
  /** When absent, patient ones for the controlled side and eager ones for the controlling side. */
  readonly timings?: IceTimings
}

/** `NoCandidates`: nothing to check in the first 10 s. `IceFailed`: no pair answers any more. */
type IceFailure = "NoCandidates" | "IceFailed"

/** `disconnected` turns into `failed` unless a new pair comes up in 2 s. */
export type IceState = "checking" | "connected" | "disconnected" | "failed"

const maxPairs = 100

/** Candidates learned from requests that never answered: all that replayed requests can bring in. */
const maxUnproven = 16

/**
 * Requests from known sources: each costs three HMACs, and neither a peer that floods nor a request that was seen and is
 * repeated may keep the packet path busy. Not fewer: the peer's own share them with whoever repeats those.
 */
const requestLimit = { perSecond: 1_024, burst: 1_024 }

/**
 * Requests from other sources. Each may make a new candidate, which gets an answer and checks, and a request that was
 * seen can be repeated from any. What a peer's NATs make are fewer.
 */
const strangerLimit = { perSecond: 4, burst: 64 }

/** A better nominated pair that was not heard of for so long is checked when the peer nominates a worse one. */
const quietTime = 4_000

export class IceAgent {
  readonly role: IceRole
  /** The USERNAME of requests to this agent. */
  readonly username: string
  private readonly options: IceAgentOptions
  private readonly timings: IceTimings
  private readonly localKey: Uint8Array
  private readonly remoteKey: Uint8Array
  private readonly index: number
  private readonly rescheduled: (agent: IceAgent) => void
  private readonly locals: Array<Candidate> = []
  private readonly remotes = new RemoteCandidates()
  private readonly requests = new TokenBucket(requestLimit)
  private readonly strangers = new TokenBucket(strangerLimit)
  private pairs: Array<CandidatePair> = []
  private readonly checks = new Map<string, Check>()
  private current: CandidatePair | null = null
  private currentState: IceState = "checking"
  private nominations = 0
  private idle = false
  private activeAt: number
  /** When it fails unless something happens. */
  private failsAt: number
  private everPaired = false
  private due: number

  /**
   * `index`: the first 4 bytes of this agent's transactions, so that an answer finds its agent (`agentIndex`).
   * `rescheduled`: `nextDeadline()` may have changed.
   */
  constructor(options: IceAgentOptions, index = 0, rescheduled: (agent: IceAgent) => void = () => {}) {
    this.options = options
    this.role = options.role
    this.username = usernameFrom(options.local, options.remote)
    this.timings = options.timings ?? (options.role === "controlling" ? eagerTimings : patientTimings)
    this.localKey = shortTermKey(options.local.password)
    this.remoteKey = shortTermKey(options.remote.password)
    this.index = index
    this.rescheduled = rescheduled
    this.activeAt = options.now
    this.failsAt = options.now + noCandidatesTime
    this.due = this.failsAt
  }

  get state(): IceState {
    return this.currentState
  }

  /** The path for data; `null` while there is none. */
  get path(): IcePath | null {
    return this.current?.path ?? null
  }

  /** Whether the path in use goes through a relay, ours or the peer's. */
  get relayed(): boolean {
    return this.current !== null && (this.current.local.kind === "relay" || this.current.remote.kind === "relay")
  }

  /** When `advance` has something to do, or earlier; `Infinity` once failed. */
  nextDeadline(): number {
    return this.due
  }

  /** Adds a `host` or `relay` candidate of ours; nothing is sent from others. One that is known changes nothing. */
  addLocal(candidate: Candidate, now: number): void {
    if (candidate.kind !== "host" && candidate.kind !== "relay") return
    if (this.localAt(candidate.address) !== undefined) return
    this.locals.push(candidate)
    for (const remote of this.remotes.list) if (reaches(candidate, remote)) this.pair(candidate, remote)
    this.settle(now)
  }

  removeLocal(candidate: Candidate, now: number): void {
    const known = this.localAt(candidate.address)
    // What a relay saw or gave may be, or be claimed to be, the address of another kind.
    if (known === undefined || known.kind !== candidate.kind) return
    this.locals.splice(this.locals.indexOf(known), 1)
    this.drop((pair) => pair.local === known)
    this.settle(now)
  }

  /** Adds a candidate of the peer. */
  addRemote(candidate: Candidate, now: number): void {
    const known = this.remotes.at(candidate.address)
    if (!this.remotes.add(candidate)) return
    for (const pair of this.pairs) if (pair.remote === known) pair.remote = candidate
    for (const local of this.locals) if (reaches(local, candidate)) this.pair(local, candidate)
    this.settle(now)
  }

  /** Removes a candidate of the peer; requests from its address are ignored until it is added again. */
  removeRemote(candidate: Candidate, now: number): void {
    const known = this.remotes.discard(candidate)
    if (known === undefined) return
    this.drop((pair) => pair.remote === known)
    this.settle(now)
  }

  /** True for a request with this agent's USERNAME and for an answer to a live check; integrity is not verified. */
  accepts(message: StunMessage): boolean {
    return message.class === "request"
      ? message.text(StunAttribute.username) === this.username
      : this.checks.has(keyOf(message.transaction))
  }

  /**
   * Takes a message that came from `remote` to our address `local`; for one out of a relay's channel, the peer's address
   * and our address at the relay. True when it was authentic and of use.
   */
  handle(message: StunMessage, local: TransportAddress, remote: TransportAddress, now: number): boolean {
    if (this.currentState === "failed") return false
    const used = isCheck(message)
      ? this.handleCheck(message, local, remote, now)
      : isAnswer(message) && this.handleAnswer(message, local, remote, now)
    if (used) this.settle(now)
    return used
  }

  /** Notes an IP packet through the tunnel, in either direction. */
  activity(now: number): void {
    this.activeAt = now
    if (!this.idle) return
    this.idle = false
    this.current?.trigger()
    this.reschedule(now)
  }

  /** Sends the checks that are due, gives up pairs, goes idle, fails. */
  advance(now: number): void {
    if (now < this.due || this.currentState === "failed") return
    if (!this.idle && this.current !== null && now >= this.activeAt + this.timings.idleAfter) {
      this.idle = true
      for (const pair of this.pairs) if (pair.succeeded) pair.restart()
    }
    const due = this.pairs.filter((pair) => pair.dueAt(this.pace, this.current !== null) <= now)
    const [given, checked] = [due.filter((pair) => this.exhausted(pair)), due.filter((pair) => !this.exhausted(pair))]
    this.drop((pair) => given.includes(pair))
    for (const pair of checked) this.check(pair, now)
    this.settle(now)
    if (now >= this.failsAt) this.fail()
  }

  private handleCheck(message: StunMessage, local: TransportAddress, remote: TransportAddress, now: number): boolean {
    const candidate = this.localAt(local)
    if (message.text(StunAttribute.username) !== this.username || candidate === undefined) return false
    const told = this.remotes.at(remote)
    if (!(told === undefined ? this.strangers : this.requests).take(now)) return false
    if (!message.verify(this.localKey) || this.remotes.isDiscarded(remote)) return false
    const known = told ?? this.learn(remote, message)
    const pair = this.pair(candidate, known)
    if (pair === undefined) {
      this.forgetAlone(known)
      return false
    }
    pair.heardAt = now
    this.options.transmit(pair.path, writeAnswer(message.transaction, remote, this.localKey))
    if (!pair.succeeded) pair.trigger()
    const nominating = message.has(StunAttribute.useCandidate) && message.has(StunAttribute.iceControlling)
    if (nominating && this.role === "controlled") {
      if (pair === this.current) this.options.affirmed?.(pair.path)
      this.nominatedByPeer(pair, now)
    }
    return true
  }

  private handleAnswer(message: StunMessage, local: TransportAddress, remote: TransportAddress, now: number): boolean {
    const key = keyOf(message.transaction)
    const check = this.checks.get(key)
    if (check === undefined || !message.verify(this.remoteKey)) return false
    const { pair } = check
    if (!sameTransport(pair.path.local, local) || !sameTransport(pair.path.remote, remote)) return false
    this.checks.delete(key)
    pair.answered(check.nominating, now)
    if (check.nominating && pair === this.current) this.options.affirmed?.(pair.path)
    return true
  }

  /**
   * The peer nominates the best pair that works for it. A nomination of a worse pair than the one in use tells that
   * the latter may not work there any more.
   */
  private nominatedByPeer(pair: CandidatePair, now: number): void {
    const better =
      this.current !== null && byPriority(false)(this.current, pair) < 0 && this.current !== pair ? this.current : null
    if (!pair.nominated) {
      pair.nominate(++this.nominations)
      pair.confirmed = true
      better?.doubt()
    } else if (better !== null && now - better.heardAt > quietTime) {
      better.trigger()
    }
  }

  /** Brings nomination, state and deadline up to date after anything that happened. */
  private settle(now: number): void {
    if (this.currentState === "failed") return
    this.choosePath(now)
    this.judge(now)
    this.reschedule(now)
  }

  private choosePath(now: number): void {
    const controlling = this.role === "controlling"
    const usable = this.pairs.filter((pair) => pair.succeeded && (controlling || pair.nominated))
    const best = usable.toSorted(byPreference(controlling))[0] ?? null
    if (best !== null && !best.nominated) best.nominate(++this.nominations)
    const kept = this.current !== null && this.pairs.includes(this.current) ? this.current : null
    const next = best !== null && best.confirmed ? best : kept
    if (next === this.current) return
    if (this.current === null) this.activeAt = now
    if (this.current === null || next === null) this.idle = false
    this.current = next
    this.options.nominated(next?.path ?? null)
  }

  private judge(now: number): void {
    const before = this.currentState
    if (this.current !== null) this.currentState = "connected"
    else this.currentState = this.pairs.length > 0 || !this.everPaired ? "checking" : "disconnected"
    if (this.currentState === "disconnected") {
      if (before !== "disconnected") this.failsAt = now + disconnectedTime
    } else if (this.everPaired) {
      this.failsAt = Number.POSITIVE_INFINITY
    }
  }

  private reschedule(now: number): void {
    let due = this.failsAt
    if (this.current !== null && !this.idle) due = Math.min(due, this.activeAt + this.timings.idleAfter)
    for (const pair of this.pairs) due = Math.min(due, pair.dueAt(this.pace, this.current !== null))
    this.due = Math.max(now, due)
    this.rescheduled(this)
  }

  private fail(): void {
    this.currentState = "failed"
    this.due = Number.POSITIVE_INFINITY
    this.options.failed(this.everPaired ? "IceFailed" : "NoCandidates")
  }

  private get pace(): CheckTimings {
    return this.idle ? this.timings.idle : this.timings.active
  }

  private exhausted(pair: CandidatePair): boolean {
    return pair.exhausted(this.pace, this.current !== null)
  }

  private check(pair: CandidatePair, now: number): void {
    const transaction = new Uint8Array(transactionLength)
    write32(transaction, 0, this.index)
    this.options.randomBytes(transaction.subarray(4))
    const key = keyOf(transaction)
    const nominate = this.role === "controlling" && pair.nominated
    const forgotten = pair.sent(key, now)
    if (forgotten !== undefined) this.checks.delete(forgotten)
    this.checks.set(key, { pair, nominating: nominate })
    const { local, remote } = this.options
    const request = {
      transaction,
      username: usernameFrom(remote, local),
      role: this.role,
      tieBreaker: this.options.tieBreaker,
      priority: reflexivePriority(pair.local),
      nominate
    }
    this.options.transmit(pair.path, writeCheck(request, this.remoteKey))
  }

  private localAt(address: TransportAddress): Candidate | undefined {
    return this.locals.find((candidate) => sameTransport(candidate.address, address))
  }

  /** The pair of the two, made when there is none; `undefined` when there are too many better ones. */
  private pair(local: Candidate, remote: Candidate): CandidatePair | undefined {
    const known = this.pairs.find((pair) => pair.local === local && pair.remote === remote)
    if (known !== undefined) return known
    const pair = new CandidatePair(local, remote)
    if (this.pairs.length >= maxPairs) {
      const worst = this.pairs
        .filter((other) => !other.succeeded)
        .toSorted(byPriority(this.role === "controlling"))
        .at(-1)
      if (worst === undefined || byPriority(this.role === "controlling")(worst, pair) < 0) return undefined
      this.drop((other) => other === worst)
    }
    this.pairs.push(pair)
    this.everPaired = true
    return pair
  }

  /** A peer-reflexive candidate (RFC 8445 §7.3.1.3); the oldest that never answered makes room for it. */
  private learn(address: TransportAddress, message: StunMessage): Candidate {
    const proven = new Set(this.pairs.filter((pair) => pair.succeeded).map((pair) => pair.remote))
    const unproven = this.remotes.list.filter((candidate) => candidate.kind === "prflx" && !proven.has(candidate))
    if (unproven.length >= maxUnproven) this.drop((pair) => pair.remote === unproven[0])
    const priority = Math.min(0x7fffffff, message.number(StunAttribute.priority)!)
    const candidate: Candidate = { kind: "prflx", address, priority, foundation: "0", related: null }
    this.remotes.add(candidate)
    return candidate
  }

  /** Removes pairs, their checks, and learned candidates that have no other pair. */
  private drop(which: (pair: CandidatePair) => boolean): void {
    const dropped = this.pairs.filter(which)
    if (dropped.length === 0) return
    this.pairs = this.pairs.filter((pair) => !dropped.includes(pair))
    for (const pair of dropped) {
      for (const transaction of pair.transactions) this.checks.delete(transaction)
      this.forgetAlone(pair.remote)
    }
  }

  private forgetAlone(remote: Candidate): void {
    if (remote.kind === "prflx" && !this.pairs.some((pair) => pair.remote === remote)) this.remotes.forget(remote)
  }
}

interface Check {
  readonly pair: CandidatePair
  readonly nominating: boolean
}

/** The index of the agent that a transaction belongs to. */
export const agentIndex = (transaction: Uint8Array): number => read32(transaction, 0) >>> 0

/** Same family; and relays have no channel to a peer's own network. */
const reaches = (local: Candidate, remote: Candidate): boolean =>
  isIpv4(local.address.address) === isIpv4(remote.address.address) &&
  !(local.kind === "relay" && remote.kind === "host")
