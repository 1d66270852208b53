/** When to connect to the portal again, and when to give up. Pure: time and chance come in. */
import * as DateTime from "effect/DateTime"
import * as Option from "effect/Option"

/** Why there is no connection. */
export type ConnectFailure =
  | {
      readonly _tag: "Http"
      readonly status: number
      /** The `Retry-After` header: seconds or an HTTP date. */
      readonly retryAfter: string | null
    }
  /** Refused, unreachable, TLS, timed out, or closed after it was up. */
  | { readonly _tag: "Network"; readonly detail: string }

/** What is known of the connection so far. Times are monotonic milliseconds. */
export interface Link {
  readonly everJoined: boolean
  /** Since when there is none. */
  readonly downSince: number
  /** Failures in a row. */
  readonly attempts: number
  /** The token goes in the query and the version in the old place: portals of 2024. */
  readonly legacy: boolean
}

export type Decision =
  | { readonly _tag: "Retry"; readonly afterMs: number; readonly link: Link }
  | { readonly _tag: "Fatal"; readonly message: string }

const firstDelayMs = 500
const maxDelayMs = 60_000
const factor = 1.5
/** While the first connection is being made, a person may be watching. */
const eagerMs = 15_000
const eagerDelayMs = 1_000
/** A connection that was up for this long was a good one. */
const steadyMs = 10_000
/** No portal is obeyed for longer. */
const maxRetryAfterMs = 600_000

export const initialLink = (now: number, legacy: boolean): Link => ({
  everJoined: false,
  downSince: now,
  attempts: 0,
  legacy
})

/** The join was answered. */
export const joined = (link: Link, now: number): Link => ({ ...link, everJoined: true, downSince: now })

/**
 * The moment from which a connection that was up counts as down. Failures start over, unless it was up so shortly that it
 * is one of them: a portal that hangs up on everybody is not called twice a second by all its gateways.
 */
export const lost = (link: Link, now: number): Link => ({
  ...link,
  downSince: now,
  attempts: now - link.downSince >= steadyMs ? 0 : link.attempts
})

/** `random` is from 0 to 1. */
export const decide = (
  link: Link,
  failure: ConnectFailure,
  now: number,
  random: number,
  maxPartitionMs: number
): Decision => {
  if (failure._tag === "Http" && failure.status === 401) {
    if (link.everJoined || link.legacy) return { _tag: "Fatal", message: refusedToken }
    // A portal of 2024 looks for the token in the query only.
    return { _tag: "Retry", afterMs: 0, link: { ...link, legacy: true } }
  }
  const left = link.downSince + maxPartitionMs - now
  if (left <= 0) {
    const hours = Math.round(maxPartitionMs / 360_000) / 10
    return { _tag: "Fatal", message: `the portal has been out of reach for ${hours} h: ${describe(failure)}` }
  }
  const next = { ...link, attempts: link.attempts + 1 }
  const asked = failure._tag === "Http" ? retryAfterMs(failure.retryAfter, now) : undefined
  const wanted = asked === undefined ? backOff(link, now, random) : Math.max(firstDelayMs, asked)
  return { _tag: "Retry", afterMs: Math.ceil(Math.min(wanted, left)), link: next }
}

/** One line, without anything secret. */
export const describe = (failure: ConnectFailure): string =>
  failure._tag === "Network" ? failure.detail : `the portal answered with HTTP status ${failure.status}`

const refusedToken =
  "the portal refuses the token (HTTP status 401): make a new one in the portal and put it into FIREZONE_TOKEN"

/** Milliseconds from `now`; `undefined` when the header is absent or is neither seconds nor a date. */
const retryAfterMs = (header: string | null, now: number): number | undefined => {
  if (header === null) return undefined
  const text = header.trim()
  if (/^\d{1,9}$/.test(text)) return Math.min(Number(text) * 1_000, maxRetryAfterMs)
  if (text.length > 40 || !/^[A-Za-z]/.test(text)) return undefined
  const date = DateTime.make(text)
  if (Option.isNone(date)) return undefined
  return Math.max(0, Math.min(DateTime.toEpochMillis(date.value) - now, maxRetryAfterMs))
}

const backOff = (link: Link, now: number, random: number): number => {
  if (!link.everJoined && now - link.downSince < eagerMs) return eagerDelayMs
  const delay = Math.min(maxDelayMs, firstDelayMs * factor ** Math.min(link.attempts, 64))
  return Math.min(maxDelayMs, delay * (0.5 + random))
}
