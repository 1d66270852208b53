/**
 * The packet engine: commands in, notices out, packets through. Plain synchronous code over one arena; time comes in
 * with each turn. The worker runs it over system calls, tests run the same over memory.
 */
import { counterIndex, handshakeBase, receiveBase } from "../counters.ts"
import type { Command, SetMapping, SetPolicy, SetResource, UpsertClient } from "../commands.ts"
import type { Counters } from "../counters.ts"
import type { Notice } from "../notices.ts"
import type { MappingId } from "../../model/Mapping.ts"
import type { ResourceId } from "../../model/Resource.ts"
import { optInBits } from "../../nat/destinationPolicy.ts"
import { compileFilters, permits } from "../../nat/portFilters.ts"
import { MappingState } from "../../nat/translations.ts"
import {
  contains,
  equal,
  formatAddress,
  isIpv4,
  type Network,
  parseAddress,
  parseNetwork,
  type Words,
  words
} from "../../packet/address.ts"
import type { Arena } from "../../packet/arena.ts"
import { makeEndpoint } from "../../packet/endpoint.ts"
import { write16 } from "../../packet/bytes.ts"
import { type Checksum, makeChecksum } from "../../packet/checksum.ts"
import type { Primitives } from "../../wireguard/primitives.ts"
import { ReceiveCode } from "../../wireguard/receiveCode.ts"
import { type Peer, type PeerEvent, WireGuard } from "../../wireguard/WireGuard.ts"
import { AddressCache } from "./addressCache.ts"
import { fromBase64, fromHex, toHex } from "./bytesText.ts"
import { ClientRole } from "./clientRole.ts"
import type { ClientEntry, ClientResource } from "./clientTable.ts"
import { EngineState } from "./engineState.ts"
import { Inbound } from "./inbound.ts"
import { Link } from "./link.ts"
import { Outbound } from "./outbound.ts"
import type { PacketIo } from "./packetIo.ts"
import { TunWriter } from "./tunWriter.ts"
import { gsoNone } from "../offload/virtioHeader.ts"

export interface EngineOptions {
  readonly epoch: number
  readonly arena: Arena
  readonly io: PacketIo
  readonly primitives: Primitives
  /** 32 bytes; copied. */
  readonly privateKey: Uint8Array
  readonly counters: Counters
  readonly mtu: number
  readonly maxSessions: number
  /** The sum over the arena; the plain one unless given. */
  readonly checksum?: Checksum
  /** What the system beneath takes; nothing unless given. */
  readonly offloads?: Offloads
}

/** Batches that the system takes: TCP and UDP super-packets on the TUN device, equal datagrams on the socket. */
export interface Offloads {
  readonly joinTcp: boolean
  readonly joinUdp: boolean
  readonly batch: boolean
}

const udpReceived = counterIndex["udp.received"]
const udpGathered = counterIndex["udp.gathered"]
const tunReceived = counterIndex["tun.received"]

/** Reads of each source per turn, so that none starves the others. */
const readsPerTurn = 16
const receiveCapacity = 65_536
/** Datagrams that come singly are collected over several reads, this many bytes of them, so that they can be joined. */
const collectedBytes = 32_768
/** Expiry, silence, parking and evidence are looked at this often while there is something to look at. */
const housekeepingMs = 100
/** Handshakes started towards known clients after a restart, per second (design §5). */
const initiationsPerSecond = 50
/** A client that keeps moving is reported this often. */
const stateIntervalMs = 1_000

export class Engine {
  private readonly epoch: number
  private readonly state: EngineState
  private readonly wireguard: WireGuard
  private readonly link: Link
  private readonly inbound: Inbound
  private readonly outbound: Outbound
  private readonly client: ClientRole
  private readonly tun: TunWriter
  private readonly checksum: Checksum
  private readonly udpAt: number
  private readonly tunAt: number
  private readonly from = makeEndpoint()
  private readonly toInitiate: Array<ClientEntry> = []
  private initiatedAt = Number.NEGATIVE_INFINITY
  private housekeepingAt = 0
  /** Clients with news that main was not told yet. */
  private untold: Array<ClientEntry> = []
  /** What this worker's own totals were when they were last added to the counters, which outlive it. */
  private readonly counted = new Map<number, number>()
  private policyText = ""
  private readonly addresses = new AddressCache()
  private readonly real: Words = words()

