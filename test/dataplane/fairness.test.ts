/** A turn has an end however much traffic waits, so that handshakes, timers and commands get theirs. */
import { assert, describe, it } from "@effect/vitest"
import { makeNodePrimitives } from "../../layers/dataplane/nodePrimitives.ts"
import { countersByteLength, readCounters } from "../../src/dataplane/counters.ts"
import type { Command } from "../../src/dataplane/commands.ts"
import { Engine } from "../../src/dataplane/engine/engine.ts"
import type { PacketIo } from "../../src/dataplane/engine/packetIo.ts"
import { makeVirtioHeader } from "../../src/dataplane/offload/virtioHeader.ts"
import { Arena } from "../../src/packet/arena.ts"
import { copyEndpoint } from "../../src/packet/endpoint.ts"
import {
  addresses,
  clientId,
  gatewayPrivateKey,
  makeClient,
  mappingId,
  nameCommands,
  policy,
  proxy4,
  tunnel4,
  upsertClient
} from "../support/engineWorld.ts"
import { network } from "../support/engineSteps.ts"
import { buildTcp, buildUdp } from "../support/packets.ts"
import { teller } from "../support/tell.ts"

const real = "10.20.0.10"
/** Reads of each source in a turn. */
const most = 16

/** A gateway to which client 1 sends without end, and the real host back; other datagrams wait their turn in `others`. */
const makeBusyGateway = () => {
  const arena = new Arena(new ArrayBuffer(1 << 20))
  const { bytes } = arena
  const flooding = makeClient(1)
  const late = makeClient(2)
  const clients = [flooding, late]
  const question = buildUdp({ source: tunnel4(1), destination: proxy4, sourcePort: 50_000, destinationPort: 53 })
  const answer = buildUdp({ source: real, destination: tunnel4(1), sourcePort: 53, destinationPort: 50_000 })
  let flood = false
  let segment = 0
  const reads = { udp: 0, tun: 0 }
  const sheds: Array<number> = []
  const io: PacketIo = {
    receive: (offset, _, from) => {
      // What came first is read first, as from a socket.
      const sender = late.outbox.length > 0 ? late : flooding
      if (sender === flooding && flood) flooding.seal(question)
      const datagram = sender.outbox.shift()
      if (datagram === undefined) return 0
      reads.udp++
      bytes.set(datagram, offset)
      copyEndpoint(sender.endpoint, from)
      segment = datagram.length
      return datagram.length
    },
    segmentSize: () => segment,
    shedHandshakes: (level) => void sheds.push(level),
    trafficClass: () => 0,
    send: (to, offset, length) => {
      for (const client of clients)
        if (client.endpoint.port === to.port) client.deliver(bytes.slice(offset, offset + length))
      return true
    },
    readTun: (offset) => {
      if (!flood) return 0
      reads.tun++
      bytes.set(answer, offset)
      return answer.length
    },
    tunHeader: makeVirtioHeader(),
    writeTun: () => true,
    writeGathered: () => true
  }
  const counters = new Float64Array(countersByteLength / 8)
  const engine = new Engine({
    epoch: 1,
    arena,
    io,
    primitives: makeNodePrimitives(bytes),
    privateKey: gatewayPrivateKey,
    counters,
    mtu: 1_420,
    maxSessions: 64
  })
  let now = 60_000
  const tell = teller(engine)
  const apply = (command: Command): void => tell(command, now, now)
  const turn = (ordersWait = false): boolean => engine.turn(now, now, ordersWait)
  const connect = (client: typeof late): void => {
    client.now = now
    client.wireguard.initiate(client.peer, now, now)
  }
  apply(policy)
  apply(upsertClient(1))
  for (const command of nameCommands(clientId(1), mappingId(1, "app.corp"), { proxyIps: [proxy4] })) apply(command)
  apply(addresses(1, 1, "Resolved", [real]))
  connect(flooding)
  for (let i = 0; i < 4; i++) turn()
  flood = true
  turn()
  return {
    late,
    flooding,
    apply,
    connect,
    reads,
    /** What the system was told to do with handshake messages. */
    sheds,
    /** A turn under full load, a millisecond later; `ordersWait`: before orders that were given. */
    turn: (ordersWait?: boolean) => {
      now++
      flooding.now = late.now = now
      reads.udp = reads.tun = 0
      return turn(ordersWait)
    },
    pass: (milliseconds: number) => void (now += milliseconds),
    count: (name: string): number => readCounters(counters)[name]!
  }
}

