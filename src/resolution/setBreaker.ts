import type { ClientId } from "../model/Client.ts"
import type { NameEntry } from "./nameEntry.ts"
import { type Breaker, closedBreaker, probed, setAnswered, setFailed } from "./refreshPolicy.ts"

interface Outside {
  /** Monotonic milliseconds. */
  readonly now: () => number
  /** Calls back in a later turn, `delay` milliseconds from now. */
  readonly wake: (delay: number, run: () => void) => void
  /** Somebody has asked for the name lately. */
  readonly wanted: (entry: NameEntry, now: number) => boolean
  /** Looks it up as soon as the budgets let it. */
  readonly lookUp: (entry: NameEntry) => void
}

/** The circuit breaker of a resolver set (`refreshPolicy`), with the names that it holds back while it is open, and their probes. */
export class SetBreaker {
  private readonly outside: Outside
  private readonly waiting = new Set<NameEntry>()
  /** A probe timer is set. */
  private probing = false
  /** When a name was last probed for each client: they take turns. */
  private readonly probedAt = new Map<ClientId, number>()
  state: Breaker = closedBreaker

  constructor(outside: Outside) {
    this.outside = outside
  }

  /** Whether it holds any name back. */
  get holdsSome(): boolean {
    return this.waiting.size > 0
  }

  holds(entry: NameEntry): boolean {
    return this.waiting.has(entry)
  }

  /** It is open, and no probe is due. */
  stops(now: number): boolean {
    return this.state.open && now < this.state.probeAt
  }

  /** The name waits for the set to answer, or for its turn to be probed. */
  hold(entry: NameEntry): void {
    this.waiting.add(entry)
    this.probeLater()
  }

  forget(entry: NameEntry): void {
    this.waiting.delete(entry)
  }

  /** A lookup of the name begins while the breaker is open. */
  probed(entry: NameEntry): void {
    this.state = probed(this.state, this.outside.now())
    this.hold(entry)
  }

  /** Returns whether this failure opened it. */
  failed(entry: NameEntry): boolean {
    const wasOpen = this.state.open
    this.state = setFailed(this.state, entry.key, entry.policy, this.outside.now())
    return !wasOpen && this.state.open
  }

  /** Returns whether this answer closed it: what it held is to be `release`d. */
  answered(entry: NameEntry): boolean {
    const wasOpen = this.state.open
    this.state = setAnswered(this.outside.now())
    this.probedAt.clear()
    this.waiting.delete(entry)
    return wasOpen
  }

  /** Other servers stand behind the set. Returns whether it was open. */
  renew(): boolean {
    const wasOpen = this.state.open
    this.state = closedBreaker
    this.probedAt.clear()
    this.waiting.clear()
    return wasOpen
  }

  /** The names that were held back, those asked for last first. */
  release(): ReadonlyArray<NameEntry> {
    const all = Array.from(this.waiting).sort((a, b) => b.policy.demandAt - a.policy.demandAt)
    this.waiting.clear()
    return all
  }

  /** One timer, while something waits. */
  private probeLater(): void {
    if (this.probing) return
    this.probing = true
    this.outside.wake(Math.max(0, this.state.probeAt - this.outside.now()), () => {
      this.probing = false
      this.probe()
    })
  }

  private probe(): void {
    const now = this.outside.now()
    for (const entry of this.waiting) if (!this.outside.wanted(entry, now)) this.waiting.delete(entry)
    if (!this.state.open || this.waiting.size === 0) return
    if (now >= this.state.probeAt) {
      const entry = this.next()
      if (entry !== undefined) {
        this.probedAt.set(entry.lastClient, now)
        this.outside.lookUp(entry)
      }
      // None is free, or it is over budget and the queue starts it: look again in a second all the same.
      if (this.state.probeAt <= now) this.state = probed(this.state, now)
    }
    this.probeLater()
  }

  /** The name to probe: of the client whose turn it is, the one that was asked for last. */
  private next(): NameEntry | undefined {
    let best: NameEntry | undefined
    let bestAt = Number.POSITIVE_INFINITY
    for (const entry of this.waiting) {
      if (entry.lookup !== null) continue
      const at = this.probedAt.get(entry.lastClient) ?? Number.NEGATIVE_INFINITY
      if (best !== undefined && (at > bestAt || (at === bestAt && entry.policy.demandAt <= best.policy.demandAt)))
        continue
      best = entry
      bestAt = at
    }
    return best
  }
}
