/** The address of ours that a client dialled: whatever goes to the client leaves from it, calls after a restart, too. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import { TestClock } from "effect/testing"
import { MemoryNetwork } from "../../layers/memory/DataPlaneMemory.ts"
import { DataPlane } from "../../src/dataplane/DataPlane.ts"
import { formatAddress, parseAddress } from "../../src/packet/address.ts"
import { ack, ready, send, tcp } from "../support/engineSteps.ts"
import { layer, setUp, upsertClient } from "../support/engineWorld.ts"
import { type MemoryClient, sendInner } from "../support/memoryClient.ts"

const dial = (client: MemoryClient, local: string) => void Object.assign(client.endpoint.local, parseAddress(local))

const locals = Effect.gen(function* () {
  return [...(yield* (yield* DataPlane).clients).values()].map(({ local }) => local)
})

/** Where datagrams leave from, from now on. */
const sentFrom = Effect.gen(function* () {
  const from: Array<string> = []
  yield* (yield* MemoryNetwork).onDatagram((to) => void from.push(formatAddress(to.local)))
  return from
})

describe("the address that a client dialled", () => {
  it.effect("is told, and so is the next one when the client goes over to it", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      for (const local of ["192.0.2.1", "192.0.2.7"]) {
        dial(client, local)
        yield* TestClock.adjust("2 seconds")
        yield* sendInner(client, tcp(443, ack))
        assert.deepStrictEqual(yield* locals, [local])
      }
    }).pipe(Effect.provide(layer))
  )

  it.effect("is told once a second at most by a client that changes with every datagram", () =>
    Effect.gen(function* () {
      const notices = yield* (yield* DataPlane).notices
      const client = yield* ready()
      yield* TestClock.adjust("2 seconds")
      yield* Queue.clear(notices)
      for (let i = 0; i < 40; i++) {
        dial(client, `192.0.2.${1 + (i % 2)}`)
        yield* sendInner(client, tcp(443, ack))
      }
      const told = (yield* Queue.clear(notices)).filter(({ _tag }) => _tag === "ClientState")
      assert.isAtMost(told.length, 1)
    }).pipe(Effect.scoped, Effect.provide(layer))
  )

  const endpoint = { address: "192.0.2.2", port: 40_001 }
  const called = (local: string | null) =>
    Effect.gen(function* () {
      yield* setUp(2)
      const from = yield* sentFrom
      yield* send({ ...upsertClient(1), endpoint, local, initiate: true })
      yield* TestClock.adjust("200 millis")
      return from
    }).pipe(Effect.provide(layer))

  it.effect("is where the call of a new worker or gateway leaves from", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* called("192.0.2.7"), ["192.0.2.7"])
    })
  )

  it.effect("is left to the system where none is known, or one of the other family", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* called(null), [formatAddress(parseAddress("::")!)])
      assert.deepStrictEqual(yield* called("2001:db8::1"), [formatAddress(parseAddress("::")!)])
    })
  )
})
