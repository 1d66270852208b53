/** What is to be done at a time unless it is called off before, of many. Pure: the time comes in. */

export interface Timer {
  /** Monotonic milliseconds. */
  readonly at: number
  /** `null`: called off, or done. */
  run: (() => void) | null
}

/** So many that are called off are not worth the work to take them out. */
const fewCalledOff = 1_024

/** A heap: the next one stands first. */
export class TimerQueue {
  private heap: Array<Timer> = []
  private calledOff = 0

  get size(): number {
    return this.heap.length
  }

  add(at: number, run: () => void): Timer {
    const timer: Timer = { at, run }
    this.heap.push(timer)
    this.rise(this.heap.length - 1)
    return timer
  }

  /** Those that are called off leave when their time comes, or when they are half of all. */
  callOff(timer: Timer): void {
    if (timer.run === null) return
    timer.run = null
    this.calledOff++
    if (this.calledOff < fewCalledOff || this.calledOff * 2 < this.heap.length) return
    const left = this.heap.filter(({ run }) => run !== null)
    // Sorted is a heap, too.
    this.heap = left.sort((a, b) => a.at - b.at)
    this.calledOff = 0
  }

  /** When the next one is due; `Infinity` when there is none. */
  next(): number {
    while (this.heap.length > 0 && this.heap[0]!.run === null) {
      this.takeFirst()
      this.calledOff--
    }
    return this.heap[0]?.at ?? Infinity
  }

  /** Takes out the next one that is due. */
  take(now: number): (() => void) | undefined {
    if (this.next() > now) return undefined
    const timer = this.takeFirst()
    const { run } = timer
    timer.run = null
    return run!
  }

  private takeFirst(): Timer {
    const { heap } = this
    const first = heap[0]!
    const last = heap.pop()!
    if (heap.length > 0) {
      heap[0] = last
      this.sink()
    }
    return first
  }

  private rise(from: number): void {
    const { heap } = this
    const timer = heap[from]!
    let at = from
    while (at > 0) {
      const above = (at - 1) >> 1
      if (heap[above]!.at <= timer.at) break
      heap[at] = heap[above]!
      at = above
    }
    heap[at] = timer
  }

  private sink(): void {
    const { heap } = this
    const timer = heap[0]!
    let at = 0
    for (let below = 1; below < heap.length; below = 2 * at + 1) {
      if (below + 1 < heap.length && heap[below + 1]!.at < heap[below]!.at) below++
      if (timer.at <= heap[below]!.at) break
      heap[at] = heap[below]!
      at = below
    }
    heap[at] = timer
  }
}
