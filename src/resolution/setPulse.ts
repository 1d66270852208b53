/** A lookup that is under way, as far as packets wait for it. Times are monotonic milliseconds. */
export interface Awaited {
  readonly startedAt: number
  readonly client: string
  /** Packets are parked for so long from its beginning. */
  holdMs: number
}

interface Outside<L> {
  readonly now: () => number
  /** Calls back in a later turn, `delay` milliseconds from now. */
  readonly wake: (delay: number, run: () => void) => void
  /** Asks the set something harmless; its end is told by `pinged`. */
  readonly ping: () => void
  /** Packets wait longer for the lookup from now on. */
  readonly holdLonger: (lookup: L) => void
}

/** How long packets wait from a lookup's beginning. */
export const shortHoldMs = 2_000
const longHoldMs = 4_000
/** Where so many lookups, or something harmless that was asked, have waited for so long, the next one waits in vain. */
const vain = { lookups: 8, afterMs: 140 }
/** A lookup that takes so long raises the question whether the set lives. */
const doubtMs = 1_000

/**
 * Whether a resolver set lives, as far as packets that wait for a lookup go. A dead set's clients are told within 2 s. A
 * server with a cold cache takes longer for one name and answers others, a slow one takes long for all: as long as the set has
 * answered anything since the lookup began, or is known to be slow, packets wait as long as their TCP would try again by
 * itself, 4 s. Where lookups take long and nothing else tells, the set is asked something harmless.
 */
export class SetPulse<L extends Awaited> {
  private readonly outside: Outside<L>
  /** When it last answered anything. */
  private heardAt = Number.NEGATIVE_INFINITY
  /** Its last answer was long in coming. */
  private slow = false
  /** What was asked last was not answered, and nothing has been since. */
  silent = false
  /** Lookups under way, the longest first. */
  private readonly asked = new Set<L>()
  /** A timer is set that looks after them. */
  private watching = false
  /** Since when a harmless question is under way. */
  private pingedAt: number | null = null
  /** What was asked before says nothing of the servers that it has since. */
  private renewedAt = Number.NEGATIVE_INFINITY

  constructor(outside: Outside<L>) {
    this.outside = outside
  }

  /** Whether it has answered anything later than then. */
  hasAnsweredSince(at: number): boolean {
    return this.heardAt > at
  }

  /**
   * Whether a question that a client asks now had better not wait: it answers nobody, or neither something harmless nor any
   * of several for a while now. Another client's lookups count once: all of its names may lead to one dead server.
   */
  isVain(asker: string): boolean {
    if (this.silent || this.pingIsVain()) return true
    const others = new Set<string>()
    let own = 0
    for (const { client, startedAt } of this.asked) {
      // That it hangs says nothing: the set has answered others since.
      if (startedAt < this.heardAt) continue
      if (this.outside.now() - startedAt < vain.afterMs) return false
      if (client === asker) own++
      else others.add(client)
      if (own + others.size === vain.lookups) return true
    }
    return false
  }

  began(lookup: L): void {
    lookup.holdMs = this.holdMsOf(lookup)
    this.asked.add(lookup)
    this.watch()
  }

  /** Nobody waits for its end any more. */
  stopped(lookup: L): void {
    this.asked.delete(lookup)
  }

  ended(lookup: L, answered: boolean): void {
    this.asked.delete(lookup)
    this.hear(answered, lookup.startedAt)
  }

  ping(): void {
    if (this.pingedAt !== null) return
    this.pingedAt = this.outside.now()
    this.outside.ping()
  }

  /** Other servers stand behind it: nothing is known of them. Lookups under way are stopped one by one. */
  renew(): void {
    this.heardAt = Number.NEGATIVE_INFINITY
    this.slow = false
    this.silent = false
    this.pingedAt = null
    this.renewedAt = this.outside.now()
  }

  /** A harmless question that was asked at `since` came to its end; `null`: it was none. */
  pinged(since: number, answered: boolean | null): void {
    if (since < this.renewedAt) return
    this.pingedAt = null
    if (answered !== null) this.hear(answered, since)
  }

  private pingIsVain(): boolean {
    const { pingedAt } = this
    return pingedAt !== null && !this.hasAnsweredSince(pingedAt) && this.outside.now() - pingedAt >= vain.afterMs
  }

  private hear(answered: boolean, since: number): void {
    const now = this.outside.now()
    if (!answered) {
      if (this.heardAt > since) return
      this.slow = false
      this.silent = true
      return
    }
    this.heardAt = now
    this.slow = now - since >= doubtMs
    this.silent = false
    for (const lookup of this.asked) {
      if (lookup.holdMs >= longHoldMs || now - lookup.startedAt >= lookup.holdMs) continue
      lookup.holdMs = this.holdMsOf(lookup)
      this.outside.holdLonger(lookup)
    }
  }

  private holdMsOf({ startedAt }: L): number {
    return this.slow || this.heardAt > startedAt ? longHoldMs : shortHoldMs
  }

  private watch(): void {
    if (this.watching) return
    this.watching = true
    this.outside.wake(doubtMs, () => {
      this.watching = false
      if (this.asked.size === 0) return
      this.watch()
      if (this.silent || this.slow) return
      const oldest = this.oldest()
      if (oldest !== undefined && this.outside.now() - oldest.startedAt >= doubtMs) this.ping()
    })
  }

  /** Of those that began since it answered anything. */
  private oldest(): L | undefined {
    for (const lookup of this.asked) if (lookup.startedAt >= this.heardAt) return lookup
    return undefined
  }
}
