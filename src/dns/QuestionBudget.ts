import { TokenBucket } from "../nat/TokenBucket.ts"

/** DNS questions of one client: at once up to the burst, then at this rate, for which a question waits so long at most. */
export const questionLimit = { perSecond: 500, burst: 1_000, maxWaitMs: 1_000 } as const
/** Of them those about resources' names of which nothing is known: each is looked up, at the cost of dozens that are known. */
export const newNameLimit = { perSecond: 100, burst: 300, maxWaitMs: 1_000 } as const
/** Questions beyond that are told that they are too many; those of a flood get no answer. */
const refusalLimit = { perSecond: 100, burst: 500 } as const

export type Admission =
  | { readonly _tag: "Admitted"; readonly waitMs: number }
  | { readonly _tag: "Refused" }
  | { readonly _tag: "Dropped" }

/** One client's questions (generic cell rate algorithm: the next question's own time is all there is to remember). */
export class QuestionBudget {
  private readonly refusals = new TokenBucket(refusalLimit)
  /** When the next question would be due at the plain rate, in monotonic milliseconds. */
  private dueAt = -Infinity
  private readonly limit: { readonly perSecond: number; readonly burst: number; readonly maxWaitMs: number }

  constructor(limit: QuestionBudget["limit"]) {
    this.limit = limit
  }

  admit(now: number): Admission {
    const { burst, maxWaitMs, perSecond } = this.limit
    const interval = 1_000 / perSecond
    const dueAt = Math.max(this.dueAt, now)
    const waitMs = Math.max(0, dueAt - now - (burst - 1) * interval)
    if (waitMs <= maxWaitMs) {
      this.dueAt = dueAt + interval
      return { _tag: "Admitted", waitMs }
    }
    return this.refusals.take(now) ? { _tag: "Refused" } : { _tag: "Dropped" }
  }
}
