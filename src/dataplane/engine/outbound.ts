/**
 * The way of a decrypted packet from its client to a resource: the first matching row wins of
 * docs/design.md, "What a packet from a client gets".
 */
import { chooseAddress, several, targetDiffers } from "../../nat/addressChoice.ts"
import { fromClient } from "../../nat/fragments.ts"
import { lookAheadPackets } from "../../nat/lookAhead.ts"
import type { Parking } from "../../nat/parking.ts"
import { filtered, refusedRoute } from "../../nat/routes.ts"
import { confirmedSilence } from "../../nat/silence.ts"
import { MappingState } from "../../nat/translations.ts"
import { isBareSyn } from "../../nat/sessions.ts"
import { copyWords, equal, isIpv4, type Words, words } from "../../packet/address.ts"
import type { Arena } from "../../packet/arena.ts"
import { isControl } from "../../packet/controlPacket.ts"
import { networkUnreachable, prohibited, type Unreachable, writeUnreachable } from "../../packet/icmp.ts"
import { PacketTrain } from "../../packet/packetTrain.ts"
import { isRequest, makePacketView, type PacketView, parsePacket } from "../../packet/packetView.ts"
import { protocolTcp, protocolUdp, tcpSyn } from "../../packet/protocols.ts"
import { clampMss, rewriteDestination } from "../../packet/rewrite.ts"
import { counterIndex } from "../counters.ts"
import type { RefusalReason } from "../journal.ts"
import type { ClientEntry, ClientResource } from "./clientTable.ts"
import type { ControlEvents } from "./controlEvents.ts"
import { awaitedKey, type EngineState } from "./engineState.ts"
import type { FlowProbes } from "./flowProbes.ts"
import { Handed, type HandOver } from "./handOver.ts"
import type { Link } from "./link.ts"
import type { TunWriter } from "./tunWriter.ts"

const forwarded = counterIndex["outbound.forwarded"]
const bytes = counterIndex["outbound.bytes"]

const dnsPort = 53

/** Nothing has come back in this time, and the client's program sends again: for so long it counts. */
const unansweredMs = 900
const triesMs = 15_000

const errorCapacity = 1_280 + 64
const parkedCapacity = 65_536 + 64

export class Outbound {
  private readonly state: EngineState
  private readonly link: Link
  private readonly probes: FlowProbes
  private readonly way: HandOver
  private readonly tun: TunWriter
  private readonly control: ControlEvents
  private readonly mtu: number
  private readonly view: PacketView = makePacketView()
  /** Of the packet before, if it was forwarded, and whose it was. */
  private readonly train = new PacketTrain()
  private trainOf: ClientEntry | undefined
  /** Its session, and the bytes behind its first packet. */
  private trainSlot = -1
  private trainBytes = 0
  private readonly aheadView: PacketView = makePacketView()
  private readonly errorAt: number
  private readonly parkedAt: number
  private readonly real: Words = words()
  /** Parked packets that come out are told apart: they are never parked again. */
  private releasing = false
  private isHanded = false
  /** Packets that were added. */
  private readonly clients: Array<ClientEntry> = []
  private readonly offsets = new Int32Array(lookAheadPackets)
  private readonly lengths = new Int32Array(lookAheadPackets)
  private count = 0

  constructor(
    state: EngineState,
    link: Link,
    probes: FlowProbes,
    way: HandOver,
    tun: TunWriter,
    control: ControlEvents,
    arena: Arena,
    mtu: number
  ) {
    this.state = state
    this.link = link
    this.probes = probes
    this.way = way
    this.tun = tun
    this.control = control
    this.mtu = mtu
    this.errorAt = arena.reserve(errorCapacity)
    this.parkedAt = arena.reserve(parkedCapacity)
  }

  /** As `packet`, but by `work` at the latest, together with others; its bytes must stay as they are until then. */
  add(client: ClientEntry, offset: number, length: number): void {
    const n = this.count++
    this.clients[n] = client
    this.offsets[n] = offset
    this.lengths[n] = length
    if (this.count === lookAheadPackets) this.work()
  }

  /** The packets that were added, in order. */
  work(): void {
    const { clients, count, lengths, offsets } = this
    if (count > 1) this.lookAhead()
    this.count = 0
    for (let i = 0; i < count; i++) this.packet(clients[i]!, offsets[i]!, lengths[i]!)
  }

  /** All that was added is worked off and written; its bytes may be used again, and state and clock may go on. */
  flush(): void {
    this.work()
    this.endTrain()
    this.trainOf = undefined
    this.tun.flush()
  }

