/** Clients as the packet path knows them: keys, endpoints, sessions, notices about them. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import { TestClock } from "effect/testing"
import { MemoryNetwork } from "../../layers/memory/DataPlaneMemory.ts"
import { DataPlane } from "../../src/dataplane/DataPlane.ts"
import type { Command } from "../../src/dataplane/commands.ts"
import type { ClientState, Notice } from "../../src/dataplane/notices.ts"
import { tai64nLength, tickOf, writeTick } from "../../src/wireguard/tai64n.ts"
import {
  counter,
  destinations,
  lan,
  ready,
  real4,
  reply,
  send,
  syn,
  ack,
  tcp,
  tcpBack
} from "../support/engineSteps.ts"
import {
  addresses,
  clientId,
  gatewayPublicKey,
  layer,
  makeClient,
  mappingId,
  packetsAt,
  policy,
  primitives,
  proxy4,
  setMapping,
  setUp,
  tunnel4,
  tunnel6,
  upsertClient
} from "../support/engineWorld.ts"
import { connect, exchange, MemoryClient, sendInner } from "../support/memoryClient.ts"
import { buildTcp } from "../support/packets.ts"

const keyOf = (fill: number): string =>
  Buffer.from(primitives.x25519(new Uint8Array(32).fill(fill)).publicKey).toString("base64")

/** A device with the private key of `fill` bytes at port 40000 + `port`. */
const device = (fill: number, port = fill) =>
  new MemoryClient({ privateKey: new Uint8Array(32).fill(fill), gatewayKey: gatewayPublicKey, port: 40_000 + port })

const privateOf = (fill: number): string => Buffer.alloc(32, fill).toString("base64")

/** Of a device that knows the gateway by the private key of other bytes. */
const keysOf = (fill: number, gateway: number) => ({
  privateKey: new Uint8Array(32).fill(fill),
  gatewayKey: Buffer.from(keyOf(gateway), "base64")
})

const statesIn = (notices: ReadonlyArray<Notice>): ReadonlyArray<ClientState> =>
  notices.filter((notice): notice is ClientState => notice._tag === "ClientState")

const states = (notices: Queue.Dequeue<Notice>) => Effect.map(Queue.clear(notices), statesIn)

