/**
 * Work of many that shares a number of places: who waits is served round robin, whatever the others have waiting. Nobody
 * holds more places than are left free beside him (dynamic thresholds, Choudhury and Hahne 1998): one alone may have half
 * of them, two a third each, and there is always room for who comes next.
 */
export interface FairBounds {
  /** Places. */
  readonly running: number
  /** Items that wait, of all and of one. */
  readonly waiting: number
  readonly waitingEach: number
}

interface Lane<T> {
  running: number
  readonly waiting: Set<T>
}

export class FairQueue<T> {
  private readonly lanes = new Map<string, Lane<T>>()
  /** Lanes where something waits, in turn. */
  private readonly turns = new Map<string, Lane<T>>()
  private readonly bounds: FairBounds
  private running = 0
  private waiting = 0

  constructor(bounds: FairBounds) {
    this.bounds = bounds
  }

  /** Nothing waits. */
  get isEmpty(): boolean {
    return this.waiting === 0
  }

  /** Puts an item behind the others of its lane; `false` when it has no room. */
  add(name: string, item: T): boolean {
    const lane = this.lanes.get(name) ?? { running: 0, waiting: new Set<T>() }
    const { waiting, waitingEach } = this.bounds
    if (lane.waiting.size >= Math.min(waitingEach, waiting - this.waiting)) return false
    this.lanes.set(name, lane)
    this.turns.set(name, lane)
    lane.waiting.add(item)
    this.waiting++
    return true
  }

  /** Takes an item back that waits no longer. */
  remove(name: string, item: T): void {
    const lane = this.lanes.get(name)
    if (lane?.waiting.delete(item) !== true) return
    this.waiting--
    this.tidy(name, lane)
  }

  /** The next item that gets a place, until `done` with its lane's name; `undefined` when none may. */
  take(): { readonly name: string; readonly item: T } | undefined {
    const free = this.bounds.running - this.running
    for (const [name, lane] of this.turns) {
      if (lane.running >= free) continue
      const [item] = lane.waiting
      if (item === undefined) continue
      lane.waiting.delete(item)
      this.waiting--
      lane.running++
      this.running++
      this.turns.delete(name)
      if (lane.waiting.size > 0) this.turns.set(name, lane)
      return { name, item }
    }
    return undefined
  }

  done(name: string): void {
    const lane = this.lanes.get(name)
    if (lane === undefined) return
    lane.running--
    this.running--
    this.tidy(name, lane)
  }

  private tidy(name: string, lane: Lane<T>): void {
    if (lane.waiting.size > 0) return
    this.turns.delete(name)
    if (lane.running === 0) this.lanes.delete(name)
  }
}
