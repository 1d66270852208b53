/** The engine over a system that takes super-packets and batches, and the same over one that does not. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { TestClock } from "effect/testing"
import { MemoryNetwork } from "../../layers/memory/DataPlaneMemory.ts"
import type { VirtioHeader } from "../../src/dataplane/offload/virtioHeader.ts"
import type { Endpoint } from "../../src/packet/endpoint.ts"
import { formatAddress } from "../../src/packet/address.ts"
import { counter, lan, parsed, ready, real4, real6, send, tcp, tcpBack, udp } from "../support/engineSteps.ts"
import {
  addresses,
  clientId,
  layer,
  makeClient,
  offloadingLayer,
  proxy4,
  proxy6,
  setUp,
  tunnel4,
  tunnel6
} from "../support/engineWorld.ts"
import { connect, type MemoryClient, sendInner } from "../support/memoryClient.ts"
import { buildTcp, buildUdp } from "../support/packets.ts"
import { asSuper, checksumsOk, splitSuper } from "../support/superPackets.ts"

const payloadOf = (length: number): Uint8Array => Uint8Array.from({ length }, (_, i) => (i * 7 + (i >> 8)) & 255)

/** Clients get what the gateway sends to their ports; each send is remembered. */
const listen = Effect.fnUntraced(function* (...clients: ReadonlyArray<MemoryClient>) {
  const network = yield* MemoryNetwork
  const batches: Array<{ readonly port: number; readonly sizes: ReadonlyArray<number> }> = []
  const now = yield* Effect.clockWith((clock) => clock.currentTimeMillis)
  for (const client of clients) client.now = now
  yield* network.onDatagram((to: Endpoint, datagram) => {
    for (const client of clients) if (client.endpoint.port === to.port) client.deliver(datagram)
  })
  yield* network.onBatch((to, datagrams) => void batches.push({ port: to.port, sizes: datagrams.map((d) => d.length) }))
  return batches
})

/** What a write of a super-packet was made of. */
const writes = Effect.gen(function* () {
  const network = yield* MemoryNetwork
  const seen: Array<{ readonly packets: ReadonlyArray<Uint8Array>; readonly header: Readonly<VirtioHeader> }> = []
  yield* network.onPacket((packet, header) => void seen.push({ packets: splitSuper(packet, header), header }))
  return seen
})

/** Opens the flow from port 50000 of the client's address to the proxy, so that replies pass. */
const open = Effect.fnUntraced(function* (client: MemoryClient, protocol: "tcp" | "udp", v6: boolean) {
  const ends = { source: v6 ? tunnel6(1) : tunnel4(1), destination: v6 ? proxy6 : proxy4 }
  const ports = { sourcePort: 50_000, destinationPort: 443 }
  yield* sendInner(
    client,
    protocol === "tcp" ? buildTcp({ ...ends, ...ports, flags: 2 }) : buildUdp({ ...ends, ...ports })
  )
})

/** More than the 180 s after which a session is not used any more. */
const expire = Effect.gen(function* () {
  yield* TestClock.adjust("4 minutes")
  return yield* Effect.clockWith((clock) => clock.currentTimeMillis)
})

const on = offloadingLayer
const off = layer