describe("a client", () => {
  it.effect(
    "is reported with its endpoint and timestamp when it connects, and as gone 3 minutes after its last handshake",
    () =>
      Effect.gen(function* () {
        const notices = yield* (yield* DataPlane).notices
        yield* ready()
        const connected = (yield* states(notices)).at(-1)!
        assert.deepInclude(connected, {
          client: clientId(1),
          connected: true,
          endpoint: { address: "192.0.2.2", port: 40_001 },
          handshakeAt: 60_000
        })
        assert.match(connected.lastTai64n ?? "", /^40[0-9a-f]{22}$/)
        yield* TestClock.adjust("181 seconds")
        assert.deepStrictEqual(
          (yield* states(notices)).map((state) => state.connected),
          [false]
        )
        const known = yield* (yield* DataPlane).clients
        assert.strictEqual(known.get(clientId(1))?.connected, false)
      }).pipe(Effect.scoped, Effect.provide(layer))
  )

  it.effect("that roams goes on with its session and its flows at the new endpoint", () =>
    Effect.gen(function* () {
      const notices = yield* (yield* DataPlane).notices
      const network = yield* MemoryNetwork
      const client = yield* ready()
      yield* send(addresses(1, 1, "Resolved", [real4]))
      yield* sendInner(client, tcp(443, syn))
      yield* TestClock.adjust("2 seconds")
      yield* states(notices)
      client.endpoint.port = 41_111
      yield* sendInner(client, tcp(443, ack))
      assert.deepStrictEqual(
        (yield* states(notices)).map((state) => state.endpoint?.port),
        [41_111]
      )
      const ports: Array<number> = []
      yield* network.onDatagram((to) => void ports.push(to.port))
      yield* network.routeIn(tcpBack(443, syn | ack))
      assert.deepStrictEqual(ports, [41_111])
    }).pipe(Effect.scoped, Effect.provide(layer))
  )

  it.effect("that moves with every datagram is reported once a second, and rightly in the end", () =>
    Effect.gen(function* () {
      const notices = yield* (yield* DataPlane).notices
      const client = yield* ready()
      yield* TestClock.adjust("2 seconds")
      yield* states(notices)
      for (let i = 0; i < 50; i++) {
        client.endpoint.port = 42_000 + i
        yield* sendInner(client, tcp(443, syn, "100.96.7.7"))
      }
      yield* TestClock.adjust("3 seconds")
      assert.deepStrictEqual(
        (yield* states(notices)).map((state) => state.endpoint?.port),
        [42_000, 42_049]
      )
    }).pipe(Effect.scoped, Effect.provide(layer))
  )

  it.effect("gets what waited for its session, in order, when it is back", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      yield* send(addresses(1, 1, "Resolved", [real4]))
      yield* sendInner(client, tcp(443, syn))
      yield* reply(client, tcpBack(443, syn | ack))
      yield* TestClock.adjust("181 seconds")
      client.received.length = 0
      yield* reply(client, ...[1, 2, 3].map((n) => tcpBack(443, ack, real4, 50_000, n)))
      assert.strictEqual(client.received.length, 0)
      assert.strictEqual(yield* counter("inbound.staged"), 3)
      yield* TestClock.adjust("2 seconds")
      yield* connect(client)
      yield* sendInner(client)
      assert.deepStrictEqual(
        client.received.map((packet) => new DataView(packet.buffer).getUint32(24)),
        [1, 2, 3]
      )
    }).pipe(Effect.provide(layer))
  )

  it.effect("with a preshared key connects with the same one only", () =>
    Effect.gen(function* () {
      yield* TestClock.adjust("1 minute")
      const psk = new Uint8Array(32).fill(0x77)
      const out = yield* lan
      yield* setUp(1)
      yield* send(
        { ...upsertClient(1), presharedKey: Buffer.from(psk).toString("base64") },
        addresses(1, 1, "Resolved", [real4])
      )
      const wrong = makeClient(1)
      yield* connect(wrong)
      yield* sendInner(wrong, tcp(443, syn))
      assert.strictEqual(out.length, 0)
      yield* TestClock.adjust("1 second")
      const right = makeClient(1)
      right.wireguard.addPeer({ publicKey: gatewayPublicKey, presharedKey: psk, keepalive: 0, user: 0 })
      yield* connect(right)
      yield* sendInner(right, tcp(443, syn))
      assert.strictEqual(out.length, 1)
      assert.isTrue((yield* (yield* DataPlane).clients).get(clientId(1))?.connected)
      yield* send({ ...upsertClient(1), presharedKey: Buffer.alloc(32, 9).toString("base64") })
      assert.isFalse((yield* (yield* DataPlane).clients).get(clientId(1))?.connected)
      yield* sendInner(right, tcp(443, ack))
      assert.strictEqual(out.length, 1)
    }).pipe(Effect.provide(layer))
  )

  it.effect("that comes with another key keeps its resources and names, not its flows", () =>
    Effect.gen(function* () {
      const old = yield* ready()
      const out = yield* lan
      yield* send(addresses(1, 1, "Resolved", [real4]))
      yield* sendInner(old, tcp(443, syn))
      yield* send({ ...upsertClient(1), publicKey: keyOf(5) })
      yield* sendInner(old, tcp(443, ack))
      assert.strictEqual(out.length, 1)
      const next = device(5)
      yield* connect(next)
      yield* reply(next, tcpBack(443, syn | ack))
      assert.strictEqual(next.received.length, 0)
      yield* sendInner(next, tcp(443, syn))
      assert.deepStrictEqual(destinations(out), [real4, real4])
    }).pipe(Effect.provide(layer))
  )

  it.effect("that moves to other tunnel addresses is known by those only", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      const out = yield* lan
      yield* send(addresses(1, 1, "Resolved", [real4]), {
        ...upsertClient(1),
        tunnel4: "100.64.9.9",
        tunnel6: "fd00:2021:1111::99"
      })
      yield* sendInner(client, tcp(443, syn))
      assert.strictEqual(out.length, 0)
      const from = { source: "100.64.9.9", destination: proxy4, sourcePort: 50_000, destinationPort: 443 }
      yield* sendInner(client, buildTcp({ ...from, flags: syn }))
      assert.strictEqual(out.length, 1)
      yield* reply(client, tcpBack(443, syn | ack))
      assert.strictEqual(yield* counter("inbound.unknown_client"), 1)
      yield* reply(
        client,
        buildTcp({ ...from, source: real4, destination: "100.64.9.9", sourcePort: 443, destinationPort: 50_000 })
      )
      assert.strictEqual(client.received.length, 1)
    }).pipe(Effect.provide(layer))
  )

  it.effect("whose key another client takes is gone, and the other is not", () =>
    Effect.gen(function* () {
      const first = yield* ready()
      const notices = yield* (yield* DataPlane).notices
      const out = yield* lan
      yield* setUp(2)
      yield* send({ ...upsertClient(2), publicKey: keyOf(1) }, addresses(2, 1, "Resolved", [real4]))
      assert.isTrue((yield* Queue.clear(notices)).some((n) => n._tag === "Fault" && n.message.includes("client-1")))
      yield* send({ _tag: "RemoveClient", client: clientId(1) })
      yield* TestClock.adjust("1 second")
      yield* connect(first)
      const inner = { destination: proxy4, sourcePort: 50_000, destinationPort: 443, flags: syn }
      yield* sendInner(first, buildTcp({ ...inner, source: tunnel4(1) }), buildTcp({ ...inner, source: tunnel4(2) }))
      assert.strictEqual(out.length, 1)
    }).pipe(Effect.scoped, Effect.provide(layer))
  )

  it.effect("whose address another client takes is reported as gone at once, and its flows end", () =>
    Effect.gen(function* () {
      const first = yield* ready()
      yield* send(addresses(1, 1, "Resolved", [real4]))
      yield* sendInner(first, tcp(443, syn))
      yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* counter("sessions.live"), 1)
      const notices = yield* (yield* DataPlane).notices
      yield* send({ ...upsertClient(2), tunnel4: tunnel4(1) })
      assert.deepStrictEqual(
        (yield* states(notices)).map(({ client, connected }) => [client, connected]),
        [[clientId(1), false]]
      )
      yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* counter("sessions.live"), 0)
    }).pipe(Effect.scoped, Effect.provide(layer))
  )

  it.effect("whose key another claims may still reach what it might when it comes with its key again", () =>
    Effect.gen(function* () {
      yield* ready()
      const out = yield* lan
      yield* setUp(2)
      yield* send({ ...upsertClient(2), publicKey: keyOf(1) }, upsertClient(1), addresses(1, 1, "Resolved", [real4]))
      yield* TestClock.adjust("1 second")
      const again = makeClient(1)
      again.now = 120_000
      yield* connect(again)
      yield* sendInner(again, tcp(443, syn))
      assert.deepStrictEqual(destinations(out), [real4])
    }).pipe(Effect.provide(layer))
  )

  it.effect("at a portal, of two with one address only the later one can use it", () =>
    Effect.gen(function* () {
      const first = yield* ready()
      const out = yield* lan
      yield* send({ ...policy, packets: packetsAt.portal })
      yield* setUp(2)
      yield* send({ ...policy, packets: packetsAt.portal }, addresses(1, 1, "Resolved", [real4]))
      yield* send({ ...upsertClient(2), tunnel4: tunnel4(1) }, addresses(2, 1, "Resolved", [real4]))
      const second = makeClient(2)
      yield* connect(second)
      yield* sendInner(first, tcp(443, syn))
      assert.deepStrictEqual(out, [])
      yield* sendInner(second, tcp(443, syn))
      assert.strictEqual(out.length, 1)
      yield* reply(second, tcpBack(443, syn | ack))
      assert.strictEqual(second.received.length, 1)
      yield* send(upsertClient(1))
      yield* sendInner(second, tcp(443, ack))
      assert.strictEqual(out.length, 1)
    }).pipe(Effect.provide(layer))
  )

  it.effect("that was removed sends and gets nothing, in either family", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      const out = yield* lan
      yield* send(addresses(1, 1, "Resolved", [real4]))
      yield* sendInner(client, tcp(443, syn))
      yield* send({ _tag: "RemoveClient", client: clientId(1) })
      yield* sendInner(client, tcp(443, ack))
      yield* reply(
        client,
        tcpBack(443, syn | ack),
        buildTcp({ source: "fd5a:20::10", destination: tunnel6(1), sourcePort: 1, destinationPort: 1 })
      )
      assert.deepStrictEqual([out.length, client.received.length], [1, 0])
      assert.strictEqual(yield* counter("inbound.unknown_client"), 2)
    }).pipe(Effect.provide(layer))
  )

  it.effect("with malformed keys or addresses is refused with a fault, and harms nobody", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      const out = yield* lan
      const notices = yield* (yield* DataPlane).notices
      yield* send(
        { ...upsertClient(3), publicKey: "short" },
        { ...upsertClient(3), tunnel4: "100.64.1.256" },
        { ...upsertClient(3), presharedKey: "=" },
        addresses(1, 1, "Resolved", [real4])
      )
      assert.strictEqual((yield* Queue.clear(notices)).filter((n) => n._tag === "Fault").length, 3)
      yield* sendInner(client, tcp(443, syn))
      assert.strictEqual(out.length, 1)
    }).pipe(Effect.scoped, Effect.provide(layer))
  )
})

