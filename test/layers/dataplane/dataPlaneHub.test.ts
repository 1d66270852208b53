import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import { makeDataPlaneHub } from "../../../layers/dataplane/dataPlaneHub.ts"
import type { ClientState } from "../../../src/dataplane/notices.ts"
import { clientId, upsertClient } from "../../support/engineWorld.ts"

const malformed = (n: number) => ({ ...upsertClient(n), publicKey: "short" })

const state: ClientState = {
  _tag: "ClientState",
  epoch: 1,
  client: clientId(1),
  connected: true,
  endpoint: null,
  lastTai64n: null,
  local: null,
  sentTick: 0,
  behindMs: 0,
  handshakeAt: null
}

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
})
