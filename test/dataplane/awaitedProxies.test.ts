/** Packets to a proxy IP before this gateway knows what another one has given it for. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import { TestClock } from "effect/testing"
import { DataPlane } from "../../src/dataplane/DataPlane.ts"
import type { Notice } from "../../src/dataplane/notices.ts"
import {
  ack,
  counter,
  destinations,
  icmpOf,
  lan,
  parsed,
  ready,
  real4,
  real6,
  send,
  syn,
  tcp,
  udp
} from "../support/engineSteps.ts"
import {
  addresses,
  clientId,
  layer,
  packetsAt,
  policy,
  proxy6,
  setMapping,
  setUp,
  tunnel6
} from "../support/engineWorld.ts"
import { connect, exchange, sendInner } from "../support/memoryClient.ts"
import { buildUdp } from "../support/packets.ts"

const other = "100.96.9.1"
const unreachable = [3, 0] as const

/** A gateway of several, and client 1, which knows another name as well. */
const atSite = Effect.gen(function* () {
  const client = yield* ready()
  yield* send({ ...policy, packets: packetsAt.site })
  return { client, out: yield* lan, notices: yield* (yield* DataPlane).notices }
})

const asked = (notices: Queue.Dequeue<Notice>) =>
  Effect.map(Queue.clear(notices), (all) =>
    all.flatMap((notice) => (notice._tag === "UnknownProxy" ? [[notice.client, notice.proxyIp]] : []))
  )

const later = (proxies: ReadonlyArray<string> = [other]) => setMapping(1, "later.corp", proxies)

const passed = (packets: ReadonlyArray<Uint8Array>) => packets.map((packet) => parsed(packet).sourcePort)

