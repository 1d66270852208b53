import type { Ask, Attempt } from "../../src/dns/askedServer.ts"
import type { AskPlan } from "../../src/dns/askPlan.ts"
import { randomCase } from "../../src/dns/dns0x20.ts"
import { broken, Exchange, type ExchangeCounters, type Outcome } from "../../src/dns/Exchange.ts"
import { encodeQuery, maxTtl } from "../../src/dns/query.ts"
import type { ProbeAim, ServerMemory } from "../../src/dns/serverMemory.ts"
import type { UpstreamQuestion } from "../../src/dns/Upstream.ts"
import type { Later } from "../../src/loops/later.ts"
import type { Timer, Timers } from "../../src/loops/timers.ts"
import type { ResolverServer } from "../../src/model/ResolverSet.ts"
import { NameNotFound } from "../../src/resolution/Resolver.ts"
import { tlsProblems } from "../host/tlsProblems.ts"
import { randomBytes } from "./randomBytes.ts"
import type { Asking, UdpSockets } from "./UdpSockets.ts"

/** What all exchanges share. */
export interface ExchangeParts {
  readonly memory: ServerMemory
  readonly counters: ExchangeCounters
  readonly timers: Timers
  readonly sockets: UdpSockets
  /** One question over a connection that is kept: the answer, or a cause. */
  readonly overStream: (server: ResolverServer, query: Uint8Array, withinMs: number) => Later<Uint8Array | string>
  readonly tcpMs: number
  /** Nothing gets to a server, while others are left. */
  readonly unreachable: (server: string, cause: string) => void
  /** A bug was met. */
  readonly onDefect: (defect: unknown) => void
}

/** Earlier datagrams whose answers may still come: a server may take as many seconds as these are apart. */
const maxOpen = 5

/**
 * Asks the servers of the plan until one gives a usable answer (`Exchange` decides). Each datagram has its own id, port
 * and case (0x20).
 *
 * @param probe what is to be found out of the plan's only server; `null` for a question that somebody waits for
 */
export const exchange =
  (
    parts: ExchangeParts,
    plan: AskPlan,
    question: UpstreamQuestion,
    withinMs: number,
    probe: ProbeAim | null
  ): Later<Outcome> =>
  (tell) => {
    const withEdns = encodeQuery({ ...question, id: 0 }, true)
    if (withEdns === null) {
      // What is no DNS name can never exist.
      tell({ _tag: "Failure", reason: new NameNotFound({ ttlSeconds: maxTtl }) })
      return () => undefined
    }
    const { counters, memory, tcpMs, timers } = parts
    const state = new Exchange({ counters, memory, plan, probe, withinMs, tcpMs }, timers.now())
    const run = new Run(parts, question, withEdns, state, tell)
    run.attend(() => null)
    return () => run.end()
  }

class Run {
  private readonly parts: ExchangeParts
  private readonly question: UpstreamQuestion
  private readonly withEdns: Uint8Array
  private readonly state: Exchange
  private readonly tell: (outcome: Outcome) => void
  /** What ends the waiting for datagrams, the oldest first, and for answers over connections. */
  private readonly datagrams: Array<() => void> = []
  private readonly streams: Array<() => void> = []
  /** The first is being taken in. */
  private readonly happened: Array<(now: number) => Outcome | null> = []
  private timer: Timer | null = null
  private isOver = false

  constructor(
    parts: ExchangeParts,
    question: UpstreamQuestion,
    withEdns: Uint8Array,
    state: Exchange,
    tell: (outcome: Outcome) => void
  ) {
    this.parts = parts
    this.question = question
    this.withEdns = withEdns
    this.state = state
    this.tell = tell
  }

  end(): void {
    this.isOver = true
    if (this.timer !== null) this.parts.timers.callOff(this.timer)
    for (const forget of this.datagrams) forget()
    for (const giveUp of this.streams) giveUp()
  }

  /** Takes in what happened, and does what follows from it. */
  attend(happened: (now: number) => Outcome | null): void {
    // What happens meanwhile has its turn after this.
    if (this.happened.push(happened) > 1) return
    for (let next = this.happened[0]; next !== undefined && !this.isOver; next = this.happened[0]) {
      const outcome = this.stepOrFail(next)
      this.happened.shift()
      if (outcome === null) continue
      this.end()
      try {
        this.tell(outcome)
      } catch (defect) {
        this.parts.onDefect(defect)
      }
    }
  }

  private stepOrFail(happened: (now: number) => Outcome | null): Outcome | null {
    try {
      return this.step(happened)
    } catch (defect) {
      this.parts.onDefect(defect)
      return broken
    }
  }

  private step(happened: (now: number) => Outcome | null): Outcome | null {
    const { state } = this
    const { timers, unreachable } = this.parts
    const now = timers.now()
    const outcome = happened(now)
    for (const { cause, server } of state.takeUseless()) unreachable(server, cause)
    if (outcome !== null) return outcome
    const next = state.turn(now)
    for (const ask of state.takeAsks()) this.send(ask, now)
    if (next._tag !== "Wait") return next
    if (this.timer?.deadline !== next.until || this.timer.heapIndex < 0) {
      if (this.timer !== null) timers.callOff(this.timer)
      this.timer = timers.at(next.until, () => this.attend(() => null))
    }
    return null
  }

  private send(ask: Ask, at: number): void {
    const { question } = this
    const plainCase = ask.edns ? this.withEdns.slice() : encodeQuery({ ...question, id: 0 }, false)!
    plainCase.set(randomBytes(2))
    const sent = ask.cased ? randomCase(plainCase, randomBytes(32)) : plainCase
    const query = { ...question, id: (plainCase[0]! << 8) | plainCase[1]! }
    const attempt: Attempt = { ...ask, query, plainCase, sent, at }
    const asking: Asking = {
      heard: (bytes) => this.attend((now) => this.state.heard(attempt, bytes, now)),
      failed: (cause) => this.attend((now) => this.state.failed(attempt, cause, explanations[cause] ?? cause, now))
    }
    const { overStream, sockets } = this.parts
    const { server } = ask.peer
    if (ask.via === "stream") {
      this.streams.push(
        overStream(
          server,
          sent,
          ask.withinMs
        )((answer) => {
          if (typeof answer === "string") asking.failed(answer)
          else asking.heard(answer)
        })
      )
      return
    }
    const isFirst = ask.peer.datagrams === 1
    this.datagrams.push(isFirst ? sockets.send(server, sent, asking) : sockets.sendAlone(server, sent, asking))
    if (this.datagrams.length > maxOpen) this.datagrams.shift()!()
  }
}

/** Why nothing gets to a server, by error code. */
const explanations: Readonly<Record<string, string>> = {
  ...tlsProblems,
  ECONNREFUSED: "no DNS server listens there (ECONNREFUSED)",
  ECONNRESET: "connection reset (ECONNRESET)",
  ETIMEDOUT: "no answer (ETIMEDOUT)",
  ENETUNREACH: "no route (ENETUNREACH)",
  EADDRNOTAVAIL: "this host has no address of its family (EADDRNOTAVAIL)",
  EAFNOSUPPORT: "this host has no IPv6 (EAFNOSUPPORT)",
  EHOSTUNREACH: "host unreachable (EHOSTUNREACH)",
  EPERM: "the host's firewall forbids it (EPERM)",
  EMFILE: "too many open files (EMFILE)"
}
