/**
 * When a name may be looked up. Pure: states in, states out; `now` is monotonic milliseconds, `random` is in
 * [0, 1). Two brakes that do not mix: the back-off of a name whose answer is known, and the circuit breaker of a
 * resolver set that fails. Budgets are a third thing, see `lookupQueue.ts`.
 */
import type { Cause } from "./Cause.ts"

/** One name as the policy sees it. */
export interface NamePolicy {
  readonly inFlight: boolean
  /** Lookups in a row that were answered and brought nothing new. */
  readonly unchanged: number
  /** Lookups in a row that failed although the resolver set answered others between them. */
  readonly failures: number
  /** When the last lookup failed; never (infinite) once one was answered. */
  readonly failedAt: number
  /** No lookup before this time, except what `decide` exempts. */
  readonly notBefore: number
  /** Until when the answer (or the negative answer) need not be asked for again. */
  readonly freshUntil: number
  /** A cause waits for `notBefore`. */
  readonly remembered: boolean
  /** The last cause. */
  readonly demandAt: number
  readonly endedAt: number
  readonly repliedAt: number
  /** When the back-off was last reset. */
  readonly resetAt: number
}

/** One resolver set as the policy sees it. */
export interface Breaker {
  readonly open: boolean
  /** The name whose lookup failed since the last answer, if only one did. */
  readonly failed: string | null
  /** When the set last answered anything. */
  readonly answeredAt: number
  /** While open: when the next probe may start. */
  readonly probeAt: number
}

/** Why a cause starts no lookup; each has a counter `brake.<name>`. */
export type Brake = "idle" | "in_flight" | "fresh" | "back_off" | "resolver_failing"

export type Decision =
  | { readonly _tag: "Lookup" }
  | { readonly _tag: "At"; readonly time: number }
  | { readonly _tag: "Ignore"; readonly brake: Brake }

/** How a lookup ended: with an answer (negative ones included), or without one. */
export type Outcome =
  | { readonly _tag: "Answered"; readonly changed: boolean; readonly freshForMs: number }
  | { readonly _tag: "Failed" }

/** A name without a cause for this long is idle: nothing is done for it. */
const demandMs = 30_000
/** The distance of probes while a breaker is open. */
const probeMs = 1_000

const firstDelayMs = 1_000
const maxDelayMs = 60_000
const jitter = 0.2
/**
 * The back-off is reset at most once in this time: a host that answers on one port and is unreachable on another, or a
 * server whose every answer differs, would else be looked up each second.
 */
const resetEveryMs = 60_000

export const newName: NamePolicy = {
  inFlight: false,
  unchanged: 0,
  failures: 0,
  failedAt: Number.POSITIVE_INFINITY,
  notBefore: Number.NEGATIVE_INFINITY,
  freshUntil: Number.NEGATIVE_INFINITY,
  remembered: false,
  demandAt: Number.NEGATIVE_INFINITY,
  endedAt: Number.NEGATIVE_INFINITY,
  repliedAt: Number.NEGATIVE_INFINITY,
  resetAt: Number.NEGATIVE_INFINITY
}

export const closedBreaker: Breaker = {
  open: false,
  failed: null,
  answeredAt: Number.NEGATIVE_INFINITY,
  probeAt: Number.NEGATIVE_INFINITY
}

/**
 * What a cause leads to. Every lookup, first ones too, passes here. `first`: somebody waits who has not been told
 * anything of the name yet. The breaker says what became of other names, so it does not stop that lookup.
 */
export const decide = (
  name: NamePolicy,
  breaker: Breaker,
  cause: Cause,
  now: number,
  first: boolean = false
): Decision => {
  if (cause === "Restarted") return ignore("idle")
  if (name.inFlight) return ignore("in_flight")
  if ((cause === "First" || cause === "ClientAsked") && now < name.freshUntil) return ignore("fresh")
  if (now < name.notBefore && !ttlEnded(name, cause)) {
    return name.remembered ? ignore("back_off") : { _tag: "At", time: name.notBefore }
  }
  if (breaker.open && now < breaker.probeAt && !first) return ignore("resolver_failing")
  return lookup
}

