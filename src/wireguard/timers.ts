/**
 * A binary heap of deadlines, one per item: of peers, ICE agents, timers. A peer's may be earlier than what it really waits
 * for (packets only ever push timers back, and do not touch the heap for that); it is then looked at and put back.
 */
export interface Timed {
  /** Place in the heap, −1 outside. Owned by the heap. */
  heapIndex: number
  /** The deadline the heap knows. Owned by the heap. */
  deadline: number
}

export class Deadlines<T extends Timed> {
  private readonly heap: Array<T> = []

  /** The earliest deadline, `Infinity` when there is none. */
  next(): number {
    return this.heap.length === 0 ? Number.POSITIVE_INFINITY : this.heap[0]!.deadline
  }

  /** Makes sure that `item` comes up at `at` or earlier. */
  atLatest(item: T, at: number): void {
    if (item.heapIndex < 0) {
      if (at === Number.POSITIVE_INFINITY) return
      item.deadline = at
      item.heapIndex = this.heap.length
      this.heap.push(item)
      this.up(item)
    } else if (at < item.deadline) {
      item.deadline = at
      this.up(item)
    }
  }

  /** Takes the first item out when its deadline is due. */
  takeDue(now: number): T | undefined {
    const first = this.heap[0]
    if (first === undefined || first.deadline > now) return undefined
    this.remove(first)
    return first
  }

  remove(item: T): void {
    const index = item.heapIndex
    if (index < 0) return
    item.heapIndex = -1
    const last = this.heap.pop()!
    if (last === item) return
    last.heapIndex = index
    this.heap[index] = last
    this.up(last)
    this.down(last)
  }

  private up(item: T): void {
    let i = item.heapIndex
    while (i > 0) {
      const parent = this.heap[(i - 1) >> 1]!
      if (parent.deadline <= item.deadline) break
      this.place(parent, i)
      i = (i - 1) >> 1
    }
    this.place(item, i)
  }

  private down(item: T): void {
    let i = item.heapIndex
    for (;;) {
      let child = 2 * i + 1
      if (child >= this.heap.length) break
      if (child + 1 < this.heap.length && this.heap[child + 1]!.deadline < this.heap[child]!.deadline) child++
      if (this.heap[child]!.deadline >= item.deadline) break
      this.place(this.heap[child]!, i)
      i = child
    }
    this.place(item, i)
  }

  private place(item: T, index: number): void {
    this.heap[index] = item
    item.heapIndex = index
  }
}
