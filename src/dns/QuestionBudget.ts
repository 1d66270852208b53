/** Questions of one client: at once up to the burst, then at this rate, for which a question waits so long at most. */
export const questionLimit = { perSecond: 500, burst: 1_000, maxWaitMs: 1_000 } as const
/** Of them those about resources' names of which nothing is known: each is looked up, at the cost of dozens that are known. */
export const newNameLimit = { perSecond: 100, burst: 450, maxWaitMs: 1_000 } as const

export type Admission = { readonly _tag: "Admitted"; readonly waitMs: number } | { readonly _tag: "Refused" }

/** One client's questions (generic cell rate algorithm: the next question's own time is all there is to remember). */
export class QuestionBudget {
  /** When the next question would be due at the plain rate, in monotonic milliseconds. */
  private dueAt = -Infinity
  private readonly limit: { readonly perSecond: number; readonly burst: number; readonly maxWaitMs: number }

  constructor(limit: QuestionBudget["limit"]) {
    this.limit = limit
  }

  admit(now: number): Admission {
    if (this.isSpent(now)) return { _tag: "Refused" }
    const waitMs = this.waitMs(now)
    this.dueAt = Math.max(this.dueAt, now) + 1_000 / this.limit.perSecond
    return { _tag: "Admitted", waitMs }
  }

  /** The same for a question that may not wait: `false` changes nothing. */
  admitAtOnce(now: number): boolean {
    return this.waitMs(now) === 0 && this.admit(now)._tag === "Admitted"
  }

  /** Whether a question is refused now. */
  isSpent(now: number): boolean {
    return this.waitMs(now) > this.limit.maxWaitMs
  }

  private waitMs(now: number): number {
    const { burst, perSecond } = this.limit
    return Math.max(0, Math.max(this.dueAt, now) - now - ((burst - 1) * 1_000) / perSecond)
  }
}
