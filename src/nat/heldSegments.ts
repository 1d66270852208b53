/** So many are held at a time, of all clients together. */
const capacity = 256
/** Longer ones are not held; more than any tunnel MTU. */
export const longestHeld = 2_048
/** Milliseconds. */
const heldMs = 2_000

/**
 * Segments that wait for what their client says of their flow, by the flow's row in `ProbedFlows`: one of each, the last one
 * that was put, and of all the latest. Copies in memory of its own, which is reserved with the first one.
 */
export class HeldSegments {
  private memory: Uint8Array | undefined
  /** Of each place: row + 1 (0: none) and client, its length, and when it came. */
  private readonly rows = new Int32Array(capacity)
  private readonly clients = new Int32Array(capacity)
  private readonly lengths = new Int32Array(capacity)
  private readonly times = new Float64Array(capacity)
  private next = 0

  put(row: number, client: number, bytes: Uint8Array, offset: number, length: number, now: number): void {
    this.drop(row)
    if (length > longestHeld) return
    this.memory ??= new Uint8Array(capacity * longestHeld)
    const place = this.next
    this.next = (place + 1) % capacity
    this.rows[place] = row + 1
    this.clients[place] = client
    this.lengths[place] = length
    this.times[place] = now
    this.memory.set(bytes.subarray(offset, offset + length), place * longestHeld)
  }

  /** Copies what is held of the row, and holds it no more. Its length; 0: nothing is. */
  take(row: number, bytes: Uint8Array, offset: number, now: number): number {
    const place = this.rows.indexOf(row + 1)
    if (place < 0) return 0
    this.rows[place] = 0
    if (now - this.times[place]! >= heldMs) return 0
    const length = this.lengths[place]!
    const start = place * longestHeld
    bytes.set(this.memory!.subarray(start, start + length), offset)
    return length
  }

  drop(row: number): void {
    const place = this.rows.indexOf(row + 1)
    if (place >= 0) this.rows[place] = 0
  }

  forgetClient(client: number): void {
    for (let place = 0; place < capacity; place++) if (this.clients[place] === client) this.rows[place] = 0
  }
}
