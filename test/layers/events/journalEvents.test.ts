import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as EventLogLive from "../../../layers/events/EventLog.ts"
import * as JournalEvents from "../../../layers/events/journalEvents.ts"
import * as DataPlaneRecording from "../../../layers/memory/DataPlaneRecording.ts"
import { DataPlane } from "../../../src/dataplane/DataPlane.ts"
import { EventLog } from "../../../src/events/EventLog.ts"
import { Resolutions } from "../../../src/resolution/Resolutions.ts"
import { connectedState } from "../../support/connectedState.ts"
import { clientId, upsertClient } from "../../support/engineWorld.ts"

it.effect("a client that was removed and is one again is told to connect again, and only then", () =>
  Effect.gen(function* () {
    const { publish } = yield* DataPlaneRecording.DataPlaneRecorder
    const { send } = yield* DataPlane
    const connects = Effect.andThen(publish(connectedState(1)), Effect.yieldNow)
    yield* send(upsertClient(1))
    yield* connects
    yield* connects
    yield* send({ _tag: "RemoveClient", client: clientId(1) })
    yield* connects
    yield* send(upsertClient(1))
    yield* connects

    const told = (yield* (yield* EventLog).list).map(({ event }) => event._tag)
    assert.deepStrictEqual(told, ["ClientConnected", "ClientConnected"])
  }).pipe(
    Effect.provide(
      JournalEvents.layer.pipe(
        Layer.provide(
          Layer.mock(Resolutions, {
            askAgain: () => undefined,
            firstLookupAt: () => undefined,
            answersNobody: () => false
          })
        ),
        Layer.provideMerge([DataPlaneRecording.layer, EventLogLive.layer])
      )
    )
  )
)
