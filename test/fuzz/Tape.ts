import type { Story } from "./Story.ts"

const headWords = 4
const [seedAt, usedAt, countAt, executionsAt] = [0, 1, 2, 3]

/** The story so far in shared memory: who supervises can read it when the one who tells it hangs. */
export class Tape {
  static readonly byteLength = 4 << 20
  private readonly head: Int32Array
  private readonly bytes: Uint8Array
  private readonly lengths: DataView

  constructor(shared: SharedArrayBuffer) {
    this.head = new Int32Array(shared, 0, headWords)
    this.bytes = new Uint8Array(shared, headWords * 4)
    this.lengths = new DataView(shared, headWords * 4)
  }

  /** Inputs since the beginning, for who watches whether they grow. */
  get executions(): number {
    return Atomics.load(this.head, executionsAt)
  }

  begin(seed: number): void {
    this.head[seedAt] = seed
    this.head[usedAt] = 0
    this.head[countAt] = 0
  }

  /** False when the tape is full. */
  append(input: Uint8Array): boolean {
    const used = this.head[usedAt]!
    if (used + 4 + input.length > this.bytes.length) return false
    this.lengths.setUint32(used, input.length)
    this.bytes.set(input, used + 4)
    this.head[usedAt] = used + 4 + input.length
    this.head[countAt]!++
    Atomics.add(this.head, executionsAt, 1)
    return true
  }

  read(): Story {
    const inputs: Array<Uint8Array> = []
    for (let at = 0; inputs.length < this.head[countAt]!;) {
      const length = this.lengths.getUint32(at)
      inputs.push(this.bytes.slice(at + 4, at + 4 + length))
      at += 4 + length
    }
    return { seed: this.head[seedAt]!, inputs }
  }
}
