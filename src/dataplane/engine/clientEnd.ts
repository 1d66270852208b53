/**
 * The client's end of a tunnel: no translation, no sessions. What the host routes into the device goes to the gateway
 * whose allowed networks have the destination, or that has the Internet; what comes from a gateway must have a source in
 * its allowed networks. The engine's clients are its peers; here they are gateways.
 */
import { equal } from "../../packet/address.ts"
import { isControl } from "../../packet/controlPacket.ts"
import { makePacketView, type PacketView, parsePacket } from "../../packet/packetView.ts"
import { protocolUdp } from "../../packet/protocols.ts"
import { counterIndex } from "../counters.ts"
import type { ClientEntry } from "./clientTable.ts"
import type { ControlEvents } from "./controlEvents.ts"
import type { EngineState } from "./engineState.ts"
import type { Link } from "./link.ts"
import type { TunWriter } from "./tunWriter.ts"

const toGateway = counterIndex["inbound.forwarded"]
const toGatewayBytes = counterIndex["inbound.bytes"]
const fromGateway = counterIndex["outbound.forwarded"]
const fromGatewayBytes = counterIndex["outbound.bytes"]

/** Allowed networks have no port filters: any port will do. */
const anyPort = 0

export class ClientEnd {
  private readonly state: EngineState
  private readonly link: Link
  private readonly tun: TunWriter
  private readonly control: ControlEvents
  private readonly view: PacketView = makePacketView()

  constructor(state: EngineState, link: Link, tun: TunWriter, control: ControlEvents) {
    this.state = state
    this.link = link
    this.tun = tun
    this.control = control
  }

  toGateway(offset: number, length: number): void {
    const { state, view } = this
    if (parsePacket(state.bytes, offset, length, view) !== 0) return state.count("inbound.malformed")
    if (isControl(view)) return state.count("control.from_device")
    const gateway = this.gatewayFor(view)
    if (gateway === undefined) return state.count("inbound.unknown_client")
    // Ours, from before the host's rules have followed a gateway to a new address: it would come back without end.
    const { port, remote } = gateway.peer.endpoint
    const looped = view.protocol === protocolUdp && view.destinationPort === port && equal(view.destination, remote)
    if (looped) return state.count("inbound.looped")
    state.counters[toGateway]!++
    state.counters[toGatewayBytes]! += view.length
    this.link.deliver(gateway, view, state.io.tunHeader)
  }

  /** A gateway of the Internet is for what no gateway has a network for. */
  private gatewayFor(view: Readonly<PacketView>): ClientEntry | undefined {
    const { clients, routes } = this.state
    let internet: ClientEntry | undefined
    for (let i = 0; i < clients.end; i++) {
      const gateway = clients.get(i)
      if (gateway === undefined) continue
      const resource = routes.choose(gateway.index, view.destination, view.protocol, anyPort)
      if (resource < 0) continue
      if (gateway.resources.get(resource)?.kind !== "internet") return gateway
      internet ??= gateway
    }
    return internet
  }

  fromGateway(gateway: ClientEntry, offset: number, length: number): void {
    const { state, view } = this
    if (parsePacket(state.bytes, offset, length, view) !== 0) return state.count("outbound.malformed")
    if (isControl(view)) return this.control.received(gateway, view)
    const from = state.routes.choose(gateway.index, view.source, view.protocol, anyPort)
    if (from < 0) return state.count("outbound.source_spoofed")
    // A gateway's ICMP errors come from the address that it refuses.
    if (isProhibited(view) && state.icmpErrors.take(gateway.index, state.now)) {
      const resource = gateway.resources.get(from)
      if (resource !== undefined) {
        state.notices.put({ _tag: "Prohibited", epoch: state.epoch, client: gateway.id, resource: resource.id })
      }
    }
    state.counters[fromGateway]!++
    state.counters[fromGatewayBytes]! += view.length
    this.tun.packet(view)
  }
}

const isProhibited = ({ icmpCode, icmpError, icmpType }: Readonly<PacketView>): boolean =>
  icmpError && ((icmpType === 3 && icmpCode === 13) || (icmpType === 1 && icmpCode === 1))
