/** What the worker tells of refused packets, flows, clients, silent addresses and strangers. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import { TestClock } from "effect/testing"
import { DataPlane } from "../../src/dataplane/DataPlane.ts"
import type { RefusedRow } from "../../src/dataplane/journal.ts"
import type { Journal, Notice } from "../../src/dataplane/notices.ts"
import { protocolTcp, protocolUdp } from "../../src/packet/protocols.ts"
import {
  ack,
  lan,
  network,
  other4,
  ready,
  real4,
  reply,
  rst,
  send,
  syn,
  tcp,
  tcpBack,
  udp
} from "../support/engineSteps.ts"
import {
  addresses,
  clientId,
  gatewayPublicKey,
  key,
  layer,
  makeClient,
  mappingId,
  offloadingLayer,
  primitives,
  proxy4,
  resourceId,
  setUp,
  tunnel4,
  upsertClient
} from "../support/engineWorld.ts"
import { connect, exchange, MemoryClient, sendInner } from "../support/memoryClient.ts"
import { buildTcp, buildUdp } from "../support/packets.ts"

type Rows = Pick<Journal, "addresses" | "clients" | "flows" | "refused" | "strangers">

/** What is told until the gateway has nothing more to tell, list by list. */
const told = Effect.fnUntraced(function* (
  notices: Queue.Dequeue<Notice>,
  within: "2 seconds" | "5 seconds" = "2 seconds"
) {
  yield* TestClock.adjust(within)
  const journals = (yield* Queue.clear(notices)).filter((notice) => notice._tag === "Journal")
  return {
    addresses: journals.flatMap(({ addresses }) => addresses),
    clients: journals.flatMap(({ clients }) => clients),
    flows: journals.flatMap(({ flows }) => flows),
    refused: journals.flatMap(({ refused }) => refused),
    strangers: journals.flatMap(({ strangers }) => strangers)
  } satisfies Rows
})

const tcpTo = (destination: string, destinationPort: number, n = 1) =>
  buildTcp({ source: tunnel4(n), destination, sourcePort: 50_000, destinationPort, flags: syn })

describe("refused packets", () => {
  it.effect(
    "are told as sums by client, destination, port and reason, with the name or the network that they were for",
    () =>
      Effect.gen(function* () {
        const client = yield* ready({ filters: [{ protocol: "tcp", from: 443, to: 443 }] })
        yield* send(network("lab", "10.20.0.0/16", { filters: [{ protocol: "tcp", from: 443, to: 443 }] }))
        const notices = yield* (yield* DataPlane).notices
        yield* sendInner(client, tcpTo(proxy4, 22), tcpTo(proxy4, 22), tcpTo("10.20.0.7", 22), tcpTo("10.9.9.9", 80))
        const row = (
          reason: RefusedRow["reason"],
          address: string,
          port: number,
          packets: number,
          of: Partial<NonNullable<RefusedRow["to"]>>
        ): RefusedRow => ({
          client: clientId(1),
          reason,
          packets,
          to: { address, port, protocol: protocolTcp, mapping: null, resource: null, ...of }
        })
        assert.deepStrictEqual((yield* told(notices)).refused, [
          row("filtered", proxy4, 22, 2, { mapping: mappingId(1, "app.corp"), resource: resourceId("app") }),
          row("filtered", "10.20.0.7", 22, 1, { resource: resourceId("lab") }),
          row("unauthorized", "10.9.9.9", 80, 1, {})
        ])
        assert.deepStrictEqual((yield* told(notices)).refused, [])
      }).pipe(Effect.provide(layer))
  )

  it.effect("of a client that scans ports fill its own 16 rows and a sum; another's row is told beside them", () =>
    Effect.gen(function* () {
      const scanner = yield* ready()
      yield* setUp(2)
      const other = makeClient(2)
      yield* connect(other)
      const notices = yield* (yield* DataPlane).notices
      const ports = Array.from({ length: 500 }, (_, i) => i + 1)
      for (let at = 0; at < ports.length; at += 50) {
        yield* sendInner(scanner, ...ports.slice(at, at + 50).map((port) => tcpTo("10.9.9.9", port)))
      }
      yield* sendInner(other, tcpTo("10.9.9.9", 80, 2))
      const { refused } = yield* told(notices)
      const sums = refused.filter(({ client }) => client === clientId(1))
      assert.strictEqual(sums.filter(({ to }) => to !== null).length, 16)
      assert.deepStrictEqual(
        sums.filter(({ to }) => to === null).map(({ packets, reason }) => [packets, reason]),
        [[484, null]]
      )
      assert.deepStrictEqual(
        refused.filter(({ client }) => client === clientId(2)).map(({ packets, to }) => [packets, to?.port]),
        [[1, 80]]
      )
    }).pipe(Effect.provide(layer))
  )
})