  constructor(options: EngineOptions) {
    const { arena, primitives } = options
    this.epoch = options.epoch
    const seed = new Uint8Array(4)
    primitives.randomBytes(seed)
    this.state = new EngineState({
      epoch: options.epoch,
      arena,
      io: options.io,
      counters: options.counters,
      maxSessions: options.maxSessions,
      hashSeed: new DataView(seed.buffer).getInt32(0)
    })
    this.wireguard = new WireGuard({
      primitives,
      privateKey: options.privateKey,
      arena,
      mtu: options.mtu,
      send: (to, offset, length) => {
        this.state.count(this.state.io.send(to, offset, length, length) ? "udp.sent" : "udp.send_failed")
      },
      event: (peer, event) => this.peerEvent(peer, event)
    })
    const checksum = options.checksum ?? makeChecksum(arena.bytes)
    const { batch, joinTcp, joinUdp } = options.offloads ?? { batch: false, joinTcp: false, joinUdp: false }
    this.checksum = checksum
    this.link = new Link(this.state, this.wireguard, arena, checksum, batch)
    this.tun = new TunWriter(this.state, checksum, { tcp: joinTcp, udp: joinUdp })
    this.inbound = new Inbound(this.state, this.link, options.mtu)
    this.outbound = new Outbound(this.state, this.link, this.tun, arena, options.mtu)
    this.client = new ClientRole(this.state, this.link, this.tun)
    this.udpAt = arena.reserve(collectedBytes + receiveCapacity + 64)
    // The virtio header lies before the packet.
    this.tunAt = arena.reserve(receiveCapacity + 128) + 64
  }

  /** Reads what waits (bounded), then timers and handshakes. True when more may be waiting. */
  turn(now: number, wall: number): boolean {
    const { state } = this
    state.now = now
    state.wall = wall
    state.count("worker.turns")
    const datagrams = this.readUdp(now, wall)
    const packets = this.readTun()
    const more = this.wireguard.workHandshakes(now, wall)
    if (this.wireguard.nextDeadline() <= now) this.wireguard.advance(now, wall)
    if (now >= this.housekeepingAt) this.housekeeping()
    this.link.flushBatch()
    return datagrams === readsPerTurn || packets === readsPerTurn || more
  }

  /** Monotonic milliseconds of the next moment at which `turn` has something to do without any input. */
  nextDeadline(): number {
    const { state } = this
    const idle =
      state.sessions.size === 0 && state.parking.size === 0 && this.toInitiate.length + this.untold.length === 0
    return Math.min(this.wireguard.nextDeadline(), idle ? Number.POSITIVE_INFINITY : this.housekeepingAt)
  }

  takeNotices(): ReadonlyArray<Notice> {
    return this.state.notices.take()
  }

  /** Forgets every key. The engine must not be used afterwards. */
  close(): void {
    this.wireguard.close()
  }

