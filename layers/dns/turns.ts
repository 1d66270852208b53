import { FairQueue } from "../../src/dns/FairQueue.ts"

/** What is done at a turn of the event loop. */
const perTurn = 16

/**
 * Work of many, a little of it at each turn of the event loop, round robin by who wants it: what comes in is read off its
 * sockets before it is worked on, so that a burst neither fills them nor holds up what others ask. Work yields how much it
 * was: 1 is an answer that is known.
 */
export class Turns {
  private readonly waiting: FairQueue<() => number>
  private readonly failed: (defect: unknown) => void
  private left = perTurn
  private next: NodeJS.Immediate | undefined

  /**
   * @param most of all that waits; of one no more than there is room for beside it
   * @param failed is told what work throws; the others have their turn in any case
   */
  constructor(most: number, failed: (defect: unknown) => void) {
    this.failed = failed
    this.waiting = new FairQueue({ running: 1, waiting: most, waitingEach: most })
  }

  /** Does it now or in its turn; `false`: there is no room to wait. */
  add(who: string, work: () => number): boolean {
    if (this.left > 0 && this.waiting.isEmpty) this.left -= this.amountOf(work)
    else if (!this.waiting.add(who, work)) return false
    this.next ??= setImmediate(() => this.turn())
    return true
  }

  close(): void {
    clearImmediate(this.next)
  }

  private turn(): void {
    this.next = undefined
    this.left = perTurn
    while (this.left > 0) {
      const next = this.waiting.take()
      if (next === undefined) break
      this.waiting.done(next.name)
      this.left -= this.amountOf(next.item)
    }
    if (this.left < perTurn) this.next = setImmediate(() => this.turn())
  }

  private amountOf(work: () => number): number {
    try {
      return work()
    } catch (defect) {
      this.failed(defect)
      return 1
    }
  }
}