describe("after a restart", () => {
  it.effect("the gateway calls a client at its last endpoint, which then is connected", () =>
    Effect.gen(function* () {
      yield* TestClock.adjust("1 minute")
      const network = yield* MemoryNetwork
      const client = makeClient(1)
      yield* network.onDatagram((to, datagram) => {
        if (to.port === client.endpoint.port) client.deliver(datagram)
      })
      client.now = 60_000
      yield* setUp(1)
      yield* send({ ...upsertClient(1), endpoint: { address: "192.0.2.2", port: 40_001 }, initiate: true })
      yield* TestClock.adjust("200 millis")
      yield* exchange([client])
      assert.isTrue((yield* (yield* DataPlane).clients).get(clientId(1))?.connected)
    }).pipe(Effect.provide(layer))
  )

  it.effect("each client is called with the gateway's key that it had proved before, and is said to have it", () =>
    Effect.gen(function* () {
      yield* TestClock.adjust("1 minute")
      const [stays, moved] = [device(1), new MemoryClient({ ...keysOf(2, 0x42), port: 40_002 })]
      const endpoint = (n: number) => ({ endpoint: { address: "192.0.2.2", port: 40_000 + n }, initiate: true })
      const network = yield* MemoryNetwork
      yield* network.onDatagram((to, datagram) => (to.port === 40_001 ? stays : moved).deliver(datagram))
      yield* send(policy, { _tag: "SetKeys", privateKey: privateOf(0x42), endingKey: privateOf(0x41) })
      yield* send({ ...upsertClient(1), ...endpoint(1), gatewayKey: keyOf(0x41) })
      yield* send({ ...upsertClient(2), ...endpoint(2), gatewayKey: keyOf(0x42) })
      yield* TestClock.adjust("1 second")
      yield* exchange([stays, moved])

      assert.isTrue(stays.peer.hasSession(stays.now) && moved.peer.hasSession(moved.now))
      const told = yield* (yield* DataPlane).clients
      assert.deepStrictEqual(
        [1, 2].map((n) => told.get(clientId(n))?.gatewayKey),
        [keyOf(0x41), keyOf(0x42)]
      )
    }).pipe(Effect.provide(layer))
  )

  it.effect("clients are called at most 50 a second", () =>
    Effect.gen(function* () {
      yield* TestClock.adjust("1 minute")
      const network = yield* MemoryNetwork
      const called: Array<number> = []
      yield* network.onDatagram((to) => void called.push(to.port))
      yield* setUp(1)
      for (let n = 0; n < 120; n++) {
        yield* send({
          ...upsertClient(1),
          client: clientId(100 + n),
          publicKey: keyOf(100 + n),
          tunnel4: `100.64.2.${n}`,
          tunnel6: `fd00:2021:1111::2:${n}`,
          endpoint: { address: "192.0.2.9", port: 1_000 + n },
          initiate: true
        })
      }
      yield* TestClock.adjust("1 second")
      assert.isAtMost(new Set(called).size, 55)
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual(new Set(called).size, 120)
    }).pipe(Effect.provide(layer))
  )

  it.effect(
    "a client that is sending already is called at once, beside the others, and a stranger's datagrams call nobody",
    () =>
      Effect.gen(function* () {
        yield* TestClock.adjust("1 minute")
        const network = yield* MemoryNetwork
        const called: Array<number> = []
        yield* network.onDatagram((to) => void called.push(to.port))
        yield* setUp(1)
        for (let n = 0; n < 120; n++) {
          yield* send({
            ...upsertClient(1),
            client: clientId(100 + n),
            publicKey: keyOf(100 + n),
            tunnel4: `100.64.2.${n}`,
            tunnel6: `fd00:2021:1111::2:${n}`,
            endpoint: { address: "192.0.2.2", port: 40_000 + n },
            initiate: true
          })
        }
        // A transport message of a session that nobody knows any more.
        const lost = new Uint8Array(64)
        lost.set([4, 0, 0, 0, 9, 9, 9, 9])
        for (const n of [119, 118, 119]) {
          const { endpoint } = device(1, n)
          yield* network.arrive(endpoint, lost)
          yield* network.arrive({ ...endpoint, port: 50_000 + n }, lost)
        }
        assert.deepStrictEqual(called.slice(-2), [40_119, 40_118])
        yield* TestClock.adjust("200 millis")
        assert.isAtMost(called.length, 2 + 15)
        yield* TestClock.adjust("3 seconds")
        assert.lengthOf(new Set(called), 120)
        assert.isTrue(called.every((port) => port >= 40_000 && port < 40_120))
      }).pipe(Effect.provide(layer))
  )

  it.effect("a client whose clock was ahead is served, and told of once, in words for any timestamp", () =>
    Effect.gen(function* () {
      yield* TestClock.adjust("1 minute")
      const notices = yield* (yield* DataPlane).notices
      yield* setUp(1)
      for (const lastTai64n of ["4000000080000000", "ffffffffffffffff"].map((seconds) => `${seconds}00000000`)) {
        yield* send({ _tag: "RemoveClient", client: clientId(1) }, { ...upsertClient(1), lastTai64n })
        yield* Queue.clear(notices)
        const client = makeClient(1)
        yield* connect(client)
        yield* TestClock.adjust("6 seconds")
        yield* connect(client)
        const told = yield* Queue.clear(notices)
        assert.isTrue(statesIn(told).at(-1)!.connected)
        assert.isAbove(statesIn(told).at(-1)!.behindMs, 2e12)
        const faults = told.flatMap((notice) => (notice._tag === "Fault" ? [notice.message] : []))
        assert.lengthOf(faults, 1)
        assert.match(
          faults[0]!,
          /^the clock of client client-1 was ahead.*dated (2038-01-19T03:13:58|a time beyond).*1970-01-01/
        )
      }
    }).pipe(Effect.scoped, Effect.provide(layer))
  )

  it.effect("the gateway's calls are dated later than its last ones before, although its clock went back", () =>
    Effect.gen(function* () {
      const network = yield* MemoryNetwork
      const client = makeClient(1)
      yield* network.onDatagram((_, datagram) => client.deliver(datagram))
      yield* setUp(2)
      const sentTick = tickOf(Date.UTC(2040, 0))
      yield* send({
        ...upsertClient(1),
        endpoint: { address: "192.0.2.2", port: client.endpoint.port },
        sentTick,
        initiate: true
      })
      yield* TestClock.adjust("200 millis")
      const expected = new Uint8Array(tai64nLength)
      writeTick(sentTick + 1, expected, 0)
      assert.deepStrictEqual(client.peer.latestTai64n, expected)
    }).pipe(Effect.provide(layer))
  )

  it.effect("an initiation recorded before it is refused, and the next one is not", () =>
    Effect.gen(function* () {
      yield* TestClock.adjust("1 minute")
      const network = yield* MemoryNetwork
      const client = makeClient(1)
      client.wireguard.initiate(client.peer, 60_000, 60_000)
      const [recorded] = client.outbox
      yield* setUp(1)
      const answers: Array<Uint8Array> = []
      yield* network.onDatagram((_, datagram) => void answers.push(datagram))
      yield* network.arrive(client.endpoint, recorded!)
      const accepted = (yield* (yield* DataPlane).clients).get(clientId(1))?.lastTai64n ?? null
      assert.isNotNull(accepted)
      assert.strictEqual(answers.splice(0).length, 1)
      yield* send({ _tag: "RemoveClient", client: clientId(1) }, { ...upsertClient(1), lastTai64n: accepted })
      yield* network.arrive(client.endpoint, recorded!)
      yield* TestClock.adjust("200 millis")
      assert.deepStrictEqual(answers, [])
      assert.strictEqual(yield* counter("wireguard.handshake_replayed"), 1)
      const later = makeClient(1)
      later.wireguard.initiate(later.peer, 61_000, 61_000)
      yield* network.arrive(later.endpoint, later.outbox[0]!)
      assert.strictEqual(answers.length, 1)
    }).pipe(Effect.provide(layer))
  )
})

