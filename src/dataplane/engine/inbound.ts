/** The way of a packet from the TUN device to a client. */
import { equal, type Words, words } from "../../packet/address.ts"
import { isControl } from "../../packet/controlPacket.ts"
import { toClient } from "../../nat/fragments.ts"
import { lookAheadPackets } from "../../nat/lookAhead.ts"
import { hardenUnreachable, isUnreachable, parseQuoted } from "../../packet/icmp.ts"
import { isRequest, makePacketView, type PacketView, parsePacket } from "../../packet/packetView.ts"
import { protocolTcp, protocolUdp, tcpSyn } from "../../packet/protocols.ts"
import { clampMss, rewriteSource } from "../../packet/rewrite.ts"
import { rewriteQuoted } from "../../packet/rewriteQuoted.ts"
import { counterIndex } from "../counters.ts"
import { gsoNone, makeVirtioHeader, type VirtioHeader } from "../offload/virtioHeader.ts"
import type { ClientEntry } from "./clientTable.ts"
import type { EngineState } from "./engineState.ts"
import type { FlowProbes } from "./flowProbes.ts"
import type { Link } from "./link.ts"

const forwarded = counterIndex["inbound.forwarded"]
const bytes = counterIndex["inbound.bytes"]

/** A flow that keeps answering proves its address this often. */
const evidenceIntervalMs = 1_000

/** Of a packet that is no super-packet. */
const whole = makeVirtioHeader()

export class Inbound {
  private readonly state: EngineState
  private readonly link: Link
  private readonly probes: FlowProbes
  private readonly mtu: number
  private readonly view: PacketView = makePacketView()
  private readonly quoted: PacketView = makePacketView()
  private readonly destination: Words = words()

  /** Packets that were added. */
  private readonly offsets = new Int32Array(lookAheadPackets)
  private readonly lengths = new Int32Array(lookAheadPackets)
  private count = 0
  private isHanded = false
  /** What the kernel left undone of the packet at hand. */
  private header: Readonly<VirtioHeader>

  constructor(state: EngineState, link: Link, probes: FlowProbes, mtu: number) {
    this.state = state
    this.link = link
    this.probes = probes
    this.mtu = mtu
    this.header = state.io.tunHeader
  }

  /** As `packet`, but by `work` at the latest, together with others; its bytes stay until then. No super-packet. */
  add(offset: number, length: number): void {
    const n = this.count++
    this.offsets[n] = offset
    this.lengths[n] = length
    if (this.count === lookAheadPackets) this.work()
  }

  /** The packets that were added, in order. */
  work(): void {
    const { count, lengths, offsets } = this
    if (count === 0) return
    if (count > 1) this.lookAhead()
    this.count = 0
    this.header = whole
    for (let i = 0; i < count; i++) this.packet(offsets[i]!, lengths[i]!)
    this.header = this.state.io.tunHeader
  }

  /** A whole packet that is no other gateway's matter: one has no flow for it, or its client has answered here. */
  late(offset: number, length: number): void {
    this.header = whole
    this.isHanded = true
    this.packet(offset, length)
    this.isHanded = false
    this.header = this.state.io.tunHeader
  }

  /** One packet of `length` bytes at `offset`, read from the TUN device. */
  packet(offset: number, length: number): void {
    const { state, view } = this
    if (parsePacket(state.bytes, offset, length, view) !== 0) {
      state.count("inbound.malformed")
      return
    }
    const client = state.clients.owner(view.destination)
    if (client === undefined) {
      state.count(isControl(view) ? "control.from_device" : "inbound.unknown_client")
      return
    }
    if (state.isGateway(view.source)) {
      // The kernel reports on the packets that it could not forward from its own tunnel address.
      if (view.icmpError && !view.fragment) return this.icmpError(client)
      if (view.protocol === protocolUdp && view.fragmentOffset === 0) state.questions.answered(client.index)
      state.count("inbound.from_gateway")
      return this.forward(client)
    }
    if (state.isInside(view.source)) {
      state.count("inbound.tunnel_source")
      return
    }
    if (view.fragment && view.fragmentOffset !== 0) this.laterFragment(client)
    else if (view.icmpError) this.icmpError(client)
    else this.reply(client)
  }

  private lookAhead(): void {
    const { count, lengths, offsets, state, view } = this
    const { inboundAhead } = state.sessions
    for (let i = 0; i < count; i++) {
      if (parsePacket(state.bytes, offsets[i]!, lengths[i]!, view) !== 0) continue
      const client = state.clients.owner(view.destination)
      if (client === undefined) continue
      const flow = (view.protocol << 16) | view.destinationPort
      inboundAhead.add(client.index, flow, view.source, view.query ? 0 : view.sourcePort)
    }
    inboundAhead.fetch()
  }

