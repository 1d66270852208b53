/** A row of `doctor`'s sheet. */

/** It does not work; it may not, or could not be looked at; it does. */
export const verdicts = ["fail", "warn", "pass"] as const
export type Verdict = (typeof verdicts)[number]

export interface Row {
  readonly check: string
  readonly verdict: Verdict
  readonly what: string
  /** What to do; empty where nothing is to be done, or `what` says it. */
  readonly next: string
}

export type Judged = Omit<Row, "check">

export const pass = (what: string): Judged => ({ verdict: "pass", what, next: "" })
export const warn = (what: string, next = ""): Judged => ({ verdict: "warn", what, next })
export const fail = (what: string, next = ""): Judged => ({ verdict: "fail", what, next })