describe("flows", () => {
  it.effect("are told when they begin, and when they end with why, bytes and duration", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      yield* lan
      yield* send(addresses(1, 1, "Resolved", [real4]))
      const notices = yield* (yield* DataPlane).notices
      yield* sendInner(client, tcp(443, syn))
      const [begun] = (yield* told(notices, "5 seconds")).flows
      assert.deepStrictEqual(begun, {
        client: clientId(1),
        to: {
          address: proxy4,
          protocol: protocolTcp,
          port: 443,
          mapping: mappingId(1, "app.corp"),
          resource: resourceId("app")
        },
        real: real4,
        bytesIn: 0,
        end: null
      })
      yield* reply(client, tcpBack(443, 0x14))
      const [ended] = (yield* told(notices)).flows
      assert.deepStrictEqual(ended?.end, { why: "reset", bytesOut: 40, durationMs: 5_000 })
      assert.strictEqual(ended?.bytesIn, 40)
    }).pipe(Effect.provide(layer))
  )

  it.effect("are told with the first that comes back, or when nothing has for 3 s", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      yield* lan
      yield* send(addresses(1, 1, "Resolved", [real4]))
      const notices = yield* (yield* DataPlane).notices
      // Between two tellings.
      yield* TestClock.adjust("500 millis")
      yield* sendInner(client, tcpTo(proxy4, 22), tcp(443, syn))
      yield* reply(client, tcpBack(443, 0x12))
      const answers = Effect.map(told(notices), ({ flows }) => flows.map(({ bytesIn, to }) => [to.port, bytesIn]))
      assert.deepStrictEqual(yield* answers, [[443, 40]])
      assert.deepStrictEqual(yield* answers, [[22, 0]])
    }).pipe(Effect.provide(layer))
  )

  it.effect("that wait for an answer take no room of what is told: other clients' flows are, and their ends", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      yield* lan
      yield* send(addresses(1, 1, "Resolved", [real4]))
      const silent = Array.from({ length: 11 }, (_, i) => makeClient(i + 2))
      for (let n = 2; n < silent.length + 2; n++) {
        yield* setUp(n)
        yield* send(addresses(n, 1, "Resolved", [real4]))
      }
      for (const other of silent) yield* connect(other)
      const notices = yield* (yield* DataPlane).notices
      for (let second = 0; second < 3; second++) {
        for (const [i, other] of silent.entries()) {
          const ports = Array.from({ length: 16 }, (_, n) => 1_000 + 16 * second + n)
          yield* sendInner(other, ...ports.map((port) => tcpTo(proxy4, port, i + 2)))
        }
        yield* TestClock.adjust("1 second")
      }
      yield* Queue.clear(notices)
      yield* sendInner(client, tcp(443, syn))
      yield* reply(client, tcpBack(443, syn | ack), tcpBack(443, rst | ack))
      const { flows } = yield* told(notices)
      assert.deepStrictEqual(
        flows.flatMap(({ client, end }) => (client === clientId(1) ? [end?.why ?? "begun"] : [])),
        ["begun", "reset"]
      )
    }).pipe(Effect.provide(layer))
  )

  it.effect("that nothing has answered are told with the address that they were tried at last", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      yield* lan
      yield* send(addresses(1, 1, "Resolved", [real4]))
      const notices = yield* (yield* DataPlane).notices
      yield* sendInner(client, tcp(443, syn))
      yield* send(addresses(1, 2, "Resolved", [other4]))
      yield* sendInner(client, tcp(443, syn))
      const { flows } = yield* told(notices, "5 seconds")
      assert.deepStrictEqual(
        flows.map(({ end, real }) => [end, real]),
        [[null, other4]]
      )
    }).pipe(Effect.provide(layer))
  )

  it.effect("count the packets that go in a train behind the first one", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      yield* lan
      yield* send(addresses(1, 1, "Resolved", [real4]))
      const notices = yield* (yield* DataPlane).notices
      const datagram = udp(53_000)
      yield* sendInner(client, datagram, datagram, datagram)
      yield* TestClock.adjust("70 seconds")
      const ended = (yield* told(notices)).flows.filter(({ end }) => end !== null)
      assert.deepStrictEqual(
        ended.map(({ bytesIn, end, to }) => [to.protocol, end?.why, end?.bytesOut, bytesIn]),
        [[protocolUdp, "unanswered", 3 * datagram.length, 0]]
      )
    }).pipe(Effect.provide(offloadingLayer))
  )
})

