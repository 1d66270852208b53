/**
 * The paths to clients that ICE finds: one agent per such client, our candidates (this host's addresses, and those that
 * relays showed or gave us), the client's candidates, and the relay that each connection uses.
 * Packets go to the endpoint of the client's WireGuard peer: nominations set it, authentic arrivals move it, and each
 * check that nominates the same path again moves it back, since those arrivals may have been late ones on an old path.
 */
import { type Candidate, formatCandidate, localCandidate, parseCandidate } from "../../ice/candidate.ts"
import type { IcePath } from "../../ice/candidatePair.ts"
import { type ChannelTable, isChannelData } from "../../ice/channelTable.ts"
import type { IceAgent } from "../../ice/IceAgent.ts"
import { IceAgents } from "../../ice/IceAgents.ts"
import { Relays } from "../../ice/Relays.ts"
import { parseStun } from "../../ice/stun.ts"
import { headerLength, magicCookie } from "../../ice/stunProtocol.ts"
import type { ClientId } from "../../model/Client.ts"
import type { RelayId } from "../../model/Relay.ts"
import { optInBits } from "../../nat/destinationPolicy.ts"
import { RateLimits, relayPeerLimit } from "../../nat/rateLimits.ts"
import { copyWords, words } from "../../packet/address.ts"
import { read16, read32 } from "../../packet/bytes.ts"
import { type Endpoint, makeEndpoint, sameRemote } from "../../packet/endpoint.ts"
import { formatTransport, type TransportAddress } from "../../packet/transportAddress.ts"
import type { Primitives } from "../../wireguard/primitives.ts"
import type { WireGuard } from "../../wireguard/WireGuard.ts"
import type { IceParameters, SetHostCandidates, SetRelays } from "../commands.ts"
import type { ConnectionLost } from "../notices.ts"
import type { ClientReports } from "./clientReports.ts"
import type { ClientEntry } from "./clientTable.ts"
import type { EngineState } from "./engineState.ts"
import { type OwnAddress, OwnAddresses, type Sockets } from "./ownAddresses.ts"
import type { Uplink } from "./uplink.ts"

interface Connection {
  readonly client: ClientEntry
  readonly agent: IceAgent
  /** Of its first order; another one means another connection. */
  readonly number: number
  readonly ice: IceParameters
  /** The one relay that it uses, once there is one with an allocation. */
  relay: RelayId | undefined
  /** Our candidates that the client was told of, by kind and address. */
  readonly told: Map<string, Told>
  /** Peers that it has had channels to at its relay since the connection began. */
  readonly relayPeers: Set<string>
  /** A handshake is due as soon as there is a path. */
  calls: boolean
}

interface Told {
  readonly candidate: Candidate
  readonly text: string
}

/** Channels that one connection may ask for. */
const mostRelayPeers = 32
/** Longer ones are no answer to anything, nor a check. */
const longestStun = 1_280

export class Connections {
  /** False until a command speaks of ICE or relays: until then no datagram needs to be looked at. */
  active = false
  /** The peer behind the relay, after `fromRelay` said so. */
  readonly behind: Endpoint = makeEndpoint()
  private readonly state: EngineState
  private readonly wireguard: WireGuard
  private readonly uplink: Uplink
  private readonly reports: ClientReports
  private readonly primitives: Primitives
  private readonly sockets: Sockets
  private readonly channels: ChannelTable
  private readonly relays: Relays
  private readonly agents = new IceAgents()
  private readonly own: OwnAddresses
  private readonly connections = new Map<number, Connection>()
  /** Of clients, however many connections they have one after the other. */
  private readonly peerLimits: RateLimits
  private readonly to: Endpoint = makeEndpoint()
  /** Some address of ours, or some relay, came or went. */
  private refreshDue = false

