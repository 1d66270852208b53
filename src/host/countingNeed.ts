/**
 * Whether the host is to count the gateway's packets (`pathCounters.ts`). It does, but for one case: while many packets come
 * through each of them would pay for it, and what the packet path sees by itself is enough to tell that something may be
 * lost. Pure; times are monotonic milliseconds.
 */

/** What the packet path has seen so far, and the state of the host's rules. */
export interface TrafficSeen {
  readonly at: number
  /** Packets to the host, and from it. */
  readonly written: number
  readonly received: number
  /** Those of flows that had no answer for a second, and errors that came instead of one. */
  readonly missed: number
  /** Clients' packets to the gateway's own services, and what came from these. */
  readonly asked: number
  readonly answered: number
  /** Grows with every change of a firewall rule, whoever made it; `null`: not known. */
  readonly rules: number | null
}

export interface Counting {
  readonly on: boolean
  readonly seen: TrafficSeen | null
  /** When there were many packets the last time. */
  readonly manyAt: number
  /** When something may have been lost the last time, and what had been missed before. */
  readonly doubt: { readonly at: number; readonly missed: number }
  /**
   * Misses that are no doubt, as nothing was lost when half of them came: a token bucket's tokens per millisecond, and how
   * many are in it.
   */
  readonly rate: number
  readonly tokens: number
  /** Since when it is seen whether far fewer come than the rate allows, and what had been missed before. */
  readonly minute: { readonly at: number; readonly missed: number }
  /** Nothing has come from the host since packets went to it, nothing went since they came, no service has answered. */
  readonly waits: readonly [fromHost: boolean, fromClients: boolean, fromServices: boolean]
}

export const countingAtFirst: Counting = {
  on: true,
  seen: null,
  manyAt: Number.NEGATIVE_INFINITY,
  doubt: { at: Number.NEGATIVE_INFINITY, missed: 0 },
  rate: 0,
  tokens: 0,
  minute: { at: Number.NEGATIVE_INFINITY, missed: 0 },
  waits: [false, false, false]
}

/** Packets per millisecond that are many. Fewer cost 0.2 % of a core at most to count. */
const many = 2
/** What is begun after a doubt goes on for this long: two looks at what a second packet shows. */
const trialMs = 6_000
/** A pause between loads is shorter. */
const fewMs = 15_000
/** So often the rate is halved where less than a quarter of it came: down to one miss in a trial, as that is still seldom. */
const minuteMs = 60_000
const leastRate = 1 / trialMs

/** One look. `well`: what is counted shows no loss; `null`: nothing is counted. */
export const judgeCounting = (before: Counting, seen: TrafficSeen, well: boolean | null): Counting => {
  const { seen: last } = before
  if (last === null) return { ...before, seen }
  const now = seen.at
  const grown = (of: "written" | "received" | "missed" | "asked" | "answered") => seen[of] - last[of]
  const isMany = grown("written") + grown("received") >= many * (now - last.at)
  const waits = [
    waitsFor(before.waits[0], grown("written"), grown("received")),
    waitsFor(before.waits[1], grown("received"), grown("written")),
    waitsFor(before.waits[2], grown("asked"), grown("answered"))
  ] as const
  const [fromHost, fromClients, fromServices] = waits.map((waiting, i) => waiting && before.waits[i])
  const rulesChanged = seen.rules !== null && last.rules !== null && seen.rules !== last.rules
  // A stream may go one way only.
  const isSilent = !isMany && (fromHost === true || fromClients === true)
  const { minute, rate } = fallen(before, seen)
  const tokens = Math.min(rate * trialMs, before.tokens + rate * (now - last.at)) - grown("missed")
  // Who asks what is dead misses answers all the time. What is missed during a trial, the counts are there to explain.
  const isMissing = !before.on && tokens < 0
  const doubted = rulesChanged || isMissing || fromServices === true || isSilent
  // What nobody has counted is no trial.
  const isUncounted = before.on && well === null
  const doubt = isUncounted
    ? { at: now, missed: seen.missed }
    : doubted
      ? { at: now, missed: last.missed }
      : before.doubt
  const manyAt = isMany ? now : before.manyAt
  const tried = now - doubt.at
  if (before.on && isMany && well === true && tried >= trialMs) {
    const learnt = (2 * (seen.missed - doubt.missed)) / tried
    const minute = { at: now, missed: seen.missed }
    return { on: false, seen, manyAt, doubt, rate: learnt, tokens: learnt * trialMs, minute, waits }
  }
  const on = before.on || doubted || now - manyAt >= fewMs
  return { on, seen, manyAt, doubt, rate, tokens, minute, waits }
}

/** The rate after a look: what one client missed in a trial must not hide for ever what all miss later. */
const fallen = ({ minute, rate }: Counting, { at, missed }: TrafficSeen): Pick<Counting, "minute" | "rate"> => {
  if (at - minute.at < minuteMs) return { minute, rate }
  const isFar = missed - minute.missed < (rate / 4) * (at - minute.at)
  return { minute: { at, missed }, rate: isFar && rate > leastRate ? Math.max(rate / 2, leastRate) : rate }
}

/** The same where this is the state of the rules that was seen last: a change that was the gateway's own is none. */
export const withRules = (counting: Counting, rules: number | null): Counting => ({
  ...counting,
  seen: counting.seen && { ...counting.seen, rules }
})

const waitsFor = (waiting: boolean, asked: number, answered: number): boolean => answered <= 0 && (waiting || asked > 0)
