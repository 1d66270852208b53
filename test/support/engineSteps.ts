/** Steps of tests that drive one gateway in memory: what leaves it, what its counters say, what comes back to a client. */
import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import { TestClock } from "effect/testing"
import { MemoryNetwork } from "../../layers/memory/DataPlaneMemory.ts"
import { DataPlane } from "../../src/dataplane/DataPlane.ts"
import type { Command, SetResource } from "../../src/dataplane/commands.ts"
import type { Notice, TrafficCause } from "../../src/dataplane/notices.ts"
import { formatAddress } from "../../src/packet/address.ts"
import { makePacketView, type PacketView, parsePacket } from "../../src/packet/packetView.ts"
import { clientId, makeClient, proxy4, resourceId, setUp, tunnel4 } from "./engineWorld.ts"
import { connect, type MemoryClient } from "./memoryClient.ts"
import { buildTcp, buildUdp } from "./packets.ts"
import { splitSuper } from "./superPackets.ts"

export const real4 = "10.20.0.10"
export const other4 = "10.20.0.20"
export const real6 = "fd5a:20::10"
export const fin = 0x01
export const syn = 0x02
export const rst = 0x04
export const ack = 0x10

export const parsed = (packet: Uint8Array | undefined): PacketView => {
  assert.isDefined(packet)
  const view = makePacketView()
  assert.strictEqual(parsePacket(packet, 0, packet.length, view), 0)
  return view
}

export const destinations = (packets: ReadonlyArray<Uint8Array>): ReadonlyArray<string> =>
  packets.map((packet) => formatAddress(parsed(packet).destination))

/** Type and code of each ICMP message. */
export const icmpOf = (packets: ReadonlyArray<Uint8Array>): ReadonlyArray<readonly [type: number, code: number]> =>
  packets.map((packet) => [parsed(packet).icmpType, parsed(packet).icmpCode])

/** Listens to what the gateway forwards to its LAN; super-packets are cut as the kernel would. */
export const lan = Effect.gen(function* () {
  const network = yield* MemoryNetwork
  const packets: Array<Uint8Array> = []
  yield* network.onPacket((packet, header) => void packets.push(...splitSuper(packet, header)))
  return packets
})

export const counter = Effect.fnUntraced(function* (name: string) {
  const counters = yield* (yield* DataPlane).counters
  assert.property(counters, name)
  return counters[name]!
})

export const send = Effect.fnUntraced(function* (...commands: ReadonlyArray<Command>) {
  const dataPlane = yield* DataPlane
  for (const command of commands) yield* dataPlane.send(command)
})

/** The gateway's kernel routes packets into the tunnel. */
export const reply = Effect.fnUntraced(function* (client: MemoryClient, ...packets: ReadonlyArray<Uint8Array>) {
  const network = yield* MemoryNetwork
  yield* network.onDatagram((_, datagram) => client.deliver(datagram))
  client.now = yield* Effect.clockWith((clock) => clock.currentTimeMillis)
  for (const packet of packets) yield* network.routeIn(packet)
})

/** Client `n` with a mapping and a WireGuard session. */
export const ready = Effect.fnUntraced(function* (options: Parameters<typeof setUp>[1] = {}, n = 1) {
  yield* TestClock.adjust("1 minute")
  const client = makeClient(n)
  yield* setUp(n, options)
  yield* connect(client)
  return client
})

export const tcp = (destinationPort: number, flags: number, destination = proxy4, sourcePort = 50_000) =>
  buildTcp({ source: tunnel4(1), destination, sourcePort, destinationPort, flags })

export const udp = (destinationPort: number, destination = proxy4, sourcePort = 50_000) =>
  buildUdp({ source: tunnel4(1), destination, sourcePort, destinationPort })

/** The answer to `tcp`, from the real address. */
export const tcpBack = (sourcePort: number, flags: number, source = real4, destinationPort = 50_000, sequence = 1) =>
  buildTcp({ source, destination: tunnel4(1), sourcePort, destinationPort, flags, sequence })

export const udpBack = (sourcePort: number, source = real4, destinationPort = 50_000) =>
  buildUdp({ source, destination: tunnel4(1), sourcePort, destinationPort })

const causesOf = (notices: ReadonlyArray<Notice>): ReadonlyArray<TrafficCause> =>
  notices.flatMap((notice) => (notice._tag === "Traffic" ? [notice.cause] : []))

/** The traffic causes reported since the last call. */
export const reported = (notices: Queue.Dequeue<Notice>) => Effect.map(Queue.clear(notices), causesOf)

export const network = (id: string, cidr: string | null, over: Partial<SetResource> = {}): SetResource => ({
  _tag: "SetResource",
  client: clientId(1),
  resource: resourceId(id),
  kind: cidr === null ? "internet" : "cidr",
  network: cidr,
  filters: [],
  allow: [],
  ...over
})

/** Addresses as raw packet bytes. */
export const quotedDestination = (icmp: Uint8Array): ReadonlyArray<number> => {
  const header = icmp[0]! >>> 4 === 4 ? 28 : 48
  return [...icmp.subarray(header + (header === 28 ? 16 : 24), header + (header === 28 ? 20 : 40))]
}
