/** The whole engine between hostile clients and a hostile network. An input is a list of operations with their bytes. */
import { tunnel4, tunnel6 } from "../../support/engineWorld.ts"
import { addressBytes, buildEcho, buildIcmp, buildTcp, buildUdp } from "../../support/packets.ts"
import { read16, write16 } from "../../../src/packet/bytes.ts"
import { macOf } from "../handshakeMac.ts"
import { packetSeeds } from "../packetSeeds.ts"
import { PolicyWorld } from "../PolicyWorld.ts"
import type { Random } from "../Random.ts"
import type { Target } from "../Target.ts"

const operations = { client1: 0, client2: 1, outside: 2, stranger: 3, wait: 4, command: 5, unfinished: 6, replay: 7 }
const maxOperations = 40
const maxInner = 1_280

const operation = (kind: keyof typeof operations, bytes: Uint8Array): Uint8Array =>
  Uint8Array.of(operations[kind], bytes.length >> 8, bytes.length, ...bytes)
const input = (...all: ReadonlyArray<Uint8Array>): Uint8Array => new Uint8Array(Buffer.concat(all))

/** Three of four packets get the client's own source and the right length: others are dropped at the door. */
const plausible = (bytes: Uint8Array, n: number): Uint8Array => {
  const packet = bytes.slice(0, maxInner)
  if (packet.length < 20 || packet.at(-1)! % 4 === 0) return packet
  if (packet[0]! >>> 4 === 4) {
    packet.set(addressBytes(tunnel4(n)), 12)
    write16(packet, 2, packet.length)
  } else if (packet[0]! >>> 4 === 6 && packet.length >= 40) {
    packet.set(addressBytes(tunnel6(n)), 8)
    write16(packet, 4, packet.length - 40)
  }
  return packet
}

/** A handshake message as anybody can make it, unless the first bit says that the bytes go as they are. */
const handshakeLike = (bytes: Uint8Array): Uint8Array => {
  if ((bytes[0] ?? 0) >= 0x80) return bytes
  const message = new Uint8Array(bytes.length % 2 === 1 ? 148 : 92)
  message.set(bytes.subarray(0, message.length))
  message.set([message.length === 148 ? 1 : 2, 0, 0, 0])
  message.set(macOf(message, message.length - 32), message.length - 32)
  return message
}

/** Never to be reached: our own, special ones, and forms that hide them. */
const refused = [
  "127.0.0.1",
  "169.254.169.254",
  "192.0.2.1",
  "100.64.1.2",
  "100.96.0.9",
  "::ffff:0:7f00:1",
  "64:ff9b::7f00:1",
  "2002:7f00:1::",
  "fe80::1",
  "::1",
  "ff02::1",
  "224.0.0.1",
  "0.0.0.0",
  "255.255.255.255"
]

const commands: ReadonlyArray<(world: PolicyWorld) => void> = [
  (world) => world.publish("Resolving", []),
  (world) => world.publish("Resolved", ["10.20.0.10", "fd5a:20::10"]),
  (world) => world.revoke(),
  (world) => world.grant(),
  (world) => world.publish("Unresolved", []),
  (world) => world.publish("Resolved", ["10.20.0.11", "fd5a:20::11", "10.20.0.10"]),
  (world) => world.publish("Resolved", refused, true),
  (world) => world.knowAgain(),
  (world) => world.unmap(),
  (world) => world.handshake(world.clients[0]!),
  (world) => world.publish("Unasked", []),
  (world) => world.lapse(),
  (world) => world.grant("admin"),
  (world) => world.revoke("admin")
]

/** A super-packet whose header (7 bytes) and content need not fit together. */
const unfinished = (world: PolicyWorld, bytes: Uint8Array): void => {
  if (bytes.length < 30) return
  const [flags, headerLength, , , checksumStart, checksumOffset] = bytes as unknown as ReadonlyArray<number>
  const kind = ([0, 1, 4, 5] as const)[(flags! >> 1) & 3]!
  const sizes = { headerLength: headerLength!, segmentSize: read16(bytes, 2) }
  const checksums = { partial: flags! % 2 === 1, checksumStart: checksumStart!, checksumOffset: checksumOffset! }
  world.io.routeIn(bytes.slice(7), { kind, ...sizes, ...checksums })
  world.settle()
}

/** A datagram of a client: cut, bent, from elsewhere, or twice. */
const replay = (world: PolicyWorld, bytes: Uint8Array, random: Random): void => {
  const client = world.clients[0]!
  const datagram = world.sealed(client, bytes.slice(0, maxInner))
  if (datagram === undefined) return world.settle()
  switch (random.below(5)) {
    case 0:
      return world.fromNetwork(datagram.slice(0, random.below(datagram.length)), client.endpoint)
    case 1:
      datagram[random.below(datagram.length)]! ^= 1 << random.below(8)
      return world.fromNetwork(datagram, client.endpoint)
    case 2:
      // It roams, and comes back.
      world.fromNetwork(datagram)
      return world.fromClient(client, new Uint8Array())
    case 3:
      world.fromNetwork(datagram, client.endpoint)
      return world.fromNetwork(datagram)
    default:
      return world.fromNetwork(datagram, client.endpoint)
  }
}