describe("a super-packet from the kernel", () => {
  for (const [name, protocol, v6] of [
    ["TCP over IPv4", "tcp", false],
    ["TCP over IPv6", "tcp", true],
    ["UDP over IPv4", "udp", false],
    ["UDP over IPv6", "udp", true]
  ] as const) {
    for (const [mode, world] of [
      ["batches", on],
      ["single datagrams", off]
    ] as const) {
      it.effect(`of ${name} reaches the client through NAT as right packets, in ${mode}`, () =>
        Effect.gen(function* () {
          const client = yield* ready()
          const network = yield* MemoryNetwork
          yield* send(addresses(1, 1, "Resolved", [real4, real6]))
          yield* open(client, protocol, v6)
          const batches = yield* listen(client)
          const payload = payloadOf(20 * 1_221 + 100)
          const ends = { sourcePort: 443, destinationPort: 50_000, payload, identification: 65_530 }
          const make = (source: string, destination: string) =>
            protocol === "tcp"
              ? buildTcp({ ...ends, source, destination, sequence: 77, flags: 0x19 })
              : buildUdp({ ...ends, source, destination })
          const arriving = asSuper(make(v6 ? real6 : real4, v6 ? tunnel6(1) : tunnel4(1)), 1_221)
          const leaving = asSuper(make(v6 ? proxy6 : proxy4, v6 ? tunnel6(1) : tunnel4(1)), 1_221)

          yield* network.routeIn(arriving.bytes, arriving.header)

          // WireGuard pads to 16 bytes; the packet's own length counts.
          const received = client.received.map((packet) => packet.slice(0, parsed(packet).length))
          assert.deepStrictEqual(received, splitSuper(leaving.bytes, leaving.header))
          assert.isTrue(received.every(checksumsOk))
          assert.strictEqual(yield* counter("tun.segments"), 21)
          assert.strictEqual(yield* counter("udp.batched"), mode === "batches" ? 21 : 0)
          assert.strictEqual(batches.length, mode === "batches" ? 1 : 21)
          assert.isTrue(batches.every(({ sizes }) => sizes.slice(0, -1).every((size) => size === sizes[0])))
        }).pipe(Effect.provide(world))
      )
    }
  }

  it.effect("waits for a session packet by packet, as many as are staged, and leaves in order", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      const network = yield* MemoryNetwork
      yield* send(addresses(1, 1, "Resolved", [real4]))
      yield* open(client, "tcp", false)
      yield* network.routeIn(tcpBack(443, 0x12))
      client.received.splice(0)
      const batches = yield* listen()
      const later = yield* expire
      const payload = payloadOf(10 * 999)
      const { bytes, header } = asSuper(
        buildTcp({ source: real4, destination: tunnel4(1), sourcePort: 443, destinationPort: 50_000, payload }),
        999
      )

      yield* network.routeIn(bytes, header)

      assert.strictEqual(yield* counter("inbound.staged"), 10)
      yield* listen(client)
      client.now = later
      yield* connect(client)
      const received = client.received.map((packet) => packet.slice(0, parsed(packet).length))
      assert.deepStrictEqual(
        received.map((packet) => packet.slice(40)),
        Array.from({ length: 10 }, (_, i) => payload.slice(i * 999, (i + 1) * 999))
      )
      assert.isTrue(received.every(checksumsOk))
      assert.isTrue(batches.every(({ sizes }) => sizes.length === 1))
    }).pipe(Effect.provide(on))
  )

  it.effect("whose header and bytes do not fit together is dropped and counted", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      const network = yield* MemoryNetwork
      yield* send(addresses(1, 1, "Resolved", [real4]))
      yield* open(client, "tcp", false)
      yield* listen(client)
      const { bytes, header } = asSuper(
        buildTcp({
          source: real4,
          destination: tunnel4(1),
          sourcePort: 443,
          destinationPort: 50_000,
          payload: payloadOf(500)
        }),
        100
      )

      yield* network.routeIn(bytes, { ...header, kind: 5 })
      yield* network.routeIn(bytes, { ...header, segmentSize: 0 })

      assert.strictEqual(yield* counter("inbound.malformed"), 2)
      assert.strictEqual(client.received.length, 0)
    }).pipe(Effect.provide(on))
  )
})

