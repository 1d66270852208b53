/**
 * How often a pair is checked. A pair that never answered is checked at `initialRto`, doubled up to `maxRto`; one that
 * did, every `maxRto`, and every half of it while an answer is missing. After `maxRetransmits` checks in a row without
 * an answer, and `maxRto` more, the pair is given up. Milliseconds.
 */
export interface IceTimings {
  readonly active: CheckTimings
  /** Without data. */
  readonly idle: CheckTimings
  /** Without data for so long a connection is idle. */
  readonly idleAfter: number
}

export interface CheckTimings {
  readonly maxRetransmits: number
  readonly maxRto: number
  readonly initialRto: number
}

/** The portal's clients, and its gateways of the years 2024 and 2025: notices a dead path in 10 s. */
export const eagerTimings: IceTimings = {
  active: { maxRetransmits: 8, maxRto: 1_500, initialRto: 250 },
  idle: { maxRetransmits: 4, maxRto: 60_000, initialRto: 60_000 },
  idleAfter: 10_000
}

/** The portal's later gateways: many connections, kept quiet; it is the client that notices a dead path. */
export const patientTimings: IceTimings = {
  active: { maxRetransmits: 45, maxRto: 15_000, initialRto: 250 },
  idle: { maxRetransmits: 40, maxRto: 25_000, initialRto: 25_000 },
  idleAfter: 20_000
}

/** Without any pair to check for so long after its start, a connection has failed. */
export const noCandidatesTime = 10_000

/** After the last pair was given up, the connection has failed when no other came up for so long. */
export const disconnectedTime = 2_000