/** A cause was seen, whatever it led to. */
export const demanded = (name: NamePolicy, now: number): NamePolicy => ({ ...name, demandAt: now })

/** A cause waits until `notBefore`. */
export const remembered = (name: NamePolicy): NamePolicy => ({ ...name, remembered: true })

export const inDemand = (name: NamePolicy, now: number): boolean => now - name.demandAt <= demandMs

export const started = (name: NamePolicy): NamePolicy => ({ ...name, inFlight: true, remembered: false })

/** Nobody may use the name for now: no lookup is under way, and nothing waits for one. */
export const rested = (name: NamePolicy): NamePolicy => ({
  ...name,
  inFlight: false,
  remembered: false,
  demandAt: Number.NEGATIVE_INFINITY
})

/** `breaker` is the set's state with this outcome counted already. */
export const ended = (
  name: NamePolicy,
  outcome: Outcome,
  breaker: Breaker,
  now: number,
  random: number
): NamePolicy => {
  const after = { ...name, inFlight: false, endedAt: now }
  if (outcome._tag === "Failed") {
    if (breaker.open) return { ...after, failedAt: now, notBefore: now }
    // Without a sign that the set works the name may be the only one in demand: tried each second, like a probe.
    // What was counted stays: a retry may be quicker than the next answer to somebody else.
    const failures = isBroken(name, breaker) ? name.failures + 1 : name.failures
    return { ...after, failures, failedAt: now, notBefore: now + delay(Math.max(1, failures), random) }
  }
  const reset = outcome.changed && mayReset(name, now)
  const unchanged = reset ? 1 : name.unchanged + 1
  return {
    ...after,
    failures: 0,
    failedAt: Number.POSITIVE_INFINITY,
    unchanged,
    resetAt: reset ? now : name.resetAt,
    freshUntil: now + outcome.freshForMs,
    notBefore: now + delay(unchanged, random)
  }
}

/** A reply came from the name's real host. */
export const answered = (name: NamePolicy, now: number): NamePolicy => {
  const after = { ...name, repliedAt: now }
  return mayReset(name, now)
    ? { ...after, unchanged: 0, resetAt: now, notBefore: Math.min(name.notBefore, now) }
    : after
}

/** Others are asked from now on: nothing that the former ones said or did holds up a lookup. */
export const renewed = (name: NamePolicy, now: number): NamePolicy => ({
  ...name,
  inFlight: false,
  remembered: false,
  notBefore: now,
  freshUntil: now
})

/** The set answered again: what waited for it need not wait longer. */
export const released = (name: NamePolicy, now: number): NamePolicy => ({ ...name, notBefore: now })

/** Failures of two names without an answer between them open the breaker; one broken name alone never does. */
export const setFailed = (breaker: Breaker, key: string, name: NamePolicy, now: number): Breaker => {
  if (breaker.open || isBroken(name, breaker)) return breaker
  if (breaker.failed === null || breaker.failed === key) return { ...breaker, failed: key }
  return { ...breaker, open: true, probeAt: now + probeMs }
}

/** One answer closes the breaker. */
export const setAnswered = (now: number): Breaker => ({ ...closedBreaker, answeredAt: now })

/** A lookup of a name that failed before was started while the breaker was open. */
export const probed = (breaker: Breaker, now: number): Breaker => ({ ...breaker, probeAt: now + probeMs })

const lookup: Decision = { _tag: "Lookup" }

const ignore = (brake: Brake): Decision => ({ _tag: "Ignore", brake })

/** The set answered somebody between this failure and the last one: the name is broken, not the set. */
const isBroken = (name: NamePolicy, breaker: Breaker): boolean => breaker.answeredAt > name.failedAt

const mayReset = (name: NamePolicy, now: number): boolean => now - name.resetAt >= resetEveryMs

/** The TTL itself brakes a healthy name: it must not be late because earlier answers were the same. */
const ttlEnded = (name: NamePolicy, cause: Cause): boolean =>
  cause === "Stale" && name.failures === 0 && name.repliedAt > name.endedAt

const delay = (attempts: number, random: number): number =>
  Math.round(Math.min(maxDelayMs, firstDelayMs * 2 ** Math.min(attempts - 1, 6)) * (1 - jitter + 2 * jitter * random))