describe("a packet whose checksum the kernel left to us", () => {
  for (const world of [on, off]) {
    it.effect("reaches the client through NAT with a right one", () =>
      Effect.gen(function* () {
        const client = yield* ready()
        const network = yield* MemoryNetwork
        yield* send(addresses(1, 1, "Resolved", [real4, real6]))
        yield* open(client, "tcp", false)
        yield* open(client, "udp", true)
        yield* listen(client)
        const ends = { sourcePort: 443, destinationPort: 50_000, payload: payloadOf(333) }
        const four = asSuper(buildTcp({ ...ends, source: real4, destination: tunnel4(1) }), 0)
        const six = asSuper(buildUdp({ ...ends, source: real6, destination: tunnel6(1) }), 0)

        for (const { bytes, header } of [four, six]) {
          yield* network.routeIn(bytes, { ...header, kind: 0, segmentSize: 0 })
        }

        const received = client.received.map((packet) => packet.slice(0, parsed(packet).length))
        assert.deepStrictEqual(received, [
          buildTcp({ ...ends, source: proxy4, destination: tunnel4(1) }),
          buildUdp({ ...ends, source: proxy6, destination: tunnel6(1) })
        ])
      }).pipe(Effect.provide(world))
    )
  }

  it.effect("at a place outside of it is dropped and counted", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      const network = yield* MemoryNetwork
      yield* send(addresses(1, 1, "Resolved", [real4]))
      yield* open(client, "tcp", false)
      yield* listen(client)
      const { bytes, header } = asSuper(
        buildTcp({ source: real4, destination: tunnel4(1), sourcePort: 443, destinationPort: 50_000 }),
        0
      )

      for (const checksumStart of [bytes.length - 17, 65_535]) {
        yield* network.routeIn(bytes, { ...header, kind: 0, checksumStart })
      }

      assert.strictEqual(yield* counter("inbound.malformed"), 2)
      assert.strictEqual(client.received.length, 0)
    }).pipe(Effect.provide(on))
  )
})

describe("a batch", () => {
  /** A datagram for client `n`, from the origin. */
  const back = (n: number, length: number) =>
    buildUdp({
      source: real4,
      destination: tunnel4(n),
      sourcePort: 53,
      destinationPort: 5_000,
      payload: payloadOf(length)
    })

  const clients = Effect.gen(function* () {
    const first = yield* ready()
    const second = makeClient(2)
    yield* setUp(2)
    yield* connect(second)
    for (const [n, client] of [
      [1, first],
      [2, second]
    ] as const) {
      yield* send(addresses(n, 1, "Resolved", [real4]))
      yield* sendInner(
        client,
        buildUdp({ source: tunnel4(n), destination: proxy4, sourcePort: 5_000, destinationPort: 53 })
      )
    }
    return [first, second] as const
  })

  const routed = Effect.fnUntraced(function* (...packets: ReadonlyArray<Uint8Array>) {
    yield* (yield* MemoryNetwork).routeInTogether(packets)
  })

  const wire = (inner: number): number => Math.ceil((28 + inner) / 16) * 16 + 32

  it.effect("has datagrams of one client only, in order", () =>
    Effect.gen(function* () {
      const [first, second] = yield* clients
      const batches = yield* listen(first, second)

      yield* routed(...[1, 1, 2, 2, 2, 1].map((n) => back(n, 100)))

      assert.deepStrictEqual(
        batches.map(({ port, sizes }) => [port, sizes.length]),
        [
          [first.endpoint.port, 2],
          [second.endpoint.port, 3],
          [first.endpoint.port, 1]
        ]
      )
      assert.strictEqual(first.received.length, 3)
      assert.strictEqual(second.received.length, 3)
      assert.isTrue(second.received.every((packet) => formatAddress(parsed(packet).destination) === tunnel4(2)))
      assert.strictEqual(yield* counter("udp.batched"), 5)
    }).pipe(Effect.provide(on))
  )

  it.effect("ends with a shorter datagram, and a longer one begins the next", () =>
    Effect.gen(function* () {
      const [first] = yield* clients
      const batches = yield* listen(first)

      yield* routed(...[500, 500, 20, 500, 900, 900].map((length) => back(1, length)))

      assert.deepStrictEqual(
        batches.map(({ sizes }) => sizes),
        [[wire(500), wire(500), wire(20)], [wire(500)], [wire(900), wire(900)]]
      )
      assert.deepStrictEqual(
        first.received.map((packet) => parsed(packet).length - 28),
        [500, 500, 20, 500, 900, 900]
      )
    }).pipe(Effect.provide(on))
  )

  it.effect("has at most 64 datagrams and what fits one UDP payload", () =>
    Effect.gen(function* () {
      const [first] = yield* clients
      const batches = yield* listen(first)
      const network = yield* MemoryNetwork
      const super1 = asSuper(back(1, 80 * 100), 100)
      const super2 = asSuper(back(1, 50 * 1_252), 1_252)

      yield* network.routeIn(super1.bytes, super1.header)
      yield* network.routeIn(super2.bytes, super2.header)

      assert.deepStrictEqual(
        batches.map(({ sizes }) => sizes.length),
        [64, 16, 49, 1]
      )
      assert.isTrue(batches.every(({ sizes }) => sizes.reduce((a, b) => a + b) <= 65_507))
      assert.strictEqual(first.received.length, 130)
    }).pipe(Effect.provide(on))
  )

  it.effect("goes to where its client is now", () =>
    Effect.gen(function* () {
      const [first] = yield* clients
      Object.assign(first.endpoint, { port: 41_111 })
      yield* sendInner(first, udp(53, proxy4, 5_001))
      const batches = yield* listen(first)

      yield* routed(back(1, 100), back(1, 100))

      assert.deepStrictEqual(batches, [{ port: 41_111, sizes: [wire(100), wire(100)] }])
    }).pipe(Effect.provide(on))
  )

  it.effect("is not kept for a client that is removed", () =>
    Effect.gen(function* () {
      const [first, second] = yield* clients
      const batches = yield* listen(first, second)

      yield* routed(back(1, 100), back(2, 100))
      yield* send({ _tag: "RemoveClient", client: clientId(1) })
      yield* routed(back(1, 100), back(2, 100))

      assert.deepStrictEqual(
        batches.map(({ port }) => port),
        [first.endpoint.port, second.endpoint.port, second.endpoint.port]
      )
    }).pipe(Effect.provide(on))
  )

  it.effect("is never made where the system does not take any", () =>
    Effect.gen(function* () {
      const [first] = yield* clients
      const batches = yield* listen(first)

      yield* routed(back(1, 100), back(1, 100), back(1, 100))

      assert.deepStrictEqual(
        batches.map(({ sizes }) => sizes.length),
        [1, 1, 1]
      )
      assert.strictEqual(yield* counter("udp.batched"), 0)
    }).pipe(Effect.provide(off))
  )
})

