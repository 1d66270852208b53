import type { Words } from "../packet/address.ts"
import { BACKOFF, EvidenceTable, REPLIED, RETRY_AT, TIMES, TOUCHED, WAITING } from "./evidenceTable.ts"

/** A session without reply for this long makes its address silent. */
const silentAfter = 3_000

/** How long silence, or a sibling's reply, says something about now. */
const evidenceWindow = 60_000

/**
 * Which real addresses have been answering one client, per (mapping, real port, address). Fixed memory per client,
 * made when the client first needs it: evidence of one client neither changes nor pushes out another's. What no longer
 * fits is forgotten, least recently touched first, and its address counts as unknown.
 */
export class ReplyEvidence {
  private readonly tables: Array<EvidenceTable | undefined> = []
  private readonly epochs: Array<number | undefined> = []

  /** A new session (or a rebound one) sends its first packet to the address. Wanted for names with several addresses. */
  started(client: number, mapping: number, port: number, real: Readonly<Words>, now: number): void {
    const table = (this.tables[client] ??= new EvidenceTable())
    const t = table.take(mapping, this.keyOf(mapping, port), real, now) * TIMES
    const waiting = table.times[t + WAITING]!
    if (waiting < 0 || now - waiting >= evidenceWindow) table.times[t + WAITING] = now
  }

  /**
   * Something came back from the address, a TCP RST as well: it is in the rotation again. Costs a table look-up, so
   * call it for a session's first reply and then once a second at most.
   */
  replied(client: number, mapping: number, port: number, real: Readonly<Words>, now: number): void {
    const table = this.tables[client]
    if (table === undefined) return
    const row = table.find(mapping, this.keyOf(mapping, port), real)
    if (row < 0) return
    const t = row * TIMES
    table.times[t + WAITING] = -1
    table.times[t + REPLIED] = now
    table.times[t + BACKOFF] = 0
    table.times[t + TOUCHED] = now
  }

  /**
   * The index of the address for a new session: from `start` upwards with wrap-around, the first in the rotation. An
   * address leaves the rotation when it is silent while a sibling answers, comes back for one session after each
   * back-off (1 s doubling to 60 s) and for good with a reply. One address always stays.
   */
  choose(
    client: number,
    mapping: number,
    port: number,
    addresses: ReadonlyArray<Readonly<Words>>,
    start: number,
    now: number
  ): number {
    const table = this.tables[client]
    if (table === undefined || addresses.length < 2) return start
    const key = this.keyOf(mapping, port)
    for (let i = 0; i < addresses.length; i++) {
      const index = (start + i) % addresses.length
      const row = table.find(mapping, key, addresses[index]!)
      if (row < 0) return index
      if (outOfRotation(table, row)) {
        if (retry(table, row, now)) return index
      } else if (!silent(table, row, now)) {
        return index
      } else if (siblingAnswers(table, mapping, key, addresses, index, now)) {
        table.times[row * TIMES + BACKOFF] = firstBackoff
        table.times[row * TIMES + RETRY_AT] = now + firstBackoff
      } else {
        const other = retrySibling(table, mapping, key, addresses, index, now)
        return other < 0 ? index : other
      }
    }
    return start
  }

  forgetMapping(mapping: number): void {
    this.epochs[mapping] = ((this.epochs[mapping] ?? 0) + 1) & 0xffff
  }

  forgetClient(client: number): void {
    this.tables[client] = undefined
  }

  /** The mapping's epoch is part of the key, so that forgetting a mapping needs no search. */
  private keyOf(mapping: number, port: number): number {
    return ((this.epochs[mapping] ?? 0) << 16) | port
  }
}

const firstBackoff = 1_000
const longestBackoff = 60_000

const outOfRotation = (table: EvidenceTable, row: number): boolean => table.times[row * TIMES + BACKOFF]! > 0

const silent = (table: EvidenceTable, row: number, now: number): boolean => {
  const waiting = table.times[row * TIMES + WAITING]!
  return waiting >= 0 && now - waiting >= silentAfter && now - waiting < evidenceWindow
}

/** Whether the back-off is over; the next one, twice as long, begins with the session that is let through. */
const retry = (table: EvidenceTable, row: number, now: number): boolean => {
  const t = row * TIMES
  if (now < table.times[t + RETRY_AT]!) return false
  const backoff = Math.min(table.times[t + BACKOFF]! * 2, longestBackoff)
  table.times[t + BACKOFF] = backoff
  table.times[t + RETRY_AT] = now + backoff
  return true
}

const siblingAnswers = (
  table: EvidenceTable,
  mapping: number,
  key: number,
  addresses: ReadonlyArray<Readonly<Words>>,
  index: number,
  now: number
): boolean => {
  for (let i = 0; i < addresses.length; i++) {
    const row = i === index ? -1 : table.find(mapping, key, addresses[i]!)
    if (row < 0 || outOfRotation(table, row) || silent(table, row, now)) continue
    const replied = table.times[row * TIMES + REPLIED]!
    if (replied >= 0 && now - replied < evidenceWindow) return true
  }
  return false
}

/** When everything is silent, an address that is out of the rotation gets its turn whichever proxy was asked for. */
const retrySibling = (
  table: EvidenceTable,
  mapping: number,
  key: number,
  addresses: ReadonlyArray<Readonly<Words>>,
  index: number,
  now: number
): number => {
  for (let i = 1; i < addresses.length; i++) {
    const other = (index + i) % addresses.length
    const row = table.find(mapping, key, addresses[other]!)
    if (row >= 0 && outOfRotation(table, row) && retry(table, row, now)) return other
  }
  return -1
}