  /** One authentic inner packet (padding may follow) of `client`. */
  packet(client: ClientEntry, offset: number, length: number): void {
    const { state, train, view } = this
    if (this.trainOf === client && train.next(state.bytes, offset, length, view)) {
      this.trainBytes += view.length
      return this.forward()
    }
    this.endTrain()
    this.trainOf = client
    if (parsePacket(state.bytes, offset, length, view) !== 0) return state.count("outbound.malformed")
    const own = view.version === 4 ? client.tunnel4 : client.tunnel6
    const { source, destination } = view
    if (source.w3 !== own.w3 || source.w2 !== own.w2 || source.w1 !== own.w1 || source.w0 !== own.w0) {
      // Control packets have no source; they must not cost the others a comparison.
      if (state.packets.controlMessages && isControl(view)) return this.control.received(client, view)
      return state.refused(client, "source_spoofed", view)
    }
    if (view.fragment && view.fragmentOffset !== 0) return this.laterFragment(client)
    if (isForMany(destination)) return state.count("outbound.multicast")
    if (view.icmpError) return state.count("outbound.icmp_error")
    if (state.isGateway(destination)) return this.toGateway(client)
    if (state.isTunnel(destination)) return this.refuse(client, "tunnel_address", prohibited)
    // Nobody outside may have asked.
    if (view.query && !isRequest(view)) return state.count("outbound.echo_reply")
    if (state.isProxy(destination)) return this.toProxy(client)
    return this.toNetwork(client)
  }

  /** A mapping's first lookup has ended, or is not waited for any more: its parked packets take the ordinary way, or are answered. */
  release(mapping: number): void {
    const { state } = this
    const client = state.clients.get(state.translations.clientOf(mapping))
    this.releasing = true
    state.parking.release(mapping, (bytes, length) => {
      if (client !== undefined) this.unpark(client, bytes, length)
    })
    this.releasing = false
  }

  /** Parked packets that waited too long are answered as if the lookup had failed. */
  expire(): void {
    const { state } = this
    state.awaited.expire(state.now, (row) => this.giveUp(row))
    if (!state.parking.waits) return
    this.releasing = true
    state.parking.expire(state.now, (mapping, bytes, length) => {
      state.count("parking.expired")
      const client = state.clients.get(state.translations.clientOf(mapping))
      if (client !== undefined) this.unpark(client, bytes, length)
    })
    this.releasing = false
  }

  /** Something stands for proxy IPs of the client by now: what waited for them goes on. */
  arrived(client: ClientEntry): void {
    const { awaited, parking, translations } = this.state
    if (awaited.size === 0) return
    for (const row of awaited.endWhere(client.index, (proxy) => translations.find(client.index, proxy) >= 0)) {
      parking.release(awaitedKey(row), (bytes, length) => this.unpark(client, bytes, length))
    }
  }

  /** Nothing will: what waited for it is answered. */
  refuseProxy(client: ClientEntry, proxy: Readonly<Words>): void {
    const row = this.state.awaited.refuse(client.index, proxy, this.state.now)
    if (row >= 0) this.giveUp(row)
  }

  private giveUp(row: number): void {
    const { awaited, clients, parking } = this.state
    const client = clients.get(awaited.clientOf(row))
    parking.release(awaitedKey(row), (bytes, length) => {
      if (client !== undefined) this.unpark(client, bytes, length)
    })
  }

  /** A packet that another gateway knows no way for yet: its client was here. */
  handedOver(offset: number, length: number): void {
    const { state, view } = this
    this.work()
    if (parsePacket(state.bytes, offset, length, view) !== 0) return state.count("outbound.malformed")
    const client = state.clients.owner(view.source)
    if (client === undefined) return state.count("outbound.source_spoofed")
    this.isHanded = true
    this.packet(client, offset, length)
    this.isHanded = false
  }

  /** Whether orders wait that packets go before; when none does any more, what would have been refused is looked at again. */
  ordersWait(wait: boolean): void {
    const { state } = this
    const ended = state.ordersWait && !wait
    state.ordersWait = wait
    if (!ended) return
    state.early.releaseAll((index, bytes, length) => {
      const client = state.clients.get(index)
      if (client !== undefined) this.unpark(client, bytes, length)
    })
  }

  private lookAhead(): void {
    const { aheadView: view, clients, count, lengths, offsets, state } = this
    const { outboundAhead } = state.sessions
    for (let i = 0; i < count; i++) {
      if (parsePacket(state.bytes, offsets[i]!, lengths[i]!, view) !== 0) continue
      const flow = (view.protocol << 16) | view.sourcePort
      outboundAhead.add(clients[i]!.index, flow, view.destination, view.query ? 0 : view.destinationPort)
    }
    outboundAhead.fetch()
  }

