/**
 * Whether a resolver set lives, as far as packets that wait for a lookup go. Pure; times are monotonic milliseconds.
 * A dead set's clients are told within 2 s. A server with a cold cache takes longer for one name and answers others, a slow
 * one takes long for all: as long as the set has answered anything since the lookup began, or is known to be slow,
 * packets wait as long as their TCP would try again by itself, 4 s.
 */
export interface SetPulse {
  /** When it last answered anything. */
  readonly heardAt: number
  /** Its last answer was long in coming. */
  readonly slow: boolean
  /** What was asked last was not answered, and nothing has been since. */
  readonly silent: boolean
}

export const newPulse: SetPulse = { heardAt: Number.NEGATIVE_INFINITY, slow: false, silent: false }

/** How long packets wait from a lookup's beginning. */
export const shortHoldMs = 2_000
export const longHoldMs = 4_000
/** A lookup that takes so long raises the question whether the set lives. */
export const doubtMs = 1_000

export const heard = (now: number, tookMs: number): SetPulse => ({
  heardAt: now,
  slow: tookMs >= doubtMs,
  silent: false
})

/** A question that was asked at `since` was not answered. */
export const unheard = (pulse: SetPulse, since: number): SetPulse =>
  pulse.heardAt > since ? pulse : { ...pulse, slow: false, silent: true }

/** How long packets wait for a lookup of the set that began at `since`. */
export const holdMsOf = (pulse: SetPulse, since: number): number =>
  pulse.slow || pulse.heardAt > since ? longHoldMs : shortHoldMs
