/** Flows that began or ended, until they are told: so many per client and telling, so many in all, the others counted. */
import { equal, formatAddress, type Words, words } from "../../packet/address.ts"
import { grownInts } from "../../nat/slotLists.ts"
import type { SessionEnd } from "../../nat/sessions.ts"
import type { FlowRow } from "../journal.ts"
import type { EngineState } from "./engineState.ts"

/** Of each kind, per client and telling. */
const perClient = 16
const inAll = 512
/** Those that wait for an answer: they are of four tellings. */
const mostBegun = 2_048
/** Until one that began is told without an answer: who lost the first packet, or the answer, has sent another one. */
const answerWithinMs = 3_000

export class FlowRows {
  private readonly state: Pick<EngineState, "clients" | "mappings" | "now" | "resources" | "sessions">
  private rows: Array<FlowRow> = []
  /** Slots of flows that began and go on. What waits here for an answer takes no room of what is told. */
  private readonly begun = new Set<number>()
  private untold = 0
  /** Per client: how many that began, and how many that ended, were taken since the last telling. */
  private taken = new Int32Array(64 * 2)
  private readonly inside: Words = words()
  private readonly real: Words = words()

  constructor(state: FlowRows["state"]) {
    this.state = state
  }

  began(slot: number): void {
    if (this.begun.size >= mostBegun || !this.takes(this.state.sessions.clientOf(slot) * 2)) this.untold++
    else this.begun.add(slot)
  }

  ended(slot: number, why: SessionEnd): void {
    const { now, sessions } = this.state
    if (this.begun.delete(slot)) this.put(slot, null)
    if (!this.takes(sessions.clientOf(slot) * 2 + 1)) this.untold++
    else this.put(slot, { why, bytesOut: sessions.bytesOut(slot), durationMs: now - sessions.firstOutAt(slot) })
  }

  take(): { readonly rows: ReadonlyArray<FlowRow>; readonly untold: number } {
    const { now, sessions } = this.state
    for (const slot of this.begun) {
      if (sessions.bytesIn(slot) === 0 && now - sessions.firstOutAt(slot) < answerWithinMs) continue
      this.begun.delete(slot)
      this.put(slot, null)
    }
    const { rows, untold } = this
    this.rows = []
    this.untold = 0
    this.taken.fill(0)
    return { rows, untold }
  }

  private takes(which: number): boolean {
    if (which >= this.taken.length) this.taken = grownInts(this.taken, which + 1)
    return this.taken[which]!++ < perClient
  }

  /** The flow as it is now: one that nothing has answered may have gone on to another address. */
  private put(slot: number, end: FlowRow["end"]): void {
    if (this.rows.length >= inAll) return void this.untold++
    const { clients, mappings, resources, sessions } = this.state
    const client = clients.get(sessions.clientOf(slot))
    if (client === undefined) return
    const { inside, real } = this
    sessions.destinationInto(slot, inside)
    sessions.realInto(slot, real)
    this.rows.push({
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
    })
  }
}
