/**
 * Connections that were open before this engine, or before their client came here from elsewhere. The client's next packet
 * makes them known; where only the server sends, none comes. So a segment of a flow that is not known, from where the
 * client may have a connection to, makes us ask the client: by an empty segment just before it in the flow, as TCP keeps
 * connections alive (RFC 9293 §3.8.4). Who has that connection answers with an acknowledgement, which is a packet from the
 * client like any other; who has not answers with a reset, which goes no further. The segment waits for that for a moment: its
 * server would send it again only after a pause that has doubled with each time before.
 */
import { chooseAddress } from "../../nat/addressChoice.ts"
import { HeldSegments, longestHeld } from "../../nat/heldSegments.ts"
import { ProbedFlows } from "../../nat/probedFlows.ts"
import { RateLimits } from "../../nat/rateLimits.ts"
import { TokenBucket } from "../../nat/TokenBucket.ts"
import { MappingState } from "../../nat/translations.ts"
import { copyWords, equal, isIpv4, type Words, words } from "../../packet/address.ts"
import type { Arena } from "../../packet/arena.ts"
import { read32 } from "../../packet/bytes.ts"
import type { PacketView } from "../../packet/packetView.ts"
import { protocolTcp, tcpAck, tcpFin, tcpRst, tcpSyn } from "../../packet/protocols.ts"
import { type AckFields, makeAckFields, maxAckLength, readAckFields, writeAck } from "../../packet/tcpAck.ts"
import type { ClientEntry } from "./clientTable.ts"
import type { EngineState } from "./engineState.ts"
import type { Link } from "./link.ts"

/** For so long after a client has come segments may be of flows from before. */
const openMs = 300_000
/** Segments that are looked at, of one client and of all; and probes, of all. */
const clientLimit = { perSecond: 200, burst: 400 }
const totalLimit = { perSecond: 1_000, burst: 1_000 }
/** A name has four proxies in each family, and several names may have one address. */
const mostProbes = 8
/** Names whose addresses are not known yet, the last ones to be used of the client's; and for how long they are waited for. */
const mostAsked = 16
const awaitMs = 2_000
/** Flows that wait for them. */
const mostWaiting = 256
/** WireGuard pads. */
const padding = 16

const relevant = tcpFin | tcpSyn | tcpRst | tcpAck

interface Waiting {
  readonly client: ClientEntry
  readonly real: Words
  readonly fields: AckFields
  readonly until: number
}

export class FlowProbes {
  private readonly state: EngineState
  private readonly link: Link
  private readonly at: number
  private readonly flows: ProbedFlows
  private readonly held: HeldSegments
  private readonly heldAt: number
  /** Flows that are known by now, and whose segments go on. */
  private readonly answered: Array<number> = []
  private readonly limits: RateLimits
  private readonly segments = new TokenBucket(totalLimit)
  private readonly probes = new TokenBucket(totalLimit)
  private readonly fields = makeAckFields()
  private readonly chosen: Words = words()
  private waiting: Array<Waiting> = []

  constructor(state: EngineState, link: Link, arena: Arena, seed: number) {
    this.state = state
    this.link = link
    this.at = arena.reserve(maxAckLength + padding)
    this.heldAt = arena.reserve(longestHeld + padding)
    this.flows = state.track(new ProbedFlows(seed))
    this.held = state.track(new HeldSegments())
    this.limits = state.track(new RateLimits(clientLimit))
    state.clients.onRemoved((client) => void (this.waiting = this.waiting.filter((one) => one.client !== client)))
  }

  /** A handshake with the client was completed. */
  met(client: ClientEntry): void {
    if (!client.arrives) return
    client.arrives = false
    client.arrivedAt = this.state.now
  }

  /** A packet from outside that is of no known flow; a super-packet is not whole by itself. */
  segment(client: ClientEntry, view: Readonly<PacketView>, isWhole: boolean): void {
    const { fields, state } = this
    const { now } = state
    if (view.protocol !== protocolTcp || (view.tcpFlags & relevant) !== tcpAck || view.fragment) return
    if (now - client.arrivedAt >= openMs) return
    if (!this.limits.take(client.index, now) || !this.segments.take(now)) return state.count("probes.limited")
    readAckFields(state.bytes, view, fields)
    const ports = portsOf(view.sourcePort, view.destinationPort)
    const row = this.flows.take(client.index, ports, view.source, fields.acknowledgement, now)
    if (row < 0) return
    if (isWhole) this.held.put(row, client.index, state.bytes, view.offset, view.length, now)
    else this.held.drop(row)
    // The one before it: who has the connection has had that one, or still waits for it.
    fields.sequence = (fields.sequence - 1) | 0
    if (this.waiting.length === mostWaiting) this.waiting = this.waiting.filter(({ until }) => now < until)
    if (this.probe(client, view.source) && this.waiting.length < mostWaiting) {
      const real = words()
      copyWords(view.source, real)
      this.waiting.push({ client, real, fields: { ...fields }, until: now + awaitMs })
    }
  }