  constructor(
    state: EngineState,
    wireguard: WireGuard,
    uplink: Uplink,
    reports: ClientReports,
    primitives: Primitives,
    channels: ChannelTable,
    sockets: Sockets
  ) {
    this.state = state
    this.wireguard = wireguard
    this.uplink = uplink
    this.reports = reports
    this.primitives = primitives
    this.channels = channels
    this.sockets = sockets
    this.peerLimits = state.track(new RateLimits(relayPeerLimit))
    state.clients.onRemoved((client) => this.forget(client))
    const changed = (): void => {
      this.refreshDue = true
    }
    const { epoch, notices } = state
    this.relays = new Relays(
      {
        families: sockets,
        randomBytes: primitives.randomBytes,
        transmit: (to, bytes) => this.transmit(to, undefined, 0, bytes),
        events: {
          found: changed,
          lost: changed,
          relayLost: (relay, reason, left) => {
            this.refreshDue = true
            if (reason !== "Removed") notices.put({ _tag: "RelayLost", epoch, relay, reason, left })
          },
          channelBound: () => {},
          channelRefused: () => {}
        }
      },
      channels
    )
    this.own = new OwnAddresses(this.relays, sockets)
  }

  /**
   * The client's path is found by ICE from now on. Its connection of the same number stays, and our candidates are told
   * again; else a new one begins. `calls`: a handshake is due as soon as there is a path.
   */
  place(client: ClientEntry, ice: IceParameters, calls: boolean): void {
    this.active = true
    const known = this.connections.get(client.index)
    if (known?.number === client.connection) {
      known.agent.activity(this.state.now)
      for (const { text } of known.told.values()) this.tell("CandidateFound", client, text)
      return
    }
    const tieBreaker = new Uint8Array(8)
    this.primitives.randomBytes(tieBreaker)
    const connection: Connection = {
      client,
      number: client.connection,
      ice,
      relay: undefined,
      told: new Map(),
      relayPeers: new Set(),
      calls,
      agent: this.agents.create({
        role: ice.role,
        local: ice.local,
        remote: ice.remote,
        tieBreaker,
        randomBytes: this.primitives.randomBytes,
        now: this.state.now,
        transmit: (path, bytes) => this.check(connection, path, bytes),
        nominated: (path) => this.nominated(connection, path),
        affirmed: (path) => this.affirmed(connection, path),
        failed: (reason) => this.lose(connection, reason)
      })
    }
    this.connections.set(client.index, connection)
    client.agent = connection.agent
    this.refresh(connection)
  }

  /** The client has no connection by ICE any more; nothing is told. */
  forget(client: ClientEntry): void {
    const known = this.connections.get(client.index)
    if (known !== undefined) this.end(known)
  }

  /** The client cannot be reached, for a reason that ICE does not see. */
  lost(client: ClientEntry, reason: ConnectionLost["reason"]): void {
    const known = this.connections.get(client.index)
    if (known !== undefined) this.lose(known, reason)
  }

  setRelays(command: SetRelays): void {
    this.active = true
    this.relays.set(command.relays, this.state.now)
    this.own.setRelays(command.relays)
    this.refreshDue = true
    this.refreshAll()
  }

  setHosts(command: SetHostCandidates): void {
    this.own.setHosts(command.addresses)
    this.refreshDue = true
    this.refreshAll()
  }

  /** There is a socket of IPv6 from now on. */
  gainIpv6(): void {
    this.sockets.ipv6 = true
    this.own.changed()
    this.refreshDue = true
  }

  /** A candidate of the client; before its connection they mean nothing, since others may follow other credentials. */
  addRemote(client: ClientId, text: string): void {
    const { now } = this.state
    const connection = this.find(client)
    if (connection === undefined) return this.state.count("ice.early_candidate")
    const { agent } = connection
    const parsed = parseCandidate(text)
    const foreign = parsed !== undefined && parsed.ufrag !== null && parsed.ufrag !== connection.ice.remote.username
    const refused = parsed === undefined || this.state.policy.judge(parsed.candidate.address.address, onHost)
    if (parsed === undefined || refused || foreign) return this.state.count("ice.bad_candidate")
    const { relayed } = agent
    agent.addRemote(parsed.candidate, now)
    // A peer that was met before its candidate was told turns out to be behind a relay.
    if (agent.relayed !== relayed) this.reports.event(connection.client, "EndpointChanged")
  }

  removeRemote(client: ClientId, text: string): void {
    const connection = this.find(client)
    const parsed = parseCandidate(text)
    if (connection === undefined || parsed === undefined) return
    connection.agent.removeRemote(parsed.candidate, this.state.now)
  }

  /** Whether datagrams from there are a relay's. Constant time. */
  isRelay(from: Readonly<Endpoint>): boolean {
    return this.relays.isServer(from)
  }

