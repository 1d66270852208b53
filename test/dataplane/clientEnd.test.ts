/** The engine as a client (`sallyport connect`): its tunnel ends at a gateway that is the same engine. */
import { assert, describe, it } from "@effect/vitest"
import { makeMemoryPacketIo } from "../../layers/memory/memoryPacketIo.ts"
import { makeNodePrimitives } from "../../layers/dataplane/nodePrimitives.ts"
import { countersByteLength, readCounters } from "../../src/dataplane/counters.ts"
import { Engine } from "../../src/dataplane/engine/engine.ts"
import { clientEnd } from "../../src/dataplane/packetPolicy.ts"
import { Arena } from "../../src/packet/arena.ts"
import { type Endpoint, makeEndpoint } from "../../src/packet/endpoint.ts"
import { network, parsed, syn } from "../support/engineSteps.ts"
import { clientId, key, policy, primitives, resourceId, upsertClient } from "../support/engineWorld.ts"
import { addressWords, buildTcp, buildUdp } from "../support/packets.ts"
import { teller } from "../support/tell.ts"

const publicKey = (fill: number): string => Buffer.from(primitives.x25519(key(fill)).publicKey).toString("base64")

const endpointOf = (address: string, port: number): Endpoint => {
  const endpoint = makeEndpoint()
  Object.assign(endpoint.remote, addressWords(address))
  endpoint.port = port
  return endpoint
}

/** An engine at an address, with what it has written to its device. */
const makeSide = (fill: number, address: string) => {
  const arena = new Arena(new ArrayBuffer(1 << 20))
  const toDevice: Array<Uint8Array> = []
  const toNetwork: Array<readonly [to: string, datagram: Uint8Array]> = []
  const counters = new Float64Array(countersByteLength / 8)
  const io = makeMemoryPacketIo(arena, {
    datagram: (to, datagram) => void toNetwork.push([`${to.port}`, datagram]),
    packet: (packet) => void toDevice.push(packet)
  })
  const engine = new Engine({
    epoch: 1,
    arena,
    io,
    primitives: makeNodePrimitives(arena.bytes),
    privateKey: key(fill),
    counters,
    mtu: 1_280,
    maxSessions: 64
  })
  return {
    engine,
    tell: teller(engine),
    io,
    toDevice,
    toNetwork,
    endpoint: endpointOf(address, fill),
    count: () => readCounters(counters)
  }
}

type Side = ReturnType<typeof makeSide>

/** Lets both sides work until nothing is under way. */
const settle = (sides: ReadonlyArray<Side>, now: number): void => {
  for (let busy = true; busy;) {
    busy = false
    for (const side of sides) {
      while (side.engine.turn(now, now) || !side.io.isIdle()) busy = true
      for (const [port, datagram] of side.toNetwork.splice(0)) {
        busy = true
        sides.find((other) => `${other.endpoint.port}` === port)?.io.arrive(side.endpoint, datagram)
      }
    }
  }
}

const gatewayFill = 11
const clientFill = 12

const pair = () => {
  const gateway = makeSide(gatewayFill, "192.0.2.1")
  const client = makeSide(clientFill, "192.0.2.2")
  const now = 60_000
  gateway.tell(policy, now, now)
  gateway.tell({ ...upsertClient(1), publicKey: publicKey(clientFill) }, now, now)
  gateway.tell(network("lab", "10.20.0.0/16"), now, now)
  client.tell({ ...policy, packets: clientEnd, tunnelNetworks: [], proxyNetworks: [] }, now, now)
  client.tell(
    {
      ...upsertClient(1),
      publicKey: publicKey(gatewayFill),
      endpoint: { address: "192.0.2.1", port: gatewayFill },
      initiate: true
    },
    now,
    now
  )
  client.tell(network("10.20.0.0/16", "10.20.0.0/16"), now, now)
  settle([client, gateway], now)
  return { client, gateway, now }
}

/** Whose networks were prohibited, as main is told. */
const prohibitions = (side: Side) =>
  side.engine.takeNotices().flatMap((notice) => (notice._tag === "Prohibited" ? [notice.resource] : []))

const there = buildTcp({
  source: "100.64.1.1",
  destination: "10.20.0.10",
  sourcePort: 50_000,
  destinationPort: 443,
  flags: syn
})
const back = buildTcp({ source: "10.20.0.10", destination: "100.64.1.1", sourcePort: 443, destinationPort: 50_000 })

