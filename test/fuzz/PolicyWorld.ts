/** A whole gateway in memory between two clients and a network, each of them hostile; `PolicyOracle` judges what leaves it. */
import { makeDataPlaneHub } from "../../layers/dataplane/dataPlaneHub.ts"
import { makeNodePrimitives } from "../../layers/dataplane/nodePrimitives.ts"
import { makeMemoryPacketIo, type MemoryPacketIo } from "../../layers/memory/memoryPacketIo.ts"
import type { Command, SetAddresses } from "../../src/dataplane/commands.ts"
import { countersByteLength } from "../../src/dataplane/counters.ts"
import { Engine } from "../../src/dataplane/engine/engine.ts"
import { Arena } from "../../src/packet/arena.ts"
import { type Endpoint, makeEndpoint } from "../../src/packet/endpoint.ts"
import { network } from "../support/engineSteps.ts"
import {
  clientId,
  gatewayPrivateKey,
  makeClient,
  mappingId,
  packetsAt,
  policy,
  proxy4,
  proxy6,
  resourceId,
  upsertClient
} from "../support/engineWorld.ts"
import type { MemoryClient } from "../support/memoryClient.ts"
import { addressWords } from "../support/packets.ts"
import { splitSuper } from "../support/superPackets.ts"
import { lab, labPorts, nameFilters, type NameResource, PolicyOracle } from "./PolicyOracle.ts"
import type { Random } from "./Random.ts"
import { invariant } from "./Target.ts"

const mapping = mappingId(1, "app")
const proxyIps = [proxy4, proxy6]
/** Rounds until all is quiet, far beyond what any exchange takes. */
const maxRounds = 50

/** Somebody whose address nobody knows. */
const stranger: Endpoint = makeEndpoint()
Object.assign(stranger.remote, addressWords("198.51.100.7"))
stranger.port = 5_555

export class PolicyWorld {
  now = 60_000
  readonly clients: ReadonlyArray<MemoryClient> = [makeClient(1), makeClient(2)]
  readonly io: MemoryPacketIo
  private readonly hub = makeDataPlaneHub()
  private readonly engine: Engine
  private readonly oracle: PolicyOracle
  private lookup = 0

  constructor(random: Random) {
    const packets = packetsAt[random.pick(["portal", "standalone", "site", "routed"] as const)]
    const offloads = random.below(2) === 1
    this.oracle = new PolicyOracle(packets.dnsPort)
    const arena = new Arena(new ArrayBuffer(1 << 20))
    this.io = makeMemoryPacketIo(arena, {
      datagram: (to, bytes) => this.clients.find(({ endpoint }) => endpoint.port === to.port)?.deliver(bytes),
      packet: (packet, header) => splitSuper(packet, header).forEach((one) => this.oracle.judgeOutside(one))
    })
    const primitives = makeNodePrimitives(arena.bytes)
    this.engine = new Engine({
      epoch: 1,
      arena,
      io: this.io,
      primitives: { ...primitives, randomBytes: (into) => random.fill(into) },
      privateKey: gatewayPrivateKey,
      counters: new Float64Array(countersByteLength / 8),
      mtu: 1_280,
      maxSessions: 512,
      sockets: { port: 52_625, ipv4: true, ipv6: true },
      ...(offloads ? { offloads: { joinTcp: true, joinUdp: true, batch: true } } : {}),
      ...(random.below(2) === 1 ? { lookAheadFrom: 0 } : {})
    })
    this.send({ ...policy, packets }, upsertClient(1), upsertClient(2))
    this.grant()
    this.send(network("lab", lab, { client: clientId(2), filters: [{ protocol: "udp", ...labPorts }] }))
    for (const client of this.clients) this.handshake(client)
  }

  /** Client 1 may reach the name, which has two addresses, by this resource as well. */
  grant(id: NameResource = "app"): void {
    this.oracle.granted.add(id)
    this.cover()
    this.send(network(id, null, { kind: "dns", filters: nameFilters[id] }))
    this.publish("Resolved", ["10.20.0.10", "fd5a:20::10"])
  }

  revoke(id: NameResource = "app"): void {
    this.send({ _tag: "RevokeResource", client: clientId(1), resource: resourceId(id) })
    this.oracle.granted.delete(id)
    if (this.oracle.granted.size > 0) this.cover()
  }

  lapse(): void {
    this.send({ _tag: "LapseMapping", mapping })
  }

  unmap(): void {
    this.send({ _tag: "RemoveMapping", mapping })
  }

  knowAgain(): void {
    this.send(upsertClient(1))
  }

  /** A lookup has ended. Addresses with `refused` must never be reached. */
  publish(state: SetAddresses["state"], addresses: ReadonlyArray<string>, refused = false): void {
    if (!refused) for (const address of addresses) this.oracle.published.add(address)
    this.send({ _tag: "SetAddresses", mapping, lookup: ++this.lookup, state, addresses, staleAt: this.now + 5_000 })
  }

  handshake(client: MemoryClient): void {
    client.now = this.now
    client.wireguard.initiate(client.peer, this.now, this.now)
    this.settle()
  }

  /** An inner packet of a client that has its keys. */
  fromClient(client: MemoryClient, packet: Uint8Array): void {
    client.now = this.now
    client.seal(packet)
    this.settle()
  }

  /** What a client would have sent, for others to change. */
  sealed(client: MemoryClient, packet: Uint8Array): Uint8Array | undefined {
    client.now = this.now
    client.seal(packet)
    return client.outbox.pop()
  }

  fromNetwork(bytes: Uint8Array, from: Readonly<Endpoint> = stranger): void {
    this.io.arrive(from, bytes)
    this.settle()
  }

  wait(milliseconds: number): void {
    this.now += milliseconds
    this.settle()
  }

  /** All that happens now, and what everybody got of it. */
  settle(): void {
    for (let rounds = 0; this.isBusy(); rounds++) invariant(rounds < maxRounds, "the world does not come to rest")
    for (const [i, client] of this.clients.entries())
      for (const packet of client.received.splice(0)) this.oracle.judgeInside(i + 1, packet)
  }

  private isBusy(): boolean {
    let busy = false
    for (const client of this.clients) {
      client.now = this.now
      for (const datagram of client.outbox.splice(0)) {
        this.io.arrive(client.endpoint, datagram)
        busy = true
      }
    }
    while (this.engine.turn(this.now, this.now) || !this.io.isIdle()) busy = true
    this.hub.deliver(this.engine.takeNotices(), this.now)
    return busy
  }

  /** Says which resources cover the name. */
  private cover(): void {
    const resources = Array.from(this.oracle.granted, resourceId)
    this.send({ _tag: "SetMapping", mapping, client: clientId(1), resources, proxyIps, generation: 1 })
  }

  private send(...commands: ReadonlyArray<Command>): void {
    for (const command of commands)
      for (const order of this.hub.decide(command)) this.engine.execute(order, this.now, this.now)
    this.settle()
  }
}