  private unpark(client: ClientEntry, bytes: Uint8Array, length: number): void {
    this.state.bytes.set(bytes.subarray(0, length), this.parkedAt)
    this.packet(client, this.parkedAt, length)
    this.flush()
  }

  private toGateway(client: ClientEntry): void {
    const { state, view } = this
    const { dnsPort } = state.packets
    const dns = (view.protocol === protocolUdp || view.protocol === protocolTcp) && view.destinationPort === dnsPort
    if (!dns && !view.echo) return this.refuse(client, "gateway_service_denied", prohibited)
    const brake = view.protocol === protocolUdp ? state.questions : state.gatewayPackets
    if (!brake.take(client.index, state.now)) return state.refused(client, "gateway_rate_limited", view)
    state.count("outbound.to_gateway")
    if (view.fragment) this.beginFragments(client, view.destination)
    this.write()
  }

  private toProxy(client: ClientEntry): void {
    const { state, view, real } = this
    const { sessions } = state
    const port = view.query ? 0 : view.destinationPort
    let slot = sessions.findOutbound(client.index, view.protocol, view.sourcePort, view.destination, port)
    const syn = view.protocol === protocolTcp && isBareSyn(view.tcpFlags)
    // A confirmed session is as good as its mapping, its resource and the resource's filters: it ends with them.
    if (slot < 0 || syn || !sessions.confirmed(slot)) {
      slot = this.place(client, slot, port, syn)
      if (slot < 0) return
    }
    const mapping = sessions.mappingOf(slot)
    if (state.translations.isStale(mapping, state)) this.stale(mapping)
    const lastInAt = sessions.lastInAt(slot)
    if (lastInAt < 0 || state.now - lastInAt >= confirmedSilence) {
      state.silence.outbound(mapping, view.protocol, port, sessions.firstOutAt(slot), lastInAt, state.now)
    }
    if (lastInAt < 0) this.countUnanswered(slot)
    sessions.realInto(slot, real)
    const outsidePort = sessions.outsidePort(slot)
    sessions.sent(slot, view.length)
    sessions.outbound(slot, view.tcpFlags, state.now)
    if (view.fragment) this.beginFragments(client, real)
    this.beginTrain(slot, real, outsidePort)
    rewriteDestination(state.bytes, view, real, outsidePort)
    this.forward()
  }

  /** The session that a packet opens, keeps, or moves to another real address; −1 when it was answered or parked. */
  private place(client: ClientEntry, known: number, port: number, syn: boolean): number {
    const { state, view, real } = this
    const { sessions, translations } = state
    const mapping = translations.find(client.index, view.destination)
    if (mapping < 0) {
      if (this.handOver(client)) return -1
      const { unmapped } = state.packets
      if (unmapped === "awaited" && this.await(client, syn)) return -1
      if (unmapped === "prohibited") {
        state.notices.unknownProxy(client.index, client.id, view.destination, state.now)
      }
      return this.answer(client, "unmapped", unmapped === "prohibited" ? prohibited : networkUnreachable)
    }
    const resource = this.admitting(client, mapping)
    if (resource === undefined) return this.answer(client, this.whyNot(client, mapping), prohibited)
    if (view.protocol !== protocolTcp && view.protocol !== protocolUdp && !view.query) {
      const { untranslatable } = state.packets
      if (untranslatable === "prohibited") return this.answer(client, "untranslatable", prohibited)
      state.refused(client, "untranslatable", view)
      return -1
    }
    const established = known >= 0 && sessions.confirmed(known)
    const lookup = translations.state(mapping)
    if (!established && (lookup === MappingState.Resolving || lookup === MappingState.Unasked)) {
      if (lookup === MappingState.Unasked) state.suspect(mapping, "Unmapped")
      if (this.handOver(client)) return -1
      // The rest of the datagram would not wait with it.
      if (view.fragment) {
        state.count("outbound.fragment")
        return -1
      }
      if (!this.releasing && this.parkIn(state.parking, mapping, client)) return -1
      // The program repeats a SYN within a second, while an error would end its attempt for good.
      if (!this.releasing && syn && state.parking.holds(mapping, state.now)) {
        state.refused(client, "parking_full", view)
        return -1
      }
      return this.answer(client, "unresolved", networkUnreachable)
    }
    if (known >= 0) sessions.realInto(known, real)
    const differs = known >= 0 && targetDiffers(translations, mapping, real)
    if (known >= 0 && !(syn && sessions.mayRestart(known, state.now, differs)) && (established || !differs))
      return known
    if (!chooseAddress(translations, state.evidence, mapping, view.destination, port, state.now, real)) {
      if (established) return known
      state.suspect(mapping, "Unmapped")
      return this.answer(client, "unresolved", networkUnreachable)
    }
    const leading = state.refuses(resource, real) ? this.chooseAllowed(client, mapping) : resource
    if (leading === undefined) return this.answer(client, "destination_refused", networkUnreachable)
    if (several(translations, mapping, real)) state.evidence.started(client.index, mapping, port, real, state.now)
    if (known >= 0 && !established && sessions.rebind(known, real)) {
      sessions.move(known, leading.index)
      this.tried(client, mapping)
      return known
    }
    const slot = this.open(client, port, real, mapping, leading)
    if (slot >= 0) this.tried(client, mapping)
    return slot
  }

