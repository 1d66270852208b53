/**
 * One question to the servers of a plan, as a state machine without IO: whom to ask when and how, and what an answer, a
 * complaint or silence comes to. `now` is monotonic milliseconds.
 */
import { formatServer } from "../model/ResolverSet.ts"
import { type ResolutionReason, ServerFailure, Timeout } from "../resolution/Resolver.ts"
import {
  type Ask,
  type AskedServer,
  type Attempt,
  type Attempted,
  isServerFailure,
  makeAskedServer,
  reasonOf
} from "./askedServer.ts"
import { isLiving, isSilent, mayBeOverruled, nextServer, waysToAsk } from "./askOrder.ts"
import type { AskPlan } from "./askPlan.ts"
import { restoreCase } from "./dns0x20.ts"
import type { Message } from "./message.ts"
import { judge, type Verdict } from "./query.ts"
import { isBelieved, type ProbeAim, type ServerMemory } from "./serverMemory.ts"

export interface ExchangeCounters {
  queries: number
  resends: number
  tcp_queries: number
  answers: number
  timeouts: number
  ignored: number
  without_edns: number
  case_changed: number
  truncated_used: number
}

interface Parts {
  readonly memory: ServerMemory
  readonly counters: ExchangeCounters
  readonly plan: AskPlan
  /** What is to be found out of the plan's only server; `null` for a question that somebody waits for. */
  readonly probe: ProbeAim | null
  readonly withinMs: number
  /** A question over a connection may take so long. */
  readonly tcpMs: number
}

export type Outcome =
  | { readonly _tag: "Answer"; readonly message: Message }
  | { readonly _tag: "Failure"; readonly reason: ResolutionReason }

/** Where a bug of the gateway ended it. */
export const broken: Outcome = { _tag: "Failure", reason: new ServerFailure({ detail: "the gateway met a bug" }) }

/** A server that nothing gets to. */
interface Useless {
  readonly server: string
  readonly cause: string
}

/** Before the next server or the next way is tried where it is not known whether the first one answers at all. */
const unknownMs = 300

/** How often an answer that says no is looked at again while another server may know better. */
const heldMs = 50

/** How often who waits for a time to ask a silent server looks whether it is back. */
const backMs = 1_000

/** How long TCP is waited for when the truncated answer would do. */
const partialMs = 1_000

export class Exchange {
  private readonly parts: Parts
  private readonly peers: ReadonlyArray<AskedServer>
  private deadline: number
  /** When the next server, or the next way, is tried. */
  private nextAt: number
  /** A time to ask a silent server again (`ServerMemory.reserve`). */
  private reserved: { readonly peer: AskedServer; readonly at: number } | null = null
  /** An answer that says no. */
  private held: Attempted | null = null
  private asks: Array<Ask> = []
  private useless: Array<Useless> = []
  private now: number

  constructor(parts: Parts, now: number) {
    const { memory, plan, withinMs } = parts
    this.parts = parts
    const keys = plan.servers.map(formatServer)
    this.peers = memory.order(keys, plan.order, plan.first).map((i) => makeAskedServer(plan.servers[i]!, keys[i]!))
    this.now = now
    this.deadline = now + withinMs
    this.nextAt = now
  }

  /** What is to be sent now. */
  takeAsks(): ReadonlyArray<Ask> {
    const { asks } = this
    this.asks = []
    return asks
  }

  /** Servers that turned out to be of no use since this was taken last, while others are left. */
  takeUseless(): ReadonlyArray<Useless> {
    const { useless } = this
    this.useless = []
    return useless
  }

  /** What it has come to, or until when to wait for what comes. */
  turn(now: number): Outcome | { readonly _tag: "Wait"; readonly until: number } {
    const { memory, plan } = this.parts
    this.now = now
    const { held } = this
    if (held !== null && !mayBeOverruled(held.attempt.peer, this.peers, plan, memory, now)) return this.finish(held)
    if (now >= this.nextAt && now < this.deadline) this.askNext()
    if (now >= this.deadline) return this.giveUp()
    return { _tag: "Wait", until: Math.min(this.nextAt, this.deadline, held === null ? Infinity : now + heldMs) }
  }