  private reply(client: ClientEntry): void {
    const { state, view, destination } = this
    // Nobody outside may ask a client anything; flows by identifier take replies only.
    const slot = isRequest(view)
      ? -1
      : state.sessions.findInbound(
          client.index,
          view.protocol,
          view.destinationPort,
          view.source,
          view.query ? 0 : view.sourcePort
        )
    if (slot < 0) {
      if (this.unknown(client, "inbound.no_session")) return
      if (state.packets.unknownFlows === "probed") this.probes.segment(client, view, this.header.kind === gsoNone)
      return
    }
    const mapping = state.sessions.mappingOf(slot)
    if (view.protocol === protocolTcp && (view.tcpFlags & tcpSyn) !== 0) clampMss(state.bytes, view, this.mtu)
    if (mapping >= 0) {
      const realPort = view.query ? 0 : view.sourcePort
      const lastInAt = state.sessions.lastInAt(slot)
      if (lastInAt < 0 || state.now - lastInAt >= evidenceIntervalMs) {
        state.evidence.replied(client.index, mapping, realPort, view.source, state.now)
        state.journal.addresses.replied(client.index, mapping, view.source, state.now)
      }
      if (state.silence.inbound(mapping, view.protocol, realPort, state.now)) state.answered(mapping)
    }
    const insidePort = state.sessions.insidePort(slot)
    state.sessions.destinationInto(slot, destination)
    if (view.fragment) state.fragments.begin(toClient, client.index, view, view.source, destination, state.now)
    // Without a mapping the address is the same on both sides, the port need not be.
    if (mapping >= 0 || insidePort !== view.destinationPort) {
      rewriteSource(state.bytes, view, destination, insidePort)
    }
    state.sessions.received(slot, view.length)
    state.sessions.inbound(slot, view.tcpFlags, state.now)
    this.forward(client)
  }

  private laterFragment(client: ClientEntry): void {
    const { state, view, destination } = this
    if (!state.fragments.follow(toClient, client.index, view, view.source, destination, state.now)) {
      return void this.unknown(client, "inbound.fragment")
    }
    if (!equal(destination, view.source)) rewriteSource(state.bytes, view, destination, 0)
    this.forward(client)
  }

  /** An error about one of the client's flows follows that flow only; it seems to come from where the client sent to. */
  private icmpError(client: ClientEntry): void {
    const { state, view, quoted, destination } = this
    if (!parseQuoted(state.bytes, view, quoted)) {
      state.count("inbound.malformed")
      return
    }
    const own = equal(quoted.source, view.destination)
    if (own && state.isGateway(view.source) && state.isGateway(quoted.destination)) {
      this.forward(client)
      return
    }
    const slot = own
      ? state.sessions.findInbound(
          client.index,
          quoted.protocol,
          quoted.sourcePort,
          quoted.destination,
          quoted.query ? 0 : quoted.destinationPort
        )
      : -1
    if (slot < 0) return void this.unknown(client, "inbound.no_session")
    const mapping = state.sessions.mappingOf(slot)
    if (mapping >= 0 && isUnreachable(view)) {
      state.suspect(mapping, "Unreachable")
      // To the client it is the name that does not answer there, whatever stands behind it.
      if (quoted.protocol === protocolUdp) hardenUnreachable(state.bytes, view)
    }
    state.sessions.destinationInto(slot, destination)
    const insidePort = state.sessions.insidePort(slot)
    const translated =
      mapping < 0 && insidePort === quoted.sourcePort
        ? rewriteSource(state.bytes, view, destination, 0)
        : rewriteQuoted(state.bytes, view, quoted, destination, destination, insidePort)
    if (!translated) {
      state.count("inbound.malformed")
      return
    }
    state.count("inbound.icmp_error")
    this.forward(client)
  }

  /** A packet of no flow that is known here. Whether it is known at another gateway. */
  private unknown(client: ClientEntry, counter: "inbound.no_session" | "inbound.fragment"): boolean {
    const isElsewhere = !this.isHanded && this.link.handOver(client, this.view, this.header)
    if (!isElsewhere) this.state.count(counter)
    return isElsewhere
  }

  private forward(client: ClientEntry): void {
    const { state, view } = this
    state.counters[forwarded]!++
    state.counters[bytes]! += view.length
    this.link.deliver(client, view, this.header)
  }
}