describe("a client", () => {
  it.effect(
    "has its bytes, flows and refused packets told, and when it was heard of; nothing while nothing is new",
    () =>
      Effect.gen(function* () {
        const client = yield* ready()
        yield* lan
        yield* send(addresses(1, 1, "Resolved", [real4]))
        const notices = yield* (yield* DataPlane).notices
        yield* told(notices)
        yield* sendInner(client, tcp(443, syn), tcpTo("10.9.9.9", 80))
        const row = (yield* told(notices)).clients[0]!
        assert.strictEqual(row.client, clientId(1))
        assert.deepStrictEqual([row.flows, row.refused], [1, 1])
        assert.isAbove(row.bytesIn, 2 * 40)
        assert.isAbove(row.bytesOut, 0)
        assert.isAtMost(row.heardAgo ?? Number.NaN, 1_100)
        assert.deepStrictEqual((yield* told(notices)).clients, [])
      }).pipe(Effect.provide(layer))
  )
})

describe("a client with another preshared key", () => {
  it.effect("has the handshakes told that were answered in vain, until a session comes or its key is another", () =>
    Effect.gen(function* () {
      const client = makeClient(1)
      yield* setUp(1)
      const withKey = { ...upsertClient(1), presharedKey: Buffer.from(key(9)).toString("base64") }
      const notices = yield* (yield* DataPlane).notices
      const unused = Effect.map(told(notices), ({ clients }) => clients.at(-1)?.unusedAnswers)
      const again = Effect.gen(function* () {
        yield* TestClock.adjust("6 seconds")
        client.now = yield* Effect.clockWith((clock) => clock.currentTimeMillis)
        client.wireguard.advance(client.now, client.now)
        yield* exchange([client])
      })
      yield* send(withKey)
      yield* connect(client)
      assert.strictEqual(yield* unused, 0, "its answer may be on its way")
      yield* Effect.repeat(again, { times: 2 })
      assert.strictEqual(yield* unused, 3)

      client.wireguard.addPeer({ publicKey: gatewayPublicKey, presharedKey: key(9), keepalive: 0, user: 0 })
      yield* connect(client)
      assert.strictEqual(yield* unused, 0)

      yield* send(upsertClient(1))
      yield* connect(client)
      yield* again
      assert.strictEqual(yield* unused, 1)
      yield* send(withKey)
      assert.strictEqual(yield* unused, 0)
    }).pipe(Effect.provide(layer))
  )
})

describe("a real address that does not answer", () => {
  it.effect("is told after 3 s with the flows that were tried, and again when it answers", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      yield* lan
      yield* send(addresses(1, 1, "Resolved", [real4]))
      const notices = yield* (yield* DataPlane).notices
      yield* sendInner(client, tcp(443, syn))
      assert.deepStrictEqual((yield* told(notices)).addresses, [])
      yield* sendInner(client, tcpTo(proxy4, 8_443))
      const silent = (yield* told(notices, "5 seconds")).addresses
      assert.deepStrictEqual(
        silent.map(({ address, mapping, repliedAgo, tries }) => [address, mapping, tries, repliedAgo]),
        [[real4, mappingId(1, "app.corp"), 2, null]]
      )
      assert.isAtLeast(silent[0]!.sinceAgo, 3_000)
      yield* reply(client, tcpBack(443, 0x12))
      assert.deepStrictEqual(
        (yield* told(notices)).addresses.map(({ tries }) => tries),
        [0]
      )
    }).pipe(Effect.provide(layer))
  )

  it.effect("is not concluded from UDP, which many never answer", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      yield* lan
      yield* send(addresses(1, 1, "Resolved", [real4]))
      const notices = yield* (yield* DataPlane).notices
      yield* sendInner(
        client,
        buildUdp({ source: tunnel4(1), destination: proxy4, sourcePort: 1, destinationPort: 514 })
      )
      assert.deepStrictEqual((yield* told(notices, "5 seconds")).addresses, [])
    }).pipe(Effect.provide(layer))
  )
})

describe("a device that nobody knows", () => {
  it.effect("is told with its key and where it came from, in the activity too", () =>
    Effect.gen(function* () {
      yield* ready()
      const dataPlane = yield* DataPlane
      const notices = yield* dataPlane.notices
      const stranger = new MemoryClient({ privateKey: key(77), gatewayKey: gatewayPublicKey, port: 40_077 })
      stranger.wireguard.initiate(stranger.peer, 0, Date.UTC(2026, 0))
      yield* exchange([stranger])
      const publicKey = Buffer.from(primitives.x25519(key(77)).publicKey).toString("base64")
      const { strangers } = yield* told(notices)
      assert.deepStrictEqual(
        strangers.map((row) => [row.publicKey, row.port]),
        [[publicKey, 40_077]]
      )
      assert.deepStrictEqual(
        (yield* dataPlane.activity).strangers(2_000).map((stranger) => stranger.publicKey),
        [publicKey]
      )
    }).pipe(Effect.provide(layer))
  )
})
