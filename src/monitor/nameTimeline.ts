/** How a name fared, as far as its lookups are remembered. Pure; times are epoch milliseconds. */
import type { StatusReport } from "../cli/statusReport.ts"

type State = StatusReport["mappings"][number]["state"]

/** From when the name was in this state, until the next stretch. */
export interface Stretch {
  readonly state: State
  readonly from: number
}

export interface LookupEnd {
  readonly at: number
  /** As the event `Lookup` has it. */
  readonly outcome: string
  readonly addresses: ReadonlyArray<string>
}

/** After these there is nothing to serve, however good the last answer was. */
const negative = new Set(["answer", "NameNotFound", "NoAddresses", "DestinationRefused"])

const after = ({ addresses, outcome }: LookupEnd, before: State | undefined): State => {
  if (addresses.length > 0) return "Resolved"
  return negative.has(outcome) || before === undefined || before === "Unresolved" ? "Unresolved" : "Stale"
}

/**
 * The last `most` stretches, the oldest first.
 *
 * @param lookups the oldest first
 * @param now what the name is now, which is right whatever is remembered
 */
export const nameTimeline = (
  lookups: ReadonlyArray<LookupEnd>,
  now: Stretch,
  { from, most }: { readonly from: number; readonly most: number }
): ReadonlyArray<Stretch> => {
  const stretches: Array<Stretch> = []
  const enter = (state: State, at: number): void => {
    if (stretches.at(-1)?.state !== state) stretches.push({ state, from: at })
  }
  for (const lookup of lookups) enter(after(lookup, stretches.at(-1)?.state), lookup.at)
  enter(now.state, Math.max(now.from, stretches.at(-1)?.from ?? now.from))
  const first = stretches.findLastIndex((stretch) => stretch.from <= from)
  return stretches.slice(Math.max(0, first)).slice(-most)
}