describe("a client with many names", () => {
  const many = (count: number): ReadonlyArray<Command> =>
    Array.from({ length: count }, (_, i) => setMapping(1, `n${i}.corp`, [`100.97.${i >> 8}.${i & 255}`]))

  it.effect.each([
    [2_046, []],
    [2_047, [["n7.corp", "n9.corp"]]]
  ] as const)("beside %i others has those told that have sessions, every 10 seconds", ([count, expected]) =>
    Effect.gen(function* () {
      const client = yield* ready()
      yield* send(...many(count))
      const notices = yield* (yield* DataPlane).notices
      for (const i of [7, 9]) {
        yield* send(addresses(1, 1, "Resolved", [real4], `n${i}.corp`))
        yield* sendInner(client, tcp(443, syn, `100.97.0.${i}`))
      }
      yield* TestClock.adjust("10 seconds")
      yield* Queue.clear(notices)
      yield* TestClock.adjust("10 seconds")
      const told = (yield* Queue.clear(notices)).flatMap((notice) => (notice._tag === "InUse" ? [notice] : []))
      assert.deepStrictEqual(
        told.map(({ mappings }) => mappings),
        expected.map((domains) => domains.map((domain) => mappingId(1, domain)))
      )
      for (const notice of told) assert.strictEqual(notice.client, clientId(1))
    }).pipe(Effect.scoped, Effect.provide(layer))
  )
})
