/**
 * Doubly linked lists of numbered slots whose links live inside the slots' own records (`records`, `stride` integers
 * per slot, previous at `field` and next at `field + 1`), so that moving a slot touches what is in the cache already.
 * Links hold slot + 1: zeroed memory is unlinked. A slot is in at most one list at a time.
 */
export class SlotLists {
  private records: Int32Array
  private readonly stride: number
  private readonly field: number
  private ends: Int32Array

  constructor(records: Int32Array, stride: number, field: number, lists: number) {
    this.records = records
    this.stride = stride
    this.field = field
    this.ends = new Int32Array(lists * 2)
  }

  /** Makes room for list numbers below `lists`. */
  grow(lists: number): void {
    if (lists * 2 > this.ends.length) this.ends = grownInts(this.ends, lists * 2)
  }

  /** Goes on over a larger copy of the records. */
  adopt(records: Int32Array): void {
    this.records = records
  }

  first(list: number): number {
    return this.ends[list * 2]! - 1
  }

  last(list: number): number {
    return this.ends[list * 2 + 1]! - 1
  }

  /** The slot behind `slot`, −1 at the end. */
  next(slot: number): number {
    return this.records[slot * this.stride + this.field + 1]! - 1
  }

  addFirst(list: number, slot: number): void {
    const { records, stride, field, ends } = this
    const first = ends[list * 2]!
    const at = slot * stride + field
    records[at] = 0
    records[at + 1] = first
    if (first === 0) ends[list * 2 + 1] = slot + 1
    else records[(first - 1) * stride + field] = slot + 1
    ends[list * 2] = slot + 1
  }

  remove(list: number, slot: number): void {
    const { records, stride, field, ends } = this
    const at = slot * stride + field
    const previous = records[at]!
    const next = records[at + 1]!
    if (previous === 0) ends[list * 2] = next
    else records[(previous - 1) * stride + field + 1] = next
    if (next === 0) ends[list * 2 + 1] = previous
    else records[(next - 1) * stride + field] = previous
    records[at] = 0
    records[at + 1] = 0
  }
}

/** A copy with room for at least `length` numbers; doubles, so that growing one by one stays cheap. */
export const grownInts = (array: Int32Array, length: number): Int32Array<ArrayBuffer> => {
  const larger = new Int32Array(Math.max(length, array.length * 2))
  larger.set(array)
  return larger
}

export const grownTimes = (array: Float64Array, length: number): Float64Array<ArrayBuffer> => {
  const larger = new Float64Array(Math.max(length, array.length * 2))
  larger.set(array)
  return larger
}
