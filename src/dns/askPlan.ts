import type { ResolverOrder, ResolverServer } from "../model/ResolverSet.ts"

/** How a resolver set is asked at this moment. */
export interface AskPlan {
  readonly servers: ReadonlyArray<ResolverServer>
  readonly order: ResolverOrder
  /** Where the list of servers begins. */
  readonly first: number
  /** How long a living server is waited for before it or the next one is asked, in milliseconds. */
  readonly resendMs: number
  /** How often each server is asked at most. */
  readonly attempts: number
  readonly noAaaa: boolean
  /** What is odd about where the servers come from, for who reads that they are of no use. */
  readonly note: string | null
}
