/** A local and a remote candidate, and what checks between them have shown. The agent owns its pairs. */
import type { TransportAddress } from "../packet/transportAddress.ts"
import type { Candidate } from "./candidate.ts"
import type { CheckTimings } from "./iceTimings.ts"

/** Where packets leave from and where they go. */
export interface IcePath {
  /** Our host address, or our address at a relay. */
  readonly local: TransportAddress
  readonly remote: TransportAddress
  /** True when `local` is an address at a relay. */
  readonly relayed: boolean
}

/** From so many checks in a row without an answer on, a pair is used only when there is no other. */
const suspectAfter = 4

/** A pair that never answered while another one is in use is given up after so many checks. */
const hopelessAfter = 8

/** Checks that the peer's requests ask for are so far apart at least (RFC 8445 §14.2). */
const triggerPace = 50

/** Checks whose late answers still count. */
const keptTransactions = 8

export class CandidatePair {
  readonly local: Candidate
  remote: Candidate
  readonly path: IcePath
  /** An answer came, once. */
  succeeded = false
  /** Controlling: we nominate it with every check. Controlled: the peer has nominated it. */
  nominated = false
  /** The nomination holds on both sides. Controlling: a nominating check was answered. */
  confirmed = false
  /** The order of nominations; later ones are greater. */
  nominatedAs = 0
  /** Checks in a row without an answer. */
  unanswered = 0
  sentAt = Number.NEGATIVE_INFINITY
  /** The last request or answer from the peer. */
  heardAt = Number.NEGATIVE_INFINITY
  /** When a check is due whatever the timers say; `Infinity`: not. */
  private triggeredAt = Number.NEGATIVE_INFINITY
  private doubted = false
  /** Transactions of the last checks, oldest first. */
  readonly transactions: Array<string> = []

  constructor(local: Candidate, remote: Candidate) {
    this.local = local
    this.remote = remote
    this.path = { local: local.address, remote: remote.address, relayed: local.kind === "relay" }
  }

  get suspect(): boolean {
    return this.doubted || this.unanswered >= suspectAfter
  }

  /** When the next check is due, or the pair has to be given up. `spare`: another pair is in use. */
  dueAt(timings: CheckTimings, spare: boolean): number {
    const due = this.sentAt + this.patience(timings, spare)
    return this.exhausted(timings, spare) ? due : Math.min(due, this.triggeredAt)
  }

  /** All checks that the pair gets were sent without an answer. */
  exhausted(timings: CheckTimings, spare: boolean): boolean {
    const limit = this.succeeded || !spare ? timings.maxRetransmits : Math.min(hopelessAfter, timings.maxRetransmits)
    return this.unanswered >= limit
  }

  /** Notes a check that was sent. Returns the transaction that fell out, whose answer no longer counts. */
  sent(transaction: string, now: number): string | undefined {
    this.triggeredAt = Number.POSITIVE_INFINITY
    this.sentAt = now
    this.unanswered++
    this.transactions.push(transaction)
    return this.transactions.length > keptTransactions ? this.transactions.shift() : undefined
  }

  /** A request of the peer asks for a check in the other direction, not much sooner than the last one. */
  trigger(): void {
    this.triggeredAt = Math.min(this.triggeredAt, this.sentAt + triggerPace)
  }

  /** Marks the pair; a check goes out at once. `order`: grows with each nomination. */
  nominate(order: number): void {
    this.nominated = true
    this.nominatedAs = order
    this.triggeredAt = Number.NEGATIVE_INFINITY
  }

  /** Notes an authentic answer; `nominating`: to a check that nominated. */
  answered(nominating: boolean, now: number): void {
    this.succeeded = true
    this.unanswered = 0
    this.doubted = false
    this.heardAt = now
    if (nominating) this.confirmed = true
  }

  /** Uses the pair only when there is no other, until it answers the check that goes out at once. */
  doubt(): void {
    this.doubted = true
    this.triggeredAt = Number.NEGATIVE_INFINITY
  }

  /** Counts its unanswered checks anew. */
  restart(): void {
    this.doubted = this.suspect
    this.unanswered = 0
  }

  private patience(timings: CheckTimings, spare: boolean): number {
    const { initialRto, maxRto } = timings
    if (this.exhausted(timings, spare)) return maxRto
    const settled = this.succeeded && this.nominated === this.confirmed
    if (!settled) return Math.min(maxRto, initialRto * 2 ** Math.max(0, this.unanswered - 1))
    return this.unanswered === 0 ? maxRto : maxRto / 2
  }
}

/**
 * Negative when `a` is to be used rather than `b`: it answers, it has the higher priority, it was nominated later. The
 * priority is that of RFC 8445 §6.1.2.3, 2³² · min + 2 · max + (controlling > controlled), compared part by part since a
 * number does not hold it exactly.
 */
export const byPreference =
  (controlling: boolean) =>
  (a: CandidatePair, b: CandidatePair): number =>
    Number(a.suspect) - Number(b.suspect) || byPriority(controlling)(a, b) || b.nominatedAs - a.nominatedAs

/** Negative when `a` has the higher priority. `controlling` is our role. */
export const byPriority =
  (controlling: boolean) =>
  (a: CandidatePair, b: CandidatePair): number =>
    Math.min(b.local.priority, b.remote.priority) - Math.min(a.local.priority, a.remote.priority) ||
    Math.max(b.local.priority, b.remote.priority) - Math.max(a.local.priority, a.remote.priority) ||
    (controlling ? 1 : -1) *
      (Number(b.local.priority > b.remote.priority) - Number(a.local.priority > a.remote.priority))
