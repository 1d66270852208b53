/** Flows that began or ended, until they are told: so many per client and telling, so many in all, the others counted. */
import { equal, formatAddress, type Words, words } from "../../packet/address.ts"
import { grownInts } from "../../nat/slotLists.ts"
import type { SessionEnd } from "../../nat/sessions.ts"
import type { FlowRow } from "../journal.ts"
import type { EngineState } from "./engineState.ts"

/** Of each kind, per client and telling. */
const perClient = 16
const inAll = 512
/** Until one that began is told without an answer: who lost the first packet, or the answer, has sent another one. */
const answerWithinMs = 3_000

interface Row extends FlowRow {
  bytesIn: number
}

export class FlowRows {
  private readonly state: Pick<EngineState, "clients" | "mappings" | "now" | "resources" | "sessions">
  private rows: Array<Row> = []
  /** Those of flows that began and go on, by their slot. */
  private readonly begun = new Map<number, Row>()
  private untold = 0
  /** Per client: how many that began, and how many that ended, were taken since the last telling. */
  private taken = new Int32Array(64 * 2)
  private readonly inside: Words = words()
  private readonly real: Words = words()

  constructor(state: FlowRows["state"]) {
    this.state = state
  }

  began(slot: number): void {
    if (!this.takes(this.state.sessions.clientOf(slot) * 2)) return
    const row = this.put(slot, null)
    if (row !== undefined) this.begun.set(slot, row)
  }

  ended(slot: number, why: SessionEnd): void {
    const { now, sessions } = this.state
    const begun = this.begun.get(slot)
    if (begun !== undefined) begun.bytesIn = sessions.bytesIn(slot)
    this.begun.delete(slot)
    if (!this.takes(sessions.clientOf(slot) * 2 + 1)) return
    this.put(slot, { why, bytesOut: sessions.bytesOut(slot), durationMs: now - sessions.firstOutAt(slot) })
  }

  take(): { readonly rows: ReadonlyArray<FlowRow>; readonly untold: number } {
    const waiting = this.unanswered()
    const taken = { rows: this.rows.filter((row) => !waiting.has(row)), untold: this.untold }
    this.rows = [...waiting]
    this.untold = 0
    this.taken.fill(0)
    return taken
  }

  /** Flows that may be answered yet; what has come back of the others is put into their rows. */
  private unanswered(): ReadonlySet<Row> {
    const { now, sessions } = this.state
    const waiting = new Set<Row>()
    for (const [slot, row] of this.begun) {
      row.bytesIn = sessions.bytesIn(slot)
      if (row.bytesIn === 0 && now - sessions.firstOutAt(slot) < answerWithinMs) waiting.add(row)
      else this.begun.delete(slot)
    }
    return waiting
  }

  private takes(which: number): boolean {
    if (which >= this.taken.length) this.taken = grownInts(this.taken, which + 1)
    if (this.rows.length < inAll && this.taken[which]!++ < perClient) return true
    this.untold++
    return false
  }

  private put(slot: number, end: FlowRow["end"]): Row | undefined {
    const { clients, mappings, resources, sessions } = this.state
    const client = clients.get(sessions.clientOf(slot))
    if (client === undefined) return undefined
    const { inside, real } = this
    sessions.destinationInto(slot, inside)
    sessions.realInto(slot, real)
    const row: Row = {
      client: client.id,
      to: {
        address: formatAddress(inside),
        protocol: sessions.protocolOf(slot),
        port: sessions.destinationPort(slot),
        mapping: mappings.name(sessions.mappingOf(slot)) ?? null,
        resource: resources.name(sessions.resourceOf(slot)) ?? null
      },
      real: equal(inside, real) ? null : formatAddress(real),
      bytesIn: sessions.bytesIn(slot),
      end
    }
    this.rows.push(row)
    return row
  }
}
