/** A brake on what others may cause: `burst` at once, then `perSecond`. Time is in milliseconds and comes in. */
export class TokenBucket {
  private readonly perMillisecond: number
  private readonly burst: number
  /** Tokens that are missing, and when that was so. */
  private missing = 0
  private at = 0

  constructor(options: { readonly perSecond: number; readonly burst: number }) {
    this.perMillisecond = options.perSecond / 1_000
    this.burst = options.burst
  }

  /** Takes a token; false: none is left. */
  take(now: number): boolean {
    const missing = this.missingAt(now)
    const granted = missing + 1 <= this.burst
    this.at = now
    this.missing = granted ? missing + 1 : missing
    return granted
  }

  /** Whether none is left. */
  isEmpty(now: number): boolean {
    return this.missingAt(now) + 1 > this.burst
  }

  private missingAt(now: number): number {
    return Math.max(0, this.missing - (now - this.at) * this.perMillisecond)
  }
}