  /** The addresses of a mapping are known by now. */
  resolved(mapping: number): void {
    if (this.waiting.length === 0) return
    const { now, translations } = this.state
    const owner = translations.clientOf(mapping)
    this.waiting = this.waiting.filter(({ until }) => now < until)
    for (const { client, fields, real } of this.waiting) {
      if (client.index !== owner) continue
      Object.assign(this.fields, fields)
      this.probeBy(client, mapping, real, mostProbes)
    }
  }

  /** A packet of the client has opened a flow to the real address: it has had that one, unless it begins another. */
  opened(client: ClientEntry, view: Readonly<PacketView>, real: Readonly<Words>): void {
    if (view.protocol !== protocolTcp || (view.tcpFlags & (tcpAck | tcpRst | tcpSyn)) !== tcpAck) return
    const row = this.flows.asked(client.index, portsOf(view.destinationPort, view.sourcePort), real, this.state.now)
    if (row >= 0) this.answered.push(row)
  }

  /** Hands out what was held of flows that were opened since; its bytes are good until `each` returns. */
  release(each: (offset: number, length: number) => void): void {
    const { answered, held, heldAt, state } = this
    if (answered.length === 0) return
    for (const row of answered.splice(0)) {
      const length = held.take(row, state.bytes, heldAt, state.now)
      if (length === 0) continue
      state.count("probes.released")
      each(heldAt, length)
    }
  }

  /** Whether a packet that would open a flow to the real address is the answer of a client that does not have it. */
  isRefusal(client: ClientEntry, view: Readonly<PacketView>, real: Readonly<Words>): boolean {
    if (view.protocol !== protocolTcp || (view.tcpFlags & relevant) !== tcpRst) return false
    const ports = portsOf(view.destinationPort, view.sourcePort)
    const sequence = read32(this.state.bytes, view.transport + 4) | 0
    return this.flows.isAnswer(client.index, ports, real, sequence, this.state.now)
  }

  /** By all that the client may have it by. Whether more may come to be known. */
  private probe(client: ClientEntry, real: Readonly<Words>): boolean {
    const { state, fields } = this
    const { translations } = state
    let left = mostProbes
    if (state.route(client, real, protocolTcp, fields.sourcePort) >= 0) left -= this.ask(client, real)
    let mayCome = false
    let asked = 0
    // The last ones to be told are the last ones to be used.
    for (const mapping of Array.from(client.mappings).toReversed()) {
      const known = translations.state(mapping)
      if (known === MappingState.Resolved) {
        if (left > 0) left -= this.probeBy(client, mapping, real, left)
        continue
      }
      if (known === MappingState.Unresolved || !state.admitting(client, mapping, protocolTcp, fields.sourcePort))
        continue
      mayCome = true
      if (known === MappingState.Unasked && asked++ < mostAsked) state.suspect(mapping, "Unmapped")
    }
    return mayCome
  }

  /** Where a new flow of the client to a proxy of the mapping would go there. Yields by how many. */
  private probeBy(client: ClientEntry, mapping: number, real: Readonly<Words>, atMost: number): number {
    const { chosen, fields, state } = this
    const { evidence, now, translations } = state
    if (!translations.addresses(mapping, real).some((address) => equal(address, real))) return 0
    if (state.admitting(client, mapping, protocolTcp, fields.sourcePort, real) === undefined) return 0
    let probes = 0
    for (const proxy of translations.proxies(mapping, real)) {
      if (probes === atMost) break
      if (!chooseAddress(translations, evidence, mapping, proxy, fields.sourcePort, now, chosen)) continue
      if (equal(chosen, real)) probes += this.ask(client, proxy)
    }
    return probes
  }

  /** Unless the client has a flow of these ports to there, which is another one then. */
  private ask(client: ClientEntry, from: Readonly<Words>): 0 | 1 {
    const { at, fields, link, state } = this
    const { destinationPort, sourcePort } = fields
    if (state.sessions.findOutbound(client.index, protocolTcp, destinationPort, from, sourcePort) >= 0) return 0
    if (!this.probes.take(state.now)) {
      state.count("probes.limited")
      return 0
    }
    const own = isIpv4(from) ? client.tunnel4 : client.tunnel6
    link.toClient(client, at, writeAck(state.bytes, at, from, own, fields))
    state.count("probes.sent")
    return 1
  }
}

const portsOf = (realPort: number, insidePort: number): number => (realPort << 16) | insidePort