describe("datagrams that arrive together", () => {
  /** `count` segments of a client's upload. */
  const upload = (count: number, sourcePort = 50_000) =>
    Array.from({ length: count }, (_, i) =>
      buildTcp({
        source: tunnel4(1),
        destination: proxy4,
        sourcePort,
        destinationPort: 443,
        sequence: 1 + 1_000 * i,
        payload: payloadOf(1_000).fill(i, 0, 500),
        dontFragment: true
      })
    )

  it.effect("leave through NAT as one super-packet that is cut into right packets", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      yield* send(addresses(1, 1, "Resolved", [real4]))
      yield* sendInner(client, tcp(443, 2))
      const seen = yield* writes

      yield* sendInner(client, ...upload(40))

      assert.strictEqual(seen.length, 1)
      const { packets } = seen[0]!
      assert.strictEqual(packets.length, 40)
      assert.isTrue(packets.every(checksumsOk))
      assert.isTrue(packets.every((packet) => formatAddress(parsed(packet).destination) === real4))
      assert.deepStrictEqual(
        packets.map((packet) => packet.slice(40)),
        upload(40).map((packet) => packet.slice(40))
      )
      assert.strictEqual(yield* counter("tun.joined"), 40)
      assert.strictEqual(yield* counter("udp.gathered"), 40)
    }).pipe(Effect.provide(on))
  )

  for (const [name, count, together, writesAtMost] of [
    ["one by one within a turn are joined as well", 60, 1, 4],
    ["in short reads within a turn are joined beyond their reads", 640, 40, 12],
    ["in several reads within a turn leave in order, none overwritten before it is written", 960, 60, 18]
  ] as const) {
    it.effect(name, () =>
      Effect.gen(function* () {
        const client = yield* ready()
        const network = yield* MemoryNetwork
        yield* send(addresses(1, 1, "Resolved", [real4]))
        yield* sendInner(client, tcp(443, 2))
        const seen = yield* writes
        const segments = upload(count)
        for (const packet of segments) client.seal(packet)
        const datagrams = client.outbox.splice(0)

        yield* network.arriveInTurn(
          client.endpoint,
          Array.from({ length: count / together }, (_, i) => datagrams.slice(i * together, (i + 1) * together))
        )

        const packets = seen.flatMap((write) => write.packets)
        assert.deepStrictEqual(
          packets.map((packet) => packet.slice(40)),
          segments.map((packet) => packet.slice(40))
        )
        assert.isTrue(packets.every(checksumsOk))
        assert.isAtMost(seen.length, writesAtMost)
        assert.strictEqual(yield* counter("udp.gathered"), together === 1 ? 0 : count)
      }).pipe(Effect.provide(on))
    )
  }

  it.effect("leave one by one where the system does not take super-packets", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      const network = yield* MemoryNetwork
      yield* send(addresses(1, 1, "Resolved", [real4]))
      yield* sendInner(client, tcp(443, 2))
      const seen = yield* writes
      for (const packet of upload(40)) client.seal(packet)

      yield* network.arriveTogether(client.endpoint, client.outbox.splice(0))

      assert.strictEqual(seen.length, 40)
      assert.isTrue(seen.every(({ header }) => header.kind === 0 && !header.partial))
      assert.strictEqual(yield* counter("tun.joined"), 0)
      assert.strictEqual(yield* counter("udp.gathered"), 40)
    }).pipe(Effect.provide(off))
  )

  it.effect("with a forged or replayed one among them lose only that one", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      const network = yield* MemoryNetwork
      const out = yield* lan
      yield* send(addresses(1, 1, "Resolved", [real4]))
      yield* sendInner(client, tcp(443, 2))
      out.splice(0)
      for (const packet of upload(6)) client.seal(packet)
      const datagrams = client.outbox.splice(0)
      datagrams[2]![40]! ^= 1
      datagrams[4] = datagrams[3]!

      yield* network.arriveTogether(client.endpoint, datagrams)

      assert.deepStrictEqual(
        out.map((packet) => new DataView(packet.buffer).getUint32(24)),
        [1, 1_001, 3_001, 5_001]
      )
      assert.isTrue(out.every(checksumsOk))
      assert.strictEqual(yield* counter("wireguard.forged"), 1)
      assert.strictEqual(yield* counter("wireguard.replayed"), 1)
    }).pipe(Effect.provide(on))
  )

  it.effect("and are refused are answered without harm to the ones behind them", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      const out = yield* lan
      yield* send(addresses(1, 1, "Resolved", [real4]))
      yield* sendInner(client, tcp(443, 2))
      out.splice(0)
      const segments = upload(6)
      const refused = buildTcp({
        source: tunnel4(1),
        destination: "100.96.9.9",
        sourcePort: 50_000,
        destinationPort: 443,
        payload: payloadOf(1_000)
      })

      yield* sendInner(client, ...segments.slice(0, 3), refused, ...segments.slice(3))

      assert.deepStrictEqual(
        out.map((packet) => new DataView(packet.buffer).getUint32(24)),
        [1, 1_001, 2_001, 3_001, 4_001, 5_001]
      )
      assert.deepStrictEqual(
        out.map((packet) => packet.slice(40)),
        segments.map((packet) => packet.slice(40))
      )
      assert.strictEqual(client.received.length, 1)
    }).pipe(Effect.provide(on))
  )

  it.effect("and wait for a first lookup leave in order, each as it came", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      const out = yield* lan
      yield* send(addresses(1, 1, "Resolving"))
      const waiting = [1, 2, 3].map((i) =>
        buildUdp({
          source: tunnel4(1),
          destination: proxy4,
          sourcePort: 50_000,
          destinationPort: 53,
          payload: payloadOf(100 + i)
        })
      )
      yield* sendInner(client, ...waiting)
      assert.strictEqual(out.length, 0)

      yield* send(addresses(1, 1, "Resolved", [real4]))

      assert.deepStrictEqual(
        out.map((packet) => packet.slice(28)),
        [1, 2, 3].map((i) => payloadOf(100 + i))
      )
      assert.isTrue(out.every(checksumsOk))
    }).pipe(Effect.provide(on))
  )
})
