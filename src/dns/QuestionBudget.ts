import { TokenBucket } from "../nat/TokenBucket.ts"

/** DNS questions of one client: at once up to the burst, then at this rate, for which a question waits so long at most. */
export const questionLimit = { perSecond: 500, burst: 1_000, maxWaitMs: 1_000 } as const
/** Of them those about resources' names of which nothing is known: each is looked up, at the cost of dozens that are known. */
export const newNameLimit = { perSecond: 100, burst: 300, maxWaitMs: 1_000 } as const
/** Beside them those whose answers are known, which cost a fiftieth; what is beyond is a question like any other. */
export const knownLimit = { perSecond: 20_000, burst: 1_000, maxWaitMs: 0 } as const
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
    const waitMs = this.waitMs(now)
    if (waitMs > this.limit.maxWaitMs) return this.refusals.take(now) ? { _tag: "Refused" } : { _tag: "Dropped" }
    this.dueAt = Math.max(this.dueAt, now) + 1_000 / this.limit.perSecond
    return { _tag: "Admitted", waitMs }
  }

  /** Whether a question that is admitted now need not wait. */
  isFree(now: number): boolean {
    return this.waitMs(now) === 0
  }

  /** Whether a question gets no answer now, whatever it is about. */
  isFlooded(now: number): boolean {
    return this.waitMs(now) > this.limit.maxWaitMs && this.refusals.isEmpty(now)
  }

  private waitMs(now: number): number {
    const { burst, perSecond } = this.limit
    return Math.max(0, Math.max(this.dueAt, now) - now - ((burst - 1) * 1_000) / perSecond)
  }
}