  /** Whether the packet waits for what its proxy IP stands for. */
  private await(client: ClientEntry, syn: boolean): boolean {
    const { state, view } = this
    const row = view.fragment ? -1 : state.awaited.waiting(client.index, view.destination, state.now)
    if (row < 0) return false
    if (state.awaited.asks(row, state.now)) state.notices.awaitedProxy(client.id, view.destination)
    if (this.parkIn(state.parking, awaitedKey(row), client)) return true
    // As for a mapping's first lookup.
    if (syn) state.refused(client, "parking_full", view)
    return syn
  }

  /** Whether somebody is at the real address will show: to TCP and ping, any host answers. */
  private tried(client: ClientEntry, mapping: number): void {
    const { real, state, view } = this
    if (view.protocol !== protocolTcp && !view.echo) return
    state.journal.addresses.tried(client.index, mapping, real, state.now)
  }

  /** What is still to be found out here, the gateway knows that the client comes from. */
  private handOver(client: ClientEntry): boolean {
    const { view, way } = this
    return (
      !this.isHanded &&
      way.concerns(client) &&
      way.pass(Handed.ToNetwork, client.peer.endpoint, view.offset, view.length)
    )
  }

  /** A new session for the packet, or −1, told: the client opens too many, or no port is left. */
  private open(
    client: ClientEntry,
    port: number,
    real: Readonly<Words>,
    mapping: number,
    resource: ClientResource
  ): number {
    const { state, view } = this
    if (this.probes.isRefusal(client, view, real)) {
      state.count("probes.refused")
      return -1
    }
    if (!state.births.take(client.index, state.now)) {
      state.refused(client, "sessions_limited", view)
      return -1
    }
    const slot = state.sessions.insert(
      client.index,
      view.protocol,
      view.sourcePort,
      view.destination,
      port,
      real,
      mapping,
      resource.index,
      state.now
    )
    if (slot < 0) {
      state.refused(client, "ports_exhausted", view)
      return -1
    }
    state.count("sessions.created")
    state.journal.flows.began(slot)
    this.probes.opened(client, view, real)
    return slot
  }

  private admitting(client: ClientEntry, mapping: number, to?: Readonly<Words>): ClientResource | undefined {
    const { state, view } = this
    return state.admitting(client, mapping, view.protocol, view.destinationPort, to)
  }

  private whyNot(client: ClientEntry, mapping: number): RefusalReason {
    const covering = this.state.translations.resourcesOf(mapping)
    for (let i = 0; i < covering.length; i++) if (client.resources.has(covering[i]!)) return "filtered"
    return "unauthorized"
  }

  /** The chosen address is refused by one resource: another that leads there, or to the next address of its family. */
  private chooseAllowed(client: ClientEntry, mapping: number): ClientResource | undefined {
    const { state, view, real } = this
    const chosen = this.admitting(client, mapping, real)
    if (chosen !== undefined) return chosen
    const addresses = state.translations.addresses(mapping, view.destination)
    for (let i = 0; i < addresses.length; i++) {
      const resource = this.admitting(client, mapping, addresses[i])
      if (resource === undefined) continue
      copyWords(addresses[i]!, real)
      return resource
    }
    return undefined
  }

  private parkIn(parking: Parking, key: number, client: ClientEntry): boolean {
    const { state, view } = this
    const parked = parking.park(key, client.index, state.bytes, view.offset, view.length, view, state.now)
    if (parked) state.count("outbound.parked")
    return parked
  }

  /** The first packet after the TTL asks for a refresh; the old addresses serve on. */
  private stale(mapping: number): void {
    if (this.state.translations.state(mapping) === MappingState.Resolved) this.state.suspect(mapping, "Stale")
  }

