/** What the bench of DNS tells its load generator (`dnsMain.ts`), and what that says. */
import { Schema } from "effect"

export interface Asking {
  readonly server: string
  readonly zone: string
  /** `fresh`: a name never asked before each time; `known`: one of `names`, in turn; `each`: every known name once per client. */
  readonly kind: "fresh" | "known" | "each"
  readonly names: number
  readonly clients: number
  /** Questions under way at a time, of all clients together. */
  readonly window: number
  readonly seconds: number
  /** Instead: so many, until all are answered or lost. */
  readonly count?: number
}

export const Asked = Schema.Struct({
  /** Questions with an address in the answer. */
  perSecond: Schema.Finite,
  /** Milliseconds of each of those. */
  times: Schema.Array(Schema.Finite),
  /** Answers without an address, and questions without an answer for two seconds. */
  wrong: Schema.Finite,
  lost: Schema.Finite
})
export type Asked = typeof Asked.Type
