/**
 * Turns commands into the tables that packets meet: clients and their WireGuard peers, resources, mappings, addresses and
 * policy. Whatever a command takes away, the flows that lived by it end with it.
 */
import type {
  Command,
  IceParameters,
  SetAddresses,
  SetMapping,
  SetPolicy,
  SetResource,
  UpsertClient
} from "../commands.ts"
import type { MappingId } from "../../model/Mapping.ts"
import type { ResourceId } from "../../model/Resource.ts"
import { optInBits } from "../../nat/destinationPolicy.ts"
import { compileFilters, permits } from "../../nat/portFilters.ts"
import { MappingState } from "../../nat/translations.ts"
import {
  contains,
  equal,
  isIpv4,
  type Network,
  parseAddress,
  parseNetwork,
  type Words,
  words
} from "../../packet/address.ts"
import { isLater } from "../../wireguard/tai64n.ts"
import type { WireGuard } from "../../wireguard/WireGuard.ts"
import { AddressCache } from "./addressCache.ts"
import { fromBase64, fromHex } from "./bytesText.ts"
import type { ClientReports } from "./clientReports.ts"
import type { ClientEntry, ClientResource } from "./clientTable.ts"
import type { Connections } from "./connections.ts"
import type { ControlEvents } from "./controlEvents.ts"
import type { EngineState } from "./engineState.ts"
import type { Outbound } from "./outbound.ts"

export class DesiredState {
  private readonly state: EngineState
  private readonly wireguard: WireGuard
  private readonly outbound: Outbound
  private readonly control: ControlEvents
  private readonly connections: Connections
  private readonly reports: ClientReports
  private readonly initiate: (client: ClientEntry) => void
  private readonly addresses = new AddressCache()
  private readonly real: Words = words()
  private readonly inside: Words = words()
  private policyText = ""

  /** `initiate` is called for clients towards whom a handshake should start soon. */
  constructor(
    state: EngineState,
    wireguard: WireGuard,
    outbound: Outbound,
    control: ControlEvents,
    connections: Connections,
    reports: ClientReports,
    initiate: (client: ClientEntry) => void
  ) {
    this.state = state
    this.wireguard = wireguard
    this.outbound = outbound
    this.control = control
    this.connections = connections
    this.reports = reports
    this.initiate = initiate
  }

  apply(command: Command): void {
    switch (command._tag) {
      case "UpsertClient":
        return this.upsertClient(command)
      case "RemoveClient":
        return this.removeClient(this.state.clients.find(command.client))
      case "SetResource":
        return this.setResource(command)
      case "RevokeResource":
        return this.revokeResource(this.state.clients.find(command.client), command.resource)
      case "SetMapping":
        return this.setMapping(command)
      case "SetAddresses":
        return this.setAddresses(command)
      case "RemoveMapping":
        return this.removeMapping(command.mapping)
      case "SetPolicy":
        return this.setPolicy(command)
      case "SetRelays":
        return this.connections.setRelays(command)
      case "SetHostCandidates":
        return this.connections.setHosts(command)
      case "AddCandidate":
        return this.connections.addRemote(command.client, command.candidate)
      case "RemoveCandidate":
        return this.connections.removeRemote(command.client, command.candidate)
      case "SendControl":
        return this.control.send(command)
      case "Stop":
        return
    }
  }

  private upsertClient(command: UpsertClient): void {
    const { state } = this
    const publicKey = fromBase64(command.publicKey, 32)
    const presharedKey = command.presharedKey === null ? null : fromBase64(command.presharedKey, 32)
    const tunnel4 = parseAddress(command.tunnel4)
    const tunnel6 = parseAddress(command.tunnel6)
    if (publicKey === undefined || presharedKey === undefined || tunnel4 === undefined || tunnel6 === undefined) {
      return this.fault(`client ${command.client} was ignored: malformed key or address`)
    }
    const index = state.clients.indexFor(command.client)
    const others = this.holdersOf(publicKey, tunnel4, tunnel6).filter((holder) => holder.index !== index)
    for (const robbed of others) {
      this.disconnect(robbed)
      this.fault(`client ${robbed.id} was disconnected: its key or address belongs to client ${command.client} now`)
    }
    const known = state.clients.get(index)
    const ice = command.ice ?? null
    const connected = known?.peer.hasSession(state.now) === true
    const kept = known !== undefined && this.keepsConnection(known, ice, publicKey, tunnel4, tunnel6)
    if (known !== undefined && !kept) this.connections.forget(known)
    if (known !== undefined) this.changeClient(known, publicKey, tunnel4, tunnel6, ice)
    if (known !== undefined && others.length > 0) state.clients.move(known, tunnel4, tunnel6)
    const peer = this.wireguard.addPeer({
      publicKey,
      // Another one may be made up for each request. The client goes on with the first, unless it has
      // begun its side of the connection anew.
      presharedKey: kept ? known.peer.presharedKey : presharedKey,
      otherPresharedKey: kept ? presharedKey : null,
      keepalive: command.keepalive,
      user: index,
      ice: ice?.role ?? null
    })
    const client = known ?? state.clients.add(index, command.client, peer, tunnel4, tunnel6)
    client.peer = peer
    client.byIce = ice !== null
    if (ice !== null) this.connections.upsert(client, ice, command.initiate)
    if (connected && !peer.hasSession(state.now)) this.reports.tell(client)
    if (!peer.hasEndpoint && command.endpoint !== null) {
      const remote = parseAddress(command.endpoint.address)
      if (remote !== undefined) {
        Object.assign(peer.endpoint.remote, remote)
        peer.endpoint.port = command.endpoint.port
        peer.hasEndpoint = true
      }
    }
    const tai64n = command.lastTai64n === null ? undefined : fromHex(command.lastTai64n, 12)
    if (tai64n !== undefined && isLater(tai64n, peer.latestTai64n)) peer.latestTai64n.set(tai64n)
    if (command.initiate && peer.hasEndpoint && !peer.hasSession(state.now)) this.initiate(client)
  }