  private toNetwork(client: ClientEntry): void {
    const { state, view } = this
    const { sessions } = state
    const port = view.query ? 0 : view.destinationPort
    let slot = sessions.findOutbound(client.index, view.protocol, view.sourcePort, view.destination, port)
    const syn = view.protocol === protocolTcp && isBareSyn(view.tcpFlags)
    // A session is as good as its resource: it ends with it.
    if (slot < 0 || (syn && sessions.mayRestart(slot, state.now, false))) {
      const index = state.route(client, view.destination, view.protocol, view.destinationPort)
      if (index === refusedRoute) return this.refuseRoute(client)
      const resource = index < 0 ? undefined : client.resources.get(index)
      if (resource === undefined) {
        return this.refuse(client, index === filtered ? "filtered" : "unauthorized", prohibited)
      }
      slot = this.open(client, port, view.destination, -1, resource)
      if (slot < 0) return
    }
    if (!sessions.confirmed(slot)) this.countUnanswered(slot)
    const outsidePort = sessions.outsidePort(slot)
    sessions.sent(slot, view.length)
    sessions.outbound(slot, view.tcpFlags, state.now)
    if (view.fragment) this.beginFragments(client, view.destination)
    this.beginTrain(slot, view.destination, outsidePort)
    if (outsidePort !== view.sourcePort) rewriteDestination(state.bytes, view, view.destination, outsidePort)
    this.forward()
  }

  /**
   * Of a flow that nothing has come back of: a program tries again for a while; later, as of a stream one way, that tells
   * nothing.
   */
  private countUnanswered(slot: number): void {
    const { now, sessions } = this.state
    const age = now - sessions.firstOutAt(slot)
    if (age >= unansweredMs && age < unansweredMs + triesMs) this.state.count("outbound.unanswered")
  }

  private refuseRoute(client: ClientEntry): void {
    const { state, view } = this
    // All names of the client outside of its resources fail with its DNS server, which `status` tells.
    const index = state.routes.choose(client.index, view.destination, view.protocol, view.destinationPort)
    if (client.resources.get(index)?.kind === "internet" && isDns(view)) state.count("outbound.private_dns_refused")
    this.refuse(client, "destination_refused", networkUnreachable)
  }

  /** The first fragment of a datagram goes to `destination`: the later ones will follow it. */
  private beginFragments(client: ClientEntry, destination: Readonly<Words>): void {
    const { state, view } = this
    state.fragments.begin(fromClient, client.index, view, view.destination, destination, state.now)
  }

  private laterFragment(client: ClientEntry): void {
    const { state, view, real } = this
    if (!state.fragments.follow(fromClient, client.index, view, view.destination, real, state.now)) {
      return state.count("outbound.fragment")
    }
    if (!equal(real, view.destination)) rewriteDestination(state.bytes, view, real, 0)
    this.forward()
  }

  /** The packets right behind this one may be of its flow. */
  private beginTrain(slot: number, destination: Readonly<Words>, outsidePort: number): void {
    this.trainSlot = slot
    this.train.begin(this.state.bytes, this.view, destination, outsidePort)
  }

  private endTrain(): void {
    this.train.end()
    if (this.trainBytes === 0) return
    this.state.sessions.sent(this.trainSlot, this.trainBytes)
    this.trainBytes = 0
  }

  private forward(): void {
    const { state, view } = this
    if (view.protocol === protocolTcp && (view.tcpFlags & tcpSyn) !== 0) clampMss(state.bytes, view, this.mtu)
    state.counters[forwarded]!++
    state.counters[bytes]! += view.length
    this.write()
  }

  private write(): void {
    this.tun.packet(this.view)
  }

  /** Refuses; and what a packet gets that has no session then. */
  private answer(client: ClientEntry, why: RefusalReason, kind: Unreachable): -1 {
    this.refuse(client, why, kind)
    return -1
  }

  /** Counts why, and tells the client at once, at most 20 times a second. */
  private refuse(client: ClientEntry, why: RefusalReason, kind: Unreachable): void {
    const { state, view } = this
    if (state.ordersWait && this.parkIn(state.early, client.index, client)) return
    state.refused(client, why, view)
    if (!state.icmpErrors.take(client.index, state.now)) return state.count("icmp.rate_limited")
    const length = writeUnreachable(state.bytes, this.errorAt, view, view.destination, kind)
    if (length === 0) return
    state.count("icmp.sent")
    this.link.toClient(client, this.errorAt, length)
  }
}

const isDns = ({ destinationPort, protocol }: Readonly<PacketView>): boolean =>
  destinationPort === dnsPort && (protocol === protocolUdp || protocol === protocolTcp)

const isForMany = (a: Readonly<Words>): boolean =>
  isIpv4(a) ? a.w3 >>> 28 === 14 || a.w3 === -1 : a.w0 >>> 24 === 0xff
