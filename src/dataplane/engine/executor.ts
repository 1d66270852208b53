/**
 * Carries out orders on the tables that packets meet: clients and their WireGuard peers, resources, mappings, addresses
 * and policy. Nothing is decided here. Whatever an order takes away, the flows that lived by it end with it; those of
 * names wait for a while, unseen, in case their resource comes back.
 */
import { optInBits } from "../../nat/destinationPolicy.ts"
import { compileFilters, permits } from "../../nat/portFilters.ts"
import { spreadOf } from "../../nat/spread.ts"
import { MappingState } from "../../nat/translations.ts"
import { contains, isIpv4, type Network, parseAddress, parseNetwork, words } from "../../packet/address.ts"
import { isLater } from "../../wireguard/tai64n.ts"
import type { WireGuard } from "../../wireguard/WireGuard.ts"
import { fromBase64, fromHex } from "../bytesText.ts"
import type {
  RefuseProxy,
  RevokeResource,
  SetAddresses,
  SetKeys,
  SetKnownEndpoints,
  SetPolicy,
  SetResource
} from "../commands.ts"
import type { Order, PlaceClient, PlaceMapping } from "../orders.ts"
import { AddressCache } from "./addressCache.ts"
import type { ClientReports } from "./clientReports.ts"
import type { ClientEntry, ClientResource } from "./clientTable.ts"
import type { Connections } from "./connections.ts"
import type { ControlEvents } from "./controlEvents.ts"
import type { EngineState } from "./engineState.ts"
import type { FlowProbes } from "./flowProbes.ts"
import type { HandOver } from "./handOver.ts"
import type { Initiations } from "./initiations.ts"
import type { Outbound } from "./outbound.ts"

/** Of a suspended flow that waits for whichever lets it through. */
const noResource = -1

export class Executor {
  private readonly state: EngineState
  private readonly wireguard: WireGuard
  private readonly outbound: Outbound
  private readonly probes: FlowProbes
  private readonly control: ControlEvents
  private readonly connections: Connections
  private readonly reports: ClientReports
  private readonly initiations: Initiations
  private readonly handOver: HandOver
  private readonly addresses = new AddressCache()
  private readonly real = words()
  private readonly inside = words()
  private policyText = ""
  /** What was said last of each resource, and what was made of it. */
  private readonly lastResources = new Map<number, { readonly said: string; readonly resource: ClientResource }>()

  constructor(
    state: EngineState,
    wireguard: WireGuard,
    outbound: Outbound,
    probes: FlowProbes,
    control: ControlEvents,
    connections: Connections,
    reports: ClientReports,
    initiations: Initiations,
    handOver: HandOver
  ) {
    this.state = state
    this.wireguard = wireguard
    this.outbound = outbound
    this.probes = probes
    this.control = control
    this.connections = connections
    this.reports = reports
    this.initiations = initiations
    this.handOver = handOver
    state.clients.onRemoved(({ peer }) => wireguard.removePeer(peer))
    state.resources.onRemoved((index) => void this.lastResources.delete(index))
  }

  execute(order: Order): void {
    switch (order._tag) {
      case "PlaceClient":
        return this.placeClient(order)
      case "DisconnectClient":
        return this.disconnectClient(order.client)
      case "RemoveClient":
        return this.state.clients.remove(order.client)
      case "SetKnownEndpoints":
        return this.setKnownEndpoints(order)
      case "SetResource":
        return this.setResource(order)
      case "RevokeResource":
        return this.revokeResource(order)
      case "PlaceMapping":
        return this.placeMapping(order)
      case "SuspendMapping":
        return this.suspendMapping(order.mapping)
      case "SetAddresses":
        return this.setAddresses(order)
      case "RemoveMapping":
        return this.removeMapping(order.mapping)
      case "RefuseProxy":
        return this.refuseProxy(order)
      case "SetPolicy":
        return this.setPolicy(order)
      case "SetKeys":
        return this.setKeys(order)
      case "SetSiblings":
        return this.handOver.set(order)
      case "SetRelays":
        return this.connections.setRelays(order)
      case "SetHostCandidates":
        return this.connections.setHosts(order)
      case "AddCandidate":
        return this.connections.addRemote(order.client, order.candidate)
      case "RemoveCandidate":
        return this.connections.removeRemote(order.client, order.candidate)
      case "SendControl":
        return this.control.send(order)
      case "Acknowledge":
        return this.acknowledge(order.number)
      case "Stop":
        return
    }
  }

