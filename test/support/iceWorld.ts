/**
 * Engines that find each other by ICE: a network in memory with one path per address pair, TURN servers, and a portal
 * that passes candidates on. Time is the world's own; everything is over when `run` ends.
 */
import { type DataPlaneHub, makeDataPlaneHub } from "../../layers/dataplane/dataPlaneHub.ts"
import { makeMemoryPacketIo, type MemoryPacketIo } from "../../layers/memory/memoryPacketIo.ts"
import { makeNodePrimitives } from "../../layers/dataplane/nodePrimitives.ts"
import type { Command, SetResource, UpsertClient } from "../../src/dataplane/commands.ts"
import { countersByteLength, readCounters } from "../../src/dataplane/counters.ts"
import { Engine } from "../../src/dataplane/engine/engine.ts"
import type { Notice } from "../../src/dataplane/notices.ts"
import { type Relay, RelayId } from "../../src/model/Relay.ts"
import type { Order } from "../../src/dataplane/orders.ts"
import { clientEnd } from "../../src/dataplane/packetPolicy.ts"
import { formatAddress, isIpv4, isUnspecified, parseAddress } from "../../src/packet/address.ts"
import { Arena } from "../../src/packet/arena.ts"
import { read16, write16 } from "../../src/packet/bytes.ts"
import { type Endpoint, makeEndpoint } from "../../src/packet/endpoint.ts"
import { formatTransport, type TransportAddress, transportAddress } from "../../src/packet/transportAddress.ts"
import { network, syn } from "./engineSteps.ts"
import type { Primitives } from "../../src/wireguard/primitives.ts"
import { clientId, key, packetsAt, policy, primitives, upsertClient } from "./engineWorld.ts"
import { at } from "./relayWorld.ts"
import { buildTcp } from "./packets.ts"
import { TurnServer } from "./turnServer.ts"

interface Datagram {
  readonly from: TransportAddress
  readonly to: TransportAddress
  readonly bytes: Uint8Array
}

const udpPort = 52_625
/** One host: an engine behind what the data plane's layer does for it. */
export class Host {
  readonly name: string
  readonly hub: DataPlaneHub = makeDataPlaneHub()
  readonly notices: Array<Notice> = []
  /** Packets written to the device. */
  readonly received: Array<Uint8Array> = []
  readonly privateKey: Uint8Array
  addresses: ReadonlyArray<string>
  engine!: Engine
  io!: MemoryPacketIo
  private readonly counters = new Float64Array(countersByteLength / 8)
  private readonly world: World
  private epoch = 0

  constructor(world: World, name: string, fill: number, addresses: ReadonlyArray<string>) {
    this.world = world
    this.name = name
    this.privateKey = key(fill)
    this.addresses = addresses
    this.start()
  }

  get publicKey(): string {
    return Buffer.from(primitives.x25519(this.privateKey).publicKey).toString("base64")
  }

  /** A new worker with the desired state; the one before, if any, is dead. */
  start(ipv6 = true): void {
    const arena = new Arena(new ArrayBuffer(1 << 20))
    this.io = makeMemoryPacketIo(arena, {
      datagram: (to, bytes) => this.leave(to, bytes),
      packet: (packet) => void this.received.push(packet)
    })
    const epoch = ++this.epoch
    this.engine = new Engine({
      epoch,
      arena,
      io: this.io,
      primitives: { ...makeNodePrimitives(arena.bytes), randomBytes: this.world.randomBytes },
      privateKey: this.privateKey,
      counters: this.counters,
      mtu: 1_280,
      maxSessions: 256,
      sockets: { port: udpPort, ipv4: true, ipv6 },
      offloads: { batch: true, joinTcp: false, joinUdp: false }
    })
    for (const order of this.hub.desired.replay(this.world.now)) this.execute(order)
    this.hub.deliver([{ _tag: "Ready", epoch }], this.world.now)
  }

  send(...commands: ReadonlyArray<Command>): void {
    for (const command of commands) for (const order of this.hub.decide(command)) this.execute(order)
  }

  /** The host routes packets into the tunnel. */
  route(...packets: ReadonlyArray<Uint8Array>): void {
    for (const packet of packets) this.io.routeIn(packet)
  }

  count(name: string): number {
    const value = this.hub.counters(readCounters(this.counters))[name]
    if (value === undefined) throw new Error(`no counter ${name}`)
    return value
  }

  /** Notices of a kind since the last call for it. */
  told<Tag extends Notice["_tag"]>(tag: Tag): ReadonlyArray<Extract<Notice, { readonly _tag: Tag }>> {
    const of = this.notices.filter((notice): notice is Extract<Notice, { readonly _tag: Tag }> => notice._tag === tag)
    for (const notice of of) this.notices.splice(this.notices.indexOf(notice), 1)
    return of
  }

  get state() {
    return this.hub.desired.clientStates.get(clientId(1))
  }

  private execute(order: Order): void {
    this.engine.execute(order, this.world.now, this.world.wall)
  }

