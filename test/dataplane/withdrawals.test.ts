/** A resource that is taken from a client and given back: its open flows stand still meanwhile, and go on where they were. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { TestClock } from "effect/testing"
import type { Command } from "../../src/dataplane/commands.ts"
import { formatAddress } from "../../src/packet/address.ts"
import {
  ack,
  counter,
  destinations,
  icmpOf,
  lan,
  network,
  other4,
  parsed,
  ready,
  real4,
  reply,
  send,
  syn,
  tcp,
  tcpBack,
  udp,
  udpBack
} from "../support/engineSteps.ts"
import {
  addresses,
  clientId,
  layer,
  mappingId,
  packetsAt,
  policy,
  proxy4,
  resourceId,
  setMapping
} from "../support/engineWorld.ts"
import { sendInner } from "../support/memoryClient.ts"
import { buildIcmp } from "../support/packets.ts"

const app = (over: Parameters<typeof network>[2] = {}): Command => network("app", null, { kind: "dns", ...over })
const revoke: Command = { _tag: "RevokeResource", client: clientId(1), resource: resourceId("app") }
const mapping = setMapping(1, "app.corp", [proxy4])

/** A TCP flow to port 443 and a UDP flow to port 53 that have been answered. */
const open = Effect.fnUntraced(function* (mode: keyof typeof packetsAt) {
  const client = yield* ready({ proxyIps: [proxy4] })
  const out = yield* lan
  yield* send({ ...policy, packets: packetsAt[mode] }, addresses(1, 1, "Resolved", [real4]))
  yield* sendInner(client, tcp(443, syn), udp(53))
  yield* reply(client, tcpBack(443, syn | ack), udpBack(53))
  assert.deepStrictEqual([out.length, client.received.length], [2, 2])
  out.length = 0
  client.received.length = 0
  return { client, out }
})

describe("a resource that is taken from a client", () => {
  it.effect.each(["portal", "standalone"] as const)(
    "lets nothing pass of its open flows, in neither direction, at a %s",
    (mode) =>
      Effect.gen(function* () {
        const { client, out } = yield* open(mode)
        yield* send(revoke)
        yield* sendInner(client, tcp(443, ack), udp(53), tcp(443, syn, proxy4, 50_001))
        assert.deepStrictEqual(icmpOf(client.received), [
          [3, 13],
          [3, 13],
          [3, 13]
        ])
        const error = { source: real4, destination: "100.64.1.1", type: 3, code: 1 } as const
        const sent = tcp(443, ack, real4)
        yield* reply(client, tcpBack(443, ack), udpBack(53), buildIcmp({ ...error, payload: sent }))
        assert.deepStrictEqual([out.length, client.received.length], [0, 3])
        yield* TestClock.adjust("1 second")
        assert.strictEqual(yield* counter("sessions.live"), 0)
      }).pipe(Effect.provide(layer))
  )

  it.effect.each(["portal", "standalone"] as const)(
    "goes on where it was when it is given back, also towards the client and with another answer of the DNS, at a %s",
    (mode) =>
      Effect.gen(function* () {
        const { client, out } = yield* open(mode)
        yield* send(revoke)
        yield* TestClock.adjust("90 seconds")
        yield* send(mapping, addresses(1, 2, "Resolved", [other4]), app())
        yield* reply(client, tcpBack(443, ack), udpBack(53))
        assert.deepStrictEqual(
          client.received.map((packet) => formatAddress(parsed(packet).source)),
          [proxy4, proxy4]
        )
        yield* sendInner(client, tcp(443, ack), udp(53), tcp(443, syn, proxy4, 50_001))
        assert.deepStrictEqual(destinations(out), [real4, real4, other4])
      }).pipe(Effect.provide(layer))
  )

  it.effect("has its name looked up again when it is given back: no new flow goes where the last answer led", () =>
    Effect.gen(function* () {
      const { client, out } = yield* open("portal")
      yield* send(revoke, mapping, app())
      yield* sendInner(client, tcp(443, syn, proxy4, 50_001))
      assert.deepStrictEqual(destinations(out), [])
      yield* send(addresses(1, 2, "Resolving"))
      yield* sendInner(client, tcp(443, syn, proxy4, 50_002))
      yield* send(addresses(1, 2, "Resolved", [other4]))
      yield* TestClock.adjust("10 millis")
      assert.deepStrictEqual(destinations(out), [other4])
    }).pipe(Effect.provide(layer))
  )

  it.effect("goes on with what it permits then, and with nothing that it does not", () =>
    Effect.gen(function* () {
      const { client, out } = yield* open("portal")
      yield* send(revoke, mapping, app({ filters: [{ protocol: "tcp", from: 443, to: 443 }] }))
      yield* reply(client, tcpBack(443, ack), udpBack(53))
      assert.lengthOf(client.received, 1)
      yield* sendInner(client, tcp(443, ack), udp(53))
      assert.deepStrictEqual(
        out.map((packet) => parsed(packet).destinationPort),
        [443]
      )
      assert.deepStrictEqual(icmpOf(client.received.slice(1)), [[3, 13]])
    }).pipe(Effect.provide(layer))
  )

  it.effect.each([
    ["has lapsed meanwhile", [revoke, { _tag: "LapseMapping", mapping: mappingId(1, "app.corp") }, mapping, app()]],
    ["comes back with other proxies", [revoke, { ...mapping, proxyIps: ["100.96.0.99"] }, app()]],
    ["does not cover the name any more", [revoke, { _tag: "RemoveMapping", mapping: mappingId(1, "app.corp") }, app()]],
    ["comes back as a network", [revoke, mapping, network("app", "10.0.0.0/8")]]
  ] as ReadonlyArray<readonly [string, ReadonlyArray<Command>]>)(
    "has no open flows any more when it %s",
    ([, commands]) =>
      Effect.gen(function* () {
        const { client } = yield* open("portal")
        yield* send(...commands)
        yield* reply(client, tcpBack(443, ack), udpBack(53))
        assert.lengthOf(client.received, 0)
        assert.strictEqual(yield* counter("inbound.no_session"), 2)
      }).pipe(Effect.provide(layer))
  )

  it.effect("keeps its flows through changes of other resources and of the policy meanwhile", () =>
    Effect.gen(function* () {
      const { client } = yield* open("portal")
      const other = network("other", "10.30.0.0/16")
      yield* send(revoke, other, { ...other, filters: [{ protocol: "icmp" }] })
      yield* send({ ...policy, packets: packetsAt.portal, ownAddresses: ["10.20.0.1"] })
      yield* send(mapping, app())
      yield* reply(client, tcpBack(443, ack), udpBack(53))
      assert.lengthOf(client.received, 2)
    }).pipe(Effect.provide(layer))
  )

  it.effect.each([
    ["is taken away", [revoke], [3, 13]],
    ["does not cover the name any more", [{ _tag: "RemoveMapping", mapping: mappingId(1, "app.corp") }], [3, 3]]
  ] as ReadonlyArray<readonly [string, ReadonlyArray<Command>, readonly [number, number]]>)(
    "leaves no packet without an answer that waits for its name's first lookup when it %s",
    ([, commands, answer]) =>
      Effect.gen(function* () {
        const client = yield* ready({ proxyIps: [proxy4] })
        yield* send(addresses(1, 1, "Resolving"))
        yield* sendInner(client, udp(53), udp(54))
        assert.lengthOf(client.received, 0)
        yield* reply(client)
        yield* send(...commands)
        assert.deepStrictEqual(icmpOf(client.received), [answer, answer])
      }).pipe(Effect.provide(layer))
  )
})
