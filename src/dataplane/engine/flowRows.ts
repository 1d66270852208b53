/** Flows that began or ended, until they are told: so many per client and telling, so many in all, the others counted. */
import { equal, formatAddress, type Words, words } from "../../packet/address.ts"
import { grownInts } from "../../nat/slotLists.ts"
import type { SessionEnd } from "../../nat/sessions.ts"
import type { FlowRow } from "../journal.ts"
import type { EngineState } from "./engineState.ts"

/** Of each kind, per client and telling. */
const perClient = 16
const inAll = 512

export class FlowRows {
  private readonly state: Pick<EngineState, "clients" | "mappings" | "now" | "resources" | "sessions">
  private rows: Array<FlowRow> = []
  private untold = 0
  /** Per client: how many that began, and how many that ended, were taken since the last telling. */
  private taken = new Int32Array(64 * 2)
  private readonly inside: Words = words()
  private readonly real: Words = words()

  constructor(state: FlowRows["state"]) {
    this.state = state
  }

  began(slot: number): void {
    if (this.takes(this.state.sessions.clientOf(slot) * 2)) this.put(slot, null)
  }

  ended(slot: number, why: SessionEnd): void {
    const { now, sessions } = this.state
    if (!this.takes(sessions.clientOf(slot) * 2 + 1)) return
    const bytesOut = sessions.bytesOut(slot)
    const bytesIn = sessions.bytesIn(slot)
    this.put(slot, { why, bytesOut, bytesIn, durationMs: now - sessions.firstOutAt(slot) })
  }

  take(): { readonly rows: ReadonlyArray<FlowRow>; readonly untold: number } {
    const taken = { rows: this.rows, untold: this.untold }
    this.rows = []
    this.untold = 0
    this.taken.fill(0)
    return taken
  }

  private takes(which: number): boolean {
    if (which >= this.taken.length) this.taken = grownInts(this.taken, which + 1)
    if (this.rows.length < inAll && this.taken[which]!++ < perClient) return true
    this.untold++
    return false
  }

  private put(slot: number, end: FlowRow["end"]): void {
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
      end
    })
  }
}