  /** Bytes with the id of the attempt came back. */
  heard(attempt: Attempt, bytes: Uint8Array, now: number): Outcome | null {
    const { counters, memory } = this.parts
    const { peer } = attempt
    this.now = now
    if (attempt.via === "stream") peer.streams--
    const kept = attempt.sent === attempt.plainCase ? "Kept" : restoreCase(attempt.sent, attempt.plainCase, bytes)
    const verdict = judge(attempt.query, bytes, attempt.via === "stream" ? "tcp" : "udp", attempt.edns)
    if (verdict._tag === "Foreign") {
      counters.ignored++
      // A connection gives one answer to a question.
      if (attempt.via === "datagram") return null
      peer.failure ??= "unusable answer over TCP"
      return this.whenNoneIsLeft()
    }
    if (kept === "Changed") {
      // Perhaps forged: asked again, under another id from another port, and without a case that could be kept.
      counters.case_changed++
      memory.changesCase(peer.key, now)
      this.ask(peer, { via: "datagram", edns: attempt.edns, cased: false })
      return null
    }
    peer.heard = true
    const understood = attempt.edns && (verdict._tag === "Usable" || verdict._tag === "Truncated")
    if (understood) peer.ednsUnanswered = false
    memory.answered(peer.key, { latencyMs: now - attempt.at, via: attempt.via, withEdns: understood }, now)
    return this.follow(attempt, verdict)
  }

  /** Nothing will come back for the attempt: its error's code or message, and the same in words. */
  failed(attempt: Attempt, cause: string, detail: string, now: number): Outcome | null {
    const { memory } = this.parts
    const { peer } = attempt
    this.now = now
    if (attempt.via === "stream") peer.streams--
    if (peer.server.transport !== "udp" || attempt.via !== "stream") {
      peer.failure ??= detail
      memory.silent(peer.key, peer.askedAt, now)
      const outcome = this.whenNoneIsLeft()
      if (outcome === null && !peer.truncated) {
        this.useless.push({ server: peer.key, cause: peer.failure ?? cause })
      }
      return outcome
    }
    // TCP was one more way to ask: UDP may answer yet.
    if (!peer.truncated) return null
    memory.failsTcp(peer.key, now)
    if (peer.partial !== null) return this.finishPartial(peer.partial)
    peer.failure = `truncated over UDP, over TCP ${cause}`
    return this.whenNoneIsLeft()
  }

  private follow(attempt: Attempt, verdict: Exclude<Verdict, { _tag: "Foreign" }>): Outcome | null {
    const { peer } = attempt
    switch (verdict._tag) {
      case "Usable":
        this.held = { attempt, message: verdict.message }
        return verdict.message.answers.length > 0 ? this.finish(this.held) : null
      case "NoEdns":
        if (peer.plain) return null
        peer.plain = true
        this.ask(peer, { via: attempt.via, edns: false, cased: true })
        return null
      case "Truncated":
        return peer.truncated ? null : this.truncated(attempt, verdict.partial)
      case "Failed":
        peer.noes++
        peer.mayBeEdns ||= verdict.mayBeEdns
        peer.failure ??= verdict.detail
        return peer.partial === null ? this.whenNoneIsLeft() : this.finishPartial(peer.partial)
    }
  }

  private truncated(attempt: Attempt, message: Message | null): Outcome | null {
    const { edns, peer } = attempt
    const partial = message === null ? null : { attempt, message }
    const { noTcpSince } = this.parts.memory.of(peer.key)
    if (partial !== null && isBelieved(noTcpSince, this.now)) return this.finishPartial(partial)
    peer.truncated = true
    peer.partial = partial
    this.ask(peer, { via: "stream", edns, cased: false })
    return null
  }

  private ask(peer: AskedServer, { cased, edns, via }: Pick<Ask, "via" | "edns" | "cased">): void {
    const { counters, memory, tcpMs } = this.parts
    if (edns) peer.ednsUnanswered = true
    else counters.without_edns++
    if (via === "stream") {
      counters.tcp_queries++
      peer.streams++
    } else {
      counters.queries++
      if (peer.datagrams++ > 0) counters.resends++
    }
    const random = cased && via === "datagram" && !isBelieved(memory.of(peer.key).changesCaseSince, this.now)
    this.asks.push({ peer, via, edns, cased: random, withinMs: peer.partial === null ? tcpMs : partialMs })
  }