  private leave(to: Endpoint, bytes: Uint8Array): void {
    const v4 = isIpv4(to.remote)
    const chosen = isUnspecified(to.local) ? undefined : formatAddress(to.local)
    const own = this.addresses.find((address) =>
      chosen === undefined ? address.includes(":") !== v4 : address === chosen
    )
    // Not ours any more, or a family that this host has not.
    if (own === undefined) return
    const from = this.world.outside(transportAddress(own, udpPort)!, { address: { ...to.remote }, port: to.port })
    this.world.put({ from, to: { address: { ...to.remote }, port: to.port }, bytes })
  }
}

export class World {
  now = 60_000
  readonly hosts: Array<Host> = []
  readonly servers: Array<TurnServer> = []
  /** Every datagram that was put on the wire. */
  readonly wire: Array<Datagram> = []
  /** Datagrams that are lost. */
  drops: (datagram: Datagram) => boolean = () => false
  /** How a NAT writes an address on the way out; `inside` is its way back. */
  outside = (from: TransportAddress, _to: TransportAddress): TransportAddress => from
  inside = (to: TransportAddress, _from: TransportAddress): TransportAddress | undefined => to
  /** What the hosts draw keys and transactions from. */
  readonly randomBytes: Primitives["randomBytes"]
  private queue: Array<Datagram> = []

  constructor(randomBytes = primitives.randomBytes) {
    this.randomBytes = randomBytes
  }

  get wall(): number {
    return 1_795_000_000_000 + this.now
  }

  host(name: string, fill: number, ...addresses: ReadonlyArray<string>): Host {
    const host = new Host(this, name, fill, addresses)
    this.hosts.push(host)
    return host
  }

  put(datagram: Datagram): void {
    this.wire.push(datagram)
    if (!this.drops(datagram)) this.queue.push(datagram)
  }

  /** Lets time pass; what the engines wait for happens when it is due. */
  run(milliseconds: number): void {
    const end = this.now + milliseconds
    for (;;) {
      this.settle()
      const next = Math.min(...this.hosts.map((host) => host.engine.nextDeadline()))
      if (next >= end) break
      this.now = Math.max(this.now + 1, Math.ceil(next))
    }
    this.now = Math.max(this.now, end)
    this.settle()
  }

  /** All that happens at this moment. */
  settle(): void {
    for (let steps = 0; steps < 10_000; steps++) {
      let busy = false
      for (const host of this.hosts) {
        while (host.engine.turn(this.now, this.wall) || !host.io.isIdle()) busy = true
        const notices = host.engine.takeNotices()
        host.hub.deliver(notices, this.now)
        host.notices.push(...notices)
        for (const notice of notices) this.listen(host, notice)
      }
      const moving = this.queue
      this.queue = []
      for (const datagram of moving) this.carry(datagram)
      if (!busy && moving.length === 0) return
    }
    throw new Error("the world does not come to rest")
  }

  /** Called for each notice; a portal, say. */
  listen: (host: Host, notice: Notice) => void = () => {}

  private carry({ bytes, from, to }: Datagram): void {
    const target = formatTransport(to)
    const server = this.servers.find(({ addresses }) => addresses.some((a) => formatTransport(a) === target))
    if (server !== undefined) return this.toServer(server, { bytes, from, to })
    for (const turn of this.servers) if (this.toRelayed(turn, { bytes, from, to })) return
    const local = this.inside(to, from)
    if (local === undefined) return
    const host = this.hosts.find(({ addresses }) => addresses.includes(formatAddress(local.address)))
    if (host === undefined || local.port !== udpPort) return
    const arrived = makeEndpoint()
    Object.assign(arrived.remote, from.address)
    Object.assign(arrived.local, local.address)
    arrived.port = from.port
    host.io.arrive(arrived, bytes)
  }

  private toServer(server: TurnServer, { bytes, from, to }: Datagram): void {
    if (bytes[0]! < 0x40 || server.silent) {
      for (const answer of server.receive({ bytes, from, to }, this.now)) this.put(answer)
      return
    }
    const allocation = server
      .liveAllocations(this.now)
      .find(
        (a) => formatTransport(a.client) === formatTransport(from) && formatTransport(a.server) === formatTransport(to)
      )
    const channel = allocation?.channels.get(read16(bytes, 0))
    const relayed = allocation?.relayed.find((a) => isIpv4(a.address) === isIpv4(channel?.peer.address ?? a.address))
    if (channel === undefined || relayed === undefined || channel.expiresAt <= this.now) return
    // Without padding, as over UDP.
    if (read16(bytes, 2) !== bytes.length - 4) return
    this.put({ from: relayed, to: channel.peer, bytes: bytes.slice(4) })
  }

