/**
 * Requests that wait for their answer: sent again after 1 s, then after 1.5 times as long each time, given up after 8 s.
 * Urgent ones are sent again after 250 ms, 500 ms, and then every second.
 * An answer counts when it carries the transaction id of a request that waits, and comes from where that went.
 */
import { sameTransport, type TransportAddress } from "../packet/transportAddress.ts"
import type { StunMessage } from "./stun.ts"

export interface Transaction<About> {
  readonly about: About
  readonly to: TransportAddress
  /** When it was sent first. */
  readonly sentAt: number
  /** What the answer's MESSAGE-INTEGRITY is made with; `undefined` when the request had none. */
  readonly key: Uint8Array | undefined
  readonly urgent?: boolean
}

const firstInterval = 1_000
const intervalFactor = 1.5
const urgentInterval = 250
const longestUrgentInterval = 1_000
/** From the first transmission until the request counts as unanswered. */
const requestTimeout = 8_000

type Transmit = (to: TransportAddress, bytes: Uint8Array) => void

export class Transactions<About> {
  private readonly waiting = new Map<string, Waiting<About>>()
  private readonly transmit: Transmit
  private deadline = Infinity

  constructor(transmit: Transmit) {
    this.transmit = transmit
  }

  get size(): number {
    return this.waiting.size
  }

  /** Sends `bytes`, whose transaction id must be fresh. */
  send(bytes: Uint8Array, transaction: Transaction<About>): void {
    const { sentAt } = transaction
    const interval = transaction.urgent === true ? urgentInterval : firstInterval
    const entry = { ...transaction, bytes, interval, next: sentAt + interval }
    this.waiting.set(keyOf(bytes.subarray(8, 20)), entry)
    this.deadline = Math.min(this.deadline, entry.next)
    this.transmit(transaction.to, bytes)
  }

  /** The request that this may answer. It goes on waiting until `settle`. */
  find(message: StunMessage, from: TransportAddress): Transaction<About> | undefined {
    const found = this.waiting.get(keyOf(message.transaction))
    return found !== undefined && sameTransport(found.to, from) ? found : undefined
  }

  settle(message: StunMessage): void {
    this.waiting.delete(keyOf(message.transaction))
    this.schedule()
  }

  /** Forgets all that satisfy the predicate. */
  forget(predicate: (about: About) => boolean): void {
    for (const [id, entry] of this.waiting) if (predicate(entry.about)) this.waiting.delete(id)
    this.schedule()
  }

  some(predicate: (about: About) => boolean): boolean {
    for (const entry of this.waiting.values()) if (predicate(entry.about)) return true
    return false
  }

  nextDeadline(): number {
    return this.deadline
  }

  /** Sends again what is due, and gives up what waited too long: those are returned, oldest first. */
  advance(now: number): ReadonlyArray<About> {
    if (now < this.deadline) return []
    const unanswered: Array<About> = []
    for (const [id, entry] of this.waiting) {
      if (now - entry.sentAt >= requestTimeout) {
        this.waiting.delete(id)
        unanswered.push(entry.about)
      } else if (now >= entry.next) {
        entry.interval =
          entry.urgent === true ? Math.min(entry.interval * 2, longestUrgentInterval) : entry.interval * intervalFactor
        entry.next = Math.min(now + entry.interval, entry.sentAt + requestTimeout)
        this.transmit(entry.to, entry.bytes)
      }
    }
    this.schedule()
    return unanswered
  }

  private schedule(): void {
    this.deadline = Infinity
    for (const entry of this.waiting.values()) this.deadline = Math.min(this.deadline, entry.next)
  }
}

interface Waiting<About> extends Transaction<About> {
  readonly bytes: Uint8Array
  interval: number
  next: number
}

/** A transaction's id as a key of a map. */
export const keyOf = (transaction: Uint8Array): string => String.fromCharCode(...transaction)
