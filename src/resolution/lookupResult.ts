/** What the end of a lookup makes of a name's state. Pure; times are monotonic milliseconds. */
import { formatAddress, parseAddress } from "../packet/address.ts"
import { isNegative, type NameState } from "./NameState.ts"
import type { Outcome } from "./refreshPolicy.ts"
import { type Answer, NoAddresses, type ResolutionReason } from "./Resolver.ts"

export type LookupResult =
  | { readonly _tag: "Answer"; readonly answer: Answer }
  | { readonly _tag: "Failure"; readonly reason: ResolutionReason }

export interface Step {
  readonly state: NameState
  readonly outcome: Outcome
  /** Why the resolver failed; `null` when it answered, be it negatively. */
  readonly failure: ResolutionReason | null
}

/** An answer is served this long past its arrival (or its TTL, if that is longer) while refreshes fail. */
const lastGoodMs = 30 * 60_000
/** More addresses than this are left out. */
const maxAddresses = 64

const minTtlSeconds = 1
const maxTtlSeconds = 86_400
const maxNegativeTtlSeconds = 60

export const nextState = (
  before: NameState,
  result: LookupResult,
  at: { readonly now: number; readonly attempts: number }
): Step => {
  if (result._tag === "Answer") {
    const addresses = cleanAddresses(result.answer.addresses)
    if (addresses.length > 0) return resolved(before, addresses, result.answer.ttlSeconds, at.now)
    return negative(before, new NoAddresses({ ttlSeconds: 0 }), 0, at)
  }
  const { reason } = result
  switch (reason._tag) {
    case "NameNotFound":
    case "NoAddresses":
      return negative(before, reason, reason.ttlSeconds, at)
    case "DestinationRefused":
      return negative(before, reason, 0, at)
    case "ServerFailure":
    case "Timeout":
    case "NoResolver":
    case "Throttled":
      return failed(before, reason, at)
  }
}

/** Why a state whose refreshes fail must no longer be served; `null` when it may. */
export const outlived = (state: NameState, now: number): ResolutionReason | null =>
  state._tag === "Resolved" && state.failure !== null && now >= Math.max(state.staleAt, state.since + lastGoodMs)
    ? state.failure
    : null

const resolved = (before: NameState, addresses: ReadonlyArray<string>, ttl: number, now: number): Step => {
  const freshForMs = clamp(ttl, minTtlSeconds, maxTtlSeconds) * 1_000
  return {
    state: { _tag: "Resolved", addresses, since: now, staleAt: now + freshForMs, failure: null },
    outcome: { _tag: "Answered", changed: !sameAddresses(before, addresses), freshForMs },
    failure: null
  }
}

const negative = (
  before: NameState,
  reason: ResolutionReason,
  ttl: number,
  at: { readonly now: number; readonly attempts: number }
): Step => {
  const freshForMs = clamp(ttl, 0, maxNegativeTtlSeconds) * 1_000
  return {
    state: {
      _tag: "Unresolved",
      reason,
      attempts: at.attempts,
      since: at.now,
      negativeUntil: at.now + freshForMs
    },
    outcome: { _tag: "Answered", changed: !sameReason(before, reason), freshForMs },
    failure: null
  }
}

const failed = (
  before: NameState,
  reason: ResolutionReason,
  at: { readonly now: number; readonly attempts: number }
): Step => {
  const kept = before._tag === "Resolved" ? { ...before, failure: reason } : before
  const { now, attempts } = at
  const serves = isNegative(kept) || (kept._tag === "Resolved" && outlived(kept, now) === null)
  return {
    state: serves ? kept : { _tag: "Unresolved", reason, attempts, since: now, negativeUntil: now },
    outcome: { _tag: "Failed" },
    failure: reason
  }
}

/** Canonical, sorted, without duplicates and without what is no address. */
const cleanAddresses = (texts: ReadonlyArray<string>): ReadonlyArray<string> => {
  const found = new Set<string>()
  for (const text of texts) {
    const address = parseAddress(text)
    if (address !== undefined) found.add(formatAddress(address))
    if (found.size >= maxAddresses) break
  }
  return Array.from(found).sort()
}

const sameAddresses = (state: NameState, addresses: ReadonlyArray<string>): boolean =>
  state._tag === "Resolved" &&
  state.addresses.length === addresses.length &&
  state.addresses.every((address, i) => address === addresses[i])

const sameReason = (state: NameState, reason: ResolutionReason): boolean =>
  state._tag === "Unresolved" && state.reason._tag === reason._tag

const clamp = (n: number, min: number, max: number): number => (n >= min ? Math.min(n, max) : min)