describe("under traffic without end in both directions", () => {
  it("a turn reads a bounded number of each and says that more waits", () => {
    const gateway = makeBusyGateway()
    const before = gateway.count("outbound.forwarded") + gateway.count("inbound.forwarded")

    assert.isTrue(gateway.turn())

    assert.deepStrictEqual(gateway.reads, { udp: most, tun: most })
    assert.strictEqual(gateway.count("outbound.forwarded") + gateway.count("inbound.forwarded"), before + 2 * most)
  })

  it("a command takes effect between two turns, and a handshake is answered in the turn that reads it", () => {
    const gateway = makeBusyGateway()
    gateway.turn()

    gateway.apply(upsertClient(2))
    gateway.connect(gateway.late)
    gateway.turn()

    assert.isNotNull(gateway.late.peer.current)
  })

  it("handshake messages without end are left to the system to drop, ever more for as long as they keep data waiting", () => {
    const gateway = makeBusyGateway()
    for (let i = 0; i < 50; i++) gateway.turn()
    assert.deepStrictEqual(gateway.sheds, [])
    const junk = new Uint8Array(148)
    junk[0] = 1

    for (let i = 0; i < 300; i++) {
      gateway.late.outbox.push(...Array.from({ length: 12 }, () => junk.slice()))
      gateway.turn()
    }
    assert.deepStrictEqual(gateway.sheds, [1, 2, 3, 4, 5, 6])
    assert.isAbove(gateway.count("wireguard.over_budget"), 100)
    for (let i = 0; i < 1_800; i++) gateway.turn()

    assert.deepStrictEqual(gateway.sheds, [1, 2, 3, 4, 5, 6, 5, 4, 3, 2, 1, 0])
    assert.strictEqual(gateway.count("udp.shed"), 1)
  }, 60_000)

  it("a trickle of handshake messages beside data is no flood: all of them are looked at", () => {
    const gateway = makeBusyGateway()
    const junk = new Uint8Array(148)
    junk[0] = 1

    for (let i = 0; i < 300; i++) {
      gateway.late.outbox.push(...Array.from({ length: 4 }, () => junk.slice()))
      gateway.turn()
    }

    assert.deepStrictEqual(gateway.sheds, [])
    assert.strictEqual(gateway.count("wireguard.over_budget"), 0)
  })

  it("copies of an initiation do not keep it waiting for more than a few turns", () => {
    const gateway = makeBusyGateway()
    gateway.apply(upsertClient(2))
    gateway.connect(gateway.late)
    const [initiation] = gateway.late.outbox.splice(0)
    gateway.late.outbox.push(...Array.from({ length: 8 }, () => initiation!.slice()), initiation!)

    let turns = 0
    while (gateway.late.peer.current === null && turns < 10) {
      gateway.turn()
      turns++
    }

    assert.isAtMost(turns, 4)
  })

  it("timers run: keys that are too old are given up, and the client gets new ones", () => {
    const gateway = makeBusyGateway()
    gateway.turn()
    const first = gateway.flooding.peer.current
    gateway.pass(181_000)
    gateway.turn()
    assert.isAbove(gateway.count("inbound.staged") + gateway.count("inbound.stage_full"), 0)

    gateway.connect(gateway.flooding)
    gateway.turn()

    assert.notStrictEqual(gateway.flooding.peer.current, first)
    const forwarded = gateway.count("inbound.forwarded")
    gateway.turn()
    assert.strictEqual(gateway.count("inbound.forwarded"), forwarded + most)
  })
})

describe("before orders that wait", () => {
  /** Client 2 sends to a name and to a network, neither of which the engine knows to be its own. */
  const makeEarlyClient = () => {
    const gateway = makeBusyGateway()
    const { late } = gateway
    gateway.apply(upsertClient(2))
    gateway.connect(late)
    gateway.turn()
    for (const destination of [proxy4, "10.20.0.77"])
      late.seal(buildTcp({ source: tunnel4(2), destination, sourcePort: 50_000, destinationPort: 443, flags: 2 }))
    return gateway
  }

  it("packets that lack what these may bring are held, and go on once they are carried out", () => {
    const gateway = makeEarlyClient()
    const sessions = gateway.count("sessions.created")

    for (let i = 0; i < 3; i++) gateway.turn(true)
    const mapping = mappingId(2, "app.corp")
    for (const command of nameCommands(clientId(2), mapping, { proxyIps: [proxy4] })) gateway.apply(command)
    gateway.apply(addresses(2, 1, "Resolving"))
    gateway.apply(network("lab", "10.20.0.0/16", { client: clientId(2) }))
    gateway.turn()
    assert.strictEqual(gateway.count("sessions.created"), sessions + 1)
    // The name is being looked up: its packet waits for that as any other.
    gateway.apply(addresses(2, 2, "Resolved", [real]))

    assert.strictEqual(gateway.count("sessions.created"), sessions + 2)
    assert.deepStrictEqual(gateway.late.received, [])
  })

  it("packets that these bring nothing for are refused as soon as they are carried out", () => {
    const gateway = makeEarlyClient()

    for (let i = 0; i < 3; i++) gateway.turn(true)
    assert.deepStrictEqual(gateway.late.received, [])
    gateway.turn()

    assert.deepStrictEqual(
      gateway.late.received.map((packet) => [packet[20], packet[21]]),
      [
        [3, 0],
        [3, 13]
      ]
    )
  })

  it("a client that has gone meanwhile leaves nothing", () => {
    const gateway = makeEarlyClient()

    gateway.turn(true)
    gateway.apply({ _tag: "RemoveClient", client: clientId(2) })
    gateway.apply(upsertClient(2))
    gateway.turn()

    assert.strictEqual(gateway.count("icmp.sent"), 0)
  })
})