describe("the client's end", () => {
  it("carries what the host routes into an allowed network to the gateway, and the answer back", () => {
    const { client, gateway, now } = pair()
    client.io.routeIn(there)
    settle([client, gateway], now)
    assert.deepStrictEqual(
      gateway.toDevice.map((p) => [...p]),
      [[...there]]
    )
    gateway.io.routeIn(back)
    settle([client, gateway], now)
    assert.deepStrictEqual(
      client.toDevice.map((p) => [...p]),
      [[...back]]
    )
  })

  it("drops what leads to the gateway's own endpoint, which would come back, and nothing else of that network", () => {
    const { client, now } = pair()
    client.tell(network("192.0.2.0/24", "192.0.2.0/24"), now, now)
    const udp = { source: "192.0.2.2", sourcePort: clientFill, destinationPort: gatewayFill }
    client.io.routeIn(buildUdp({ ...udp, destination: "192.0.2.1" }))
    client.engine.turn(now, now)
    assert.strictEqual(client.toNetwork.length, 0)
    client.io.routeIn(buildUdp({ ...udp, destination: "192.0.2.3" }))
    client.io.routeIn(buildUdp({ ...udp, destination: "192.0.2.1", destinationPort: 53 }))
    client.engine.turn(now, now)
    assert.strictEqual(client.toNetwork.length, 2)
    assert.strictEqual(client.count()["inbound.looped"], 1)
  })

  it("sends nothing elsewhere, and takes nothing from a gateway outside of its networks", () => {
    const { client, gateway, now } = pair()
    client.io.routeIn(buildUdp({ source: "100.64.1.1", destination: "10.99.0.1", sourcePort: 1, destinationPort: 2 }))
    settle([client, gateway], now)
    assert.strictEqual(client.count()["inbound.unknown_client"], 1)
    // The gateway's own address is not among the client's networks.
    gateway.io.routeIn(
      buildUdp({ source: "100.64.0.1", destination: "100.64.1.1", sourcePort: 53, destinationPort: 2 })
    )
    settle([client, gateway], now)
    assert.deepStrictEqual([gateway.toDevice.length, client.toDevice.length], [0, 0])
    assert.strictEqual(client.count()["outbound.source_spoofed"], 1)
  })

  it("is told by ICMP what the gateway does not forward", () => {
    const { client, gateway, now } = pair()
    gateway.tell({ _tag: "RevokeResource", client: clientId(1), resource: network("lab", "").resource }, now, now)
    client.io.routeIn(there)
    settle([client, gateway], now)
    const answer = parsed(client.toDevice[0])
    assert.deepStrictEqual([answer.icmpType, answer.icmpCode], [3, 13])
    assert.deepStrictEqual(prohibitions(client), [resourceId("10.20.0.0/16")])
  })

  it("tells of no other ICMP error", () => {
    const { client, gateway, now } = pair()
    gateway.tell({ ...policy, ownAddresses: ["10.20.0.10"] }, now, now)
    client.io.routeIn(there)
    settle([client, gateway], now)
    assert.strictEqual(parsed(client.toDevice[0]).icmpError, true)
    assert.deepStrictEqual(prohibitions(client), [])
  })

  it("sends what no gateway has a network for to the one that has the Internet, whichever came first", () => {
    const { client, gateway, now } = pair()
    const other = "198.51.100.1"
    client.tell({ _tag: "RevokeResource", client: clientId(1), resource: resourceId("10.20.0.0/16") }, now, now)
    client.tell(network("world", null), now, now)
    client.tell({ ...upsertClient(2), tunnel4: "169.254.0.2", tunnel6: "fe80::2" }, now, now)
    client.tell(network("theirs", "198.51.100.0/24", { client: clientId(2) }), now, now)
    gateway.tell(network("theirs", "198.51.100.0/24"), now, now)

    client.io.routeIn(there)
    settle([client, gateway], now)
    client.io.routeIn(buildUdp({ source: "100.64.1.1", destination: other, sourcePort: 1, destinationPort: 2 }))
    settle([client, gateway], now)

    // The second gateway has no session yet: what is for it waits there and is not given to the first one.
    assert.strictEqual(gateway.toDevice.length, 1)
    assert.strictEqual(client.count()["inbound.forwarded"], 2)
  })

  it("drops malformed packets of either side", () => {
    const { client, gateway, now } = pair()
    client.io.routeIn(Uint8Array.of(0x45, 0, 0, 9))
    settle([client, gateway], now)
    assert.strictEqual(client.count()["inbound.malformed"], 1)
    assert.strictEqual(gateway.toDevice.length, 0)
  })
})
