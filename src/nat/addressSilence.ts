import type { Words } from "../packet/address.ts"
import { EvidenceTable } from "./evidenceTable.ts"

/** A flow without reply for this long is a try in vain. */
const silentAfter = 3_000

/** Fixed memory per client, made when it first opens a flow to a name. */
interface OfClient {
  readonly table: EvidenceTable
  waits: boolean
}

/**
 * Real addresses of names that do not answer one client, so that somebody can be told: how many flows were tried since the
 * last reply, and since when. Only flows that somebody answers where there is somebody count: TCP and echo. Unlike
 * `ReplyEvidence` it decides nothing, and it knows addresses without siblings too.
 */
export class AddressSilence {
  private readonly clients: Array<OfClient | undefined> = []
  private readonly epochs: Array<number | undefined> = []
  /** Clients with rows to look at. */
  private waiting: Array<number> = []

  /** A new flow sends its first packet to the address. */
  tried(client: number, mapping: number, real: Readonly<Words>, now: number): void {
    const of = (this.clients[client] ??= { table: new EvidenceTable(), waits: false })
    const t = of.table.take(mapping, this.epochs[mapping] ?? 0, real, now) * COLUMNS
    const { times } = of.table
    // What was told of it before, by a row that is gone, is not known.
    if (times[t + SINCE]! < 0 && times[t + REPLIED]! < 0) times[t + TOLD] = UNKNOWN
    if (times[t + SINCE]! < 0) times[t + SINCE] = now
    times[t + TRIES]!++
    this.wait(client, of)
  }

  /** Something came back from it: call it for a flow's first reply and then once a second at most. */
  replied(client: number, mapping: number, real: Readonly<Words>, now: number): void {
    const of = this.clients[client]
    if (of === undefined) return
    const row = of.table.find(mapping, this.epochs[mapping] ?? 0, real)
    if (row < 0) return
    const t = row * COLUMNS
    const { times } = of.table
    times[t + SINCE] = -1
    times[t + REPLIED] = now
    times[t + TRIES] = 0
    times[t + TOUCHED] = now
    if (times[t + TOLD] !== 0) this.wait(client, of)
  }

  /**
   * What has changed of addresses that were tried in vain: 0 tries for one that answers again. At most of `most` clients,
   * the others have their turn next time.
   */
  take(
    most: number,
    now: number,
    tell: (mapping: number, real: Words, tries: number, since: number, repliedAt: number) => void
  ): void {
    const turn = this.waiting.slice(0, most)
    this.waiting = this.waiting.slice(most)
    for (const client of turn) {
      const of = this.clients[client]
      if (of === undefined) continue
      of.waits = false
      const { times } = of.table
      of.table.each((row, mapping, key, real) => {
        const t = row * COLUMNS
        if (key !== (this.epochs[mapping] ?? 0) || times[t + TRIES] === times[t + TOLD]) return
        const tries = times[t + TRIES]!
        if (tries > 0 && now - times[t + SINCE]! < silentAfter) return this.wait(client, of)
        times[t + TOLD] = tries
        tell(mapping, real, tries, times[t + SINCE]!, times[t + REPLIED]!)
      })
    }
  }

  forgetMapping(mapping: number): void {
    this.epochs[mapping] = ((this.epochs[mapping] ?? 0) + 1) & 0xffff
  }

  forgetClient(client: number): void {
    this.clients[client] = undefined
    this.waiting = this.waiting.filter((other) => other !== client)
  }

  private wait(client: number, of: OfClient): void {
    if (of.waits) return
    of.waits = true
    this.waiting.push(client)
  }
}

const COLUMNS = 5
/** When the first flow without a reply began; −1: none is. */
const SINCE = 0
/** The last reply; −1: there was none. */
const REPLIED = 1
/** Flows since the last reply; and how many of them were told. */
const TRIES = 2
const TOLD = 3
const UNKNOWN = -1
const TOUCHED = 4
