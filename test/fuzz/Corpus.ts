import type { Coverage } from "./Coverage.ts"
import type { Random } from "./Random.ts"

const maxInputs = 2_000
/** What came last reaches the newest places. */
const newest = 20

/** The inputs that new ones are made of. */
export class Corpus {
  readonly inputs: Array<Uint8Array>
  private readonly reached = new Set<string>()

  constructor(inputs: ReadonlyArray<Uint8Array>) {
    this.inputs = inputs.length === 0 ? [new Uint8Array()] : [...inputs]
  }

  /** How many blocks of code have been reached. */
  get blocks(): number {
    return this.reached.size
  }

  pick(random: Random): Uint8Array {
    const { length } = this.inputs
    const from = length > newest && random.below(2) === 0 ? length - newest : 0
    return this.inputs[from + random.below(length - from)]!
  }

  /** These have just been run, with the counters on: those that reach something new are kept. */
  judge(coverage: Coverage, batch: ReadonlyArray<Uint8Array>, execute: (input: Uint8Array) => void): void {
    const fresh = this.freshOf(coverage)
    if (fresh.length === 0) return
    const wanted = new Set(fresh)
    const search = (inputs: ReadonlyArray<Uint8Array>): void => {
      if (inputs.length === 0 || wanted.size === 0) return
      for (const input of inputs) execute(input)
      const reached = coverage.take().filter((block) => wanted.has(block))
      if (reached.length === 0) return
      if (inputs.length > 1) {
        const half = inputs.length >> 1
        search(inputs.slice(0, half))
        search(inputs.slice(half))
      } else {
        for (const block of reached) wanted.delete(block)
        if (!this.inputs.includes(inputs[0]!) && this.inputs.length < maxInputs) this.inputs.push(inputs[0]!)
      }
    }
    search(batch)
    for (const block of fresh) this.reached.add(block)
  }

  private freshOf(coverage: Coverage): ReadonlyArray<string> {
    return coverage.take().filter((block) => !this.reached.has(block))
  }
}
