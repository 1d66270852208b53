/** What becomes of packets before their name is known, and what is told of them. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { TestClock } from "effect/testing"
import { DataPlane } from "../../src/dataplane/DataPlane.ts"
import {
  ack,
  counter,
  icmpOf,
  lan,
  parsed,
  ready,
  real4,
  reply,
  reported,
  send,
  syn,
  tcp,
  tcpBack,
  udp
} from "../support/engineSteps.ts"
import { addresses, layer, proxy4, setUp, tunnel4 } from "../support/engineWorld.ts"
import { exchange, sendInner } from "../support/memoryClient.ts"
import { buildUdp } from "../support/packets.ts"

describe("packets parked during a first lookup", () => {
  it.effect("are eight per mapping: the next is answered at once", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      const out = yield* lan
      yield* send(addresses(1, 1, "Resolving"))
      yield* sendInner(client, ...Array.from({ length: 10 }, (_, i) => udp(53, proxy4, 50_000 + i)))
      assert.deepStrictEqual(icmpOf(client.received), [
        [3, 3],
        [3, 3]
      ])
      yield* send(addresses(1, 1, "Resolved", [real4]))
      assert.deepStrictEqual(
        out.map((packet) => parsed(packet).sourcePort),
        Array.from({ length: 8 }, (_, i) => 50_000 + i)
      )
    }).pipe(Effect.provide(layer))
  )

  it.effect("are eight per mapping: a ninth connection is not refused, since its SYN will be repeated", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      yield* send(addresses(1, 1, "Resolving"))
      yield* sendInner(client, ...Array.from({ length: 9 }, (_, i) => tcp(443, syn, proxy4, 50_000 + i)))
      assert.deepStrictEqual(client.received, [])
      assert.strictEqual(yield* counter("outbound.parking_full"), 1)
      yield* TestClock.adjust("2200 millis")
      yield* exchange([client])
      assert.strictEqual(client.received.length, 8)
      yield* sendInner(client, tcp(443, syn, proxy4, 50_008))
      assert.strictEqual(client.received.length, 9)
    }).pipe(Effect.provide(layer))
  )

  it.effect("wait for 2 s from the lookup's beginning, however late the first of them comes", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      yield* send(addresses(1, 1, "Resolving"))
      yield* TestClock.adjust("1500 millis")
      yield* sendInner(client, tcp(443, syn))
      // The lookup that was queued has begun.
      yield* send(addresses(1, 2, "Resolving"))
      yield* TestClock.adjust("400 millis")
      yield* exchange([client])
      assert.lengthOf(client.received, 0)
      yield* TestClock.adjust("200 millis")
      yield* exchange([client])
      assert.lengthOf(client.received, 1)
      yield* setUp(1, { domain: "b.corp", proxyIps: ["100.96.0.8"] })
      yield* send(addresses(1, 1, "Resolving", [], "b.corp"))
      yield* TestClock.adjust("2100 millis")
      yield* sendInner(client, tcp(443, syn, "100.96.0.8"))
      assert.lengthOf(client.received, 2)
      assert.strictEqual(yield* counter("outbound.parked"), 1)
    }).pipe(Effect.provide(layer))
  )

  it.effect("ask for the lookup of a name that nobody has asked for since the restart", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      const out = yield* lan
      const notices = yield* (yield* DataPlane).notices
      yield* send(addresses(1, 1, "Unasked"))
      assert.deepStrictEqual(yield* reported(notices), [])
      yield* sendInner(client, tcp(443, syn))
      assert.deepStrictEqual(yield* reported(notices), ["Unmapped"])
      yield* send(addresses(1, 2, "Resolving"))
      yield* sendInner(client, tcp(80, syn, proxy4, 50_001))
      assert.deepStrictEqual([out.length, client.received.length], [0, 0])
      yield* send(addresses(1, 2, "Resolved", [real4]))
      assert.deepStrictEqual(
        out.map((packet) => parsed(packet).destinationPort),
        [443, 80]
      )
    }).pipe(Effect.provide(layer))
  )

  it.effect("are 64 KiB per client, over all of its mappings", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      const names = Array.from({ length: 10 }, (_, i) => ({ domain: `n${i}.corp`, proxyIps: [`100.96.1.${i * 4}`] }))
      for (const name of names) {
        yield* setUp(1, name)
        yield* send(addresses(1, 1, "Resolving", [], name.domain))
        const large = { source: tunnel4(1), sourcePort: 9, destinationPort: 9, payload: new Uint8Array(1_200) }
        yield* sendInner(
          client,
          ...Array.from({ length: 8 }, (_, i) =>
            buildUdp({ ...large, destination: name.proxyIps[0]!, sourcePort: 9 + i })
          )
        )
      }
      assert.strictEqual(yield* counter("outbound.parked"), Math.floor(65_536 / 1_228))
    }).pipe(Effect.provide(layer))
  )

  it.effect("are answered when the lookup fails, and go nowhere when their mapping or proxy does", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      const out = yield* lan
      yield* send(addresses(1, 1, "Resolving"))
      yield* sendInner(client, tcp(443, syn))
      yield* send(addresses(1, 1, "Unresolved"))
      assert.deepStrictEqual(icmpOf(client.received), [[3, 0]])
      yield* setUp(1, { domain: "b.corp", proxyIps: ["100.96.0.8"] })
      yield* send(addresses(1, 2, "Resolving", [], "b.corp"))
      yield* sendInner(client, tcp(443, syn, "100.96.0.8"))
      yield* setUp(1, { domain: "c.corp", proxyIps: ["100.96.0.8"] })
      yield* send(addresses(1, 3, "Resolved", ["10.20.0.30"], "c.corp"), addresses(1, 2, "Resolved", [real4], "b.corp"))
      assert.deepStrictEqual(out, [])
    }).pipe(Effect.provide(layer))
  )

  it.effect("do not wait for a later lookup", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      yield* send(addresses(1, 1, "Unresolved"))
      yield* sendInner(client, tcp(443, syn))
      assert.strictEqual(client.received.length, 1)
      assert.strictEqual(yield* counter("outbound.parked"), 0)
    }).pipe(Effect.provide(layer))
  )
})

describe("notices", () => {
  it.effect("come at most once per mapping, cause and second", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      const notices = yield* (yield* DataPlane).notices
      yield* send(addresses(1, 1, "Unresolved"))
      for (let i = 0; i < 5; i++) {
        yield* sendInner(client, tcp(443, syn), tcp(443, syn))
        yield* TestClock.adjust("500 millis")
      }
      assert.deepStrictEqual(yield* reported(notices), ["Unmapped", "Unmapped", "Unmapped"])
      yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* counter("notices.coalesced"), 7)
    }).pipe(Effect.scoped, Effect.provide(layer))
  )

  it.effect("say that an answer is stale with the first packet after its TTL, while it is served on", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      const out = yield* lan
      const notices = yield* (yield* DataPlane).notices
      yield* send({ ...addresses(1, 1, "Resolved", [real4]), staleAt: 70_000 })
      yield* sendInner(client, tcp(443, syn))
      assert.deepStrictEqual(yield* reported(notices), [])
      yield* TestClock.adjust("10 seconds")
      yield* reported(notices)
      yield* sendInner(client, tcp(443, syn, proxy4, 50_001))
      assert.include(yield* reported(notices), "Stale")
      assert.strictEqual(out.length, 2)
    }).pipe(Effect.scoped, Effect.provide(layer))
  )

  it.effect("tell of the first answer after trouble, once", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      const notices = yield* (yield* DataPlane).notices
      yield* send(addresses(1, 1, "Unresolved"))
      yield* sendInner(client, tcp(443, syn))
      yield* send(addresses(1, 2, "Resolved", [real4]))
      yield* sendInner(client, tcp(443, syn))
      yield* reply(client, tcpBack(443, syn | ack), tcpBack(443, ack))
      assert.deepStrictEqual(yield* reported(notices), ["Unmapped", "Answered"])
    }).pipe(Effect.scoped, Effect.provide(layer))
  )
})