  private toRelayed(server: TurnServer, { bytes, from, to }: Datagram): boolean {
    const target = formatTransport(to)
    const allocation = server
      .liveAllocations(this.now)
      .find((a) => a.relayed.some((r) => formatTransport(r) === target))
    if (allocation === undefined) return false
    const channel = [...allocation.channels.values()].find(
      (c) => formatTransport(c.peer) === formatTransport(from) && c.expiresAt > this.now
    )
    if (channel === undefined || server.silent) return true
    const data = new Uint8Array(bytes.length + 4)
    write16(data, 0, channel.number)
    write16(data, 2, bytes.length)
    data.set(bytes, 4)
    this.put({ from: allocation.server, to: allocation.client, bytes: data })
    return true
  }
}

export const credentials = {
  gateway: { username: "gwuf", password: "gatewaypasswordgateway" },
  client: { username: "cluf", password: "clientpasswordclientpw" }
}

const presharedKey = Buffer.from(key(0x50)).toString("base64")

export const gatewayAddress = "192.0.2.1"
export const clientAddress = "192.0.2.2"

/** A gateway and a client that a portal introduces to each other; the client's device has 100.64.1.1. */
export class IcePair {
  readonly world: World
  readonly gateway: Host
  readonly client: Host
  /** Whether the portal passes candidates on. */
  passes = true
  /** Whether the client asks the portal again when its connection is lost. */
  insists = false

  constructor(world = new World()) {
    this.world = world
    this.gateway = world.host("gateway", 11, gatewayAddress, "2001:db8::1")
    this.client = world.host("client", 12, clientAddress, "2001:db8::2")
    world.listen = (host, notice) => {
      if (this.insists && host === this.client && notice._tag === "ConnectionLost") this.introduce()
      const other = host === this.gateway ? this.client : this.gateway
      if (!this.passes || (notice._tag !== "CandidateFound" && notice._tag !== "CandidateLost")) return
      const { candidate } = notice
      const tag = notice._tag === "CandidateFound" ? "AddCandidate" : "RemoveCandidate"
      other.send({ _tag: tag, client: clientId(1), candidate })
    }
    this.gateway.send({ ...policy, packets: packetsAt.portal })
    this.client.send({ ...policy, packets: clientEnd, tunnelNetworks: [], proxyNetworks: [] })
  }

  /** What the gateway is told of the client. */
  upsertAtGateway(over: Partial<UpsertClient> = {}): UpsertClient {
    return {
      ...upsertClient(1),
      publicKey: this.client.publicKey,
      presharedKey,
      ice: { local: credentials.gateway, remote: credentials.client, role: "controlled" },
      ...over
    }
  }

  upsertAtClient(over: Partial<UpsertClient> = {}): UpsertClient {
    return {
      ...upsertClient(1),
      publicKey: this.gateway.publicKey,
      presharedKey,
      ice: { local: credentials.client, remote: credentials.gateway, role: "controlling" },
      ...over
    }
  }

  /** Both sides learn of each other, the gateway first, as a portal does it. */
  introduce(over: Partial<UpsertClient> = {}): void {
    this.gateway.send(this.upsertAtGateway(over), lab)
    this.client.send(this.upsertAtClient(over), lab)
  }

  hosts(host: Host, ...addresses: ReadonlyArray<string>): void {
    host.send({ _tag: "SetHostCandidates", addresses: addresses.map((address) => ({ address, port: udpPort })) })
  }

  relays(...relays: ReadonlyArray<Relay>): void {
    for (const host of [this.gateway, this.client]) host.send({ _tag: "SetRelays", relays })
  }

  addRelay(id: string, address: string, relayed4: string): { readonly relay: Relay; readonly server: TurnServer } {
    const server = new TurnServer({
      addresses: [at(`${address}:3478`)],
      users: { ann: "secret" },
      relayed4,
      relayed6: null
    })
    this.world.servers.push(server)
    return {
      server,
      relay: {
        id: RelayId.make(id),
        addresses: [{ address, port: 3_478 }],
        username: "ann",
        password: "secret"
      }
    }
  }
}

export const lab: SetResource = network("10.20.0.0/16", "10.20.0.0/16")

/** A SYN of the client to the lab, and an answer. */
export const there = (sourcePort = 50_000) =>
  buildTcp({ source: "100.64.1.1", destination: "10.20.0.10", sourcePort, destinationPort: 443, flags: syn })
export const back = buildTcp({
  source: "10.20.0.10",
  destination: "100.64.1.1",
  sourcePort: 443,
  destinationPort: 50_000
})

/** Whether a packet passes now, both ways. */
export const passes = ({ client, gateway, world }: IcePair): boolean => {
  const before = [gateway.received.length, client.received.length]
  client.route(there())
  world.settle()
  gateway.route(back)
  world.settle()
  return gateway.received.length === before[0]! + 1 && client.received.length === before[1]! + 1
}

/** Milliseconds until packets pass; `limit` when they never do. */
export const healsIn = (pair: IcePair, limit: number): number => {
  for (let passed = 0; passed < limit; passed += 100) {
    if (passes(pair)) return passed
    pair.world.run(100)
  }
  return limit
}

export const isAt = (address: string) => (datagram: Datagram) => {
  const words = parseAddress(address)!
  const { from, to } = datagram
  return [from, to].some((side) => formatAddress(side.address) === formatAddress(words))
}