  /**
   * A datagram from a relay: true when it carries one from a peer, which then begins `channelHeaderLength` later, has
   * `read16(bytes, offset + 2)` bytes, and comes from `behind`.
   */
  fromRelay(offset: number, length: number, from: Readonly<Endpoint>): boolean {
    const { behind, state } = this
    if (isChannelData(state.bytes[offset]!)) {
      const channel = this.relays.receiveData(state.bytes, offset, length, from)
      if (channel === undefined) {
        state.count("relay.unknown_channel")
        return false
      }
      if (behind.channel !== channel.handle) {
        copyWords(channel.peer.address, behind.remote)
        copyWords(channel.relayed.address, behind.local)
        behind.port = channel.peer.port
        behind.channel = channel.handle
      }
      return true
    }
    const taken =
      length <= longestStun &&
      this.relays.receive(state.bytes, offset, length, remoteOf(from), this.localOf(from), state.now)
    state.count(taken ? "relay.answers" : "relay.unhandled")
    if (this.refreshDue) this.refreshAll()
    return false
  }

  /** Whether the datagram is STUN, told from WireGuard by the cookie and a length that WireGuard never has there. */
  isStun(offset: number, length: number): boolean {
    const { bytes } = this.state
    return (
      bytes[offset]! < 4 &&
      length >= headerLength &&
      read32(bytes, offset + 4) === magicCookie &&
      read16(bytes, offset + 2) === length - headerLength
    )
  }

  /** A STUN message to one of the agents, or to nobody. */
  stun(offset: number, length: number, from: Readonly<Endpoint>): void {
    const { state } = this
    const message = length <= longestStun ? parseStun(state.bytes.subarray(offset, offset + length)) : undefined
    const agent = message === undefined ? undefined : this.agents.find(message)
    const handled =
      message !== undefined &&
      agent !== undefined &&
      agent.handle(message, this.localOf(from), remoteOf(from), state.now)
    state.count(handled ? "stun.handled" : "stun.unhandled")
  }

  /** Does what is due. */
  advance(): void {
    const { now } = this.state
    if (this.relays.nextDeadline() <= now) this.relays.advance(now)
    if (this.refreshDue) this.refreshAll()
    if (this.agents.nextDeadline() <= now) this.agents.advance(now)
  }

  nextDeadline(): number {
    if (!this.active) return Number.POSITIVE_INFINITY
    return Math.min(this.relays.nextDeadline(), this.agents.nextDeadline())
  }

  close(): void {
    this.relays.close()
  }

  private find(client: ClientId): Connection | undefined {
    const entry = this.state.clients.find(client)
    return entry === undefined ? undefined : this.connections.get(entry.index)
  }

  /** A relay's allocation went or came, or an address of this host: everybody's candidates follow. */
  private refreshAll(): void {
    this.refreshDue = false
    this.own.changed()
    for (const connection of this.connections.values()) this.refresh(connection)
  }

  /** Tells the client what it does not know of our candidates, and the agent what it can send from. */
  private refresh(connection: Connection): void {
    const { agent, client, told } = connection
    this.chooseRelay(connection)
    const wanted = this.own.of(connection.relay)
    for (const [key, { candidate, text }] of told) {
      if (wanted.some((own) => own.key === key)) continue
      told.delete(key)
      agent.removeLocal(candidate, this.state.now)
      this.tell("CandidateLost", client, text)
    }
    for (const { address, key, kind } of wanted) {
      if (told.has(key)) continue
      const candidate = candidateFor(connection, kind, address)
      const text = formatCandidate(candidate)
      told.set(key, { candidate, text })
      agent.addLocal(candidate, this.state.now)
      this.tell("CandidateFound", client, text)
    }
  }

  /** Another relay only when the one in use has no allocation: paths through it are gone then. */
  private chooseRelay(connection: Connection): void {
    if (connection.relay !== undefined && this.relays.isAllocated(connection.relay)) return
    // The numbers of its channels went with the allocation.
    if (connection.relay !== undefined) this.peerLimits.forgetClient(connection.client.index)
    const random = new Uint8Array(2)
    this.primitives.randomBytes(random)
    connection.relay = this.relays.pick(read16(random, 0) / 0x1_0000)
    connection.relayPeers.clear()
  }

