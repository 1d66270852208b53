import { Coverage } from "./Coverage.ts"
import { Corpus } from "./Corpus.ts"
import { memoryInUse } from "./memoryInUse.ts"
import { Mutator } from "./Mutator.ts"
import { Random } from "./Random.ts"
import { describeThrown, replay } from "./replay.ts"
import { shrink } from "./shrink.ts"
import type { Finding } from "./Story.ts"
import type { Tape } from "./Tape.ts"
import type { Target } from "./Target.ts"

export interface Summary {
  readonly target: string
  readonly inputs: number
  readonly seconds: number
  /** Of the gateway's code that have run. */
  readonly blocks: number
  /** Inputs that each brought in a block of their own, without the target's seeds. */
  readonly corpus: ReadonlyArray<Uint8Array>
}

export interface CampaignOptions {
  readonly name: string
  readonly target: Target
  readonly seed: number
  readonly seconds: number
  /** What earlier campaigns have found worth keeping. */
  readonly corpus: ReadonlyArray<Uint8Array>
  readonly tape: Tape
  readonly found: (finding: Finding) => void
}

/** The same bug in a hundred shapes is one finding, and ten are enough for one evening. */
const maxFindings = 10
const maxGrowth = 32 << 20
/** Guided by coverage for half of the time, but not for longer; faster and blind after that. */
const guidedSeconds = 120
/** One of them is enough: they take their time. */
const slow = "slow"
/** Asking for the counters takes milliseconds; it is done after that much of work. */
const batchMs = 50

/** One target for some seconds: makes inputs, runs them, keeps those that reach something new, tells what it finds. */
export class Campaign {
  private readonly options: CampaignOptions
  private readonly random: Random
  private readonly corpus: Corpus
  private readonly mutator: Mutator
  private readonly reasons = new Set<string>()
  private run: (input: Uint8Array) => void = () => {}
  private lived = Number.POSITIVE_INFINITY
  private inputs = 0

  constructor(options: CampaignOptions) {
    const { corpus, seed, target } = options
    this.options = options
    this.random = new Random(seed)
    this.corpus = new Corpus([...target.seeds, ...corpus])
    this.mutator = new Mutator(this.random, target.dictionary, target.maxLength)
  }

  start(root: URL): Summary {
    const { name, seconds } = this.options
    const begun = performance.now()
    const end = begun + seconds * 1_000
    const coverage = new Coverage(root)
    this.corpus.judge(coverage, this.corpus.inputs, (input) => this.execute(input))
    const guidedUntil = begun + Math.min(seconds / 2, guidedSeconds) * 1_000
    while (performance.now() < guidedUntil) {
      this.corpus.judge(coverage, this.batch(), (input) => this.execute(input))
    }
    coverage.stop()
    const sizes = [memoryInUse()]
    for (let quarter = 1; quarter <= 4; quarter++) {
      const until = end - ((4 - quarter) * Math.max(0, end - guidedUntil)) / 4
      while (performance.now() < until) this.batch()
      sizes.push(memoryInUse())
    }
    this.judgeMemory(sizes)
    return {
      target: name,
      inputs: this.inputs,
      seconds: (performance.now() - begun) / 1_000,
      blocks: this.corpus.blocks,
      corpus: this.corpus.inputs.slice(this.options.target.seeds.length)
    }
  }

  /** Makes inputs and runs them for a moment. */
  private batch(): ReadonlyArray<Uint8Array> {
    const inputs: Array<Uint8Array> = []
    for (const until = performance.now() + batchMs; performance.now() < until;) {
      const input = this.mutator.mutate(this.corpus.pick(this.random), this.corpus.pick(this.random))
      inputs.push(input)
      this.execute(input)
    }
    return inputs
  }

  private execute(input: Uint8Array): void {
    const { tape, target } = this.options
    if (this.lived >= target.lifetime || !tape.append(input)) {
      const seed = this.random.next() | 0
      tape.begin(seed)
      tape.append(input)
      this.run = target.start(new Random(seed))
      this.lived = 0
    }
    this.lived++
    this.inputs++
    const before = performance.now()
    try {
      this.run(input)
    } catch (error) {
      this.report(describeThrown(error))
      return
    }
    if (performance.now() - before > target.bound && !this.reasons.has(slow)) {
      if (replay(target, tape.read()) !== undefined) this.report(slow)
    }
  }

  /** This world is at its end; its story is told again, made short and handed on. */
  private report(reason: string): void {
    const { found, name, tape, target } = this.options
    this.lived = Number.POSITIVE_INFINITY
    const key = reason.replaceAll(/[0-9a-f.:]*[0-9][0-9a-f.:]*/g, "#")
    if (this.reasons.has(key) || this.reasons.size >= maxFindings) return
    this.reasons.add(key)
    const story = tape.read()
    const again = replay(target, story)
    if (again === undefined) return found({ ...story, target: name, reason: `${reason} (not when told again)` })
    const short = shrink(target, story)
    found({ ...short, target: name, reason: replay(target, short) ?? again })
  }

  /** Memory that grows from quarter to quarter and does not come back. */
  private judgeMemory(sizes: ReadonlyArray<number>): void {
    const grown = sizes.at(-1)! - sizes[0]!
    const always = sizes.every((size, i) => i === 0 || size > sizes[i - 1]!)
    if (!always || grown < maxGrowth) return
    const { found, name, tape } = this.options
    found({ ...tape.read(), target: name, reason: `holds on to ${grown >> 20} MiB more after ${this.inputs} inputs` })
  }
}
