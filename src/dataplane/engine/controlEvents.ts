/**
 * In-tunnel control events: those of a client become notices, ours become packets for its tunnel.
 * The tunnel authenticates a client's; main gets a bounded number of them.
 */
import type { Arena } from "../../packet/arena.ts"
import {
  controlEvent,
  controlPayload,
  isWholeControl,
  maxControlPayload,
  writeControl
} from "../../packet/controlPacket.ts"
import type { PacketView } from "../../packet/packetView.ts"
import { controlEventLimit, RateLimits } from "../../nat/rateLimits.ts"
import type { SendControl } from "../commands.ts"
import type { ClientEntry } from "./clientTable.ts"
import type { EngineState } from "./engineState.ts"
import type { Link } from "./link.ts"

const goodbye = 2

export class ControlEvents {
  private readonly state: EngineState
  private readonly link: Link
  private readonly left: (client: ClientEntry) => void
  private readonly limits: RateLimits
  private readonly at: number

  /** `left` is called for a client that said goodbye. */
  constructor(state: EngineState, link: Link, arena: Arena, left: (client: ClientEntry) => void) {
    this.state = state
    this.link = link
    this.left = left
    this.limits = state.track(new RateLimits(controlEventLimit))
    this.at = arena.reserve(1_280 + 64)
  }

  /** A packet that `isControl` said yes to, out of the client's tunnel. */
  received(client: ClientEntry, view: Readonly<PacketView>): void {
    const { state } = this
    if (!isWholeControl(view)) return state.count("control.malformed")
    if (!this.limits.take(client.index, state.now)) return state.count("control.rate_limited")
    state.count("control.received")
    const event = controlEvent(state.bytes, view)
    const payload = controlPayload(state.bytes, view)
    state.notices.put({ _tag: "Control", epoch: state.epoch, client: client.id, event, payload })
    if (event === goodbye) this.left(client)
  }

  send(command: SendControl): void {
    const { state } = this
    const { event, payload } = command
    const client = state.clients.find(command.client)
    const fits = Number.isInteger(event) && event >= 0 && event <= 255 && payload.length <= maxControlPayload
    if (client === undefined || !fits || !client.peer.hasSession(state.now)) return state.count("control.unsent")
    state.count("control.sent")
    this.link.toClient(client, this.at, writeControl(state.bytes, this.at, event, payload))
  }
}