const carryOut = (world: PolicyWorld, kind: number, bytes: Uint8Array, random: Random): void => {
  switch (kind) {
    case operations.client1:
      return world.fromClient(world.clients[0]!, plausible(bytes, 1))
    case operations.client2:
      return world.fromClient(world.clients[1]!, plausible(bytes, 2))
    case operations.outside:
      world.io.routeIn(bytes)
      return world.settle()
    case operations.stranger:
      return world.fromNetwork(handshakeLike(bytes))
    case operations.wait:
      return world.wait((bytes[0] ?? 1) * (bytes[1] ?? 50))
    case operations.command:
      return commands[(bytes[0] ?? 0) % commands.length]!(world)
    case operations.unfinished:
      return unfinished(world, bytes)
    default:
      return replay(world, bytes, random)
  }
}

const a4 = tunnel4(1)
const a6 = tunnel6(1)
const b4 = tunnel4(2)
const proxy = "100.96.0.4"
const real = "10.20.0.10"
const tcp = (destinationPort: number, destination = proxy, flags = 2) =>
  buildTcp({ source: a4, destination, sourcePort: 50_000, destinationPort, flags })
const synAck = { sourcePort: 443, flags: 0x12 }
const labEnds = { source: b4, destination: "10.20.0.9" }
const udp8 = { sourcePort: 7, payload: new Uint8Array(9) }
const fragment = (offset: number, more: boolean) =>
  buildUdp({
    source: a4,
    destination: proxy,
    sourcePort: 9,
    destinationPort: 53,
    payload: new Uint8Array(24),
    fragment: { offset, more, identification: 5 }
  })
const answer = { source: real, destination: a4, destinationPort: 50_000, sourcePort: 443 }

const seeds: ReadonlyArray<Uint8Array> = [
  input(
    operation("client1", tcp(443)),
    operation("outside", buildTcp({ ...answer, flags: 0x12 })),
    operation("client1", tcp(443, proxy, 0x10)),
    operation("client1", tcp(443, proxy, 0x11)),
    operation("client1", tcp(443, proxy, 2))
  ),
  input(
    operation(
      "client1",
      buildTcp({ source: a6, destination: "fd00:2021:1111:8000::4", sourcePort: 7, destinationPort: 443, flags: 2 })
    ),
    operation("outside", buildTcp({ source: "fd5a:20::10", destination: a6, destinationPort: 7, ...synAck }))
  ),
  input(
    operation("client1", tcp(22)),
    operation("client1", tcp(443, "100.96.0.5")),
    operation("client1", tcp(80, "100.64.0.1")),
    operation("client1", tcp(53, "100.64.0.1")),
    operation("client1", tcp(443, b4)),
    operation("client1", tcp(443, real))
  ),
  input(
    operation("client2", buildUdp({ ...labEnds, ...udp8, destinationPort: 8_010 })),
    operation(
      "outside",
      buildUdp({ source: "10.20.0.9", destination: b4, sourcePort: 8_010, destinationPort: 7, payload: udp8.payload })
    ),
    operation("client2", buildUdp({ ...labEnds, ...udp8, destinationPort: 9_010 })),
    operation("client2", buildUdp({ ...udp8, source: b4, destination: "169.254.169.254", destinationPort: 8_010 }))
  ),
  input(operation("client1", fragment(0, true)), operation("client1", fragment(32, false))),
  input(
    operation("client1", buildEcho({ source: a4, destination: proxy, identifier: 7 })),
    operation("outside", buildEcho({ source: real, destination: a4, identifier: 7, reply: true })),
    operation("outside", buildIcmp({ source: "10.20.0.1", destination: a4, type: 3, code: 1, payload: tcp(443, real) }))
  ),
  input(
    operation("command", Uint8Array.of(0)),
    operation("client1", tcp(443)),
    operation("command", Uint8Array.of(1)),
    operation("wait", Uint8Array.of(50)),
    operation("command", Uint8Array.of(2)),
    operation("client1", tcp(443)),
    operation("command", Uint8Array.of(3)),
    operation("client1", tcp(443))
  ),
  // Another resource of the name comes and goes, and the first one.
  input(
    operation("command", Uint8Array.of(12)),
    ...[443, 8_443].map((port) => operation("client1", tcp(port))),
    ...[443, 8_443].map((sourcePort) => operation("outside", buildTcp({ ...answer, sourcePort, flags: 0x12 }))),
    ...[2, 3, 13, 2, 12].flatMap((command) => [
      operation("command", Uint8Array.of(command)),
      ...[443, 8_443].map((port) => operation("client1", tcp(port, proxy, 0x10)))
    ])
  ),
  operation(
    "unfinished",
    Uint8Array.of(1, 20, 0, 100, 20, 16, 40, ...buildTcp({ ...answer, payload: new Uint8Array(400) }))
  ),
  operation("replay", tcp(443)),
  // Ports beside those that the filters let through.
  input(...[0, 21, 80, 442, 444, 8_443, 65_535].map((port) => operation("client1", tcp(port)))),
  input(
    ...[0, 53, 7_999, 8_101, 65_535].map((destinationPort) =>
      operation("client2", buildUdp({ ...labEnds, ...udp8, destinationPort }))
    )
  ),
  operation("stranger", new Uint8Array(101)),
  ...packetSeeds.map((packet) => input(operation("client1", packet), operation("outside", packet)))
]

export const target: Target = {
  seeds,
  dictionary: [],
  maxLength: 4_000,
  lifetime: 400,
  bound: 100,
  start: (random) => {
    const world = new PolicyWorld(random)
    return (bytes) => {
      for (let at = 0, done = 0; at + 3 <= bytes.length && done < maxOperations; done++) {
        const length = Math.min(read16(bytes, at + 1), bytes.length - at - 3)
        carryOut(world, bytes[at]! % 8, bytes.slice(at + 3, at + 3 + length), random)
        at += 3 + length
      }
    }
  }
}
