/**
 * Handshakes that the gateway starts by itself.
 *
 * In answer: to a packet of a session that is not known here, from where a client was last. It does not know that its
 * session is gone, with a worker, a gateway before its restart, or the other gateway that it was with, and would find out
 * after 15 s. It is called at once, from the address of ours that it sends to. `CallBudget` says how often.
 *
 * By order: clients of which there is reason to believe that they are in that position, before they send.
 */
import type { Endpoint } from "../../packet/endpoint.ts"
import { rekeyTimeout } from "../../wireguard/protocol.ts"
import type { WireGuard } from "../../wireguard/WireGuard.ts"
import { counterIndex } from "../counters.ts"
import type { ClientEntry } from "./clientTable.ts"
import type { EngineState } from "./engineState.ts"
import { type EndpointRow, KnownEndpoints } from "./knownEndpoints.ts"

const inAnswer = counterIndex["calls.in_answer"]
const byOrder = counterIndex["calls.by_order"]
const limited = counterIndex["calls.limited"]

/** Calls a second in answer, all clients together. */
const mostAnswers = 2_000
/** One that was sent less than this ago may yet be answered. */
const answerMs = 250
/** A NAT gives a port to one client after another; further ones at one endpoint are not looked at. */
const mostAtOne = 8

/** Calls by order a second: after a start, and when clients are taken over. */
const atStart = 50
const atTakeOver = 2_000

interface Queue {
  readonly perSecond: number
  /** Who is to be called, in this order. */
  readonly clients: Set<ClientEntry>
  /** Calls that may be sent now. */
  allowed: number
}

export class Initiations {
  private readonly state: EngineState
  private readonly wireguard: WireGuard
  private readonly intervalMs: number
  private readonly endpoints: KnownEndpoints
  private readonly takenOver: Queue = { perSecond: atTakeOver, clients: new Set(), allowed: 0 }
  private readonly started: Queue = { perSecond: atStart, clients: new Set(), allowed: 0 }
  /** Calls in answer, in the second that began then. */
  private answers = 0
  private secondAt = Number.NEGATIVE_INFINITY
  private workedAt = Number.NEGATIVE_INFINITY

  /** `work` is called every `intervalMs`. */
  constructor(state: EngineState, wireguard: WireGuard, intervalMs: number, seed: number) {
    this.state = state
    this.wireguard = wireguard
    this.intervalMs = intervalMs
    this.endpoints = state.track(new KnownEndpoints(seed))
    state.clients.onRemoved((client) => this.withdraw(client))
  }

  get waiting(): boolean {
    return this.takenOver.clients.size > 0 || this.started.clients.size > 0
  }

  /** The client is known, with another peer than before or at another endpoint. */
  placed(client: ClientEntry): void {
    this.endpoints.put(client)
  }

  /** It was proved elsewhere to be where its peer's endpoint is. */
  told(client: ClientEntry): void {
    this.endpoints.put(client).budget.grant()
  }

  /** Another gateway has had it since, whatever session there is here. */
  left(client: ClientEntry): void {
    this.endpoints.put(client).elsewhereAt = this.state.now
  }

  /** A handshake with it was completed here. */
  met(client: ClientEntry): void {
    this.endpoints.put(client).budget.answered()
  }

  /** Some client was there last. */
  knows(from: Readonly<Endpoint>): boolean {
    return this.endpoints.find(from) !== undefined
  }

  /** After a start: the client is to be called, unless it turns out to be here. */
  resume(client: ClientEntry): void {
    this.withdraw(client)
    this.started.clients.add(client)
  }

  /** The same when another gateway had it. */
  takeOver(client: ClientEntry): void {
    this.withdraw(client)
    this.takenOver.clients.add(client)
  }

  withdraw(client: ClientEntry): void {
    this.takenOver.clients.delete(client)
    this.started.clients.delete(client)
  }

  /** A packet of `length` bytes came from there in a session that is not known. */
  heard(from: Readonly<Endpoint>, length: number, now: number): void {
    const known = this.callable(from, now)
    if (known === undefined) return
    const { budget, client, peer } = known
    budget.claim(length)
    if (now - this.secondAt >= 1_000) {
      this.secondAt = now
      this.answers = 0
    }
    const mayAnswer = this.answers < mostAnswers && now - peer.initiatedAt >= answerMs
    if (!mayAnswer || !budget.take(peer.rxBytes, now)) {
      this.state.counters[limited]!++
      return
    }
    this.answers++
    this.withdraw(client)
    this.wireguard.callAt(peer, from)
    this.state.counters[inAnswer]!++
  }

  work(): void {
    const { now } = this.state
    const elapsed = Math.min(now - this.workedAt, this.intervalMs)
    this.workedAt = now
    for (const queue of [this.takenOver, this.started]) {
      const { clients, perSecond } = queue
      queue.allowed = Math.min(queue.allowed + (elapsed * perSecond) / 1_000, (this.intervalMs * perSecond) / 1_000)
      for (const client of clients) {
        if (queue.allowed < 1) break
        clients.delete(client)
        if (isHere(this.endpoints.put(client), now)) continue
        queue.allowed--
        this.wireguard.call(client.peer)
        this.state.counters[byOrder]!++
      }
    }
  }

  private isOrdered(client: ClientEntry): boolean {
    return this.takenOver.clients.has(client) || this.started.clients.has(client)
  }

  /** Of the clients that were there the one whose last call is the longest ago; nobody, if one of them is here. */
  private callable(from: Readonly<Endpoint>, now: number): EndpointRow | undefined {
    let chosen: EndpointRow | undefined
    let known: EndpointRow | undefined
    for (let i = 0; i < mostAtOne; i++) {
      known = this.endpoints.find(from, known)
      if (known === undefined) break
      if (isHere(known, now)) return undefined
      // Where ICE finds the path, the other side starts.
      if (known.client.byIce && !this.isOrdered(known.client)) continue
      if (chosen === undefined || known.budget.calledAt < chosen.budget.calledAt) chosen = known
    }
    return chosen
  }
}

/**
 * It was heard so recently that it cannot have lost its session. One that is silent may well have gone over to another
 * gateway meanwhile, and come back.
 */
const isHere = ({ elsewhereAt, peer }: EndpointRow, now: number): boolean =>
  now - peer.heardAt < rekeyTimeout && peer.heardAt >= elsewhereAt