  /** Who has the key or an address: two with one address would get each other's replies. */
  private holdersOf(publicKey: Uint8Array, tunnel4: Words, tunnel6: Words): ReadonlyArray<ClientEntry> {
    const { clients } = this.state
    const peer = this.wireguard.findPeer(publicKey)
    const holders = [
      peer === undefined ? undefined : clients.get(peer.user),
      clients.owner(tunnel4),
      clients.owner(tunnel6)
    ]
    return [...new Set(holders)].filter((holder) => holder !== undefined)
  }

  private keepsConnection(
    client: ClientEntry,
    ice: IceParameters | null,
    publicKey: Uint8Array,
    tunnel4: Words,
    tunnel6: Words
  ): boolean {
    const same = hasKey(client, publicKey) && hasAddresses(client, tunnel4, tunnel6)
    return ice !== null && same && this.connections.keeps(client, ice)
  }

  /**
   * Another key or other addresses: its flows end and its resources stay. A client whose path ICE finds has
   * another key each time that it starts, and its flows go on.
   */
  private changeClient(
    client: ClientEntry,
    publicKey: Uint8Array,
    tunnel4: Words,
    tunnel6: Words,
    ice: IceParameters | null
  ): void {
    const { state } = this
    const sameKey = hasKey(client, publicKey)
    const sameAddresses = hasAddresses(client, tunnel4, tunnel6)
    if (sameKey && sameAddresses) return
    if (ice === null || !sameAddresses) state.sessions.removeClient(client.index)
    client.stage.clear()
    if (!sameKey) this.wireguard.removePeer(client.peer)
    if (!sameAddresses) state.clients.move(client, tunnel4, tunnel6)
  }

  /** It has no key, or no address, of its own any more. What it may reach stays, for when it comes with one that is its own. */
  private disconnect(client: ClientEntry): void {
    this.state.sessions.removeClient(client.index)
    this.connections.forget(client)
    client.stage.clear()
    this.wireguard.removePeer(client.peer)
    this.reports.tell(client)
  }

  private removeClient(client: ClientEntry | undefined): void {
    if (client === undefined) return
    const { state } = this
    state.sessions.removeClient(client.index)
    for (const mapping of client.mappings) this.dropMapping(mapping)
    state.evidence.forgetClient(client.index)
    state.routes.removeClient(client.index)
    state.fragments.forget(client.index)
    state.births.forget(client.index)
    state.notices.forgetClient(client.index)
    state.icmpErrors.forget(client.index)
    state.gatewayPackets.forget(client.index)
    this.control.forget(client)
    this.connections.forget(client)
    this.wireguard.removePeer(client.peer)
    state.clients.remove(client)
  }

  private setResource(command: SetResource): void {
    const { state } = this
    const client = state.clients.find(command.client)
    if (client === undefined) return
    const network = command.network === null ? null : parseNetwork(command.network)
    if (network === undefined || (command.kind === "cidr" && network === null))
      return this.fault(`resource ${command.resource} was ignored: malformed network`)
    const index = state.resourceNames.add(command.resource)
    const filters = compileFilters(command.filters)
    const before = client.resources.get(index)
    const { kind } = command
    const optIns = optInBits(command.allow)
    client.resources.set(index, { id: command.resource, index, kind, network, filters, optIns })
    if (kind === "dns") state.routes.remove(client.index, index)
    else state.routes.set(client.index, index, command.resource, network ?? undefined, filters)
    if (before !== undefined) this.cutDenied(client)
  }

  /** Ends the flows that a new one like them would not be let through for. */
  private cutDenied(client: ClientEntry): void {
    const { fragments, sessions } = this.state
    fragments.forget(client.index)
    sessions.removeWhere(client.index, (slot) => {
      const resource = client.resources.get(sessions.resourceOf(slot))
      return resource === undefined || !this.covers(resource, slot)
    })
  }