describe("packets to a proxy IP that another gateway may have given", () => {
  it.effect("wait, and go on in order once it is known what for, one SYN of each flow; main is told once", () =>
    Effect.gen(function* () {
      const { client, notices, out } = yield* atSite
      for (const port of [50_001, 50_001, 50_002]) yield* sendInner(client, tcp(443, syn, other, port))
      yield* sendInner(client, udp(53, other, 50_003))
      assert.deepStrictEqual(yield* asked(notices), [[clientId(1), other]])
      yield* TestClock.adjust("1900 millis")
      assert.lengthOf(client.received, 0)

      yield* send(later(), addresses(1, 1, "Resolved", [real4], "later.corp"))

      assert.deepStrictEqual(destinations(out), [real4, real4, real4])
      assert.deepStrictEqual(passed(out), [50_001, 50_002, 50_003])
      yield* sendInner(client, tcp(443, ack, other, 50_001))
      assert.lengthOf(out, 4)
      assert.lengthOf(client.received, 0)
    }).pipe(Effect.provide(layer))
  )

  it.effect("of IPv6 as well", () =>
    Effect.gen(function* () {
      const { client, out } = yield* atSite
      const destination = `${proxy6}9`
      yield* sendInner(client, buildUdp({ source: tunnel6(1), destination, sourcePort: 9, destinationPort: 53 }))

      yield* send(later([destination]), addresses(1, 1, "Resolved", [real6], "later.corp"))

      assert.deepStrictEqual(destinations(out), [real6])
    }).pipe(Effect.provide(layer))
  )

  it.effect("wait on for the name's first lookup where that is still to come", () =>
    Effect.gen(function* () {
      const { client, out } = yield* atSite
      yield* sendInner(client, tcp(443, syn, other))
      yield* send(later(), addresses(1, 1, "Unasked", [], "later.corp"))
      yield* TestClock.adjust("100 millis")
      assert.deepStrictEqual([out.length, client.received.length], [0, 0])

      yield* send(addresses(1, 2, "Resolved", [real4], "later.corp"))

      assert.deepStrictEqual(destinations(out), [real4])
    }).pipe(Effect.provide(layer))
  )

  it.effect("go on when a name that is known turns out to have that address, too", () =>
    Effect.gen(function* () {
      const { client, out } = yield* atSite
      yield* send(addresses(1, 1, "Resolved", [real4]))
      yield* sendInner(client, tcp(443, syn, other))

      yield* send(setMapping(1, "app.corp", ["100.96.0.4", proxy6, other], 2))

      assert.deepStrictEqual(destinations(out), [real4])
      yield* sendInner(client, tcp(443, ack, other))
      assert.lengthOf(out, 2)
      assert.strictEqual(yield* counter("sessions.created"), 1)
      assert.lengthOf(client.received, 0)
    }).pipe(Effect.provide(layer))
  )

  it.effect("are answered when nothing has come within 2 s, further ones at once for 5 s; then they wait again", () =>
    Effect.gen(function* () {
      const { client, notices } = yield* atSite
      yield* sendInner(client, tcp(443, syn, other, 50_001), tcp(443, syn, other, 50_002))
      yield* TestClock.adjust("2100 millis")
      yield* exchange([client])
      assert.deepStrictEqual(icmpOf(client.received), [unreachable, unreachable])

      yield* sendInner(client, tcp(443, syn, other))
      assert.lengthOf(client.received, 3)
      assert.lengthOf(yield* asked(notices), 1)

      yield* TestClock.adjust("5 seconds")
      yield* sendInner(client, tcp(443, syn, other))
      assert.lengthOf(client.received, 3)
      assert.lengthOf(yield* asked(notices), 1)
    }).pipe(Effect.provide(layer))
  )

  it.effect("are answered at once when nothing will come, and translated if it does all the same", () =>
    Effect.gen(function* () {
      const { client, out } = yield* atSite
      yield* sendInner(client, tcp(443, syn, other))

      yield* send({ _tag: "RefuseProxy", client: clientId(1), proxyIp: other })

      assert.deepStrictEqual(icmpOf(client.received), [unreachable])
      yield* send(later(), addresses(1, 1, "Resolved", [real4], "later.corp"))
      yield* sendInner(client, tcp(443, syn, other))
      assert.deepStrictEqual(destinations(out), [real4])
    }).pipe(Effect.provide(layer))
  )

  it.effect("are asked about once a second for as long as they come", () =>
    Effect.gen(function* () {
      const { client, notices } = yield* atSite
      for (let i = 0; i < 19; i++) {
        yield* sendInner(client, tcp(443, syn, other))
        yield* TestClock.adjust("100 millis")
      }
      assert.lengthOf(yield* asked(notices), 2)
      assert.lengthOf(client.received, 0)
    }).pipe(Effect.provide(layer))
  )

  it.effect(
    "do not wait if they are too many: eight of one address, a further SYN is dropped, others are answered",
    () =>
      Effect.gen(function* () {
        const { client } = yield* atSite
        for (let i = 0; i < 8; i++) yield* sendInner(client, udp(53, other, 51_000 + i))
        assert.lengthOf(client.received, 0)

        yield* sendInner(client, tcp(443, syn, other))
        yield* sendInner(client, udp(53, other))

        assert.strictEqual(yield* counter("outbound.parking_full"), 1)
        assert.deepStrictEqual(icmpOf(client.received), [[3, 3]])
      }).pipe(Effect.provide(layer))
  )

  it.effect("of one who tries all addresses wait for 32 of them, and nobody is asked about the others", () =>
    Effect.gen(function* () {
      const { client, notices } = yield* atSite
      for (let i = 0; i < 2_000; i++) yield* sendInner(client, tcp(443, syn, `100.97.${i >>> 8}.${i & 255}`))
      assert.lengthOf(yield* asked(notices), 32)
      assert.strictEqual(yield* counter("outbound.parked"), 32)

      yield* TestClock.adjust("2100 millis")
      for (let i = 0; i < 2_000; i++) yield* sendInner(client, tcp(443, syn, `100.98.${i >>> 8}.${i & 255}`))
      assert.lengthOf(yield* asked(notices), 0)
    }).pipe(Effect.provide(layer))
  )

  it.effect("go with their client", () =>
    Effect.gen(function* () {
      const { client, out } = yield* atSite
      yield* sendInner(client, tcp(443, syn, other))
      yield* send({ _tag: "RemoveClient", client: clientId(1) })
      yield* setUp(1)
      yield* send({ ...policy, packets: packetsAt.site })
      yield* connect(client)

      yield* send(later(), addresses(1, 1, "Resolved", [real4], "later.corp"))

      assert.lengthOf(out, 0)
    }).pipe(Effect.provide(layer))
  )
})

describe("packets to a proxy IP without a mapping at a gateway alone", () => {
  it.effect("are answered at once, and main is not told", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      const notices = yield* (yield* DataPlane).notices
      yield* sendInner(client, tcp(443, syn, other))
      assert.deepStrictEqual(icmpOf(client.received), [unreachable])
      assert.deepStrictEqual(yield* asked(notices), [])
    }).pipe(Effect.provide(layer))
  )
})