  private askNext(): void {
    const { memory, plan } = this.parts
    const { now } = this
    const peer = nextServer(this.peers, plan, memory)
    if (peer === null) {
      if (this.peers.some((other) => other.streams > 0)) this.nextAt = now + plan.resendMs
      else this.deadline = now
      return
    }
    // While there is somebody to ask at once, nobody's time is waited for.
    const others = this.peers.filter((other) => other.asked === 0 || !isSilent(memory, other))
    const free = nextServer(others, plan, memory)
    const latest = free === null ? Math.min(now + plan.resendMs, this.deadline) : now
    const at = peer === free ? now : this.timeFor(peer, latest)
    const next = at !== null && at <= now ? peer : free
    this.reserved = next === null && at !== null ? { peer, at } : null
    if (next === null) this.nextAt = Math.min(at ?? latest, now + backMs)
    else this.askOnceMore(next)
  }

  private askOnceMore(peer: AskedServer): void {
    const { memory, plan, probe } = this.parts
    const { now } = this
    const before = peer.asked++
    if (before === 0) peer.askedAt = now
    for (const way of waysToAsk(peer, before, probe, memory)) this.ask(peer, way)
    const isPatient = isLiving(memory, peer) || peer.asked > 1
    this.nextAt = now + (isPatient ? plan.resendMs : Math.min(unknownMs, plan.resendMs))
  }

  /** When the server may be asked again. */
  private timeFor(peer: AskedServer, latest: number): number | null {
    const { memory } = this.parts
    const { reserved } = this
    if (reserved?.peer === peer && isSilent(memory, peer)) return reserved.at
    return memory.reserve(peer.key, this.now, latest)
  }

  private finish({ attempt, message }: Attempted): Outcome {
    const { counters, memory, plan } = this.parts
    const { now } = this
    const { edns, peer, via } = attempt
    counters.answers++
    if (!edns && peer.ednsUnanswered) memory.failsEdns(peer.key, now)
    if (peer.server.transport === "udp" && via === "stream") {
      if (peer.truncated) memory.worksOverTcp(peer.key)
      else memory.failsDatagrams(peer.key, peer.askedAt, now)
    }
    for (const other of this.peers) {
      const patience = isLiving(memory, other) ? plan.resendMs : unknownMs
      if (other.asked > 0 && !other.heard && other.failure === null && now - other.askedAt >= patience) {
        memory.silent(other.key, other.askedAt, now)
      }
    }
    return { _tag: "Answer", message }
  }

  private finishPartial(partial: Attempted): Outcome {
    this.parts.counters.truncated_used++
    return this.finish(partial)
  }

  private giveUp(): Outcome {
    const { counters, memory, withinMs } = this.parts
    if (this.held !== null) return this.finish(this.held)
    const partial = this.peers.find((peer) => peer.partial !== null)?.partial
    if (partial) return this.finishPartial(partial)
    counters.timeouts++
    for (const peer of this.peers) {
      if (peer.asked > 0 && !peer.heard) memory.silent(peer.key, peer.askedAt, this.now)
    }
    return failure(this.peers.some(isServerFailure) ? reasonOf(this.peers) : new Timeout({ afterMs: withinMs }))
  }

  /** The best of what is left when no server is: `null` when another question is under way. */
  private whenNoneIsLeft(): Outcome | null {
    const { peers } = this
    const { plan, probe } = this.parts
    if (peers.some((peer) => peer.failure === null)) {
      // At once, if there is one that was not asked yet.
      if (peers.some((peer) => peer.failure === null && peer.asked === 0)) this.nextAt = this.now
      return null
    }
    // One no may be a moment's: who is patient (`attempts` of resolv.conf) hears another answer to the next question.
    const again = peers.filter((peer) => (peer.mayBeEdns && !peer.plain) || (peer.noes === 1 && plan.attempts > 1))
    if (again.length === 0 || probe === "Datagrams") return failure(reasonOf(peers))
    for (const peer of again) {
      peer.plain = true
      peer.failure = null
      this.ask(peer, { via: peer.server.transport === "udp" ? "datagram" : "stream", edns: false, cased: false })
    }
    return null
  }
}

const failure = (reason: ResolutionReason): Outcome => ({ _tag: "Failure", reason })