  private covers(resource: ClientResource, slot: number): boolean {
    const { state, inside, real } = this
    const { sessions } = state
    sessions.realInto(slot, real)
    const mapped = sessions.mappingOf(slot) >= 0
    if ((resource.kind === "dns") !== mapped) return false
    sessions.destinationInto(slot, inside)
    if (state.isProxy(inside) !== mapped) return false
    if (resource.network !== null && !contains(resource.network, real)) return false
    if (!permits(resource.filters, sessions.protocolOf(slot), sessions.destinationPort(slot))) return false
    return !state.refuses(resource, real)
  }

  private revokeResource(client: ClientEntry | undefined, id: ResourceId): void {
    const { state } = this
    const index = state.resourceNames.find(id)
    if (client === undefined || index < 0) return
    client.resources.delete(index)
    state.routes.remove(client.index, index)
    state.fragments.forget(client.index)
    state.sessions.removeResource(client.index, index)
    for (const mapping of client.mappings) {
      if (state.translations.resourceOf(mapping) !== index) continue
      if (state.packets.revokedMappings === "suspended") {
        this.forgetFlows(mapping)
        state.translations.suspendMapping(mapping)
      } else {
        this.dropMapping(mapping)
      }
    }
  }

  private setMapping(command: SetMapping): void {
    const { state } = this
    const client = state.clients.find(command.client)
    if (client === undefined) return
    const proxies = this.addresses.all(command.proxyIps)
    const resource = state.resourceNames.add(command.resource)
    const mapping = state.mappingNames.add(command.mapping)
    state.clients.get(state.translations.clientOf(mapping))?.mappings.delete(mapping)
    client.mappings.add(mapping)
    const moved = state.translations.setMapping(mapping, client.index, resource, proxies, command.generation)
    if (moved.length > 0) state.fragments.forget(client.index)
    for (const other of moved) this.forgetFlows(other)
  }

  private forgetFlows(mapping: number): void {
    const { state } = this
    state.sessions.removeMapping(mapping)
    state.silence.forget(mapping)
    state.evidence.forgetMapping(mapping)
    state.parking.forget(mapping)
  }

  private setAddresses(command: SetAddresses): void {
    const { state } = this
    const mapping = state.mappingNames.find(command.mapping)
    if (mapping < 0) return
    const addresses = this.addresses.all(command.addresses)
    const applied = state.translations.setAddresses(
      mapping,
      command.lookup,
      MappingState[command.state],
      addresses.filter(isIpv4),
      addresses.filter((a) => !isIpv4(a)),
      command.staleAt
    )
    if (applied && command.state !== "Resolving") this.outbound.release(mapping)
  }

  private removeMapping(id: MappingId): void {
    const mapping = this.state.mappingNames.find(id)
    if (mapping >= 0) this.dropMapping(mapping)
  }

  /** Its flows end too: the proxy IPs stand for nothing any more. */
  private dropMapping(mapping: number): void {
    const { state } = this
    const client = state.clients.get(state.translations.clientOf(mapping))
    client?.mappings.delete(mapping)
    if (client !== undefined) state.fragments.forget(client.index)
    this.forgetFlows(mapping)
    state.translations.removeMapping(mapping)
    state.notices.forget(mapping)
    const name = state.mappingNames.name(mapping)
    if (name !== undefined) state.mappingNames.remove(name)
  }

  private setPolicy(command: SetPolicy): void {
    const { state } = this
    const gateway4 = parseAddress(command.gateway4)
    const gateway6 = parseAddress(command.gateway6)
    const tunnel = networks(command.tunnelNetworks)
    const proxy = networks(command.proxyNetworks)
    if (gateway4 === undefined || gateway6 === undefined || tunnel === undefined || proxy === undefined) {
      return this.fault("a policy was ignored: malformed address")
    }
    Object.assign(state.gateway4, gateway4)
    Object.assign(state.gateway6, gateway6)
    state.packets = command.packets
    state.setNetworks(tunnel, proxy)
    const own = command.ownAddresses.map(parseAddress).filter((a) => a !== undefined)
    state.policy.setRanges(tunnel, proxy)
    state.policy.setOwnAddresses(own)
    const text = JSON.stringify(command)
    if (text === this.policyText) return
    this.policyText = text
    for (let i = 0; i < state.clients.end; i++) {
      const client = state.clients.get(i)
      if (client !== undefined) this.cutDenied(client)
    }
  }

  private fault(message: string): void {
    this.state.count("worker.faults")
    this.state.notices.put({ _tag: "Fault", epoch: this.state.epoch, message })
  }
}

const hasKey = (client: ClientEntry, publicKey: Uint8Array): boolean =>
  client.peer.publicKey.every((b, i) => b === publicKey[i])

const hasAddresses = (client: ClientEntry, tunnel4: Words, tunnel6: Words): boolean =>
  equal(client.tunnel4, tunnel4) && equal(client.tunnel6, tunnel6)

const networks = (texts: ReadonlyArray<string>): ReadonlyArray<Network> | undefined => {
  const parsed = texts.map(parseNetwork).filter((n) => n !== undefined)
  return parsed.length === texts.length ? parsed : undefined
}