  private acknowledge(number: number): void {
    const { epoch, notices, sessions } = this.state
    this.state.set("sessions.live", sessions.awake)
    notices.put({ _tag: "Acknowledged", epoch, number })
  }

  private placeClient(order: PlaceClient): void {
    const { clients, journal, now } = this.state
    const known = clients.find(order.client)
    const publicKey = fromBase64(order.publicKey, 32)!
    journal.forgetStranger(order.publicKey)
    const kept = known?.connection === order.connection
    const connected = known?.peer.hasSession(now) === true
    if (known !== undefined && !kept) this.connections.forget(known)
    if (known !== undefined && known.flows !== order.flows) this.endFlows(known)
    if (known !== undefined && !known.peer.publicKey.every((byte, i) => byte === publicKey[i])) {
      known.stage.clear()
      this.wireguard.removePeer(known.peer)
    }
    const client = known ?? clients.add(order.client, this.wireguard.noPeer)
    clients.place(client, parseAddress(order.tunnel4)!, parseAddress(order.tunnel6)!)
    const told = keyOf(order.presharedKey)
    const later = order.laterPresharedKey === null ? told : keyOf(order.laterPresharedKey)
    const peer = this.wireguard.addPeer({
      publicKey,
      // The one that has proven right goes on, and the one told last is tried if the client begins its side anew.
      presharedKey: kept ? client.peer.presharedKey : told,
      otherPresharedKey: kept ? later : order.laterPresharedKey === null ? null : later,
      keepalive: order.keepalive,
      user: client.index,
      ice: order.ice?.role ?? null
    })
    Object.assign(client, { peer, number: order.number, connection: order.connection, flows: order.flows })
    client.byIce = order.ice !== null
    if (order.ice !== null) this.connections.place(client, order.ice, order.initiate)
    if (connected && !peer.hasSession(now)) this.reports.tell(client)
    this.restore(client, order, peer.hasEndpoint)
    peer.ownKey ??= order.gatewayKey === null ? null : fromBase64(order.gatewayKey, 32)!
    if (order.initiate && peer.hasEndpoint && !peer.hasSession(now)) this.initiations.resume(client)
  }

  private setKnownEndpoints({ call, clients }: SetKnownEndpoints): void {
    for (const known of clients) {
      const client = this.state.clients.find(known.client)
      if (client === undefined) continue
      this.restore(client, known, client.peer.hasSession(this.state.now))
      client.arrives = true
      if (call) this.initiations.takeOver(client)
      else this.initiations.withdraw(client)
    }
  }

  /** What is known of the client from before, or from elsewhere; where it is, unless it `stays`. */
  private restore(client: ClientEntry, known: Restored, stays: boolean): void {
    const { peer } = client
    const remote = stays || known.endpoint === null ? undefined : parseAddress(known.endpoint.address)
    const tai64n = known.lastTai64n === null ? undefined : fromHex(known.lastTai64n, 12)
    const isLatest = tai64n !== undefined && isLater(tai64n, peer.latestTai64n)
    const isNews = isLatest || known.sentTick > peer.lastTick || !peer.hasEndpoint
    if (isLatest) peer.latestTai64n.set(tai64n)
    peer.lastTick = Math.max(peer.lastTick, known.sentTick)
    if (remote !== undefined) {
      Object.assign(peer.endpoint.remote, remote)
      peer.endpoint.port = known.endpoint!.port
      peer.endpoint.interfaceIndex = known.endpoint!.interfaceIndex ?? 0
      const local = known.local === null ? undefined : parseAddress(known.local)
      Object.assign(peer.endpoint.local, local !== undefined && isIpv4(local) === isIpv4(remote) ? local : words())
      peer.endpoint.channel = 0
      peer.hasEndpoint = true
    }
    this.initiations.placed(client)
    if (isNews) this.initiations.left(client)
    if (remote !== undefined && isNews) this.initiations.told(client)
  }

  private disconnectClient(id: PlaceClient["client"]): void {
    const { clients } = this.state
    const client = clients.find(id)
    if (client === undefined) return void clients.add(id, this.wireguard.noPeer)
    this.endFlows(client)
    this.connections.forget(client)
    this.wireguard.removePeer(client.peer)
    clients.displace(client)
    this.reports.tell(client)
  }

  private endFlows(client: ClientEntry): void {
    this.state.sessions.forgetClient(client.index)
    client.stage.clear()
  }

