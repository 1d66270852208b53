/** Xorshift32 (Marsaglia 2003): the same seed gives the same campaign. */
export class Random {
  private state: number

  constructor(seed: number) {
    // Zero is its only fixed point; neighbouring seeds must not begin alike.
    this.state = Math.imul(seed ^ 0x9e37_79b9, 0x85eb_ca6b) | 1
    for (let i = 0; i < 8; i++) this.next()
  }

  /** An unsigned 32-bit number. */
  next(): number {
    let s = this.state
    s ^= s << 13
    s ^= s >>> 17
    s ^= s << 5
    this.state = s
    return s >>> 0
  }

  /** 0 ≤ … < `limit`. */
  below(limit: number): number {
    return this.next() % limit
  }

  fill(into: Uint8Array): void {
    for (let i = 0; i < into.length; i++) into[i] = this.next()
  }

  pick<A>(items: ReadonlyArray<A>): A {
    return items[this.below(items.length)]!
  }
}