  private check(connection: Connection, path: IcePath, bytes: Uint8Array): void {
    if (!path.relayed) return this.transmit(path.remote, path.local, 0, bytes)
    const channel = this.channelTo(connection, path.remote)
    if (channel === 0) return this.state.count("relay.no_channel")
    this.transmit(path.remote, path.local, channel, bytes)
  }

  /** 0 when there is none to be had. */
  private channelTo(connection: Connection, peer: TransportAddress): number {
    const { client, relay, relayPeers } = connection
    const text = formatTransport(peer)
    if (relay === undefined) return 0
    if (!relayPeers.has(text)) {
      if (relayPeers.size >= mostRelayPeers || !this.peerLimits.take(client.index, this.state.now)) return 0
      relayPeers.add(text)
    }
    return this.relays.open(relay, peer, this.state.now)
  }

  private transmit(
    remote: TransportAddress,
    local: TransportAddress | undefined,
    channel: number,
    bytes: Uint8Array
  ): void {
    this.fill(this.to, remote, local, channel)
    this.uplink.sendBytes(this.to, bytes)
  }

  private fill(
    endpoint: Endpoint,
    remote: TransportAddress,
    local: TransportAddress | undefined,
    channel: number
  ): void {
    copyWords(remote.address, endpoint.remote)
    copyWords(local?.address ?? unspecified, endpoint.local)
    endpoint.port = remote.port
    endpoint.channel = channel
  }

  private nominated(connection: Connection, path: IcePath | null): void {
    const { client } = connection
    const { now, wall } = this.state
    if (path !== null) {
      if (!this.aim(connection, path)) return
      this.wireguard.setEndpoint(client.peer, this.to)
      const calls = connection.calls || connection.ice.role === "controlling"
      connection.calls = false
      if (calls && !client.peer.hasSession(now)) this.wireguard.initiate(client.peer, now, wall)
    }
    this.reports.event(client, "EndpointChanged")
  }

  private affirmed(connection: Connection, path: IcePath): void {
    const { peer } = connection.client
    if (this.aim(connection, path) && !sameRemote(peer.endpoint, this.to)) this.wireguard.setEndpoint(peer, this.to)
  }

  /** Makes `to` the endpoint of the path; false when its relay has no channel for it. */
  private aim(connection: Connection, { local, relayed, remote }: IcePath): boolean {
    const channel = relayed ? this.channelTo(connection, remote) : 0
    if (relayed && channel === 0) {
      this.state.count("relay.no_channel")
      return false
    }
    this.fill(this.to, remote, local, channel)
    return true
  }

  private lose(connection: Connection, reason: ConnectionLost["reason"]): void {
    const { client } = connection
    const { epoch, notices } = this.state
    this.end(connection)
    notices.put({ _tag: "ConnectionLost", epoch, client: client.id, order: client.number, reason })
    this.reports.tell(client)
  }

  /** The agent, its paths and the WireGuard sessions over them are gone. */
  private end({ agent, client }: Connection): void {
    this.agents.remove(agent)
    this.connections.delete(client.index)
    client.agent = undefined
    client.stage.clear()
    this.wireguard.resetPeer(client.peer)
  }

  private tell(what: "CandidateFound" | "CandidateLost", client: ClientEntry, candidate: string): void {
    const { epoch, notices } = this.state
    notices.put({ _tag: what, epoch, client: client.id, candidate })
  }

  /** The address that a datagram was sent to, as the agents know it. */
  private localOf(from: Readonly<Endpoint>): TransportAddress {
    return this.channels.get(from.channel)?.relayed ?? { address: { ...from.local }, port: this.sockets.port }
  }
}

const unspecified = words()

/**
 * Nobody is to be found at our loopback, at the metadata service or in our own tunnel: a client that names such an
 * address has us send there. A relay may well run on this host.
 */
const onHost = optInBits(["gateway_host"])

const remoteOf = (from: Readonly<Endpoint>): TransportAddress => ({ address: { ...from.remote }, port: from.port })

/** Each of a kind has a priority of its own. */
const candidateFor = ({ told }: Connection, kind: OwnAddress["kind"], address: TransportAddress): Candidate => {
  const priorities = new Set([...told.values()].map(({ candidate }) => candidate.priority))
  for (let index = 0; ; index++) {
    const candidate = localCandidate(kind, address, index)
    if (!priorities.has(candidate.priority)) return candidate
  }
}