  private setResource(order: SetResource): void {
    const { state } = this
    const client = state.clients.find(order.client)
    if (client === undefined) return
    const known = client.resources.has(state.resources.find(order.resource))
    const index = known ? state.resources.find(order.resource) : state.resources.retain(order.resource)
    const resource = this.resourceOf(index, order)
    const { filters, id, kind, network } = resource
    client.resources.set(index, resource)
    if (kind === "dns") state.routes.remove(client.index, index)
    else state.routes.set(client.index, index, id, network ?? undefined, filters)
    if (known) this.cutDenied(client)
    else state.sessions.resume(client.index, index, (slot) => this.covers(client, index, slot))
  }

  /** Most clients that have a resource have the same one, and share what is made of it. */
  private resourceOf(index: number, { allow, filters, kind, network, resource: id }: SetResource): ClientResource {
    const said = JSON.stringify([kind, network, filters, allow])
    const last = this.lastResources.get(index)
    if (last?.said === said) return last.resource
    const resource: ClientResource = {
      id,
      index,
      kind,
      network: network === null ? null : parseNetwork(network)!,
      filters: compileFilters(filters),
      optIns: optInBits(allow)
    }
    this.lastResources.set(index, { said, resource })
    return resource
  }

  /** Ends the flows that a new one like them would not be let through for. */
  private cutDenied(client: ClientEntry): void {
    const { fragments, sessions } = this.state
    fragments.forgetClient(client.index)
    sessions.removeWhere(client.index, (slot) => this.isDenied(client, slot))
  }

  /** Not one that waits for its resource anyhow; one that another resource lets through moves there. */
  private isDenied(client: ClientEntry, slot: number): boolean {
    const { sessions } = this.state
    if (sessions.suspended(slot) || this.covers(client, sessions.resourceOf(slot), slot)) return false
    return !this.moves(client, slot)
  }

  /** Whether the flow goes on by a resource that lets it through, as a new one like it would. */
  private moves(client: ClientEntry, slot: number): boolean {
    const { state, inside } = this
    const { sessions, translations } = state
    const mapping = sessions.mappingOf(slot)
    sessions.destinationInto(slot, inside)
    const index =
      mapping < 0
        ? state.route(client, inside, sessions.protocolOf(slot), sessions.destinationPort(slot))
        : (translations.resourcesOf(mapping).find((each) => this.covers(client, each, slot)) ?? -1)
    if (index < 0 || !this.covers(client, index, slot)) return false
    sessions.move(slot, index)
    return true
  }

  private covers(client: ClientEntry, index: number, slot: number): boolean {
    const { state, inside, real } = this
    const { sessions, translations } = state
    const resource = client.resources.get(index)
    if (resource === undefined) return false
    sessions.realInto(slot, real)
    const mapping = sessions.mappingOf(slot)
    const mapped = mapping >= 0
    if ((resource.kind === "dns") !== mapped) return false
    if (mapped && !translations.resourcesOf(mapping).includes(index)) return false
    sessions.destinationInto(slot, inside)
    if (state.isProxy(inside) !== mapped) return false
    if (resource.network !== null && !contains(resource.network, real)) return false
    if (!permits(resource.filters, sessions.protocolOf(slot), sessions.destinationPort(slot))) return false
    return !state.refuses(resource, real)
  }

  private revokeResource(order: RevokeResource): void {
    const { state } = this
    const client = state.clients.find(order.client)
    const index = state.resources.find(order.resource)
    if (client?.resources.delete(index) !== true) return
    state.routes.remove(client.index, index)
    state.fragments.forgetClient(client.index)
    state.sessions.withdraw(client.index, index, (slot) => this.moves(client, slot))
    state.resources.release(index)
  }

  private placeMapping(order: PlaceMapping): void {
    const { mappings, clients, fragments, resources, translations } = this.state
    const client = clients.find(order.client)
    if (client === undefined) return
    const known = mappings.find(order.mapping)
    const covering = order.resources.map((id) => resources.retain(id))
    const { version } = order
    const proxies = this.addresses.all(order.proxyIps)
    // With further proxies as well: its flows keep theirs.
    const goesOn = translations.version(known) === version || translations.extend(known, client.index, proxies, version)
    if (known >= 0 && goesOn) {
      this.coverMapping(client, known, covering)
      return this.outbound.arrived(client)
    }
    const mapping = known < 0 ? mappings.retain(order.mapping) : known
    if (known >= 0) {
      fragments.forgetClient(translations.clientOf(mapping))
      this.state.endFlows(mapping)
      clients.get(translations.clientOf(mapping))?.mappings.delete(mapping)
      for (const resource of translations.resourcesOf(mapping)) resources.release(resource)
    }
    client.mappings.add(mapping)
    const spread = spreadOf(order.client, order.mapping)
    translations.place(mapping, client.index, covering, proxies, version, spread)
    // What is known of a new one's addresses is said next.
    if (known >= 0) this.outbound.arrived(client)
  }