  apply(command: Command, now: number, wall: number): void {
    this.state.now = now
    this.state.wall = wall
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
      case "SetAddresses": {
        const mapping = this.state.mappingNames.find(command.mapping)
        if (mapping < 0) return
        const addresses = this.addresses.all(command.addresses)
        const applied = this.state.translations.setAddresses(
          mapping,
          command.lookup,
          MappingState[command.state],
          addresses.filter(isIpv4),
          addresses.filter((a) => !isIpv4(a)),
          command.staleAt
        )
        if (applied && command.state !== "Resolving") this.outbound.release(mapping)
        this.link.flushBatch()
        return
      }
      case "RemoveMapping":
        return this.removeMapping(command.mapping)
      case "SetPolicy":
        return this.setPolicy(command)
      case "Stop":
        return
    }
  }

  /** The times come in as arguments: read from fields they would be boxed for every packet. */
  private readUdp(now: number, wall: number): number {
    const { state, wireguard, from, udpAt } = this
    const { counters } = state
    let reads = 0
    let start = udpAt
    for (; reads < readsPerTurn; reads++) {
      const received = state.io.receive(start, receiveCapacity, from)
      if (received === 0) break
      const segment = state.io.segmentSize()
      if (segment < received) counters[udpGathered]! += Math.ceil(received / segment)
      for (let at = 0; at < received; at += segment) {
        const length = received - at < segment ? received - at : segment
        counters[udpReceived]!++
        const code = wireguard.receive(start + at, length, from, now, wall)
        counters[receiveBase + code]!++
        if (code !== ReceiveCode.Data) continue
        const client = state.clients.get(wireguard.peer.user)
        if (client === undefined) continue
        if (state.mode === "client") this.client.fromGateway(client, wireguard.plainOffset, wireguard.plainLength)
        else this.outbound.packet(client, wireguard.plainOffset, wireguard.plainLength)
      }
      start += (received + 63) & ~63
      if (start - udpAt > collectedBytes) {
        // The next read overwrites what was collected.
        this.tun.flush()
        start = udpAt
      }
    }
    this.tun.flush()
    this.link.flushBatch()
    return reads
  }

  private readTun(): number {
    const { state, tunAt } = this
    let reads = 0
    for (; reads < readsPerTurn; reads++) {
      const length = state.io.readTun(tunAt, receiveCapacity)
      if (length === 0) break
      state.counters[tunReceived]!++
      if (!this.completeChecksum(length)) continue
      if (state.mode === "client") this.client.toGateway(tunAt, length)
      else this.inbound.packet(tunAt, length)
    }
    this.link.flushBatch()
    return reads
  }

  /** The kernel leaves a checksum to us; that of a super-packet's segments is made when they are cut. */
  private completeChecksum(length: number): boolean {
    const { state, tunAt } = this
    const { checksumOffset, checksumStart, kind, partial } = state.io.tunHeader
    if (!partial || kind !== gsoNone) return true
    const field = tunAt + checksumStart + checksumOffset
    if (checksumStart + checksumOffset + 2 > length) {
      state.count("inbound.malformed")
      return false
    }
    const sum = ~this.checksum(tunAt + checksumStart, length - checksumStart, 0) & 0xffff
    write16(state.bytes, field, sum === 0 ? 0xffff : sum)
    return true
  }

  private housekeeping(): void {
    const { state } = this
    this.housekeepingAt = state.now + housekeepingMs
    state.sessions.expire(state.now, 1_000)
    state.set("sessions.live", state.sessions.size)
    this.countUpTo(counterIndex["sessions.evicted"], state.sessions.evictions)
    this.countUpTo(counterIndex["notices.coalesced"], state.notices.coalesced)
    this.outbound.expire()
    for (let m = state.silence.next(state.now); m >= 0; m = state.silence.next(state.now))
      state.suspect(m, "Unanswered")
    this.initiateSome()
    this.tellStates()
    for (const [i, n] of this.wireguard.handshakeCounts.entries()) this.countUpTo(handshakeBase + i, n)
  }

  private countUpTo(counter: number, total: number): void {
    this.state.counters[counter]! += total - (this.counted.get(counter) ?? 0)
    this.counted.set(counter, total)
  }

  private initiateSome(): void {
    if (this.toInitiate.length === 0 || this.state.now - this.initiatedAt < 1_000 / initiationsPerSecond) return
    this.initiatedAt = this.state.now
    const batch = Math.ceil((initiationsPerSecond * housekeepingMs) / 1_000)
    for (const client of this.toInitiate.splice(0, batch)) {
      if (this.state.clients.get(client.index) === client && !client.peer.hasSession(this.state.now)) {
        this.wireguard.initiate(client.peer, this.state.now, this.state.wall)
      }
    }
  }

  private peerEvent(peer: Peer, event: PeerEvent): void {
    const client = this.state.clients.get(peer.user)
    if (client === undefined) return
    if (event === "HandshakeDone") this.link.flush(client)
    // Every datagram of a client may come from another address; the rest is rare by itself.
    if (event !== "EndpointChanged" || this.state.now - client.toldAt >= stateIntervalMs) return this.tell(client)
    if (client.untold) return
    client.untold = true
    this.untold.push(client)
  }

  private tellStates(): void {
    if (this.untold.length === 0) return
    const waiting = this.untold
    this.untold = []
    for (const client of waiting) {
      if (!client.untold || this.state.clients.get(client.index) !== client) continue
      if (this.state.now - client.toldAt >= stateIntervalMs) this.tell(client)
      else this.untold.push(client)
    }
  }

  private tell(client: ClientEntry): void {
    const { peer } = client
    client.toldAt = this.state.now
    client.untold = false
    this.state.notices.put({
      _tag: "ClientState",
      epoch: this.epoch,
      client: client.id,
      connected: peer.hasSession(this.state.now),
      endpoint: peer.hasEndpoint ? { address: formatAddress(peer.endpoint.remote), port: peer.endpoint.port } : null,
      lastTai64n: peer.latestTai64n.some((b) => b !== 0) ? toHex(peer.latestTai64n) : null,
      handshakeAt: peer.lastHandshakeAt === 0 ? null : peer.lastHandshakeAt
    })
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
    const holder = this.wireguard.findPeer(publicKey)
    const robbed = holder === undefined || holder.user === index ? undefined : state.clients.get(holder.user)
    if (robbed !== undefined) {
      this.removeClient(robbed)
      this.fault(`client ${robbed.id} was removed: its key belongs to client ${command.client} now`)
    }
    const known = state.clients.get(index)
    if (known !== undefined) this.changeClient(known, publicKey, tunnel4, tunnel6)
    const connected = known?.peer.hasSession(state.now) === true
    const peer = this.wireguard.addPeer({ publicKey, presharedKey, keepalive: command.keepalive, user: index })
    const client = known ?? state.clients.add(index, command.client, peer, tunnel4, tunnel6)
    client.peer = peer
    if (connected && !peer.hasSession(state.now)) this.tell(client)
    if (!peer.hasEndpoint && command.endpoint !== null) {
      const remote = parseAddress(command.endpoint.address)
      if (remote !== undefined) {
        Object.assign(peer.endpoint.remote, remote)
        peer.endpoint.port = command.endpoint.port
        peer.hasEndpoint = true
      }
    }
    const tai64n = command.lastTai64n === null ? undefined : fromHex(command.lastTai64n, 12)
    if (tai64n !== undefined && laterThan(tai64n, peer.latestTai64n)) peer.latestTai64n.set(tai64n)
    if (command.initiate && peer.hasEndpoint && !peer.hasSession(state.now)) {
      this.toInitiate.push(client)
      this.housekeepingAt = state.now
    }
  }

  /** Another key or other addresses: its flows end and its resources stay. */
  private changeClient(client: ClientEntry, publicKey: Uint8Array, tunnel4: Words, tunnel6: Words): void {
    const { state } = this
    const sameKey = client.peer.publicKey.every((b, i) => b === publicKey[i])
    const sameAddresses = equal(client.tunnel4, tunnel4) && equal(client.tunnel6, tunnel6)
    if (sameKey && sameAddresses) return
    state.sessions.removeClient(client.index)
    client.stage.clear()
    if (!sameKey) this.wireguard.removePeer(client.peer)
    if (!sameAddresses) state.clients.move(client, tunnel4, tunnel6)
  }

  private removeClient(client: ClientEntry | undefined): void {
    if (client === undefined) return
    const { state } = this
    state.sessions.removeClient(client.index)
    for (const mapping of client.mappings) this.dropMapping(mapping)
    state.evidence.forgetClient(client.index)
    state.routes.removeClient(client.index)
    state.icmpErrors.forget(client.index)
    state.gatewayPackets.forget(client.index)
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
    const { sessions } = this.state
    sessions.removeWhere(client.index, (slot) => {
      const resource = client.resources.get(sessions.resourceOf(slot))
      return resource === undefined || !this.covers(resource, slot)
    })
  }

  private covers(resource: ClientResource, slot: number): boolean {
    const { state, real } = this
    const { sessions } = state
    sessions.realInto(slot, real)
    if ((resource.kind === "dns") !== sessions.mappingOf(slot) >= 0) return false
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
    state.sessions.removeResource(client.index, index)
    for (const mapping of client.mappings) {
      if (state.translations.resourceOf(mapping) === index) this.dropMapping(mapping)
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
    for (const other of moved) {
      state.sessions.removeMapping(other)
      state.silence.forget(other)
      state.evidence.forgetMapping(other)
      state.parking.forget(other)
    }
  }

  private removeMapping(id: MappingId): void {
    const mapping = this.state.mappingNames.find(id)
    if (mapping >= 0) this.dropMapping(mapping)
  }

  /** Its flows end too: the proxy IPs stand for nothing any more. */
  private dropMapping(mapping: number): void {
    const { state } = this
    state.clients.get(state.translations.clientOf(mapping))?.mappings.delete(mapping)
    state.sessions.removeMapping(mapping)
    state.parking.forget(mapping)
    state.translations.removeMapping(mapping)
    state.silence.forget(mapping)
    state.evidence.forgetMapping(mapping)
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
    state.mode = command.mode
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
    this.state.notices.put({ _tag: "Fault", epoch: this.epoch, message })
  }
}

const networks = (texts: ReadonlyArray<string>): ReadonlyArray<Network> | undefined => {
  const parsed = texts.map(parseNetwork).filter((n) => n !== undefined)
  return parsed.length === texts.length ? parsed : undefined
}

const laterThan = (a: Uint8Array, b: Uint8Array): boolean => {
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return a[i]! > b[i]!
  return false
}
