/** In-tunnel control events: who may send them, and what becomes of them. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import { TestClock } from "effect/testing"
import { MemoryNetwork } from "../../layers/memory/DataPlaneMemory.ts"
import { DataPlane } from "../../src/dataplane/DataPlane.ts"
import type { Notice } from "../../src/dataplane/notices.ts"
import { counter, lan, network, ready, reply, send } from "../support/engineSteps.ts"
import { clientId, layer, packetsAt, policy } from "../support/engineWorld.ts"
import { sendInner } from "../support/memoryClient.ts"
import { buildIp, buildUdp, controlPacket } from "../support/packets.ts"

const text = (value: string): Uint8Array => new TextEncoder().encode(value)

const controls = (notices: ReadonlyArray<Notice>): ReadonlyArray<Extract<Notice, { _tag: "Control" }>> =>
  notices.filter((notice) => notice._tag === "Control")

const told = (queue: Queue.Dequeue<Notice>) => Effect.map(Queue.clear(queue), controls)

/** A connected client of a gateway in this mode that may reach everything. */
const connected = Effect.fnUntraced(function* (mode: "portal" | "standalone") {
  const client = yield* ready()
  yield* send({ ...policy, packets: packetsAt[mode] }, network("all", "::/0"))
  return client
})

const domain = text('{"resource":"app","domain":"App.Corp","proxy_ips":["100.96.0.1"]}')

describe("a control event of a client", () => {
  it.effect("reaches main with its number and payload, and nothing reaches the network", () =>
    Effect.gen(function* () {
      const client = yield* connected("portal")
      const out = yield* lan
      const notices = yield* (yield* DataPlane).notices
      yield* sendInner(client, controlPacket(0, domain), controlPacket(7), controlPacket(0, new Uint8Array(1_232)))
      const [first, second, third] = yield* told(notices)
      assert.deepStrictEqual(first, {
        _tag: "Control",
        epoch: 1,
        client: clientId(1),
        event: 0,
        payload: domain
      })
      assert.deepStrictEqual([second?.event, second?.payload.length], [7, 0])
      assert.strictEqual(third?.payload.length, 1_232)
      assert.deepStrictEqual(out, [])
    }).pipe(Effect.scoped, Effect.provide(layer))
  )

  it.effect("is dropped when it is cut short, too long or hidden behind extension headers", () =>
    Effect.gen(function* () {
      const client = yield* connected("portal")
      const out = yield* lan
      const notices = yield* (yield* DataPlane).notices
      const tooShort = buildIp({ source: "::", destination: "::" }, 255, new Uint8Array(7))
      yield* sendInner(
        client,
        tooShort,
        controlPacket(0, new Uint8Array(1_233)),
        controlPacket(0, domain, [{ type: 60 }])
      )
      assert.deepStrictEqual(yield* told(notices), [])
      assert.strictEqual(yield* counter("control.malformed"), 3)
      assert.deepStrictEqual(out, [])
    }).pipe(Effect.scoped, Effect.provide(layer))
  )

  it.effect("is a spoofed source at a standalone gateway, and so is every packet that only resembles one", () =>
    Effect.gen(function* () {
      const client = yield* connected("standalone")
      const out = yield* lan
      const notices = yield* (yield* DataPlane).notices
      yield* sendInner(client, controlPacket(0, domain))
      yield* send({ ...policy, packets: packetsAt.portal })
      const data = new Uint8Array(16)
      yield* sendInner(
        client,
        buildUdp({ source: "::", destination: "::", sourcePort: 1, destinationPort: 2 }),
        buildIp({ source: "::", destination: "::1" }, 255, data),
        buildIp({ source: "::1", destination: "::" }, 255, data),
        buildIp({ source: "0.0.0.0", destination: "0.0.0.0" }, 255, data)
      )
      assert.deepStrictEqual(yield* told(notices), [])
      assert.deepStrictEqual(out, [])
      assert.strictEqual(yield* counter("outbound.source_spoofed"), 5)
    }).pipe(Effect.scoped, Effect.provide(layer))
  )

  it.effect("beyond 400 at once and 100 a second is dropped", () =>
    Effect.gen(function* () {
      const client = yield* connected("portal")
      const notices = yield* (yield* DataPlane).notices
      const many = (n: number) => Array.from({ length: n }, () => controlPacket(0, domain))
      yield* sendInner(client, ...many(450))
      assert.strictEqual((yield* told(notices)).length, 400)
      yield* TestClock.adjust("1 second")
      yield* sendInner(client, ...many(150))
      assert.strictEqual((yield* told(notices)).length, 100)
      assert.strictEqual(yield* counter("control.rate_limited"), 100)
    }).pipe(Effect.scoped, Effect.provide(layer))
  )

  it.effect("that the host routes into the tunnel is not forwarded", () =>
    Effect.gen(function* () {
      const client = yield* connected("portal")
      yield* reply(client, controlPacket(1, domain))
      assert.deepStrictEqual(client.received, [])
      assert.strictEqual(yield* counter("control.from_device"), 1)
    }).pipe(Effect.provide(layer))
  )
})

describe("a control event of ours", () => {
  const status = { _tag: "SendControl", client: clientId(1), event: 1, payload: text('{"status":"Active"}') } as const

  it.effect("comes out of the client's tunnel as the protocol's packet", () =>
    Effect.gen(function* () {
      const client = yield* connected("portal")
      const world = yield* MemoryNetwork
      yield* world.onDatagram((_, datagram) => client.deliver(datagram))
      yield* send(status)
      const expected = controlPacket(1, status.payload)
      assert.deepStrictEqual(
        client.received.map((packet) => [...packet.subarray(0, expected.length)]),
        [[...expected]]
      )
      assert.strictEqual(yield* counter("control.sent"), 1)
    }).pipe(Effect.provide(layer))
  )

  it.effect("is dropped without a tunnel, and when it would not fit a packet", () =>
    Effect.gen(function* () {
      yield* connected("portal")
      const sent: Array<Uint8Array> = []
      yield* (yield* MemoryNetwork).onDatagram((_, datagram) => void sent.push(datagram))
      yield* send(
        { ...status, client: clientId(2) },
        { ...status, payload: new Uint8Array(1_233) },
        { ...status, event: 256 }
      )
      yield* TestClock.adjust("4 minutes")
      sent.length = 0
      yield* send(status)
      assert.deepStrictEqual(sent, [])
      assert.strictEqual(yield* counter("control.unsent"), 4)
    }).pipe(Effect.provide(layer))
  )
})