  private coverMapping(client: ClientEntry, mapping: number, covering: ReadonlyArray<number>): void {
    const { fragments, resources, sessions, translations } = this.state
    const before = translations.resourcesOf(mapping)
    translations.cover(mapping, covering)
    for (const resource of before) resources.release(resource)
    if (before.every((resource) => covering.includes(resource))) return
    fragments.forgetClient(client.index)
    sessions.removeOf(mapping, (slot) => {
      if (!sessions.suspended(slot)) return this.isDenied(client, slot)
      // The number of the resource that it waits for may be another's before that one comes back.
      if (!covering.includes(sessions.resourceOf(slot))) sessions.move(slot, noResource)
      return false
    })
  }

  private suspendMapping(id: PlaceMapping["mapping"]): void {
    const { mappings, translations } = this.state
    const mapping = mappings.find(id)
    if (mapping < 0) return
    this.outbound.release(mapping)
    this.state.suspendFlows(mapping)
    translations.suspend(mapping)
  }

  private removeMapping(id: PlaceMapping["mapping"]): void {
    const { mappings } = this.state
    const mapping = mappings.find(id)
    if (mapping < 0) return
    this.outbound.release(mapping)
    mappings.remove(id)
  }

  private setAddresses(order: SetAddresses): void {
    const { mappings, translations } = this.state
    const mapping = mappings.find(order.mapping)
    if (mapping < 0) return
    if (order.state === "Resolving") this.state.parking.begin(mapping, this.state.now, order.holdMs)
    const addresses = this.addresses.all(order.addresses)
    const applied = translations.setAddresses(
      mapping,
      order.lookup,
      MappingState[order.state],
      addresses.filter(isIpv4),
      addresses.filter((a) => !isIpv4(a)),
      order.staleAt
    )
    if (applied && (order.state === "Resolved" || order.state === "Unresolved")) this.outbound.release(mapping)
    this.outbound.arrived(this.state.clients.get(translations.clientOf(mapping))!)
    if (applied && order.state === "Resolved") this.probes.resolved(mapping)
  }

  private refuseProxy({ client: id, proxyIp }: RefuseProxy): void {
    const client = this.state.clients.find(id)
    const proxy = parseAddress(proxyIp)
    if (client !== undefined && proxy !== undefined) this.outbound.refuseProxy(client, proxy)
  }

  private setKeys({ endingKey, privateKey }: SetKeys): void {
    this.wireguard.setKeys(fromBase64(privateKey, 32)!, endingKey === null ? null : fromBase64(endingKey, 32)!)
    // While keys change, each gateway has the ending one, be it as its only one.
    this.handOver.setKey(fromBase64(endingKey ?? privateKey, 32)!)
  }

  private setPolicy(order: SetPolicy): void {
    const { state } = this
    Object.assign(state.gateway4, parseAddress(order.gateway4))
    Object.assign(state.gateway6, parseAddress(order.gateway6))
    state.packets = order.packets
    state.setNetworks(networks(order.tunnelNetworks), networks(order.proxyNetworks), networks(order.foreignNetworks))
    state.policy.setOwnAddresses(order.ownAddresses.map(parseAddress).filter((a) => a !== undefined))
    state.policy.setBroadcasts(order.broadcasts.map(parseAddress).filter((a) => a !== undefined))
    state.wayOut6 = order.wayOut6
    const text = JSON.stringify(order)
    if (text === this.policyText) return
    this.policyText = text
    for (const client of state.clients.all()) this.cutDenied(client)
  }
}

type Restored = Pick<PlaceClient, "endpoint" | "local" | "lastTai64n" | "sentTick">

/** As bytes; none is a key of zeros (WireGuard's own convention). */
const keyOf = (presharedKey: string | null): Uint8Array | null =>
  presharedKey === null ? null : fromBase64(presharedKey, 32)!

const networks = (texts: ReadonlyArray<string>): ReadonlyArray<Network> => texts.map((text) => parseNetwork(text)!)
