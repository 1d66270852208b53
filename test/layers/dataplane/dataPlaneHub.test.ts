import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Queue from "effect/Queue"
import { TestClock } from "effect/testing"
import { makeDataPlaneHub } from "../../../layers/dataplane/dataPlaneHub.ts"
import type { Notice } from "../../../src/dataplane/notices.ts"
import type { Acknowledge } from "../../../src/dataplane/orders.ts"
import { connectedState } from "../../support/connectedState.ts"
import { clientId, upsertClient } from "../../support/engineWorld.ts"

const malformed = (n: number) => ({ ...upsertClient(n), publicKey: "short" })

const state = connectedState(1)

describe("what the data planes share", () => {
  it.effect("tells the first who listens of the faults before, and everybody of the later ones", () =>
    Effect.gen(function* () {
      const hub = makeDataPlaneHub()
      hub.decide(malformed(1))
      const first = yield* hub.service.notices
      const second = yield* hub.service.notices
      hub.decide(malformed(2))
      const clientsIn = (queue: Queue.Dequeue<unknown>) =>
        Effect.map(Queue.clear(queue), (notices) =>
          notices.map((notice) => JSON.stringify(notice).match(/client-\d/)?.[0])
        )
      assert.deepStrictEqual(yield* clientsIn(first), ["client-1", "client-2"])
      assert.deepStrictEqual(yield* clientsIn(second), ["client-2"])
      assert.strictEqual(hub.counters({})["worker.faults"], 2)
    }).pipe(Effect.scoped)
  )

  it("knows that nobody is connected once there is another worker", () => {
    const hub = makeDataPlaneHub()
    hub.decide(upsertClient(1))
    hub.deliver([state], 0)
    assert.isTrue(hub.desired.clientStates.get(clientId(1))?.connected)
    hub.deliver([{ _tag: "Ready", epoch: 2 }], 0)
    assert.isFalse(hub.desired.clientStates.get(clientId(1))?.connected)
  })

  it("knows the times of the worker, whose clock has another origin, by its own clock", () => {
    const hub = makeDataPlaneHub()
    hub.decide(upsertClient(1))
    hub.deliver([{ ...state, handshakeAt: 4_000 }], 900_500, 4_500)
    assert.strictEqual(hub.desired.clientStates.get(clientId(1))?.handshakeAt, 900_000)
  })

  it("takes the worker's word for a lost connection: the same request then makes another one", () => {
    const hub = makeDataPlaneHub()
    const ice = {
      local: { username: "gw", password: "gateway" },
      remote: { username: "cl", password: "client" },
      role: "controlled"
    } as const
    const connectionOf = () => {
      const [order] = hub.decide({ ...upsertClient(1), ice })
      if (order?._tag !== "PlaceClient") return assert.fail("the client was not placed")
      return order
    }
    const { connection } = connectionOf()
    const { number: order, connection: kept } = connectionOf()
    assert.strictEqual(kept, connection)
    hub.deliver([{ _tag: "ConnectionLost", epoch: 1, client: clientId(1), order, reason: "IceFailed" }], 0)
    assert.notStrictEqual(connectionOf().connection, connection)
  })

  it.effect("is told that a client was removed, and believes nothing of it that was on its way then", () =>
    Effect.gen(function* () {
      const hub = makeDataPlaneHub()
      const notices = yield* hub.service.notices
      const carried = { bytesIn: 1, bytesOut: 1, refused: 0, flows: 1, unusedAnswers: 0 }
      const row = { client: clientId(1), ...carried, heardAgo: 0, activeAgo: 0 }
      const untold = { flows: 0, strangers: 0 }
      const journal = { refused: [], flows: [], clients: [row], addresses: [], strangers: [], untold }
      const late: ReadonlyArray<Notice> = [state, { _tag: "Journal", epoch: 1, ...journal }]
      hub.decide(upsertClient(1))
      hub.deliver(late, 0)
      hub.decide({ _tag: "RemoveClient", client: clientId(1) })
      hub.deliver(late, 1)

      const told = (yield* Queue.clear(notices)).map(({ _tag }) => _tag)
      assert.deepStrictEqual(told, ["ClientState", "Journal", "ClientRemoved", "Journal"])
      assert.strictEqual((yield* hub.service.activity).clients.size, 0)
      assert.strictEqual(hub.desired.clientStates.size, 0)
    }).pipe(Effect.scoped)
  )

  it.effect("waits for the worker's word, or for another worker's", () =>
    Effect.gen(function* () {
      const hub = makeDataPlaneHub()
      const orders: Array<Acknowledge> = []
      const waiting = yield* Effect.forkChild(
        hub.settled((order) => void orders.push(order)),
        { startImmediately: true }
      )
      const later = yield* Effect.forkChild(
        hub.settled((order) => void orders.push(order)),
        { startImmediately: true }
      )
      hub.deliver([{ _tag: "Acknowledged", epoch: 1, number: orders[0]!.number }], 0)
      assert.isTrue(yield* Fiber.join(waiting))
      assert.isUndefined(later.pollUnsafe())
      hub.deliver([{ _tag: "Ready", epoch: 2 }], 0)
      assert.isTrue(yield* Fiber.join(later))
    })
  )

  it.effect("waits no longer than a worker takes that is replaced, and says so", () =>
    Effect.gen(function* () {
      const hub = makeDataPlaneHub()
      const waiting = yield* Effect.forkChild(
        hub.settled(() => {}),
        { startImmediately: true }
      )
      yield* TestClock.adjust("3 seconds")
      assert.isFalse(yield* Fiber.join(waiting))
    })
  )
})
